#include "methods/common/quantizer.hpp"

namespace olab {

Quantizer::~Quantizer() = default;

}  // namespace olab

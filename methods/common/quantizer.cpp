#include "methods/common/quantizer.hpp"

namespace olab {

Quantizer::~Quantizer() = default;

bool Quantizer::quantize_to_codes(Role /*role*/, const ConstMatrixRef& /*in*/, IntegerMatrix& /*out*/,
                                  Index& /*clipped*/) const {
  return false;
}

}  // namespace olab

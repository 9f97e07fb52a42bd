// Decoders of LLaMA's kind.
#include "models/architecture.hpp"

namespace olab {
Architecture::~Architecture() = default;
}  // namespace olab

OLAB_REGISTER(llama) {
  (void)r;
}

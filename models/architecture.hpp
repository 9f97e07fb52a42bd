// An architecture: how the config.json of a family of models is understood. One .cpp a family in
// models/architectures/.
#pragma once

#include "core/config.hpp"
#include "core/registries.hpp"
#include "models/model_spec.hpp"

namespace olab {

/// Registered under the name that config.json gives in "architectures": "LlamaForCausalLM".
class Architecture {
 public:
  Architecture() = default;
  Architecture(const Architecture&) = delete;
  Architecture& operator=(const Architecture&) = delete;
  virtual ~Architecture();

  /// The model that a config.json describes. Error, with file and key, on a missing key, a value out of
  /// range, sizes that do not fit together, and on what is not supported (a sliding window shorter than the
  /// positions, another RoPE scaling), saying what is.
  virtual ModelSpec read(const ConfigNode& config) const = 0;
};

}  // namespace olab

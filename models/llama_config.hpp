// The config.json of a LLaMA model that we write.
#pragma once

#include <string>

#include "datasets/tensor.hpp"
#include "models/model_spec.hpp"

namespace olab {

/// As Hugging Face has it, for a model without biases whose weights have this dtype; ids of BOS and EOS are
/// LLaMA's.
std::string llama_config_text(const ModelSpec& spec, DType dtype);

}  // namespace olab

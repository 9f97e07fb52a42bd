// The names that forward hooks give to a layer's input in an activation dump.
#pragma once

#include <filesystem>
#include <string>

#include "datasets/tensor.hpp"

namespace olab {

/// The linear layer whose input this tensor is, as in Hugging Face: "layers.0.mlp.up_proj.input" →
/// "model.layers.0.mlp.up_proj". Empty for every other tensor: outputs, norms, activation functions, token
/// ids.
std::string dumped_layer(const TensorInfo& tensor);

/// An npz file that holds the input of at least one linear layer, and no "<layer>.x". Never throws.
bool is_activation_dump(const std::filesystem::path& path);

}  // namespace olab

// Checkpoints with random weights: to measure what a model of some size costs, and for tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/matrix.hpp"
#include "core/stop.hpp"

namespace olab {

/// Sizes of a LLaMA model.
struct ModelShape {
  Index vocab_size = 32000;
  Index hidden_size = 4096;
  Index intermediate_size = 11008;
  Index layers = 32;
  Index heads = 32;
  Index kv_heads = 32;
  Index max_positions = 4096;
  bool tied_head = false;
};

/// Names of shapes that are known: "llama2-7b", …; sorted.
std::vector<std::string> model_shape_names();
/// Error on an unknown name, with the nearest. Sizes as in the models' config.json.
ModelShape model_shape(const std::string& name);

/// Writes a Hugging Face folder of LLaMA architecture with a shard a block. Weights are normal with deviation
/// 1 / sqrt(in_features), embeddings normal (with a tied head of deviation 1 / sqrt(hidden_size)), norms 1
/// (the final one of outlier channels less, where the head is tied); `outliers` > 0 multiplies that many
/// channels of every embedding by 20, so that the residual stream has outlier channels. The same seed gives
/// the same bytes. `dtype`: F32, F16 or BF16. Error on sizes that do not fit together, and where the folder
/// exists and is not empty or cannot be written; nothing is left behind then.
void generate_model(const std::filesystem::path& folder, const ModelShape& shape, const std::string& dtype,
                    std::uint64_t seed, Index outliers, const StopFlag* stop);

}  // namespace olab

// The tensors that a model consists of.
#pragma once

#include <string>
#include <vector>

#include "models/model_spec.hpp"

namespace olab {

struct ModelTensor {
  std::string name;  ///< "model.layers.3.self_attn.q_proj.weight"
  std::vector<Index> shape;
};

/// Those of one block: the norms, then the linear layers in model order, each weight before its bias.
std::vector<ModelTensor> block_tensors(const ModelSpec& spec, Index block);

/// All others: embeddings, final norm, and the head where it is not the embedding.
std::vector<ModelTensor> outer_tensors(const ModelSpec& spec);

}  // namespace olab

#include "models/model_tensors.hpp"

namespace olab {
namespace {

void add_norm(std::vector<ModelTensor>& out, const std::string& name, NormKind kind, Index channels) {
  out.push_back({name + ".weight", {channels}});
  if (kind == NormKind::layer) out.push_back({name + ".bias", {channels}});
}

}  // namespace

std::vector<ModelTensor> block_tensors(const ModelSpec& spec, Index block) {
  const std::string prefix = spec.block_name(block) + ".";
  std::vector<ModelTensor> out;
  add_norm(out, prefix + spec.attention_norm, spec.norm, spec.hidden_size);
  add_norm(out, prefix + spec.mlp_norm, spec.norm, spec.hidden_size);
  if (spec.query_key_norm) {
    add_norm(out, prefix + spec.query_norm, NormKind::rms, spec.head_dim);
    add_norm(out, prefix + spec.key_norm, NormKind::rms, spec.head_dim);
  }
  for (const LinearSpec& linear : spec.linears) {
    out.push_back({prefix + linear.name + ".weight", {linear.out_features, linear.in_features}});
    if (linear.bias) out.push_back({prefix + linear.name + ".bias", {linear.out_features}});
  }
  return out;
}

std::vector<ModelTensor> outer_tensors(const ModelSpec& spec) {
  std::vector<ModelTensor> out{{spec.embedding, {spec.vocab_size, spec.hidden_size}}};
  if (!spec.position_embedding.empty())
    out.push_back({spec.position_embedding, {spec.max_positions + spec.position_offset, spec.hidden_size}});
  add_norm(out, spec.final_norm, spec.norm, spec.hidden_size);
  if (spec.head != spec.embedding) out.push_back({spec.head, {spec.vocab_size, spec.hidden_size}});
  return out;
}

}  // namespace olab

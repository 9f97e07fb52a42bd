#include "models/model_spec.hpp"

#include <fmt/format.h>

namespace olab {

std::string ModelSpec::block_name(Index block) const {
  return fmt::format("{}{}", block_prefix, block);
}

std::string ModelSpec::linear_name(Index block, const LinearSpec& linear) const {
  return fmt::format("{}.{}", block_name(block), linear.name);
}

std::vector<std::size_t> ModelSpec::linears_of(Site site) const {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < linears.size(); ++i)
    if (linears[i].site == site) out.push_back(i);
  return out;
}

Index ModelSpec::site_channels(Site site) const {
  return linears.at(linears_of(site).at(0)).in_features;
}

double ModelSpec::linear_work() const {
  double block = 0;
  for (const LinearSpec& l : linears)
    block += static_cast<double>(l.in_features) * static_cast<double>(l.out_features);
  return block * static_cast<double>(layers);
}

std::vector<LinearSpec> llama_linears(const ModelSpec& spec, bool qkv_bias, bool out_bias, bool mlp_bias) {
  const Index queries = spec.heads * spec.head_dim;
  const Index keys = spec.kv_heads * spec.head_dim;
  const Index hidden = spec.hidden_size;
  const Index wide = spec.intermediate_size;
  using enum LinearRole;
  return {{query, Site::attention_in, "self_attn.q_proj", hidden, queries, qkv_bias},
          {key, Site::attention_in, "self_attn.k_proj", hidden, keys, qkv_bias},
          {value, Site::attention_in, "self_attn.v_proj", hidden, keys, qkv_bias},
          {attention_out, Site::attention_out, "self_attn.o_proj", queries, hidden, out_bias},
          {gate, Site::mlp_in, "mlp.gate_proj", hidden, wide, mlp_bias},
          {up, Site::mlp_in, "mlp.up_proj", hidden, wide, mlp_bias},
          {down, Site::mlp_out, "mlp.down_proj", wide, hidden, mlp_bias}};
}

}  // namespace olab

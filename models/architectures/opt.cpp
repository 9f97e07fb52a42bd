// OPT: layer norms in front of each part of a block, learned positions, ReLU.
#include <fmt/format.h>

#include "models/architecture.hpp"
#include "models/architecture_config.hpp"
#include "models/json_config.hpp"

namespace olab {
namespace {

// Refuses another value of a flag than the one that is supported.
void require_flag(const ConfigNode& config, std::string_view key, bool wanted, std::string_view meaning) {
  if (read_flag(config, key, wanted) != wanted)
    config.at(key).fail(fmt::format("it is {}: {}, which is not supported; only models with {} are", !wanted,
                                    meaning, wanted));
}

class Opt final : public Architecture {
 public:
  ModelSpec read(const ConfigNode& config) const override {
    ModelSpec spec;
    spec.norm = NormKind::layer;
    spec.rotary = false;
    spec.gated = false;
    spec.block_prefix = "model.decoder.layers.";
    spec.embedding = "model.decoder.embed_tokens.weight";
    spec.position_embedding = "model.decoder.embed_positions.weight";
    spec.position_offset = 2;  // rows that the padding index took in the code that trained it
    spec.attention_norm = "self_attn_layer_norm";
    spec.mlp_norm = "final_layer_norm";
    spec.final_norm = "model.decoder.final_layer_norm";
    read_common(config, true, spec);
    spec.intermediate_size = read_size(config, "ffn_dim");
    read_heads(config, spec);
    if (spec.heads * spec.head_dim != spec.hidden_size || spec.kv_heads != spec.heads)
      config.fail(fmt::format("{} heads of {} channels do not make up hidden_size {}, as OPT's do",
                              spec.heads, spec.head_dim, spec.hidden_size));
    spec.norm_eps = 1e-5;
    spec.activation = read_activation(config, "activation_function", ActivationKind::relu);
    require_flag(config, "do_layer_norm_before", true, "each part of a block is normed after it");
    require_flag(config, "layer_norm_elementwise_affine", true, "layer norms have no gain and no bias");
    require_flag(config, "_remove_final_layer_norm", false, "there is no norm in front of the head");
    const Index projected = read_size(config, "word_embed_proj_dim", spec.hidden_size);
    if (projected != spec.hidden_size)
      config.at("word_embed_proj_dim")
          .fail(fmt::format("embeddings of {} channels that are projected to hidden_size {} are not "
                            "supported; only models where both are equal are",
                            projected, spec.hidden_size));

    const bool bias = read_flag(config, "enable_bias", true);
    const Index hidden = spec.hidden_size;
    const Index wide = spec.intermediate_size;
    using enum LinearRole;
    spec.linears = {{query, Site::attention_in, "self_attn.q_proj", hidden, hidden, bias},
                    {key, Site::attention_in, "self_attn.k_proj", hidden, hidden, bias},
                    {value, Site::attention_in, "self_attn.v_proj", hidden, hidden, bias},
                    {attention_out, Site::attention_out, "self_attn.out_proj", hidden, hidden, bias},
                    {up, Site::mlp_in, "fc1", hidden, wide, bias},
                    {down, Site::mlp_out, "fc2", wide, hidden, bias}};
    return spec;
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(opt) {
  r.architectures.add(olab::Schema<olab::Opt>("OPTForCausalLM", "OPT 125M to 66B, but not 350M",
                                              "Zhang et al. 2022, arXiv:2205.01068"));
}

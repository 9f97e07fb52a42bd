// Decoders of LLaMA's kind: RMS norms, rotary positions, a gated MLP.
#include <fmt/format.h>

#include <limits>

#include "models/architecture.hpp"
#include "models/architecture_config.hpp"
#include "models/json_config.hpp"

namespace olab {

Architecture::~Architecture() = default;

namespace {

ModelSpec read_sizes(const ConfigNode& config) {
  ModelSpec spec;
  read_common(config, false, spec);
  spec.intermediate_size = read_size(config, "intermediate_size");
  read_heads(config, spec);
  spec.norm_eps = config.at("rms_norm_eps").number("it", 0, 1);
  spec.rope = read_rope(config);
  spec.activation = read_activation(config, "hidden_act", ActivationKind::silu);
  return spec;
}

// A window that is as long as the positions hides nothing.
void refuse_window(const ConfigNode& config, const ModelSpec& spec, Index window) {
  if (window >= spec.max_positions) return;
  const ConfigNode* const node = find_value(config, "sliding_window");
  (node == nullptr ? config : *node)
      .fail(fmt::format(
          "attention sees a sliding window of {} of the {} positions, which is not supported; to use the "
          "model for texts of up to {} tokens, which no window cuts, set max_position_embeddings to {}",
          window, spec.max_positions, window, window));
}

class Llama final : public Architecture {
 public:
  ModelSpec read(const ConfigNode& config) const override {
    ModelSpec spec = read_sizes(config);
    const bool bias = read_flag(config, "attention_bias", false);
    spec.linears = llama_linears(spec, bias, bias, read_flag(config, "mlp_bias", false));
    return spec;
  }
};

class Mistral final : public Architecture {
 public:
  ModelSpec read(const ConfigNode& config) const override {
    ModelSpec spec = read_sizes(config);
    // null: no window. Missing: what the model was trained with when the key did not exist yet.
    constexpr Index kFirstWindow = 4096;
    const ConfigNode* const window = config.find("sliding_window");
    if (window == nullptr || !window->is_null())
      refuse_window(config, spec, read_size(config, "sliding_window", kFirstWindow));
    spec.linears = llama_linears(spec, false, false, false);
    return spec;
  }
};

// The window is that of the blocks behind the first max_window_layers.
void refuse_qwen_window(const ConfigNode& config, const ModelSpec& spec) {
  if (!read_flag(config, "use_sliding_window", false)) return;
  const ConfigNode* const whole = find_value(config, "max_window_layers");
  if (whole != nullptr && whole->integer("it", 0, std::numeric_limits<Index>::max()) >= spec.layers) return;
  refuse_window(config, spec, read_size(config, "sliding_window", spec.max_positions));
}

class Qwen2 final : public Architecture {
 public:
  ModelSpec read(const ConfigNode& config) const override {
    ModelSpec spec = read_sizes(config);
    refuse_qwen_window(config, spec);
    spec.linears = llama_linears(spec, true, false, false);
    return spec;
  }
};

class Qwen3 final : public Architecture {
 public:
  ModelSpec read(const ConfigNode& config) const override {
    (void)config.at("head_dim");  // hidden_size / heads is another number in most of these models
    ModelSpec spec = read_sizes(config);
    refuse_qwen_window(config, spec);
    spec.query_key_norm = true;
    const bool bias = read_flag(config, "attention_bias", false);
    spec.linears = llama_linears(spec, bias, bias, false);
    return spec;
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(llama) {
  r.architectures.add(olab::Schema<olab::Llama>("LlamaForCausalLM",
                                                "LLaMA 1 to 3 and its many relatives: TinyLlama, Vicuna, …",
                                                "Touvron et al. 2023, arXiv:2302.13971, arXiv:2307.09288"));
  r.architectures.add(olab::Schema<olab::Mistral>(
      "MistralForCausalLM", "Mistral 7B from version 0.2 on: no sliding window within the positions",
      "Jiang et al. 2023, arXiv:2310.06825"));
  r.architectures.add(olab::Schema<olab::Qwen2>("Qwen2ForCausalLM",
                                                "Qwen 1.5, 2 and 2.5: biases on queries, keys and values",
                                                "Yang et al. 2024, arXiv:2407.10671"));
  r.architectures.add(olab::Schema<olab::Qwen3>("Qwen3ForCausalLM",
                                                "Qwen 3: an RMS norm on every head of queries and keys",
                                                "Yang et al. 2025, arXiv:2505.09388"));
}

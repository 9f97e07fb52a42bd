// What a decoder-only language model consists of, whatever its architecture is called.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// rms: x / sqrt(mean(x²) + eps) · gain.  layer: (x − mean) / sqrt(variance + eps) · gain + bias.
enum class NormKind { rms, layer };

enum class ActivationKind { silu, relu, gelu, gelu_tanh };

/// An input that one or more linear layers of a block read, in the order of a forward pass.
enum class Site { attention_in, attention_out, mlp_in, mlp_out };
inline constexpr std::size_t kSites = 4;

/// What a linear layer is for.
enum class LinearRole { query, key, value, attention_out, gate, up, down };

/// One linear layer of every block.
struct LinearSpec {
  LinearRole role = LinearRole::query;
  Site site = Site::attention_in;
  std::string name;  ///< within the block: "self_attn.q_proj"
  Index in_features = 0;
  Index out_features = 0;
  bool bias = false;
};

/// Rotary positions (Su et al. 2021, arXiv:2104.09864) with channel i of a head paired with i + head_dim / 2,
/// as in Hugging Face.
struct RopeSpec {
  enum class Kind { standard, linear, llama3 };
  Kind kind = Kind::standard;
  double theta = 10000;
  double factor = 1;                 ///< linear, llama3
  double low_freq_factor = 1;        ///< llama3
  double high_freq_factor = 4;       ///< llama3
  Index original_max_positions = 0;  ///< llama3
};

struct ModelSpec {
  std::string architecture;  ///< as config.json says: "LlamaForCausalLM"
  Index vocab_size = 0;
  Index hidden_size = 0;
  Index intermediate_size = 0;
  Index layers = 0;  ///< blocks
  Index heads = 0;
  Index kv_heads = 0;
  Index head_dim = 0;
  Index max_positions = 0;
  NormKind norm = NormKind::rms;
  double norm_eps = 1e-5;
  bool rotary = true;  ///< else learned positions
  RopeSpec rope;
  Index position_offset = 0;  ///< learned positions: row of the first token (OPT: 2)
  bool gated = true;          ///< down(act(gate x) · up x), else down(act(up x))
  ActivationKind activation = ActivationKind::silu;
  bool query_key_norm = false;  ///< RMS norm of every head of Q and K before the positions (Qwen3)
  bool tied_head = false;
  std::vector<LinearSpec> linears;  ///< of a block, in model order

  // Names of tensors.
  std::string block_prefix = "model.layers.";
  std::string embedding = "model.embed_tokens.weight";
  std::string position_embedding;                     ///< "": none
  std::string attention_norm = "input_layernorm";     ///< within the block
  std::string mlp_norm = "post_attention_layernorm";  ///< within the block
  std::string query_norm = "self_attn.q_norm";        ///< within the block
  std::string key_norm = "self_attn.k_norm";          ///< within the block
  std::string final_norm = "model.norm";
  std::string head = "lm_head.weight";

  /// "model.layers.3".
  std::string block_name(Index block) const;
  /// "model.layers.3.self_attn.q_proj".
  std::string linear_name(Index block, const LinearSpec& linear) const;
  /// The linears that read a site, in model order.
  std::vector<std::size_t> linears_of(Site site) const;
  /// Channels of a site.
  Index site_channels(Site site) const;
  /// Multiply-adds of all linear layers for one token.
  double linear_work() const;
};

/// The linears of a LLaMA block (q, k, v, o, gate, up, down) out of the sizes of `spec`.
std::vector<LinearSpec> llama_linears(const ModelSpec& spec, bool qkv_bias, bool out_bias, bool mlp_bias);

}  // namespace olab

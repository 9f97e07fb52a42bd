#include "models/architecture_config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "core/text.hpp"
#include "models/json_config.hpp"

namespace olab {
namespace {

// Products of two sizes must fit an Index.
constexpr Index kLargestSize = std::numeric_limits<std::int32_t>::max();
constexpr double kLargestNumber = 1e12;

double positive(const ConfigNode& map, std::string_view key) {
  const ConfigNode& node = map.at(key);
  const double value = node.number("it", 0, kLargestNumber);
  if (value == 0) node.fail("it is 0; it must be above 0");
  return value;
}

// The kind of a scaling; "type" is the older key.
const ConfigNode* scaling_kind(const ConfigNode& scaling) {
  const ConfigNode* const kind = find_value(scaling, "rope_type");
  return kind != nullptr ? kind : find_value(scaling, "type");
}

void read_scaling(const ConfigNode& scaling, RopeSpec& out) {
  const ConfigNode* const kind = scaling_kind(scaling);
  if (kind == nullptr) scaling.fail("the key 'rope_type' is missing");
  const std::string& name = kind->text("it");
  if (name == "default") return;
  if (name == "linear") {
    out.kind = RopeSpec::Kind::linear;
    out.factor = positive(scaling, "factor");
    return;
  }
  if (name != "llama3")
    kind->fail(
        fmt::format("RoPE scaling '{}' is not supported; supported are default, linear and llama3", name));
  out.kind = RopeSpec::Kind::llama3;
  out.factor = positive(scaling, "factor");
  out.low_freq_factor = positive(scaling, "low_freq_factor");
  out.high_freq_factor = positive(scaling, "high_freq_factor");
  out.original_max_positions = read_size(scaling, "original_max_position_embeddings");
  if (out.high_freq_factor <= out.low_freq_factor)
    scaling.fail(fmt::format("high_freq_factor is {} and low_freq_factor {}; the first must be the larger",
                             to_text(out.high_freq_factor), to_text(out.low_freq_factor)));
}

void require_whole_rotation(const ConfigNode& map) {
  const ConfigNode* const part = find_value(map, "partial_rotary_factor");
  if (part != nullptr && part->number("it", 0, 1) != 1)
    part->fail(fmt::format("it is {}; only models that rotate all channels of a head (1) are supported",
                           part->scalar));
}

}  // namespace

Index read_size(const ConfigNode& config, std::string_view key) {
  return config.at(key).integer("it", 1, kLargestSize);
}

Index read_size(const ConfigNode& config, std::string_view key, Index fallback) {
  return find_value(config, key) == nullptr ? fallback : read_size(config, key);
}

bool read_flag(const ConfigNode& config, std::string_view key, bool fallback) {
  const ConfigNode* const node = find_value(config, key);
  return node == nullptr ? fallback : node->boolean("it");
}

ActivationKind read_activation(const ConfigNode& config, std::string_view key, ActivationKind fallback) {
  using enum ActivationKind;
  static constexpr std::array<std::pair<std::string_view, ActivationKind>, 6> kNames{
      {{"silu", silu},
       {"swish", silu},
       {"relu", relu},
       {"gelu", gelu},
       {"gelu_new", gelu_tanh},
       {"gelu_pytorch_tanh", gelu_tanh}}};
  const ConfigNode* const node = find_value(config, key);
  if (node == nullptr) return fallback;
  const std::string& name = node->text("it");
  std::vector<std::string> known;
  for (const auto& [text, kind] : kNames) {
    if (text == name) return kind;
    known.emplace_back(text);
  }
  node->fail(fmt::format("the activation function '{}' is not supported{}", name, suggestion(name, known)));
}

RopeSpec read_rope(const ConfigNode& config) {
  RopeSpec out;
  const ConfigNode* const both = find_value(config, "rope_parameters");
  const ConfigNode* scaling = find_value(config, "rope_scaling");
  if (both != nullptr && !both->is_map()) both->fail("it must be an object");
  if (both != nullptr && scaling != nullptr)
    both->fail("rope_scaling says the same in its older form; keep one of them");
  if (both != nullptr && find_value(*both, "rope_theta") != nullptr)
    out.theta = positive(*both, "rope_theta");
  else if (find_value(config, "rope_theta") != nullptr)
    out.theta = positive(config, "rope_theta");
  require_whole_rotation(config);
  if (both != nullptr) require_whole_rotation(*both);
  // rope_parameters without a kind hold a theta and nothing to scale.
  if (both != nullptr && scaling_kind(*both) != nullptr) scaling = both;
  if (scaling == nullptr) return out;
  if (!scaling->is_map()) scaling->fail("it must be an object or null");
  read_scaling(*scaling, out);
  return out;
}

void read_heads(const ConfigNode& config, ModelSpec& spec) {
  spec.heads = read_size(config, "num_attention_heads");
  spec.kv_heads = read_size(config, "num_key_value_heads", spec.heads);
  if (spec.heads % spec.kv_heads != 0)
    config.at("num_key_value_heads")
        .fail(fmt::format("{} heads of queries cannot share {} heads of keys evenly", spec.heads,
                          spec.kv_heads));
  if (find_value(config, "head_dim") != nullptr) {
    spec.head_dim = read_size(config, "head_dim");
  } else if (spec.hidden_size % spec.heads == 0) {
    spec.head_dim = spec.hidden_size / spec.heads;
  } else {
    config.at("num_attention_heads")
        .fail(fmt::format("hidden_size {} is no multiple of {} heads, and head_dim is not given",
                          spec.hidden_size, spec.heads));
  }
  if (spec.rotary && spec.head_dim % 2 != 0)
    config.fail(fmt::format("a head has {} channels; rotary positions need an even number", spec.head_dim));
  if (spec.heads > kLargestSize / spec.head_dim)
    config.fail(
        fmt::format("{} heads of {} channels are more than any model has", spec.heads, spec.head_dim));
}

void read_common(const ConfigNode& config, bool tied_by_default, ModelSpec& spec) {
  if (const ConfigNode* const quantized = find_value(config, "quantization_config")) {
    const ConfigNode* const method = find_value(*quantized, "quant_method");
    quantized->fail(
        fmt::format("the weights are stored quantized{}; F32, F16 and BF16 can be read, so take the original "
                    "model or dequantize it first",
                    method == nullptr || !method->is_scalar() ? "" : " (" + method->scalar + ")"));
  }
  constexpr Index kLargestVocabulary = 1 << 24;  // every id is a float
  spec.vocab_size = config.at("vocab_size").integer("it", 1, kLargestVocabulary);
  spec.hidden_size = read_size(config, "hidden_size");
  spec.layers = read_size(config, "num_hidden_layers");
  spec.max_positions = read_size(config, "max_position_embeddings");
  spec.tied_head = read_flag(config, "tie_word_embeddings", tied_by_default);
  if (spec.tied_head) spec.head = spec.embedding;
}

}  // namespace olab

// What the config.json files of all architectures have in common.
#pragma once

#include <string>
#include <string_view>

#include "core/config.hpp"
#include "models/model_spec.hpp"

namespace olab {

/// A whole number of a config.json, from 1 to what any model has. Error where the key is missing.
Index read_size(const ConfigNode& config, std::string_view key);
/// The same, or `fallback` where the key is missing or null.
Index read_size(const ConfigNode& config, std::string_view key, Index fallback);
bool read_flag(const ConfigNode& config, std::string_view key, bool fallback);

/// The function that `key` ("hidden_act") names; `fallback` where the key is missing. Error that lists those
/// that are supported.
ActivationKind read_activation(const ConfigNode& config, std::string_view key, ActivationKind fallback);

/// Rotary positions: rope_theta and rope_scaling, or rope_parameters with both in it. Error on a kind of
/// scaling that is not supported, with the list of those that are (default, linear, llama3).
RopeSpec read_rope(const ConfigNode& config);

/// Heads, heads of keys and values, and their width, out of num_attention_heads, num_key_value_heads
/// (default: as many) and head_dim (default: hidden_size / heads). Error where they do not fit together.
void read_heads(const ConfigNode& config, ModelSpec& spec);

/// vocab_size, hidden_size, num_hidden_layers, max_position_embeddings and tie_word_embeddings (with its
/// default); a tied head is the embedding. Error on weights that are stored quantized.
void read_common(const ConfigNode& config, bool tied_by_default, ModelSpec& spec);

}  // namespace olab

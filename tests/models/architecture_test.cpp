#include "models/architecture.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "messages.hpp"
#include "toy_model.hpp"

namespace {

using nlohmann::json;
using olab::ActivationKind;
using olab::Index;
using olab::LinearSpec;
using olab::ModelSpec;
using olab::RopeSpec;
using olab::test::error_of;
using olab::test::expect_contains;
using olab::test::toy_llama_config;
using olab::test::toy_opt_config;

ModelSpec read(const json& config) {
  return olab::test::read_spec(config, olab::test::model_registries());
}

/// The config as another architecture, with the keys of `changes` set or, where null, removed.
json changed(json config, const std::string& architecture, const json& changes = json::object()) {
  if (!architecture.empty()) config["architectures"] = {architecture};
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}
json without(json config, const char* key) {
  config.erase(key);
  return config;
}

std::string refusal(const json& config) {
  return error_of([&] { read(config); });
}
std::string llama_refusal(const json& changes) {
  return refusal(changed(toy_llama_config(), "", changes));
}

std::vector<bool> biases(const ModelSpec& spec) {
  std::vector<bool> out;
  for (const LinearSpec& l : spec.linears) out.push_back(l.bias);
  return out;
}

TEST(Architecture, FiveAreRegistered) {
  const std::vector<std::string> wanted{"LlamaForCausalLM", "MistralForCausalLM", "OPTForCausalLM",
                                        "Qwen2ForCausalLM", "Qwen3ForCausalLM"};
  EXPECT_EQ(olab::test::model_registries().architectures.names(), wanted);
}

TEST(Llama, SizesAndDefaultsAreThoseOfHuggingFace) {
  const ModelSpec s = read(toy_llama_config());
  EXPECT_EQ(s.vocab_size, 32);
  EXPECT_EQ(s.hidden_size, 16);
  EXPECT_EQ(s.intermediate_size, 24);
  EXPECT_EQ(s.layers, 2);
  EXPECT_EQ(s.heads, 4);
  EXPECT_EQ(s.kv_heads, 2);
  EXPECT_EQ(s.head_dim, 4);
  EXPECT_EQ(s.max_positions, 64);
  EXPECT_EQ(s.norm, olab::NormKind::rms);
  EXPECT_EQ(s.norm_eps, 1e-5);
  EXPECT_TRUE(s.rotary);
  EXPECT_EQ(s.rope.kind, RopeSpec::Kind::standard);
  EXPECT_EQ(s.rope.theta, 10000);
  EXPECT_EQ(s.activation, ActivationKind::silu);
  EXPECT_TRUE(s.gated);
  EXPECT_FALSE(s.query_key_norm);
  EXPECT_FALSE(s.tied_head);
  EXPECT_EQ(s.head, "lm_head.weight");
  EXPECT_EQ(biases(s), std::vector<bool>(7, false));
  EXPECT_EQ(s.linears.at(1).out_features, 8);

  const ModelSpec plain = read(without(toy_llama_config(), "num_key_value_heads"));
  EXPECT_EQ(plain.kv_heads, 4);
  EXPECT_EQ(read(changed(toy_llama_config(), "", {{"num_key_value_heads", nullptr}})).kv_heads, 4);
  EXPECT_FALSE(read(without(toy_llama_config(), "tie_word_embeddings")).tied_head);
}

TEST(Llama, BiasesHeadWidthActivationAndTiedHeadComeFromTheConfig) {
  const ModelSpec s = read(changed(toy_llama_config(), "",
                                   {{"attention_bias", true},
                                    {"mlp_bias", true},
                                    {"head_dim", 6},
                                    {"hidden_act", "gelu_pytorch_tanh"},
                                    {"tie_word_embeddings", true}}));
  EXPECT_EQ(biases(s), std::vector<bool>(7, true));
  EXPECT_EQ(s.head_dim, 6);
  EXPECT_EQ(s.linears.at(0).out_features, 24);
  EXPECT_EQ(s.linears.at(3).in_features, 24);
  EXPECT_EQ(s.activation, ActivationKind::gelu_tanh);
  EXPECT_TRUE(s.tied_head);
  EXPECT_EQ(s.head, "model.embed_tokens.weight");
  EXPECT_EQ(biases(read(changed(toy_llama_config(), "", {{"attention_bias", true}}))),
            (std::vector<bool>{true, true, true, true, false, false, false}));
}

TEST(Llama, RopeIsReadInItsOlderAndItsNewerForm) {
  const RopeSpec linear =
      read(changed(toy_llama_config(), "",
                   {{"rope_theta", 500000.0}, {"rope_scaling", {{"type", "linear"}, {"factor", 2.5}}}}))
          .rope;
  EXPECT_EQ(linear.kind, RopeSpec::Kind::linear);
  EXPECT_EQ(linear.theta, 500000);
  EXPECT_EQ(linear.factor, 2.5);
  const json llama3{{"rope_type", "llama3"},
                    {"factor", 32.0},
                    {"low_freq_factor", 1.0},
                    {"high_freq_factor", 4.0},
                    {"original_max_position_embeddings", 8192}};
  json parameters = llama3;
  parameters["rope_theta"] = 500000.0;
  for (const json& changes :
       {json{{"rope_theta", 500000.0}, {"rope_scaling", llama3}}, json{{"rope_parameters", parameters}}}) {
    const RopeSpec rope = read(changed(toy_llama_config(), "", changes)).rope;
    EXPECT_EQ(rope.kind, RopeSpec::Kind::llama3);
    EXPECT_EQ(rope.theta, 500000);
    EXPECT_EQ(rope.factor, 32);
    EXPECT_EQ(rope.low_freq_factor, 1);
    EXPECT_EQ(rope.high_freq_factor, 4);
    EXPECT_EQ(rope.original_max_positions, 8192);
  }
  for (const json& changes :
       {json{{"rope_scaling", {{"rope_type", "default"}}}}, json{{"rope_scaling", nullptr}},
        json{{"rope_parameters", {{"rope_theta", 1e4}}}},
        json{{"rope_parameters", {{"rope_theta", 1e4}, {"rope_type", "default"}}}}})
    EXPECT_EQ(read(changed(toy_llama_config(), "", changes)).rope.kind, RopeSpec::Kind::standard)
        << changes.dump();
}

TEST(Llama, UnsupportedRopeIsRefusedWithWhatIsSupported) {
  for (const char* kind : {"dynamic", "yarn", "longrope"})
    EXPECT_EQ(llama_refusal({{"rope_scaling", {{"rope_type", kind}, {"factor", 4.0}}}}),
              std::string("config.json: rope_scaling.rope_type: RoPE scaling '") + kind +
                  "' is not supported; supported are default, linear and llama3");
  expect_contains(llama_refusal({{"rope_scaling", {{"factor", 4.0}}}}),
                  "config.json: rope_scaling: the key 'rope_type' is missing");
  expect_contains(llama_refusal({{"rope_scaling", {{"type", "linear"}}}}),
                  "config.json: rope_scaling: the key 'factor' is missing");
  expect_contains(llama_refusal({{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}),
                  "config.json: rope_scaling.factor: it is 0; it must be above 0");
  expect_contains(llama_refusal({{"rope_scaling", "linear"}}), "rope_scaling: it must be an object or null");
  expect_contains(llama_refusal({{"rope_parameters", 3}}), "rope_parameters: it must be an object");
  EXPECT_EQ(llama_refusal({{"rope_parameters", {{"rope_theta", 1e4}}},
                           {"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}),
            "config.json: rope_parameters: rope_scaling says the same in its older form; keep one of them");
  expect_contains(llama_refusal({{"rope_scaling",
                                  {{"rope_type", "llama3"},
                                   {"factor", 8},
                                   {"low_freq_factor", 4},
                                   {"high_freq_factor", 1},
                                   {"original_max_position_embeddings", 32}}}}),
                  "high_freq_factor is 1 and low_freq_factor 4; the first must be the larger");
  expect_contains(llama_refusal({{"partial_rotary_factor", 0.5}}),
                  "config.json: partial_rotary_factor: it is 0.5; only models that rotate all channels");
  expect_contains(llama_refusal({{"rope_theta", -1}}),
                  "config.json: rope_theta: it is -1; it must be from 0");
}

TEST(Llama, MissingKeysAndBadValuesAreRefusedWithTheirPlace) {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "max_position_embeddings", "rms_norm_eps"})
    EXPECT_EQ(refusal(without(toy_llama_config(), key)),
              std::string("config.json: the key '") + key + "' is missing");
  EXPECT_EQ(llama_refusal({{"hidden_size", 0}}),
            "config.json: hidden_size: it is 0; it must be from 1 to 2147483647");
  EXPECT_EQ(llama_refusal({{"vocab_size", 1.5}}),
            "config.json: vocab_size: it must be a whole number, not '1.5'");
  EXPECT_EQ(llama_refusal({{"num_hidden_layers", {1}}}),
            "config.json: num_hidden_layers: it must be a single text");
  EXPECT_EQ(llama_refusal({{"mlp_bias", 1}}), "config.json: mlp_bias: it must be true or false, not '1'");
  expect_contains(llama_refusal({{"hidden_act", "sillu"}}),
                  "config.json: hidden_act: the activation function 'sillu' is not supported; did you mean "
                  "'silu'?");
  expect_contains(llama_refusal({{"hidden_act", "quick_gelu"}}), "known: silu, swish, relu, gelu, gelu_new");
  EXPECT_EQ(llama_refusal({{"num_key_value_heads", 3}}),
            "config.json: num_key_value_heads: 4 heads of queries cannot share 3 heads of keys evenly");
  EXPECT_EQ(llama_refusal({{"num_attention_heads", 6}}),
            "config.json: num_attention_heads: hidden_size 16 is no multiple of 6 heads, and head_dim is not "
            "given");
  EXPECT_EQ(llama_refusal({{"head_dim", 5}}),
            "config.json: a head has 5 channels; rotary positions need an even number");
  expect_contains(llama_refusal({{"head_dim", 2147483646}}), "are more than any model has");
  EXPECT_EQ(
      llama_refusal({{"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}}}),
      "config.json: quantization_config: the weights are stored quantized (gptq); F32, F16 and BF16 can "
      "be read, so take the original model or dequantize it first");
}

TEST(Llama, KeysThatAreNotKnownAreIgnored) {
  EXPECT_EQ(llama_refusal({{"_name_or_path", "x"}, {"bos_token_id", {1, 2}}, {"pretraining_tp", 2}}), "");
}

TEST(Mistral, ASlidingWindowMustNotBeShorterThanThePositions) {
  const auto mistral = [](const json& changes) {
    return changed(toy_llama_config(), "MistralForCausalLM", changes);
  };
  EXPECT_EQ(biases(read(mistral({{"sliding_window", nullptr}, {"attention_bias", true}}))),
            std::vector<bool>(7, false));
  EXPECT_EQ(refusal(mistral({{"sliding_window", 64}})), "");
  EXPECT_EQ(
      refusal(mistral({{"sliding_window", 63}})),
      "config.json: sliding_window: attention sees a sliding window of 63 of the 64 positions, which is "
      "not supported; to use the model for texts of up to 63 tokens, which no window cuts, set "
      "max_position_embeddings to 63");
  // The first Mistral has 4096 where the key is missing.
  EXPECT_EQ(refusal(mistral({})), "");
  expect_contains(refusal(mistral({{"max_position_embeddings", 32768}})),
                  "config.json: attention sees a sliding window of 4096 of the 32768 positions");
  EXPECT_EQ(refusal(mistral({{"max_position_embeddings", 32768}, {"sliding_window", nullptr}})), "");
}

TEST(Qwen2, QueriesKeysAndValuesHaveBiases) {
  const auto qwen = [](const json& changes) {
    return changed(toy_llama_config(), "Qwen2ForCausalLM", changes);
  };
  EXPECT_EQ(biases(read(qwen(json::object()))),
            (std::vector<bool>{true, true, true, false, false, false, false}));
  EXPECT_EQ(refusal(qwen({{"sliding_window", 8}, {"use_sliding_window", false}})), "");
  expect_contains(refusal(qwen({{"sliding_window", 8}, {"use_sliding_window", true}})),
                  "config.json: sliding_window: attention sees a sliding window of 8 of the 64 positions");
  const json first{{"sliding_window", 8}, {"use_sliding_window", true}, {"max_window_layers", 1}};
  expect_contains(refusal(qwen(first)), "a sliding window of 8");
  const json none{{"sliding_window", 8}, {"use_sliding_window", true}, {"max_window_layers", 2}};
  EXPECT_EQ(refusal(qwen(none)), "");
}

TEST(Qwen3, HeadsAreNormedAndTheirWidthIsGiven) {
  const auto qwen = [](const json& changes) {
    return changed(toy_llama_config(), "Qwen3ForCausalLM", changes);
  };
  const ModelSpec s = read(qwen({{"head_dim", 8}}));
  EXPECT_TRUE(s.query_key_norm);
  EXPECT_EQ(s.head_dim, 8);
  EXPECT_EQ(biases(s), std::vector<bool>(7, false));
  EXPECT_EQ(refusal(qwen(json::object())), "config.json: the key 'head_dim' is missing");
}

TEST(Opt, NormsPositionsNamesAndBiasesAreOpts) {
  const ModelSpec s = read(toy_opt_config());
  EXPECT_EQ(s.norm, olab::NormKind::layer);
  EXPECT_FALSE(s.rotary);
  EXPECT_FALSE(s.gated);
  EXPECT_EQ(s.position_offset, 2);
  EXPECT_EQ(s.activation, ActivationKind::relu);
  EXPECT_TRUE(s.tied_head);
  EXPECT_EQ(s.head, "model.decoder.embed_tokens.weight");
  EXPECT_EQ(s.intermediate_size, 24);
  EXPECT_EQ(s.kv_heads, 4);
  EXPECT_EQ(biases(s), std::vector<bool>(6, true));
  std::vector<std::string> names;
  for (const LinearSpec& l : s.linears) names.push_back(s.linear_name(1, l));
  const std::string block = "model.decoder.layers.1.";
  EXPECT_EQ(names, (std::vector<std::string>{block + "self_attn.q_proj", block + "self_attn.k_proj",
                                             block + "self_attn.v_proj", block + "self_attn.out_proj",
                                             block + "fc1", block + "fc2"}));
  const std::vector<olab::ModelTensor> outer = olab::outer_tensors(s);
  EXPECT_EQ(outer.at(1).name, "model.decoder.embed_positions.weight");
  EXPECT_EQ(outer.at(1).shape, (std::vector<Index>{66, 16}));
  EXPECT_EQ(biases(read(changed(toy_opt_config(), "", {{"enable_bias", false}}))),
            std::vector<bool>(6, false));
  const ModelSpec untied = read(changed(toy_opt_config(), "", {{"tie_word_embeddings", false}}));
  EXPECT_EQ(untied.head, "lm_head.weight");
}

TEST(Opt, WhatTheLargerModelsDoNotHaveIsRefused) {
  const auto opt = [](const json& changes) { return refusal(changed(toy_opt_config(), "", changes)); };
  EXPECT_EQ(
      opt({{"do_layer_norm_before", false}}),
      "config.json: do_layer_norm_before: it is false: each part of a block is normed after it, which is "
      "not supported; only models with true are");
  EXPECT_EQ(opt({{"word_embed_proj_dim", 8}}),
            "config.json: word_embed_proj_dim: embeddings of 8 channels that are projected to hidden_size 16 "
            "are not supported; only models where both are equal are");
  expect_contains(opt({{"layer_norm_elementwise_affine", false}}), "layer norms have no gain and no bias");
  expect_contains(opt({{"_remove_final_layer_norm", true}}), "there is no norm in front of the head");
  expect_contains(opt({{"head_dim", 8}}), "4 heads of 8 channels do not make up hidden_size 16");
  EXPECT_EQ(refusal(without(toy_opt_config(), "ffn_dim")), "config.json: the key 'ffn_dim' is missing");
}

}  // namespace

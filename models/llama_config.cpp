#include "models/llama_config.hpp"

#include <nlohmann/json.hpp>

namespace olab {

std::string llama_config_text(const ModelSpec& spec, DType dtype) {
  nlohmann::ordered_json config;
  config["architectures"] = {spec.architecture};
  config["model_type"] = "llama";
  config["vocab_size"] = spec.vocab_size;
  config["hidden_size"] = spec.hidden_size;
  config["intermediate_size"] = spec.intermediate_size;
  config["num_hidden_layers"] = spec.layers;
  config["num_attention_heads"] = spec.heads;
  config["num_key_value_heads"] = spec.kv_heads;
  config["max_position_embeddings"] = spec.max_positions;
  config["hidden_act"] = "silu";
  config["rms_norm_eps"] = spec.norm_eps;
  config["rope_theta"] = spec.rope.theta;
  config["attention_bias"] = false;
  config["mlp_bias"] = false;
  config["tie_word_embeddings"] = spec.tied_head;
  config["bos_token_id"] = 1;
  config["eos_token_id"] = 2;
  config["torch_dtype"] = dtype == DType::bf16 ? "bfloat16" : dtype == DType::f16 ? "float16" : "float32";
  return config.dump(2) + "\n";
}

}  // namespace olab

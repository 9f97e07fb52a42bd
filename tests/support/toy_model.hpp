// Small language models with random weights, as Hugging Face folders.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/random.hpp"
#include "core/registries.hpp"
#include "datasets/safetensors.hpp"
#include "models/architecture.hpp"
#include "models/json_config.hpp"
#include "models/model_tensors.hpp"
#include "temp_dir.hpp"

namespace olab::test {

inline Registries model_registries() {
  Registries r;
  register_models(r);
  return r;
}

/// Two blocks of LLaMA with 4 heads of 4 channels on 2 heads of keys.
inline nlohmann::json toy_llama_config() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"vocab_size", 32},
          {"hidden_size", 16},
          {"intermediate_size", 24},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"tie_word_embeddings", false}};
}

/// Two blocks of OPT with 4 heads of 4 channels.
inline nlohmann::json toy_opt_config() {
  return {{"architectures", {"OPTForCausalLM"}},
          {"vocab_size", 32},
          {"hidden_size", 16},
          {"ffn_dim", 24},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"max_position_embeddings", 64},
          {"do_layer_norm_before", true},
          {"word_embed_proj_dim", 16}};
}

struct ToyTensor {
  std::vector<Index> shape;
  Matrix values;  ///< its elements in order, as one row
};

/// A model that can be changed before it is written.
struct ToyModel {
  nlohmann::json config;
  std::map<std::string, ToyTensor> tensors;  ///< by their names in the file

  /// config.json and one file, or `shards` files with an index.
  void write(const std::filesystem::path& folder, DType dtype = DType::f32, std::size_t shards = 0) const {
    std::filesystem::create_directories(folder);
    write_file(folder / "config.json", config.dump(2));
    std::map<std::string, std::vector<std::byte>> bytes;
    std::map<std::string, std::vector<TensorView>> files;
    nlohmann::json index{{"metadata", {{"total_size", 0}}}};
    for (const auto& [name, tensor] : tensors) {
      const std::string file = shards == 0
                                   ? std::string("model.safetensors")
                                   : "model-" + std::to_string(bytes.size() % shards) + ".safetensors";
      bytes[name] = encode(tensor.values, dtype);
      files[file].push_back({name, dtype, tensor.shape, bytes[name]});
      index["weight_map"][name] = file;
    }
    for (auto& [file, views] : files) write_safetensors(folder / file, std::move(views), {});
    if (shards > 0) write_file(folder / "model.safetensors.index.json", index.dump(2));
  }
};

inline ModelSpec read_spec(const nlohmann::json& config, const Registries& r) {
  const auto name = config.at("architectures").at(0).get<std::string>();
  return r.architectures.make(Spec{name, {}}, r)->read(parse_json(config.dump(), "config.json"));
}

/// Every tensor that the config asks for: normal with a deviation of 0.2, gains of norms around 1.
inline ToyModel toy_model(const nlohmann::json& config, std::uint64_t seed = 1) {
  const ModelSpec spec = read_spec(config, model_registries());
  std::vector<ModelTensor> wanted = outer_tensors(spec);
  for (Index block = 0; block < spec.layers; ++block)
    std::ranges::move(block_tensors(spec, block), std::back_inserter(wanted));
  RandomStream random(seed);
  ToyModel out{config, {}};
  for (const ModelTensor& tensor : wanted) {
    Index count = 1;
    for (const Index extent : tensor.shape) count *= extent;
    Matrix values(1, count);
    random.fill_normal(values);
    values *= 0.2F;
    if (tensor.shape.size() == 1 && tensor.name.ends_with(".weight")) values.array() += 1.0F;
    out.tensors[tensor.name] = {tensor.shape, std::move(values)};
  }
  return out;
}

}  // namespace olab::test

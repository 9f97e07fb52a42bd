#include "models/generate.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>
#include <system_error>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "core/text.hpp"
#include "datasets/atomic_file.hpp"
#include "datasets/safetensors.hpp"
#include "datasets/tensor.hpp"
#include "models/llama_config.hpp"
#include "models/model_spec.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr float kOutlier = 20;

struct NamedShape {
  const char* name;
  ModelShape shape;
};
// From the config.json of each: vocab_size, hidden_size, intermediate_size, num_hidden_layers,
// num_attention_heads, num_key_value_heads, max_position_embeddings, tie_word_embeddings.
constexpr std::array<NamedShape, 6> kShapes{
    {{"llama2-13b", {32000, 5120, 13824, 40, 40, 40, 4096, false}},
     {"llama2-70b", {32000, 8192, 28672, 80, 64, 8, 4096, false}},
     {"llama2-7b", {32000, 4096, 11008, 32, 32, 32, 4096, false}},
     {"llama3-8b", {128256, 4096, 14336, 32, 32, 8, 8192, false}},
     {"tiny", {256, 64, 176, 2, 4, 2, 256, true}},
     {"tinyllama-1.1b", {32000, 2048, 5632, 22, 32, 4, 2048, false}}}};

void check(const ModelShape& s) {
  const auto at_least_one = [](const char* what, Index value) {
    if (value < 1)
      throw Error(fmt::format("generated model: {} is {}; at least 1 was expected", what, value));
  };
  at_least_one("vocab_size", s.vocab_size);
  at_least_one("hidden_size", s.hidden_size);
  at_least_one("intermediate_size", s.intermediate_size);
  at_least_one("layers", s.layers);
  at_least_one("heads", s.heads);
  at_least_one("kv_heads", s.kv_heads);
  at_least_one("max_positions", s.max_positions);
  if (s.hidden_size % s.heads != 0 || (s.hidden_size / s.heads) % 2 != 0)
    throw Error(
        fmt::format("generated model: hidden_size {} over {} heads is no even number of channels a head",
                    s.hidden_size, s.heads));
  if (s.heads % s.kv_heads != 0)
    throw Error(fmt::format("generated model: {} kv_heads do not divide {} heads", s.kv_heads, s.heads));
}

/// One shard in the making.
struct Shard {
  struct Tensor {
    std::string name;
    std::vector<Index> shape;
    Matrix values;
    std::vector<std::byte> bytes;
  };
  std::vector<Tensor> tensors;

  void add(const std::string& name, Matrix values, bool vector = false) {
    std::vector<Index> shape{values.rows(), values.cols()};
    if (vector) shape = {values.cols()};
    tensors.push_back({name, std::move(shape), std::move(values), {}});
  }
};

void write_shard(const fs::path& file, Shard& shard, DType dtype) {
  std::vector<TensorView> views;
  for (Shard::Tensor& t : shard.tensors) {
    t.bytes = encode(t.values, dtype);
    t.values.resize(0, 0);
    views.push_back({t.name, dtype, t.shape, t.bytes});
  }
  write_safetensors(file, std::move(views), {{"format", "pt"}});
}

}  // namespace

std::vector<std::string> model_shape_names() {
  std::vector<std::string> out;
  for (const NamedShape& s : kShapes) out.emplace_back(s.name);
  return out;
}

ModelShape model_shape(const std::string& name) {
  for (const NamedShape& s : kShapes)
    if (name == s.name) return s.shape;
  const std::vector<std::string> names = model_shape_names();
  throw Error(fmt::format("no shape of a model is called '{}'{}", name, suggestion(name, names)));
}

void generate_model(const fs::path& folder, const ModelShape& shape, const std::string& dtype,
                    std::uint64_t seed, Index outliers, const StopFlag* stop) {
  check(shape);
  if (outliers < 0 || outliers > shape.hidden_size)
    throw Error(fmt::format("generated model: {} outlier channels of {}; expected 0 to all of them", outliers,
                            shape.hidden_size));
  const DType type = find_dtype(dtype);
  if (!is_floating(type) || type == DType::f64)
    throw Error(fmt::format("generated model: dtype '{}'; F32, F16 or BF16 was expected", dtype));
  std::error_code error;
  if (fs::exists(folder, error) && (!fs::is_directory(folder, error) || !fs::is_empty(folder, error)))
    throw Error(fmt::format("{}: it exists and is not an empty folder; choose another name or remove it",
                            folder.string()));
  const bool made = fs::create_directories(folder, error);
  if (error) throw Error(fmt::format("{}: the folder cannot be made ({})", folder.string(), error.message()));

  const RandomStream random(seed);
  const auto normal = [&](const std::string& name, Index rows, Index cols, double deviation) {
    Matrix out = large_matrix(rows, cols);
    // A stream a row, so that threads change nothing.
    const RandomStream tensor = random.fork(name);
    parallel_for(rows, 16, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        RandomStream row = tensor.fork(std::to_string(i));
        for (Index j = 0; j < cols; ++j) out(i, j) = static_cast<float>(deviation * row.normal());
      }
    });
    return out;
  };
  ModelSpec spec;
  spec.architecture = "LlamaForCausalLM";
  spec.vocab_size = shape.vocab_size;
  spec.layers = shape.layers;
  spec.max_positions = shape.max_positions;
  spec.tied_head = shape.tied_head;
  spec.hidden_size = shape.hidden_size;
  spec.intermediate_size = shape.intermediate_size;
  spec.heads = shape.heads;
  spec.kv_heads = shape.kv_heads;
  spec.head_dim = shape.hidden_size / shape.heads;
  spec.linears = llama_linears(spec, false, false, false);
  const Matrix ones = Matrix::Ones(1, shape.hidden_size);

  std::vector<fs::path> written;
  try {
    Json weight_map = Json::object();
    double total = 0;
    const Index shards = shape.layers + 1;
    const auto finish = [&](Shard& shard, Index number) {
      if (stop != nullptr) stop->check();
      const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", number + 1, shards);
      for (const Shard::Tensor& t : shard.tensors) {
        weight_map[t.name] = name;
        total += static_cast<double>(t.values.size()) * static_cast<double>(dtype_size(type));
      }
      written.push_back(folder / name);
      write_shard(written.back(), shard, type);
    };
    for (Index b = 0; b < shape.layers; ++b) {
      Shard shard;
      for (const LinearSpec& l : spec.linears) {
        const std::string name = spec.linear_name(b, l) + ".weight";
        shard.add(name, normal(name, l.out_features, l.in_features,
                               1 / std::sqrt(static_cast<double>(l.in_features))));
      }
      shard.add(spec.block_name(b) + "." + spec.attention_norm + ".weight", ones, true);
      shard.add(spec.block_name(b) + "." + spec.mlp_norm + ".weight", ones, true);
      finish(shard, b);
    }
    Shard rest;
    // As the head too, an embedding must not give logits that grow with the width.
    const double deviation = 1 / std::sqrt(static_cast<double>(shape.hidden_size));
    Matrix embedding =
        normal(spec.embedding, shape.vocab_size, shape.hidden_size, shape.tied_head ? deviation : 1);
    RandomStream channels = random.fork("outlier channels");
    const std::vector<Index> order = channels.permutation(shape.hidden_size);
    Matrix gain = ones;
    for (Index i = 0; i < outliers; ++i) {
      const Index channel = order[static_cast<std::size_t>(i)];
      embedding.col(channel) *= kOutlier;
      // A tied head meets every outlier twice.
      if (shape.tied_head) gain(0, channel) /= kOutlier * kOutlier;
    }
    rest.add(spec.embedding, std::move(embedding));
    rest.add(spec.final_norm + ".weight", std::move(gain), true);
    if (!shape.tied_head)
      rest.add(spec.head, normal(spec.head, shape.vocab_size, shape.hidden_size, deviation));
    finish(rest, shape.layers);

    const Json index{{"metadata", {{"total_size", static_cast<std::uint64_t>(total)}}},
                     {"weight_map", weight_map}};
    const auto put = [&](const char* name, const std::string& text) {
      written.push_back(folder / name);
      write_atomically(written.back(), [&](std::ostream& out) { out << text; });
    };
    put("model.safetensors.index.json", index.dump(2) + "\n");
    put("config.json", llama_config_text(spec, type));  // last: without it the folder is no model
  } catch (...) {
    for (const fs::path& file : written) fs::remove(file, error);
    if (made) fs::remove(folder, error);
    throw;
  }
}

}  // namespace olab

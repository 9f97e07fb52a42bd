// Writes a few good and a few telling inputs for every fuzzer: make_seeds FOLDER.
#include <array>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/manifest.hpp"
#include "datasets/npy.hpp"
#include "datasets/npz.hpp"
#include "datasets/safetensors.hpp"
#include "raw_formats.hpp"
#include "temp_dir.hpp"
#include "toy_model.hpp"

namespace {

namespace fs = std::filesystem;
using olab::DType;
using olab::TensorView;

void write_tensor_files(const fs::path& folder) {
  olab::Matrix values(4, 3);
  for (olab::Index i = 0; i < values.size(); ++i) values.data()[i] = static_cast<float>(i - 5);
  for (const char* name : {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8"}) {
    const DType dtype = olab::find_dtype(name);
    const auto bytes = olab::encode(values, dtype);
    const std::vector<TensorView> tensors{{"a.x", dtype, {4, 3}, bytes},
                                          {"a.weight", dtype, {2, 2, 3}, bytes}};
    olab::write_safetensors(folder / "fuzz_safetensors" / name, tensors, {{"model", "seed"}});
    if (dtype == DType::bf16) continue;
    olab::write_npy(folder / "fuzz_npy" / name, tensors[0]);
    olab::write_npz(folder / "fuzz_npz" / (std::string(name) + ".stored"), tensors,
                    olab::Compression::stored);
    olab::write_npz(folder / "fuzz_npz" / (std::string(name) + ".deflated"), tensors,
                    olab::Compression::deflated);
  }
  const std::string data = olab::test::floats(1, 2, 3, 4, 5, 6);
  for (const int version : {1, 2, 3})
    olab::test::write_file(
        folder / "fuzz_npy" / ("version" + std::to_string(version)),
        olab::test::raw_npy(version, "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 3, 2,), }", data));
  olab::test::write_file(
      folder / "fuzz_npy/object",
      olab::test::raw_npy(1, "{'descr': '|O', 'fortran_order': False, 'shape': (), }", "N."));
  olab::test::write_file(folder / "fuzz_safetensors/extra",
                         olab::test::raw_safetensors(
                             R"({"t":{"n":[1,{"k":null}],"dtype":"F32","shape":[],"data_offsets":[0,4]}}  )",
                             olab::test::floats(1)));
}

void write_manifests(const fs::path& folder) {
  olab::Manifest m;
  m.facts = {{"model", "m"}, {"source", "s"}, {"seed", "0"}};
  m.layers.push_back({"model.layers.0.fc1",
                      4,
                      3,
                      2,
                      {"000.safetensors", "x"},
                      olab::TensorPlace{"000.safetensors", "weight"}});
  m.layers.push_back({"model.layers.0.fc2", 4, 3, 0, {"sub/b.npy", "b"}, std::nullopt});
  olab::test::write_file(folder / "fuzz_manifest/full", olab::manifest_text(m));
  olab::test::write_file(
      folder / "fuzz_manifest/short",
      R"({"format":"outlierlab-recording","version":1,"created":[1.5e3,true],"provenance":"p","layers":[)"
      R"({"name":"\u00e9","tokens":1,"in_features":2,"x":{"file":"a.npy","tensor":"a"},"weight":null}]})");
}

void write_texts(const fs::path& folder) {
  constexpr std::array<std::string_view, 6> kSpecs{"probe",
                                                   "probe(true)",
                                                   "probe(flag=true, count=7, ratio=1e-3)",
                                                   "probe(text='a, b', mode=two)",
                                                   "probe(count=all)",
                                                   "probe(text=inner(a=1, b=[2, 3]))"};
  constexpr std::array<std::string_view, 5> kYaml{
      "study: s\nseed: 0\ndata:\n  layers: [\"*.x\", 'b']\n", "- a\n- [1, 2]\n- {k: v, l: null}\n- ~\n",
      "a: &x {b: 1}\nc: *x\n", "text: |\n  two\n  lines\nfolded: >-\n  one\n  line\n",
      "'q': \"\\u00e9\\n\"\n? k\n: v\n"};
  for (std::size_t i = 0; i < kSpecs.size(); ++i)
    olab::test::write_file(folder / "fuzz_spec" / std::to_string(i), kSpecs.at(i));
  for (std::size_t i = 0; i < kYaml.size(); ++i)
    olab::test::write_file(folder / "fuzz_yaml" / std::to_string(i), kYaml.at(i));
}

void write_models(const fs::path& folder) {
  nlohmann::json qwen = olab::test::toy_llama_config();
  qwen["head_dim"] = 8;
  qwen["rope_parameters"] = {{"rope_theta", 1e6},     {"rope_type", "llama3"},
                             {"factor", 8},           {"low_freq_factor", 1},
                             {"high_freq_factor", 4}, {"original_max_position_embeddings", 32}};
  nlohmann::json mistral = olab::test::toy_llama_config();
  mistral["sliding_window"] = nullptr;
  mistral["rope_scaling"] = {{"type", "linear"}, {"factor", 2.5}};
  olab::test::write_file(folder / "fuzz_config/llama", olab::test::toy_llama_config().dump());
  olab::test::write_file(folder / "fuzz_config/opt", olab::test::toy_opt_config().dump());
  olab::test::write_file(folder / "fuzz_config/qwen", qwen.dump());
  olab::test::write_file(folder / "fuzz_config/mistral", mistral.dump(1));
  olab::test::write_file(folder / "fuzz_shard_index/two",
                         R"({"metadata":{"total_size":8},"weight_map":{"a":"1.safetensors","b":"2"}})");
  olab::test::write_file(folder / "fuzz_shard_index/outside", R"({"weight_map":{"a":"../b","c":"\u0000"}})");
  // dim 2, hidden_dim 1, 1 block, 1 head, 1 head of keys, 2 tokens, 1 position.
  constexpr std::array<std::int32_t, 7> kHeader{2, 1, 1, 1, 1, 2, 1};
  constexpr std::size_t kFloats = 2 * 2 + 2 + 4 * 2 * 2 + 2 + 3 * 2 + 2 + 2;
  for (const bool shared : {true, false}) {
    std::string bytes;
    for (std::size_t i = 0; i < kHeader.size(); ++i)
      bytes += olab::test::bytes_of(i == 5 && !shared ? -kHeader.at(i) : kHeader.at(i));
    for (std::size_t i = 0; i < kFloats + (shared ? 0 : 4); ++i)
      bytes += olab::test::bytes_of(static_cast<float>(i));
    olab::test::write_file(folder / "fuzz_llama2c" / (shared ? "shared" : "own"), bytes);
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: make_seeds FOLDER\n";
    return 2;
  }
  try {
    const fs::path folder = *std::next(arguments);
    for (const char* name :
         {"safetensors", "npy", "npz", "manifest", "spec", "yaml", "config", "shard_index", "llama2c"})
      fs::create_directories(folder / (std::string("fuzz_") + name));
    write_tensor_files(folder);
    write_manifests(folder);
    write_texts(folder);
    write_models(folder);
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
  return 0;
}

// One block of LLaMA-2-7B on a window of 2048 tokens, against its linear layers alone: what is left is norms,
// positions, attention, the gated activation and the sums. Its weights are random and lie in a temporary
// folder as BF16, 400 MB, while it is measured.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks.hpp"
#include "core/library_product.hpp"
#include "datasets/safetensors.hpp"
#include "experiments/builtins.hpp"
#include "measuring.hpp"
#include "models/decoder.hpp"
#include "models/model_tensors.hpp"

namespace olab {
namespace {

constexpr Index kTokens = 2048;
constexpr const char* kConfig = R"json({
  "architectures": ["LlamaForCausalLM"], "vocab_size": 256, "hidden_size": 4096, "intermediate_size": 11008,
  "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 32,
  "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": true
})json";

/// The sizes of kConfig as the writer of its tensors needs them.
ModelSpec written_spec() {
  ModelSpec spec;
  spec.vocab_size = 256;
  spec.hidden_size = 4096;
  spec.intermediate_size = 11008;
  spec.layers = 1;
  spec.heads = 32;
  spec.kv_heads = 32;
  spec.head_dim = 128;
  spec.tied_head = true;
  spec.head = spec.embedding;
  spec.linears = llama_linears(spec, false, false, false);
  return spec;
}

/// Made once, and removed from the disk as soon as it is open: its tensors are mapped.
std::shared_ptr<const Checkpoint> block_of_7b() {
  static const std::shared_ptr<const Checkpoint> made = [] {
    namespace fs = std::filesystem;
    const fs::path folder = fs::temp_directory_path() / fmt::format("olab_benchmark_{}_block", getpid());
    fs::create_directories(folder);
    std::ofstream(folder / "config.json") << kConfig;
    const ModelSpec spec = written_spec();
    std::vector<ModelTensor> tensors = outer_tensors(spec);
    for (ModelTensor& tensor : block_tensors(spec, 0)) tensors.push_back(std::move(tensor));
    std::vector<std::vector<std::byte>> bytes;
    std::vector<TensorView> views;
    RandomStream random(1);
    for (const ModelTensor& tensor : tensors) {
      Matrix values = Matrix::Ones(tensor.shape.size() == 1 ? 1 : tensor.shape[0], tensor.shape.back());
      if (tensor.shape.size() > 1) {
        random.fill_normal(values);
        values *= 0.02F;
      }
      bytes.push_back(encode(values, DType::bf16));
      views.push_back({tensor.name, DType::bf16, tensor.shape, bytes.back()});
    }
    write_safetensors(folder / "model.safetensors", views, {});
    auto out = std::make_shared<const Checkpoint>(folder, make_registries());
    fs::remove_all(folder);
    return out;
  }();
  return made;
}

Matrix some_tokens(const Decoder& decoder) {
  std::vector<TokenId> ids;
  for (Index t = 0; t < kTokens; ++t) ids.push_back(static_cast<TokenId>(t * 7 % 256));
  return decoder.embed(std::span(&ids, 1)).front();
}

void block(benchmark::State& state, int threads) {
  const Decoder decoder(block_of_7b());
  const Block block = decoder.load_block(0);
  const Matrix before = some_tokens(decoder);
  Matrix hidden = before;
  OriginalWork work;
  // A token alone sees what it saw in the window.
  Matrix first = before.topRows(1);
  decoder.run_block(block, first, work);
  decoder.run_block(block, hidden, work);
  if (!close(hidden.topRows(1), first)) state.SkipWithError("the first token differs from itself alone");
  time(
      state,
      [&] {
        hidden = before;
        decoder.run_block(block, hidden, work);
      },
      threads);
  set_rate(state, decoder.spec().linear_work() * kTokens);
}

void linears(benchmark::State& state, int threads) {
  const Decoder decoder(block_of_7b());
  const Block block = decoder.load_block(0);
  const Matrix narrow = on_huge_pages(kTokens, 4096);
  const Matrix wide = on_huge_pages(kTokens, 11008);
  Matrix y;
  time(
      state,
      [&] {
        for (const Linear& linear : block.linears) {
          y = large_matrix(kTokens, linear.spec.out_features);
          library_multiply_transposed(linear.spec.in_features == 4096 ? narrow : wide, linear.weight, y);
        }
      },
      threads);
  set_rate(state, decoder.spec().linear_work() * kTokens);
}

void load(benchmark::State& state) {
  const Decoder decoder(block_of_7b());
  for (auto _ : state) benchmark::DoNotOptimize(decoder.load_block(0));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(decoder.checkpoint().bytes()));
}

void score(benchmark::State& state, bool against_original) {
  constexpr Index kScored = 256;
  Head head;
  head.weight = on_huge_pages(32000, 4096);
  Matrix normed = on_huge_pages(kScored, 4096);
  normed *= 0.05F;  // logits of some units, as models have them
  const Matrix original = against_original ? normed : Matrix(0, 4096);
  const std::vector<TokenId> ids(kScored, 5);
  if (score_window(head, ids, normed, original).kl != 0) state.SkipWithError("a model differs from itself");
  time(state, [&] { benchmark::DoNotOptimize(score_window(head, ids, normed, original)); });
}

}  // namespace

void register_decoder_benchmarks() {
  constexpr auto kUnit = benchmark::kMillisecond;
  const std::string name = "decoder/block_7b";
  benchmark::RegisterBenchmark((name + "/ours").c_str(), block, 1)->Unit(kUnit);
  benchmark::RegisterBenchmark((name + "/linears_alone").c_str(), linears, 1)->Unit(kUnit);
  if (has_peak())
    benchmark::RegisterBenchmark((name + "/multiply_add_peak").c_str(), peak,
                                 written_spec().linear_work() * kTokens)
        ->Unit(kUnit);
  benchmark::RegisterBenchmark((name + "/two_threads/ours").c_str(), block, 2)->Unit(kUnit)->UseRealTime();
  benchmark::RegisterBenchmark((name + "/two_threads/one_thread").c_str(), block, 1)
      ->Unit(kUnit)
      ->UseRealTime();
  benchmark::RegisterBenchmark("decoder/load_block_7b", load)->Unit(kUnit)->UseRealTime();
  benchmark::RegisterBenchmark("decoder/score_256_tokens", score, false)->Unit(kUnit);
  benchmark::RegisterBenchmark("decoder/score_256_tokens_against_original", score, true)->Unit(kUnit);
}

}  // namespace olab

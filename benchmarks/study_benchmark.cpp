// What the shape of the house must allow: a layer is loaded once and Y computed once for all runs, and all
// cores are used. The baseline is the same study cut into one program start a method.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <unistd.h>
#include <filesystem>
#include <string>
#include <vector>

#include "benchmarks.hpp"
#include "core/parallel.hpp"
#include "experiments/builtins.hpp"
#include "experiments/plan.hpp"
#include "experiments/runner.hpp"

namespace olab {
namespace {

constexpr const char* kStudy = R"yaml(
study: benchmark
data: {profile: llama2-7b, layers: "*.{0,1}.mlp.down_proj", calibration_tokens: 256, evaluation_tokens: 256, in_features: 1024, out_features: 1024}
quantizer: {activation: {bits: 4}, weight: {bits: [4, 8]}}
methods: [rtn, smoothquant, "hadamard(block_size=128)", "duquant(search=exact,max_rotation_step=16)"]
)yaml";

std::size_t run_study(const Registries& r, const std::vector<std::string>& overrides, int threads) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / fmt::format("olab_benchmark_{}.db", getpid());
  for (const char* tail : {"", "-wal", "-shm"}) std::filesystem::remove(file.string() + tail);
  Store store(file);
  PlanOptions options;
  options.threads = threads;
  const ThreadLimit limit(threads);
  const Plan plan = make_plan(parse_study(kStudy, "benchmark", overrides, r), r, &store, options);
  RunOptions run;
  run.progress = false;
  const RunReport report = execute(plan, r, store, run);
  for (const char* tail : {"", "-wal", "-shm"}) std::filesystem::remove(file.string() + tail);
  return report.computed;
}

void whole(benchmark::State& state) {
  const Registries r = make_registries();
  for (auto _ : state)
    if (run_study(r, {}, static_cast<int>(state.range(0))) != 16)
      state.SkipWithError("not all runs were computed");
}

void one_by_one(benchmark::State& state) {
  const Registries r = make_registries();
  const std::vector<std::string> methods{"rtn", "smoothquant", "hadamard(block_size=128)",
                                         "duquant(search=exact,max_rotation_step=16)"};
  for (auto _ : state) {
    std::size_t computed = 0;
    for (const std::string& m : methods)
      for (const char* bits : {"4", "8"})
        computed += run_study(r, {"methods=[\"" + m + "\"]", std::string("quantizer.weight.bits=") + bits},
                              static_cast<int>(state.range(0)));
    if (computed != 16) state.SkipWithError("not all runs were computed");
  }
}

}  // namespace

void register_study_benchmarks() {
  benchmark::RegisterBenchmark("study/four_methods/one_run_a_start", one_by_one)
      ->ArgName("threads")
      ->Arg(1)
      ->Arg(2)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("study/four_methods/ours", whole)
      ->ArgName("threads")
      ->Arg(1)
      ->Arg(2)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

}  // namespace olab

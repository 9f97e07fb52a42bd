// Statistics beside a sum that only reads the same values.
#include <benchmark/benchmark.h>

#include "benchmarks.hpp"
#include "metrics/common/statistics.hpp"

namespace olab {
namespace {

void statistics(benchmark::State& state) {
  const Matrix x = outlier_matrix(2048, 4096, 1);
  for (auto _ : state) benchmark::DoNotOptimize(compute_moments(x));
  state.SetBytesProcessed(state.iterations() * x.size() * static_cast<Index>(sizeof(float)));
}

void read_only_sum(benchmark::State& state) {
  const Matrix x = outlier_matrix(2048, 4096, 1);
  for (auto _ : state) benchmark::DoNotOptimize(x.sum());
  state.SetBytesProcessed(state.iterations() * x.size() * static_cast<Index>(sizeof(float)));
}

}  // namespace

void register_kernel_benchmarks() {
  benchmark::RegisterBenchmark("statistics/moments/2048x4096/ours", statistics)
      ->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("statistics/moments/2048x4096/read_only_sum", read_only_sum)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace olab

// Products and block rotation against Eigen's on the same data; each is checked against Eigen before it is
// timed.
#include <benchmark/benchmark.h>

#include <cmath>
#include <string>

#include "benchmarks.hpp"
#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "metrics/common/statistics.hpp"

namespace olab {
namespace {

bool close(const Matrix& a, const Matrix& b) {
  return (a - b).norm() <= 1e-4F * b.norm();
}

void product(benchmark::State& state, bool ours) {
  const Matrix x = outlier_matrix(512, state.range(0), 1);
  const Matrix w = outlier_matrix(1024, state.range(0), 2);
  Matrix y(512, 1024);
  Matrix reference = x * w.transpose();
  multiply_transposed(x, w, y);
  if (!close(y, reference)) state.SkipWithError("the product differs from Eigen's");
  for (auto _ : state) {
    if (ours) {
      with_threads(1, [&] { multiply_transposed(x, w, y); });
    } else {
      y.noalias() = x * w.transpose();
    }
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["multiply_adds"] = benchmark::Counter(512.0 * 1024.0 * static_cast<double>(state.range(0)),
                                                       benchmark::Counter::kIsIterationInvariantRate);
}

void rotation(benchmark::State& state, bool ours) {
  RandomStream random(3);
  const Matrix r = random_orthogonal(128, random);
  Matrix x = outlier_matrix(1024, state.range(0), 1);
  Matrix y = x;
  for (auto _ : state) {
    if (ours) {
      with_threads(1, [&] { rotate_blocks(y, r); });
    } else {
      for (Index b = 0; b < x.cols(); b += 128) y.middleCols(b, 128).noalias() = x.middleCols(b, 128) * r;
    }
    benchmark::DoNotOptimize(y.data());
  }
  state.counters["multiply_adds"] = benchmark::Counter(1024.0 * 128.0 * static_cast<double>(state.range(0)),
                                                       benchmark::Counter::kIsIterationInvariantRate);
}

void statistics(benchmark::State& state) {
  const Matrix x = outlier_matrix(2048, state.range(0), 1);
  for (auto _ : state) benchmark::DoNotOptimize(compute_moments(x));
  state.SetBytesProcessed(state.iterations() * x.size() * static_cast<Index>(sizeof(float)));
}

void read_only_sum(benchmark::State& state) {
  const Matrix x = outlier_matrix(2048, state.range(0), 1);
  for (auto _ : state) benchmark::DoNotOptimize(x.sum());
  state.SetBytesProcessed(state.iterations() * x.size() * static_cast<Index>(sizeof(float)));
}

}  // namespace

void register_kernel_benchmarks() {
  for (const bool ours : {false, true}) {
    const std::string who = ours ? "/ours" : "/eigen";
    benchmark::RegisterBenchmark(("product" + who).c_str(), product, ours)
        ->Arg(1024)
        ->Arg(4096)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("rotate_blocks" + who).c_str(), rotation, ours)
        ->Arg(4096)
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::RegisterBenchmark("statistics/moments", statistics)->Arg(4096)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("statistics/read_only_sum", read_only_sum)
      ->Arg(4096)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace olab

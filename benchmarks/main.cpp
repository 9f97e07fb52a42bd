// Benchmarks: ./olab_benchmarks --benchmark_filter=... (see benchmarks/README.md).
#include <benchmark/benchmark.h>

#include "benchmarks.hpp"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  olab::register_kernel_benchmarks();
  olab::register_product_benchmarks();
  olab::register_quantize_benchmarks();
  olab::register_method_benchmarks();
  olab::register_rotation_benchmarks();
  olab::register_search_benchmarks();
  olab::register_study_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

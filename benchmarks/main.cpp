// Benchmarks: ./olab_benchmarks --benchmark_filter=... (see benchmarks/README.md).
#include <benchmark/benchmark.h>

#include "benchmarks.hpp"
#include "experiments/provenance.hpp"
#include "openblas.hpp"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const olab::Provenance who = olab::make_provenance(1);
  benchmark::AddCustomContext("cpu", who.cpu);
  benchmark::AddCustomContext("kernel_level", who.kernel_level);
  benchmark::AddCustomContext("compiler", who.compiler);
  benchmark::AddCustomContext("flags", who.flags);
  benchmark::AddCustomContext("commit", who.commit + (who.dirty ? ", changed" : ""));
  benchmark::AddCustomContext("openblas",
                              olab::openblas().sgemm == nullptr ? "not installed" : olab::openblas().core);
  olab::register_product_benchmarks();
  olab::register_library_product_benchmarks();
  olab::register_decoder_benchmarks();
  olab::register_quantize_benchmarks();
  olab::register_method_benchmarks();
  olab::register_rotation_benchmarks();
  olab::register_search_benchmarks();
  olab::register_study_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

// Calibration and application of every registered method, and every number format.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>

#include "benchmarks.hpp"
#include "core/parallel.hpp"
#include "experiments/builtins.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"

namespace olab {
namespace {

const Registries& registries() {
  static const Registries r = make_registries();
  return r;
}

/// Refuses to time a transform that changes the product.
bool keeps_product(const Chain& chain, const Matrix& x, const Matrix& w) {
  Matrix xt = x.topRows(16);
  Matrix wt = w;
  const Matrix before = xt * w.transpose();
  chain.apply_to_activations(xt);
  chain.apply_to_weights(wt);
  return (xt * wt.transpose() - before).norm() <= 1e-3F * before.norm();
}

void calibrate(benchmark::State& state, const std::string& spec) {
  const Matrix x = outlier_matrix(512, 1024, 1);
  const Matrix w = outlier_matrix(256, 1024, 2);
  const RandomStream random(7);
  const auto method = registries().methods.make(spec, registries());
  Chain chain = method->calibrate({x, w, random, registries()});
  if (!keeps_product(chain, x, w)) state.SkipWithError("the product is not kept");
  for (auto _ : state) with_threads(1, [&] { chain = method->calibrate({x, w, random, registries()}); });
}

void apply(benchmark::State& state, const std::string& spec) {
  const Matrix x = outlier_matrix(512, 1024, 1);
  const Matrix w = outlier_matrix(256, 1024, 2);
  const RandomStream random(7);
  const Chain chain = registries().methods.make(spec, registries())->calibrate({x, w, random, registries()});
  if (!keeps_product(chain, x, w)) state.SkipWithError("the product is not kept");
  Matrix y = x;
  for (auto _ : state) {
    with_threads(1, [&] { chain.apply_to_activations(y); });
    benchmark::DoNotOptimize(y.data());
  }
}

void quantize(benchmark::State& state, const std::string& spec) {
  const Matrix x = outlier_matrix(2048, 4096, 1);
  Matrix y(x.rows(), x.cols());
  const auto quantizer = registries().quantizers.make(spec, registries());
  for (auto _ : state) {
    with_threads(1, [&] { quantizer->quantize(Role::activation, x, y); });
    benchmark::DoNotOptimize(y.data());
  }
}

}  // namespace

void register_method_benchmarks() {
  for (const std::string& name : registries().methods.names()) {
    if (!registries().methods.info(name).note("needs").empty()) continue;  // a file, say
    benchmark::RegisterBenchmark(("calibrate/" + name).c_str(), calibrate, name)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("apply/" + name).c_str(), apply, name)->Unit(benchmark::kMillisecond);
  }
  for (const std::string& name : registries().quantizers.names())
    benchmark::RegisterBenchmark(("quantizer/" + name).c_str(), quantize, name)
        ->Unit(benchmark::kMillisecond);
}

}  // namespace olab

// The product of quantized matrices at every level, against the float product of the same values and, where
// it was found, against oneDNN's product of bytes alone (without scales and zero points, which it would need
// a second pass for). Ours includes the packing of Â and the last step; Ŵ is packed before.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "benchmarks.hpp"
#include "core/cpu.hpp"
#include "core/integer_product.hpp"
#include "core/linalg.hpp"
#include "core/parallel.hpp"

#if OLAB_HAVE_ONEDNN
#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#endif

namespace olab {
namespace {

constexpr Index kOutputs = 4096;

IntegerMatrix random_codes(Index rows, Index cols, std::uint64_t seed) {
  RandomStream random(seed);
  IntegerMatrix m;
  m.rows = rows;
  m.cols = cols;
  m.codes.resize(static_cast<std::size_t>(rows * cols));
  for (std::uint8_t& c : m.codes) c = static_cast<std::uint8_t>(random.bits() >> 56U);
  for (Index t = 0; t < rows; ++t) {
    m.zero.push_back(static_cast<float>(random.below(256)));
    m.step.push_back(static_cast<float>(0.01 + random.uniform()));
  }
  return m;
}

Matrix dequantized(const IntegerMatrix& m) {
  Matrix out(m.rows, m.cols);
  dequantize_rows(m, 0, out);
  return out;
}

/// Σ_j (a − za)(w − zw), or Σ_j a (w − 128), of one entry.
std::int64_t entry(const IntegerMatrix& a, Index t, const IntegerMatrix& w, Index o, bool bytes_only) {
  const auto za = bytes_only ? 0 : static_cast<std::int64_t>(a.zero[static_cast<std::size_t>(t)]);
  const auto zw = bytes_only ? 128 : static_cast<std::int64_t>(w.zero[static_cast<std::size_t>(o)]);
  std::int64_t sum = 0;
  for (Index j = 0; j < a.cols; ++j) sum += (a.row(t)[j] - za) * (w.row(o)[j] - zw);
  return sum;
}

/// Compares a thousand entries with their definition.
bool right(const IntegerMatrix& a, const IntegerMatrix& w, const Matrix& y, double bound) {
  for (Index i = 0; i < 1000; ++i) {
    const Index t = i * 7919 % a.rows;
    const Index o = i * 104729 % w.rows;
    const double scale = static_cast<double>(a.step[static_cast<std::size_t>(t)]) *
                         static_cast<double>(w.step[static_cast<std::size_t>(o)]);
    const auto exact = static_cast<float>(scale * static_cast<double>(entry(a, t, w, o, false)));
    const double largest = scale * 255.0 * 255.0 * static_cast<double>(a.cols);
    if (std::abs(static_cast<double>(y(t, o)) - static_cast<double>(exact)) > bound * largest) return false;
  }
  return true;
}

void count_multiply_adds(benchmark::State& state) {
  state.counters["multiply_adds"] =
      benchmark::Counter(static_cast<double>(state.range(0) * state.range(1) * kOutputs),
                         benchmark::Counter::kIsIterationInvariantRate);
}

void codes(benchmark::State& state, CpuLevel level) {
  const IntegerMatrix a = random_codes(state.range(0), state.range(1), 1);
  const IntegerMatrix w = random_codes(kOutputs, state.range(1), 2);
  const PackedCodes packed(w, level);
  Matrix y(a.rows, w.rows);
  multiply_codes(a, 0, packed, y);
  if (!right(a, w, y, 0.0)) state.SkipWithError("the product differs from its definition");
  for (auto _ : state) {
    with_threads(1, [&] { multiply_codes(a, 0, packed, y); });
    benchmark::DoNotOptimize(y.data());
  }
  count_multiply_adds(state);
}

void floats(benchmark::State& state) {
  const IntegerMatrix a = random_codes(state.range(0), state.range(1), 1);
  const IntegerMatrix w = random_codes(kOutputs, state.range(1), 2);
  const Matrix x = dequantized(a);
  const Matrix v = dequantized(w);
  Matrix y(a.rows, w.rows);
  multiply_transposed(x, v, y);
  if (!right(a, w, y, 1e-4)) state.SkipWithError("the float product differs");
  for (auto _ : state) {
    with_threads(1, [&] { multiply_transposed(x, v, y); });
    benchmark::DoNotOptimize(y.data());
  }
  count_multiply_adds(state);
}

void pack(benchmark::State& state) {
  const IntegerMatrix w = random_codes(kOutputs, state.range(0), 2);
  for (auto _ : state) with_threads(1, [&] { benchmark::DoNotOptimize(PackedCodes(w)); });
  state.SetBytesProcessed(state.iterations() * w.rows * w.cols);
}

#if OLAB_HAVE_ONEDNN
void onednn(benchmark::State& state) {
  using dnnl::memory;
  omp_set_num_threads(1);
  const IntegerMatrix a = random_codes(state.range(0), state.range(1), 1);
  const IntegerMatrix w = random_codes(kOutputs, state.range(1), 2);
  std::vector<std::uint8_t> left = a.codes;
  std::vector<std::int8_t> right(w.codes.size());
  std::transform(w.codes.begin(), w.codes.end(), right.begin(),
                 [](std::uint8_t code) { return static_cast<std::int8_t>(code - 128); });
  std::vector<std::int32_t> y(static_cast<std::size_t>(a.rows * w.rows));

  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc left_shape({a.rows, a.cols}, memory::data_type::u8, memory::format_tag::ab);
  const memory::desc given_shape({a.cols, w.rows}, memory::data_type::s8, memory::format_tag::ba);
  const memory::desc packed_shape({a.cols, w.rows}, memory::data_type::s8, memory::format_tag::any);
  const memory::desc y_shape({a.rows, w.rows}, memory::data_type::s32, memory::format_tag::ab);
  const dnnl::matmul::primitive_desc product({left_shape, packed_shape, y_shape}, engine);
  memory left_memory(left_shape, engine, left.data());
  memory given(given_shape, engine, right.data());
  memory packed(product.weights_desc(), engine);
  memory y_memory(y_shape, engine, y.data());
  dnnl::reorder(given, packed).execute(stream, given, packed);
  const dnnl::matmul matmul(product);
  const auto run = [&] {
    matmul.execute(stream,
                   {{DNNL_ARG_SRC, left_memory}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, y_memory}});
    stream.wait();
  };
  run();
  for (Index i = 0; i < 1000; ++i) {
    const Index t = i * 7919 % a.rows;
    const Index o = i * 104729 % w.rows;
    if (y[static_cast<std::size_t>(t * w.rows + o)] != entry(a, t, w, o, true)) {
      state.SkipWithError("oneDNN's product differs");
      return;
    }
  }
  for (auto _ : state) run();
  count_multiply_adds(state);
}
#endif

void shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "k"})->Unit(benchmark::kMillisecond);
  b->Args({512, 4096})->Args({2048, 4096})->Args({512, 11008});
}

}  // namespace

void register_product_benchmarks() {
  shapes(benchmark::RegisterBenchmark("product_codes/float_route", floats));
  // Lower levels count as baselines of the one that the program takes.
  for (const CpuLevel level : runnable_levels()) {
    std::string who = "ours";
    if (level != cpu_level()) who.append("_").append(cpu_level_name(level));
    shapes(benchmark::RegisterBenchmark(("product_codes/" + who).c_str(), codes, level));
  }
#if OLAB_HAVE_ONEDNN
  shapes(benchmark::RegisterBenchmark("product_codes/onednn_bytes_alone", onednn));
#endif
  benchmark::RegisterBenchmark("product_codes/pack_weights", pack)
      ->ArgName("k")
      ->Arg(4096)
      ->Unit(benchmark::kMillisecond);
}

}  // namespace olab

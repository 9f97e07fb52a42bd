// The product by a library against other libraries, our own kernels and the peak of the multiply-add units,
// at the shapes of LLaMA-2-7B: linear layers on 2048 tokens, its head on the tokens that are scored at a
// time, the scores and the values of one head of attention; and small ones.
#include "core/library_product.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "benchmarks.hpp"
#include "blis.hpp"
#include "core/linalg.hpp"
#include "measuring.hpp"
#include "openblas.hpp"

namespace olab {
namespace {

enum class Maker { ours, own_kernels, openblas, blis };

struct Shape {
  Index tokens = 0;
  Index k = 0;
  Index n = 0;
  bool transposed = true;
  double multiply_adds() const { return static_cast<double>(tokens * k) * static_cast<double>(n); }
};

void product(const Shape& shape, Maker maker, const Matrix& a, const Matrix& b, Matrix& y) {
  switch (maker) {
    case Maker::ours:
      shape.transposed ? library_multiply_transposed(a, b, y) : library_multiply(a, b, y);
      break;
    case Maker::own_kernels:
      shape.transposed ? multiply_transposed(a, b, y) : multiply(a, b, y);
      break;
    case Maker::openblas:
      openblas_product(a, b, shape.transposed, y);
      break;
    case Maker::blis:
      cblas_product(blis().sgemm, a, b, shape.transposed, y);
      break;
  }
}

std::string label(Maker maker) {
  switch (maker) {
    case Maker::ours:
      return library_product_name();
    case Maker::openblas:
      return "OpenBLAS " + openblas().core;
    case Maker::blis:
      return "BLIS " + blis().core;
    case Maker::own_kernels:
      break;
  }
  return {};
}

void run(benchmark::State& state, Shape shape, Maker maker, int threads) {
  const Matrix a = on_huge_pages(shape.tokens, shape.k);
  const Matrix b = shape.transposed ? on_huge_pages(shape.n, shape.k) : on_huge_pages(shape.k, shape.n);
  Matrix y(shape.tokens, shape.n);
  product(shape, maker, a, b, y);
  const Matrix right = shape.transposed ? Matrix(b.topRows(4).transpose()) : Matrix(b.leftCols(4));
  const Matrix some = a * right;
  if (!close(y.leftCols(4), some)) state.SkipWithError("the product differs from Eigen's");
  time(
      state, [&] { product(shape, maker, a, b, y); }, threads);
  set_rate(state, shape.multiply_adds());
  state.SetLabel(label(maker));
}

}  // namespace

void register_library_product_benchmarks() {
  const std::vector<Shape> shapes{
      {2048, 4096, 4096},      {2048, 4096, 11008}, {2048, 11008, 4096}, {256, 4096, 32000}, {256, 128, 2048},
      {256, 2048, 128, false}, {64, 64, 64},        {128, 128, 128},     {256, 256, 256},    {512, 512, 512},
  };
  for (const Shape& shape : shapes) {
    const std::string name = fmt::format("library_product/{}x{}x{}", shape.tokens, shape.k, shape.n);
    const auto add = [&](const std::string& who, Maker maker, int threads) {
      return benchmark::RegisterBenchmark((name + "/" + who).c_str(), run, shape, maker, threads)
          ->Unit(benchmark::kMillisecond);
    };
    add("ours", Maker::ours, 1);
    add("own_kernels", Maker::own_kernels, 1);
    if (openblas().sgemm != nullptr) add("openblas", Maker::openblas, 1);
    if (blis().sgemm != nullptr) add("blis", Maker::blis, 1);
    if (has_peak())
      benchmark::RegisterBenchmark((name + "/multiply_add_peak").c_str(), peak, shape.multiply_adds())
          ->Unit(benchmark::kMillisecond);
    if (shape.tokens < 2048) continue;
    add("two_threads/one_thread", Maker::ours, 1)->UseRealTime();
    add("two_threads/ours", Maker::ours, 2)->UseRealTime();
  }
}

}  // namespace olab

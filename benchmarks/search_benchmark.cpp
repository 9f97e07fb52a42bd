// DuQuant's search of a rotation, family of data by family, against the plain search with OpenBLAS: whole
// products and a look at all of them, as the released code does it.
//
// The label of each plain line says which kernels OpenBLAS took (openblas.hpp) and how far both searches went
// the same way.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "benchmarks.hpp"
#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "core/registries.hpp"
#include "methods/common/rotate_permute.hpp"
#include "openblas.hpp"

namespace olab {
namespace {

constexpr Index kTokens = 2048;
constexpr Index kChannels = 4096;
constexpr Index kBlock = 128;
constexpr Index kSteps = 256;

const std::vector<std::string>& families() {
  static const std::vector<std::string> names{"both",  "massive",  "normal",
                                              "heavy", "gaussian", "constant_norm"};
  return names;
}

/// Activations with a few large channels and/or massive values, heavy tails (Student's t with 5 degrees of
/// freedom, tokens of log-normal size), or none of it; constant_norm: all rows of a block are equally long.
Matrix family_matrix(const std::string& family) {
  Matrix x(kTokens, kChannels);
  RandomStream random(1);
  if (family == "heavy") {
    for (Index t = 0; t < kTokens; ++t) {
      const double size = std::exp(0.5 * random.normal());
      for (Index j = 0; j < kChannels; ++j) x(t, j) = static_cast<float>(size * random.student_t(5));
    }
    return x;
  }
  random.fill_normal(x);
  if (family == "normal" || family == "both")
    for (int i = 0; i < 6; ++i) x.col(random.below(kChannels)) *= 20.0F;
  if (family == "massive" || family == "both") {
    const Index token = random.below(kTokens);
    for (int i = 0; i < 2; ++i) x(token, random.below(kChannels)) = 1400.0F;
  }
  if (family == "constant_norm")
    for (Index t = 0; t < kTokens; ++t)
      for (Index j = 0; j < kChannels; j += kBlock) {
        auto row = x.block(t, j, 1, kBlock);
        row *= std::sqrt(static_cast<float>(kBlock)) / row.norm();
      }
  return x;
}

RotationSettings released_settings() {
  RotationSettings s;
  s.block_size = kBlock;
  s.steps = kSteps;
  s.pivot = "row";
  s.fresh_q = "per-search";
  s.score = "peak-to-peak";
  return s;
}

/// The plain search: x times the step's matrix, the position of the largest and of the smallest value, again.
/// Every pass is done as well as a compiler does it; nothing is left out.
RotationSearch plain_search(const Matrix& x, const RotationSettings& s, const StepRotation& steps) {
  const Index b = s.block_size;
  Matrix rows = x.reshaped<Eigen::RowMajor>(x.size() / b, b);
  Matrix rotated(rows.rows(), b);
  Matrix product = Matrix::Identity(b, b);
  Matrix next(b, b);
  RotationSearch best;
  best.rotation = product;
  std::vector<Index> exchanges;
  float least = std::numeric_limits<float>::infinity();
  for (Index k = 0;; ++k) {
    float high = -std::numeric_limits<float>::infinity();
    float low = std::numeric_limits<float>::infinity();
    Index high_row = 0;
    Index low_row = 0;
    for (Index i = 0; i < rows.rows(); ++i) {
      const Eigen::Map<const Vector> row(rows.row(i).data(), b);
      const float row_high = row.maxCoeff();
      const float row_low = row.minCoeff();
      if (row_high > high) {
        high = row_high;
        high_row = i;
      }
      if (row_low < low) {
        low = row_low;
        low_row = i;
      }
    }
    best.scores.push_back(high - low);
    if (high - low < least) {
      least = high - low;
      best.rotation = product;
      best.exchanges = exchanges;
      best.kept = k;
    }
    if (k == s.steps) return best;
    exchanges.push_back(std::abs(high) > std::abs(low) ? high_row : low_row);
    Matrix step = steps(k);
    const Index p = exchanges.back() % b;
    step.row(0).swap(step.row(p));
    step.col(0).swap(step.col(p));
    openblas_product(rows, step, false, rotated);
    rows.swap(rotated);
    openblas_product(product, step, false, next);
    product.swap(next);
  }
}

/// Whether both searches went the same way. OpenBLAS fuses multiply and add, so values agree to rounding;
/// that grows from step to step, and once two rows tie within it the ways part. The part in front must be
/// long.
std::string compare(const RotationSearch& ours, const RotationSearch& plain) {
  std::size_t same = 0;
  while (same < plain.scores.size() &&
         std::abs(ours.scores[same] - plain.scores[same]) <= 1e-4F * plain.scores[same])
    ++same;
  if (same == plain.scores.size() && ours.kept == plain.kept && ours.exchanges == plain.exchanges)
    return "equal";
  return same < 32 ? "" : "equal for " + std::to_string(same) + " steps, then a tie to rounding";
}

void plain(benchmark::State& state, const std::string& family) {
  const Matrix x = family_matrix(family);
  const RotationSettings s = released_settings();
  RotationSearch ours;
  with_threads(1, [&] { ours = search_rotation(x, s, random_steps(s, RandomStream(2)), nullptr); });
  RotationSearch found;
  for (auto _ : state) found = plain_search(x, s, random_steps(s, RandomStream(2)));
  const std::string verdict = compare(ours, found);
  if (verdict.empty()) state.SkipWithError("the plain search finds another rotation");
  state.SetLabel("OpenBLAS " + openblas().core + ", " + verdict);
}

/// Rows of x · R by core/linalg: whether the search's score is the true one.
bool score_is_true(const Matrix& x, const RotationSettings& s, const RotationSearch& found) {
  Matrix y = x;
  if (found.kept > 0) rotate_blocks(y, found.rotation);
  const float score = s.score == "absmax" ? y.cwiseAbs().maxCoeff() : y.maxCoeff() - y.minCoeff();
  return score == *std::min_element(found.scores.begin(), found.scores.end());
}

void search(benchmark::State& state, const std::string& family, const RotationSettings& s, int threads) {
  const Matrix x = family_matrix(family);
  RotationSearch found;
  with_threads(threads, [&] {
    found = search_rotation(x, s, random_steps(s, RandomStream(2)), nullptr);
    if (s.search != "sample" && !score_is_true(x, s, found))
      state.SkipWithError("the score is not that of x R");
    for (auto _ : state) found = search_rotation(x, s, random_steps(s, RandomStream(2)), nullptr);
  });
  state.counters["score"] = found.scores[static_cast<std::size_t>(found.kept)];
}

/// R1, zigzag, R2, and x as they leave it.
void calibration(benchmark::State& state, const std::string& family, const RotationSettings& s) {
  Registries registries;
  register_methods(registries);
  const Matrix x = family_matrix(family);
  const Matrix w(0, kChannels);
  const RandomStream random(2);
  RotatePermute recipe;
  recipe.search = s;
  for (auto _ : state) {
    state.PauseTiming();
    Matrix copy = x;
    state.ResumeTiming();
    with_threads(1, [&] {
      const Chain chain = rotate_and_permute(std::move(copy), recipe, {x, w, random, registries});
      benchmark::DoNotOptimize(chain.transforms().size());
    });
  }
}

RotationSettings with(RotationSettings s, const std::function<void(RotationSettings&)>& change) {
  change(s);
  return s;
}

}  // namespace

void register_search_benchmarks() {
  const RotationSettings released = released_settings();
  RotationSettings paper;
  paper.block_size = kBlock;
  paper.steps = kSteps;
  for (const std::string& family : families()) {
    const std::string name = "search/" + family;
    if (openblas().sgemm != nullptr)
      benchmark::RegisterBenchmark((name + "/released/plain_openblas").c_str(), plain, family)
          ->Iterations(1)
          ->Unit(benchmark::kMillisecond);
    const auto add = [&](const std::string& how, const RotationSettings& s, int threads) {
      return benchmark::RegisterBenchmark((name + "/" + how).c_str(), search, family, s, threads)
          ->Unit(benchmark::kMillisecond);
    };
    add("released/ours", released, 1);
    add("two_threads/one_thread", released, 1)->UseRealTime();
    add("two_threads/ours", released, 2)->UseRealTime();
    add("paper/exact", paper, 1);
    for (const char* const cheap : {"random-pivot", "hadamards", "sample"})
      add(std::string("paper/ours_").append(cheap),
          with(paper, [&](RotationSettings& s) { s.search = cheap; }), 1);
    benchmark::RegisterBenchmark(("calibration/" + family + "/released").c_str(), calibration, family,
                                 released)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("calibration/" + family + "/paper").c_str(), calibration, family, paper)
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace olab

// Quantization and statistics against the memory's speed: every line is one pass over 2048 x 4096 values on
// one thread, beside a memcpy or a sum that only reads the same values. Each is checked against a plain
// reference before it is timed.
#include <benchmark/benchmark.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "benchmarks.hpp"
#include "core/extremes.hpp"
#include "core/parallel.hpp"
#include "core/quantize.hpp"
#include "metrics/common/statistics.hpp"

namespace olab {
namespace {

constexpr Index kTokens = 2048;
constexpr Index kChannels = 4096;
constexpr Index kGroup = 128;

/// Large pages where the system has them, so that page walks do not blur the ratios.
Matrix large_pages() {
  Matrix out(kTokens, kChannels);
#if defined(__linux__)
  constexpr std::uintptr_t kPage = 4096;
  const auto begin = (reinterpret_cast<std::uintptr_t>(out.data()) + kPage - 1) / kPage * kPage;
  const auto end = reinterpret_cast<std::uintptr_t>(out.data() + out.size()) / kPage * kPage;
  // Refused is fine too.
  (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // NOLINT(*-int-to-ptr)
#endif
  return out;
}

/// What the passes read and write.
struct Data {
  Data() {
    x.noalias() = outlier_matrix(kTokens, kChannels, 1);
    out.setZero();
  }
  Matrix x = large_pages();
  Matrix out = large_pages();
  IntegerMatrix codes;
  std::set<std::string> right;  ///< passes whose result was checked
};

/// The released formulas, value by value, for `rows` x `columns` tiles that share a grid.
Matrix plainly_rounded(const Matrix& x, Index rows, Index columns, const IntegerRule& rule) {
  Matrix out(x.rows(), x.cols());
  for (Index t = 0; t < x.rows(); t += rows)
    for (Index j = 0; j < x.cols(); j += columns) {
      const auto tile = x.block(t, j, rows, columns);
      const IntegerGrid grid = integer_grid(rule, {tile.minCoeff(), tile.maxCoeff()});
      for (Index r = t; r < t + rows; ++r)
        for (Index c = j; c < j + columns; ++c) {
          const float code = std::nearbyint(x(r, c) / grid.step) + grid.zero;
          out(r, c) = (std::min(std::max(code, 0.0F), grid.last) - grid.zero) * grid.step;
        }
    }
  return out;
}

bool near(double a, double b) {
  return std::abs(a - b) <= 1e-9 * std::abs(b);
}

/// A pass: what is timed, and whether its result is right.
struct Pass {
  std::string name;
  std::function<void(Data&)> run;
  std::function<bool(Data&)> right;
};

IntegerRule rule_of(float clip) {
  IntegerRule rule;
  rule.clip = clip;
  return rule;
}

std::vector<Pass> quantization() {
  const auto equals = [](Index rows, Index columns, const IntegerRule& rule) {
    return [=](Data& d) { return d.out == plainly_rounded(d.x, rows, columns, rule); };
  };
  std::vector<Pass> out;
  for (const Store store : {Store::streaming, Store::cached}) {
    const std::string how = store == Store::streaming ? "/streaming" : "/cached";
    for (const float clip : {1.0F, 0.9F}) {
      const IntegerRule rule = rule_of(clip);
      const std::string what = (clip < 1 ? "_clipped" : "") + how;
      out.push_back({"quantize/per_token" + what,
                     [=](Data& d) { round_groups(d.x, kChannels, rule, d.out, store); },
                     equals(1, kChannels, rule)});
    }
    const IntegerRule rule;
    out.push_back({"quantize/per_group_128" + how,
                   [=](Data& d) { round_groups(d.x, kGroup, rule, d.out, store); }, equals(1, kGroup, rule)});
    out.push_back({"quantize/per_channel" + how, [=](Data& d) { round_columns(d.x, rule, d.out, store); },
                   equals(kTokens, 1, rule)});
    out.push_back({"quantize/per_tensor" + how, [=](Data& d) { round_matrix(d.x, rule, d.out, store); },
                   equals(kTokens, kChannels, rule)});
  }
  // What is rounded once stays (nearly) where it is, so the work is the same every time.
  out.push_back({"quantize/per_token/in_place",
                 [](Data& d) { round_groups(d.out, kChannels, {}, d.out, Store::cached); },
                 [](Data& d) {
                   d.out = d.x;
                   round_groups(d.out, kChannels, {}, d.out, Store::cached);
                   return d.out == plainly_rounded(d.x, 1, kChannels, {});
                 }});
  out.push_back({"quantize/per_token/codes",
                 [](Data& d) {
                   Index clipped = 0;
                   rows_to_codes(d.x, {}, d.codes, clipped);
                 },
                 [](Data& d) {
                   const Matrix expected = plainly_rounded(d.x, 1, kChannels, {});
                   for (Index t = 0; t < kTokens; ++t)
                     for (Index j = 0; j < kChannels; ++j) {
                       const auto row = static_cast<std::size_t>(t);
                       const float steps = static_cast<float>(d.codes.row(t)[j]) - d.codes.zero[row];
                       if (steps * d.codes.step[row] != expected(t, j)) return false;
                     }
                   return true;
                 }});
  return out;
}

bool are_moments(const Moments& m, const Matrix& x) {
  double mean = 0;
  for (Index i = 0; i < x.size(); ++i) mean += static_cast<double>(x.data()[i]);
  mean /= static_cast<double>(x.size());
  double m2 = 0;
  double m4 = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const double d = static_cast<double>(x.data()[i]) - mean;
    m2 += d * d;
    m4 += d * d * d * d;
  }
  const auto n = static_cast<double>(x.size());
  return near(m.m2, m2 / n) && near(m.m4, m4 / n) && m.absmax == static_cast<double>(x.cwiseAbs().maxCoeff());
}

bool are_channel_maxima(const Vector& v, const Matrix& x) {
  for (Index j = 0; j < x.cols(); ++j)
    if (v[j] != x.col(j).cwiseAbs().maxCoeff()) return false;
  return true;
}

std::vector<Pass> statistics() {
  return {
      {"statistics/moments", [](Data& d) { benchmark::DoNotOptimize(compute_moments(d.x)); },
       [](Data& d) { return are_moments(compute_moments(d.x), d.x); }},
      {"statistics/summary", [](Data& d) { benchmark::DoNotOptimize(summarize(d.x)); },
       [](Data& d) {
         const Summary s = summarize(d.x);
         return are_moments(s.moments, d.x) && are_channel_maxima(s.channel_absmax, d.x);
       }},
      {"statistics/channel_absmax", [](Data& d) { benchmark::DoNotOptimize(channel_absmax(d.x)); },
       [](Data& d) { return are_channel_maxima(channel_absmax(d.x), d.x); }},
      {"statistics/errors", [](Data& d) { benchmark::DoNotOptimize(compute_errors(d.x, d.out)); },
       [](Data& d) {
         round_groups(d.x, kChannels, {}, d.out);
         double error = 0;
         for (Index i = 0; i < d.x.size(); ++i) {
           const double e = static_cast<double>(d.x.data()[i]) - static_cast<double>(d.out.data()[i]);
           error += e * e;
         }
         return near(compute_errors(d.x, d.out).error, error);
       }},
      {"statistics/median", [](Data& d) { benchmark::DoNotOptimize(median_of_abs(d.x)); },
       [](Data& d) {
         Matrix sizes = d.x.cwiseAbs();
         float* const middle = sizes.data() + sizes.size() / 2;
         std::nth_element(sizes.data(), middle, sizes.data() + sizes.size());
         const float below = *std::max_element(sizes.data(), middle);
         return near(median_of_abs(d.x), (static_cast<double>(below) + static_cast<double>(*middle)) / 2);
       }},
      {"statistics/kurtosis_of_channels",
       [](Data& d) { benchmark::DoNotOptimize(mean_column_kurtosis(d.x)); },
       [](Data& d) { return std::abs(mean_column_kurtosis(d.x) - 3) < 0.05; }},
  };
}

// 64 sums: the compiler makes registers of them.
constexpr Index kSums = 64;
inline __attribute__((always_inline)) float sum_body(const float* x, Index n) {
  float sums[kSums] = {};  // NOLINT(*-avoid-c-arrays): registers
  for (Index j = 0; j < n; j += kSums)
    for (Index k = 0; k < kSums; ++k) sums[k] += x[j + k];
  float out = 0;
  for (const float s : sums) out += s;
  return out;
}
float sum_portable(const float* x, Index n) {
  return sum_body(x, n);
}
#if OLAB_X86_KERNELS
OLAB_TARGET_AVX512 float sum_avx512(const float* x, Index n) {
  return sum_body(x, n);
}
#endif

/// In float, for it is only to read. The number of values is a multiple of kSums.
float plain_sum(const Matrix& x) {
#if OLAB_X86_KERNELS
  if (cpu_level() >= CpuLevel::avx512) return sum_avx512(x.data(), x.size());
#endif
  return sum_portable(x.data(), x.size());
}

Pass copy() {
  constexpr auto kBytes = static_cast<std::size_t>(kTokens * kChannels) * sizeof(float);
  return {"memcpy", [](Data& d) { std::memcpy(d.out.data(), d.x.data(), kBytes); },
          [](Data& d) { return d.out == d.x; }};
}

Pass read() {
  return {
      "read_only_sum", [](Data& d) { benchmark::DoNotOptimize(plain_sum(d.x)); },
      [](Data& d) { return std::abs(static_cast<double>(plain_sum(d.x)) - d.x.cast<double>().sum()) < 100; }};
}

void measure(benchmark::State& state, const Pass& pass) {
  // One set for all passes, so that all find the same pages.
  static Data data;
  with_threads(1, [&] {
    pass.run(data);
    // Once, for a repetition comes here again.
    if (!data.right.contains(pass.name) && !pass.right(data)) {
      state.SkipWithError("the result differs from the plain reference");
      return;
    }
    data.right.insert(pass.name);
    for (auto _ : state) {
      pass.run(data);
      benchmark::ClobberMemory();
    }
  });
  state.SetBytesProcessed(state.iterations() * data.x.size() * static_cast<Index>(sizeof(float)));
}

}  // namespace

void register_quantize_benchmarks() {
  const auto add = [](const std::vector<Pass>& passes, const Pass& baseline) {
    for (const Pass& pass : passes) {
      benchmark::RegisterBenchmark((pass.name + "/ours").c_str(), measure, pass)
          ->Unit(benchmark::kMillisecond);
      benchmark::RegisterBenchmark((pass.name + "/" + baseline.name).c_str(), measure, baseline)
          ->Unit(benchmark::kMillisecond);
    }
  };
  add(quantization(), copy());
  add(statistics(), read());
}

}  // namespace olab

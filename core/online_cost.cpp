#include "core/online_cost.hpp"

#include <algorithm>
#include <cassert>
#include <ctime>
#include <utility>

#include "core/integer_product.hpp"
#include "core/parallel.hpp"
#include "core/quantize.hpp"
#include "core/random.hpp"

namespace olab {
namespace {

/// CPU seconds of this thread: other work on the machine does not count.
double cpu_seconds() {
  std::timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class Body>
double seconds_of(const Body& body) {
  const double start = cpu_seconds();
  body();
  return cpu_seconds() - start;
}

Spread spread_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t n = values.size();
  return {n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2, values.front(),
          values.back()};
}

}  // namespace

struct OnlineLayer::State {
  OnlineCostSettings settings;
  Matrix x;
  PackedCodes w;
  Matrix y;
};

OnlineLayer::OnlineLayer(Index in_features, Index out_features, const OnlineCostSettings& settings)
    : state_(new State{settings, large_matrix(settings.tokens, in_features), {}, {}}) {
  assert(in_features > 0 && out_features > 0 && settings.tokens > 0 && settings.repeats > 0);
  RandomStream random(0);
  random.fill_normal(state_->x);
  Matrix row(1, in_features);
  random.fill_normal(row);
  // One random row many times: the product takes the same time whatever the values are.
  IntegerRule rule;
  rule.bits = settings.bits;
  IntegerMatrix codes;
  codes.resize(out_features, in_features);
  for (Index o = 0; o < out_features; ++o) {
    if (o > 0) {
      std::copy_n(codes.row(0), in_features, codes.row(o));
    } else {
      const RowCodes first = row_to_codes(row.data(), in_features, rule, codes.row(0));
      std::ranges::fill(codes.step, first.step);
      std::ranges::fill(codes.zero, first.zero);
    }
  }
  state_->w.pack(codes);
  state_->y = large_matrix(settings.tokens, out_features);
}

OnlineLayer::~OnlineLayer() = default;

OnlineCost OnlineLayer::measure(const std::vector<OnlineStage>& stages) const {
  State& s = *state_;
  const OnlineTransform plain(s.x.cols(), {}, s.settings.precision);
  const OnlineTransform transform(s.x.cols(), stages, s.settings.precision);
  IntegerMatrix codes;
  std::vector<double> quantize;
  std::vector<double> transformed;
  std::vector<double> product;
  std::vector<double> overhead;
  with_threads(1, [&] {
    for (int round = -1; round < s.settings.repeats; ++round) {
      const double a = seconds_of([&] { plain.run(s.x, s.settings.bits, codes); });
      const double b = stages.empty() ? a : seconds_of([&] { transform.run(s.x, s.settings.bits, codes); });
      const double c = seconds_of([&] { multiply_codes(codes, 0, s.w, s.y); });
      if (round < 0) continue;  // memory and caches are cold
      quantize.push_back(a);
      transformed.push_back(b);
      product.push_back(c);
      overhead.push_back((b - a) / (a + c));
    }
  });
  return {spread_of(quantize), spread_of(transformed), spread_of(product), spread_of(overhead)};
}

}  // namespace olab

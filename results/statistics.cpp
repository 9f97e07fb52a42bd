#include "results/statistics.hpp"

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>

namespace olab {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr Interval kWholeLine{-kInfinity, kInfinity};
constexpr std::size_t kExactSigns = 50;   // 2^50 is a whole number in double
constexpr std::size_t kExactOrders = 50;  // without ties
constexpr std::size_t kAllOrders = 9;     // 9! = 362 880

bool has_nan(std::span<const double> values) {
  return std::ranges::any_of(values, [](double v) { return std::isnan(v); });
}

bool all_equal(std::span<const double> values) {
  return std::ranges::all_of(values, [&](double v) { return v == values.front(); });
}

double normal_two_sided(double z) {
  return std::erfc(std::abs(z) / std::numbers::sqrt2);
}

/// Midranks times two, which are whole numbers. No NaN among the values.
std::vector<std::int64_t> doubled_midranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t i, std::size_t j) { return values[i] < values[j]; });
  std::vector<std::int64_t> out(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first + 1;
    while (end < order.size() && values[order[end]] == values[order[first]]) ++end;
    for (std::size_t i = first; i < end; ++i) out[order[i]] = static_cast<std::int64_t>(first + 1 + end);
    first = end;
  }
  return out;
}

/// In how many of all choices of signs the positive ranks have each sum. Exact up to 2^53 choices.
std::vector<double> signed_rank_counts(std::span<const std::int64_t> ranks) {
  const std::int64_t total = std::accumulate(ranks.begin(), ranks.end(), std::int64_t{0});
  std::vector<double> ways(static_cast<std::size_t>(total) + 1, 0.0);
  ways[0] = 1;
  std::int64_t reached = 0;
  for (const std::int64_t rank : ranks) {
    reached += rank;
    for (std::int64_t sum = reached; sum >= rank; --sum)
      ways[static_cast<std::size_t>(sum)] += ways[static_cast<std::size_t>(sum - rank)];
  }
  return ways;
}

/// The largest k with P(W ≤ k) ≤ tail for the ranks 1 … n, −1 where there is none.
std::int64_t critical_sum(std::size_t n, double tail) {
  if (n > kExactSigns) {
    const auto size = static_cast<double>(n);
    const double middle = size * (size + 1) / 4;
    const double deviation = std::sqrt(size * (size + 1) * (2 * size + 1) / 24);
    const double z = boost::math::quantile(boost::math::complement(boost::math::normal(), tail));
    return static_cast<std::int64_t>(std::floor(middle - 0.5 - z * deviation));
  }
  std::vector<std::int64_t> ranks(n);
  std::iota(ranks.begin(), ranks.end(), std::int64_t{1});
  const std::vector<double> ways = signed_rank_counts(ranks);
  const double allowed = std::ldexp(tail, static_cast<int>(n));
  double below = 0;
  std::int64_t k = -1;
  while (static_cast<std::size_t>(k + 1) < ways.size()) {
    below += ways[static_cast<std::size_t>(k + 1)];
    if (below > allowed) break;
    ++k;
  }
  return k;
}

/// (a + b) / 2; opposite infinities cancel.
double middle_of(double a, double b) {
  return std::isinf(a) && a == -b ? 0 : a / 2 + b / 2;
}

/// The share of all orders of y in which |statistic| is at least that of the order given. Equal values of y
/// are exchangeable, so their distinct orders are equally likely.
template <class Statistic>
double share_of_orders(std::vector<std::int64_t> y, const Statistic& statistic) {
  const std::int64_t observed = std::abs(statistic(y));
  std::ranges::sort(y);
  double orders = 0;
  double extreme = 0;
  do {
    ++orders;
    if (std::abs(statistic(y)) >= observed) ++extreme;
  } while (std::next_permutation(y.begin(), y.end()));
  return extreme / orders;
}

/// P(at most `inversions` in a random order of n), by the recurrence over the place of the largest.
double inversions_at_most(std::size_t n, std::size_t inversions) {
  std::vector<double> chance(n * (n - 1) / 2 + 1, 0.0);
  chance[0] = 1;
  for (std::size_t size = 2; size <= n; ++size) {
    std::vector<double> next(chance.size(), 0.0);
    for (std::size_t k = 0; k <= size * (size - 1) / 2; ++k) {
      double sum = 0;
      for (std::size_t added = 0; added < size && added <= k; ++added) sum += chance[k - added];
      next[k] = sum / static_cast<double>(size);
    }
    chance = std::move(next);
  }
  double out = 0;
  for (std::size_t k = 0; k <= inversions; ++k) out += chance[k];
  return out;
}

/// Sums over the groups of equal ranks, t their sizes.
struct Ties {
  double pairs = 0;     // t (t − 1)
  double triples = 0;   // t (t − 1)(t − 2)
  double weighted = 0;  // t (t − 1)(2t + 5)
};

Ties ties_of(std::vector<std::int64_t> ranks) {
  std::ranges::sort(ranks);
  Ties out;
  for (std::size_t first = 0; first < ranks.size();) {
    std::size_t end = first;
    while (end < ranks.size() && ranks[end] == ranks[first]) ++end;
    const auto t = static_cast<double>(end - first);
    out.pairs += t * (t - 1);
    out.triples += t * (t - 1) * (t - 2);
    out.weighted += t * (t - 1) * (2 * t + 5);
    first = end;
  }
  return out;
}

std::int64_t sign_of(std::int64_t value) {
  return value > 0 ? 1 : value < 0 ? -1 : 0;
}

/// Concordant minus discordant pairs.
std::int64_t kendall_score(std::span<const std::int64_t> x, std::span<const std::int64_t> y) {
  std::int64_t out = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) out += sign_of(x[i] - x[j]) * sign_of(y[i] - y[j]);
  return out;
}

/// Σ (x − mean)(y − mean) of doubled midranks, whose mean is always n + 1.
std::int64_t rank_covariance(std::span<const std::int64_t> x, std::span<const std::int64_t> y) {
  const auto mean = static_cast<std::int64_t>(x.size() + 1);
  std::int64_t out = 0;
  for (std::size_t i = 0; i < x.size(); ++i) out += (x[i] - mean) * (y[i] - mean);
  return out;
}

/// Whether two lists can be correlated at all; else `out` says NaN.
bool start_correlation(std::span<const double> x, std::span<const double> y, RankCorrelation& out) {
  assert(x.size() == y.size());
  out = {x.size(), kNaN, kNaN, true};
  return x.size() >= 2 && !has_nan(x) && !has_nan(y) && !all_equal(x) && !all_equal(y);
}

}  // namespace

double sample_mean(std::span<const double> values) {
  if (values.empty()) return kNaN;
  // (a + a + a) / 3 need not be a.
  if (all_equal(values)) return values.front();
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double sample_deviation(std::span<const double> values) {
  if (values.size() < 2) return kNaN;
  const double mean = sample_mean(values);
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

Interval mean_interval(std::span<const double> values, double confidence) {
  assert(confidence > 0 && confidence < 1);
  const double mean = sample_mean(values);
  if (!std::isfinite(mean)) return {kNaN, kNaN};
  if (values.size() < 2) return kWholeLine;
  const auto n = static_cast<double>(values.size());
  const boost::math::students_t t(n - 1);
  const double reach = boost::math::quantile(boost::math::complement(t, (1 - confidence) / 2)) *
                       sample_deviation(values) / std::sqrt(n);
  return {mean - reach, mean + reach};
}

std::vector<double> midranks(std::span<const double> values) {
  std::vector<double> out(values.size(), kNaN);
  if (has_nan(values)) return out;
  std::ranges::transform(doubled_midranks(values), out.begin(),
                         [](std::int64_t r) { return static_cast<double>(r) / 2; });
  return out;
}

SignedRankTest wilcoxon_signed_rank(std::span<const double> differences) {
  SignedRankTest out;
  out.p = kNaN;
  if (differences.empty()) return out;
  if (has_nan(differences)) {
    out.positive = out.negative = kNaN;
    return out;
  }
  std::vector<double> sizes(differences.size());
  std::ranges::transform(differences, sizes.begin(), [](double d) { return std::abs(d); });
  const std::vector<std::int64_t> all = doubled_midranks(sizes);
  std::vector<std::int64_t> ranks;
  std::int64_t positive = 0;
  std::int64_t negative = 0;
  for (std::size_t i = 0; i < differences.size(); ++i) {
    if (differences[i] == 0) continue;
    ranks.push_back(all[i]);
    (differences[i] > 0 ? positive : negative) += all[i];
  }
  out.n = ranks.size();
  out.zeros = differences.size() - out.n;
  out.positive = static_cast<double>(positive) / 2;
  out.negative = static_cast<double>(negative) / 2;
  out.exact = out.n <= kExactSigns;
  if (out.n == 0) {
    out.p = 1;
  } else if (out.exact) {
    const std::vector<double> ways = signed_rank_counts(ranks);
    const auto end = ways.begin() + static_cast<std::ptrdiff_t>(std::min(positive, negative) + 1);
    const double below = std::accumulate(ways.begin(), end, 0.0);
    out.p = std::min(1.0, 2 * std::ldexp(below, -static_cast<int>(out.n)));
  } else {
    double squares = 0;
    for (const std::int64_t r : ranks) squares += static_cast<double>(r) * static_cast<double>(r) / 4;
    const double away = std::abs(out.positive - out.negative) / 2;
    out.p = normal_two_sided(std::max(0.0, away - 0.5) / std::sqrt(squares / 4));
  }
  return out;
}

std::size_t fewest_differences(double alpha) {
  assert(alpha > 0);
  std::size_t n = 0;
  for (double least = 2; least > alpha; least /= 2) ++n;
  return n;
}

SignTest sign_test(std::span<const double> differences) {
  SignTest out;
  out.p = kNaN;
  if (differences.empty() || has_nan(differences)) return out;
  for (const double d : differences) ++(d > 0 ? out.positive : d < 0 ? out.negative : out.zeros);
  const std::size_t n = out.positive + out.negative;
  if (n == 0) {
    out.p = 1;
    return out;
  }
  const boost::math::binomial coin(static_cast<double>(n), 0.5);
  const auto fewer = static_cast<double>(std::min(out.positive, out.negative));
  out.p = std::min(1.0, 2 * boost::math::cdf(coin, fewer));
  return out;
}

MedianEstimate hodges_lehmann(std::span<const double> differences, double confidence) {
  assert(confidence > 0 && confidence < 1);
  const std::size_t n = differences.size();
  if (n == 0 || has_nan(differences)) return {kNaN, {kNaN, kNaN}};
  std::vector<double> means;
  means.reserve(n * (n + 1) / 2);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) means.push_back(middle_of(differences[i], differences[j]));
  std::ranges::sort(means);
  MedianEstimate out;
  const std::size_t half = means.size() / 2;
  out.estimate = means.size() % 2 == 1 ? means[half] : middle_of(means[half - 1], means[half]);
  const std::int64_t k = critical_sum(n, (1 - confidence) / 2);
  const auto place = static_cast<std::size_t>(std::max<std::int64_t>(k, 0));
  out.interval = k < 0 ? kWholeLine : Interval{means[place], means[means.size() - 1 - place]};
  return out;
}

RankCorrelation kendall_tau_b(std::span<const double> x, std::span<const double> y) {
  RankCorrelation out;
  if (!start_correlation(x, y, out)) return out;
  const std::vector<std::int64_t> rx = doubled_midranks(x);
  const std::vector<std::int64_t> ry = doubled_midranks(y);
  const Ties tx = ties_of(rx);
  const Ties ty = ties_of(ry);
  const auto n = static_cast<double>(out.n);
  const std::int64_t score = kendall_score(rx, ry);
  const double twice = n * (n - 1);
  out.coefficient = 2 * static_cast<double>(score) / std::sqrt((twice - tx.pairs) * (twice - ty.pairs));
  const bool ties = tx.pairs > 0 || ty.pairs > 0;
  if (!ties && out.n <= kExactOrders) {
    const std::size_t pairs = out.n * (out.n - 1) / 2;
    const std::size_t fewer = (pairs - static_cast<std::size_t>(std::abs(score))) / 2;
    out.p = std::min(1.0, 2 * inversions_at_most(out.n, fewer));
  } else if (out.n <= kAllOrders) {
    out.p =
        share_of_orders(ry, [&](std::span<const std::int64_t> order) { return kendall_score(rx, order); });
  } else {
    out.exact = false;
    const double variance = (twice * (2 * n + 5) - tx.weighted - ty.weighted) / 18 +
                            tx.triples * ty.triples / (9 * twice * (n - 2)) +
                            tx.pairs * ty.pairs / (2 * twice);
    out.p = normal_two_sided(static_cast<double>(score) / std::sqrt(variance));
  }
  return out;
}

RankCorrelation spearman_rho(std::span<const double> x, std::span<const double> y) {
  RankCorrelation out;
  if (!start_correlation(x, y, out)) return out;
  const std::vector<std::int64_t> rx = doubled_midranks(x);
  const std::vector<std::int64_t> ry = doubled_midranks(y);
  const auto spread = [](std::span<const std::int64_t> r) {
    return static_cast<double>(rank_covariance(r, r));
  };
  out.coefficient = static_cast<double>(rank_covariance(rx, ry)) / std::sqrt(spread(rx) * spread(ry));
  out.coefficient = std::clamp(out.coefficient, -1.0, 1.0);  // against the rounding of the root
  if (out.n <= kAllOrders) {
    out.p =
        share_of_orders(ry, [&](std::span<const std::int64_t> order) { return rank_covariance(rx, order); });
    return out;
  }
  out.exact = false;
  const auto n = static_cast<double>(out.n);
  const double rest = (1 - out.coefficient) * (1 + out.coefficient);
  const double t = std::abs(out.coefficient) * std::sqrt((n - 2) / rest);  // infinite at ±1
  const double tail =
      std::isinf(t) ? 0 : boost::math::cdf(boost::math::complement(boost::math::students_t(n - 2), t));
  out.p = std::max(2 * tail, 2 / std::tgamma(n + 1));
  return out;
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < p_values.size(); ++i)
    if (!std::isnan(p_values[i])) order.push_back(i);
  std::ranges::sort(order, [&](std::size_t i, std::size_t j) { return p_values[i] < p_values[j]; });
  std::vector<double> out(p_values.size(), kNaN);
  double largest = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - i) * p_values[order[i]]));
    out[order[i]] = largest;
  }
  return out;
}

}  // namespace olab

#include "metrics/common/outliers.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

namespace olab {
namespace {

std::vector<OutlierPeak> largest(const Vector& magnitudes, Index top) {
  std::vector<Index> order(static_cast<std::size_t>(magnitudes.size()));
  std::iota(order.begin(), order.end(), Index{0});
  const Index count = std::clamp<Index>(top, 0, magnitudes.size());
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](Index a, Index b) {
    return magnitudes[a] != magnitudes[b] ? magnitudes[a] > magnitudes[b] : a < b;
  });
  std::vector<OutlierPeak> out;
  for (Index i = 0; i < count; ++i) out.push_back({order[i], static_cast<double>(magnitudes[order[i]])});
  return out;
}

// A dead channel is no yardstick for the others.
double median_of_live(const Vector& channel_absmax) {
  std::vector<float> live;
  for (const float o : channel_absmax)
    if (o > 0) live.push_back(o);
  return median_of_abs(Eigen::Map<const Matrix>(live.data(), 1, static_cast<Index>(live.size())));
}

void count_massive(const Observation& observation, OutlierReport& report) {
  const ConstMatrixRef& x = observation.x();
  std::vector<std::uint8_t> channel_hit(static_cast<std::size_t>(x.cols()));
  for (Index t = 0; t < x.rows(); ++t) {
    if (!(static_cast<double>(observation.token_absmax()[t]) > report.massive_limit)) continue;
    ++report.massive_tokens;
    for (Index j = 0; j < x.cols(); ++j) {
      if (!(std::abs(static_cast<double>(x(t, j))) > report.massive_limit)) continue;
      ++report.massive_entries;
      channel_hit[j] = 1;
    }
  }
  report.massive_channels = std::count(channel_hit.begin(), channel_hit.end(), std::uint8_t{1});
}

void find_normal(const Observation& observation, OutlierReport& report) {
  const ConstMatrixRef& x = observation.x();
  std::vector<Index> candidates;
  for (Index j = 0; j < x.cols(); ++j)
    if (static_cast<double>(observation.channel_absmax()[j]) >= report.channel_limit) candidates.push_back(j);
  std::vector<Index> tokens(candidates.size());
  for (Index t = 0; t < x.rows(); ++t)
    for (std::size_t i = 0; i < candidates.size(); ++i)
      if (std::abs(static_cast<double>(x(t, candidates[i]))) > report.token_limit) ++tokens[i];
  const double enough = report.rules.persistence * static_cast<double>(x.rows());
  for (std::size_t i = 0; i < candidates.size(); ++i)
    if (static_cast<double>(tokens[i]) > enough) report.normal_channels.push_back(candidates[i]);
}

}  // namespace

OutlierReport classify_outliers(const Observation& observation, const OutlierRules& rules, Index top) {
  OutlierReport report;
  report.rules = rules;
  report.abs_median = observation.abs_median();
  report.channel_median = median_of_live(observation.channel_absmax());
  // In this order a NaN median stays NaN, and nothing is counted.
  report.massive_limit = std::max(rules.massive_ratio * report.abs_median, rules.massive_absolute);
  report.channel_limit = rules.normal_ratio * report.channel_median;
  report.token_limit = rules.normal_ratio * report.abs_median;
  count_massive(observation, report);
  find_normal(observation, report);
  report.top_channels = largest(observation.channel_absmax(), top);
  report.top_tokens = largest(observation.token_absmax(), top);
  return report;
}

OutlierReport classify_outliers(const ConstMatrixRef& x, const OutlierRules& rules, Index top) {
  return classify_outliers(Observation(Stage::original, x, std::nullopt, 0, -1), rules, top);
}

}  // namespace olab

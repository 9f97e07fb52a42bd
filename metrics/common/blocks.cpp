#include "metrics/common/blocks.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cassert>
#include <limits>

#include "core/error.hpp"

namespace olab {
namespace {

constexpr Index kLargestDefaultBlock = 128;

std::vector<Index> divisors(Index n) {
  std::vector<Index> out;
  for (Index d = 1; d <= n; ++d)
    if (n % d == 0) out.push_back(d);
  return out;
}

}  // namespace

Index resolve_block_size(std::string_view metric, Index requested, const Observation& observation) {
  const Index width = observation.x().cols();
  if (width == 0) return 1;
  if (requested == kMethodBlockSize) {
    const Index own = observation.block_size();
    if (own > 0 && width % own == 0) return own;
    Index size = std::min(width, kLargestDefaultBlock);
    while (width % size != 0) --size;
    return size;
  }
  if (width % requested != 0)
    throw Error(fmt::format(
        "{}.block_size: {} does not divide the {} channels at stage {}; use 'method' or a divisor: {}",
        metric, requested, width, stage_name(observation.stage()), fmt::join(divisors(width), ", ")));
  return requested;
}

MeanAndVariance mean_and_variance(std::span<const double> v) {
  if (v.empty()) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  const auto n = static_cast<double>(v.size());
  MeanAndVariance out;
  for (const double a : v) out.mean += a;
  out.mean /= n;
  for (const double a : v) out.variance += (a - out.mean) * (a - out.mean);
  out.variance /= n;
  return out;
}

std::vector<double> block_absmax_means(const Observation& observation, Index size) {
  const Vector& absmax = observation.channel_absmax();
  assert(absmax.size() % size == 0);
  std::vector<double> out(static_cast<std::size_t>(absmax.size() / size));
  for (Index j = 0; j < absmax.size(); ++j) out[j / size] += static_cast<double>(absmax[j]);
  for (double& m : out) m /= static_cast<double>(size);
  return out;
}

std::vector<double> block_l1_masses(const Observation& observation, Index size) {
  const std::vector<double>& mean = observation.channel_abs_mean();
  const auto width = static_cast<Index>(mean.size());
  assert(width % size == 0);
  std::vector<double> out(static_cast<std::size_t>(width / size));
  for (Index j = 0; j < width; ++j) out[j / size] += mean[j];
  return out;
}

}  // namespace olab

#include "metrics/common/statistics.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/extremes.hpp"
#include "core/moments.hpp"
#include "core/parallel.hpp"

namespace olab {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
// Rows that are read together: few enough to stay in cache between two looks at them.
constexpr Index kTileRows = 8;
// Rows that the provisional centre is taken from.
constexpr Index kSampleRows = 8;

const float* row_at(const ConstMatrixRef& x, Index t) {
  return x.data() + t * x.outerStride();
}

/// Infinite where both are.
double mean_of(float lower, float upper) {
  return lower == upper ? static_cast<double>(lower)
                        : (static_cast<double>(lower) + static_cast<double>(upper)) / 2;
}

/// Place i of `count` that are spread evenly over n, but in no step that data could share.
Index sample_place(Index i, Index count, Index n) {
  const Index width = n / count;
  constexpr Index kStride = 40503;  // odd: 2^16 over the golden ratio
  return i * width + (i * kStride >> 3) % width;
}

/// Row i of `count` that are spread evenly; all rows where there are no more.
Index sample_row(const ConstMatrixRef& x, Index i, Index count) {
  return count >= x.rows() ? i : i * x.rows() / count;
}

double pearson(double m2, double m4) {
  return m2 > 0 ? m4 / (m2 * m2) : kNaN;
}

// The bits of |v|; they sort like the values, and every NaN lies above kInfinityBits.
constexpr std::uint32_t kInfinityBits = 0x7f800000U;
std::uint32_t magnitude_bits(float v) {
  return std::bit_cast<std::uint32_t>(v) & 0x7fffffffU;
}

float magnitude_at(const ConstMatrixRef& x, Index place) {
  return std::abs(row_at(x, place / x.cols())[place % x.cols()]);
}

void add(PowerSums& sum, const PowerSums& row) {
  sum.s1 += row.s1;
  sum.s2 += row.s2;
  sum.s3 += row.s3;
  sum.s4 += row.s4;
  sum.range.low = std::min(sum.range.low, row.range.low);
  sum.range.high = std::max(sum.range.high, row.range.high);
}

constexpr PowerSums kNoSums{
    0, 0, 0, 0, {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}};

/// Where sums of powers lose no digits: 0 (which is faster) where the sampled rows lie round it, else their
/// mean.
double provisional_centre(const ConstMatrixRef& x, CpuLevel level) {
  const Index rows = std::min(kSampleRows, x.rows());
  PowerSums sample = kNoSums;
  for (Index i = 0; i < rows; ++i)
    add(sample, power_sums(row_at(x, sample_row(x, i, rows)), x.cols(), 0, level));
  const CentralMoments m = central_moments(sample, rows * x.cols(), 0);
  constexpr double kNear = 0.25;
  return !std::isfinite(m.mean) || m.mean * m.mean <= kNear * m.m2 ? 0 : m.mean;
}

bool needs_another_pass(const CentralMoments& m) {
  return !m.reliable && std::isfinite(m.mean);
}

PowerSums matrix_sums(const ConstMatrixRef& x, double centre, CpuLevel level) {
  PowerSums sum = kNoSums;
  for (Index t = 0; t < x.rows(); ++t) add(sum, power_sums(row_at(x, t), x.cols(), centre, level));
  return sum;
}

/// From the sums over all of a matrix with entries about `centre`.
Moments moments_of(const ConstMatrixRef& x, const PowerSums& sums, double centre, CpuLevel level) {
  CentralMoments m = central_moments(sums, x.size(), centre);
  if (needs_another_pass(m)) m = central_moments(matrix_sums(x, m.mean, level), x.size(), m.mean);
  Moments out;
  out.count = x.size();
  out.mean = m.mean;
  const bool finite = std::isfinite(m.mean);
  out.m2 = finite ? m.m2 : kNaN;
  out.m3 = finite ? m.m3 : kNaN;
  out.m4 = finite ? m.m4 : kNaN;
  // Minimum and maximum overlook a NaN, the sum does not.
  const bool nan = std::isnan(m.mean);
  out.minimum = nan ? kNaN : sums.range.low;
  out.maximum = nan ? kNaN : sums.range.high;
  out.absmax = nan ? kNaN : std::max(std::abs(sums.range.low), std::abs(sums.range.high));
  return out;
}

/// The mean over what has a kurtosis.
class KurtosisMean {
 public:
  void add(const CentralMoments& m) {
    if (m.m2 == 0) return;
    sum_ += pearson(m.m2, m.m4);
    ++count_;
  }
  double mean() const { return count_ == 0 ? kNaN : sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  Index count_ = 0;
};

/// The magnitudes of two ranks, counted from 0.
struct RankPair {
  float first = 0;
  float last = 0;
};

enum class Search { found, has_nan, missed };

/// Ranks `first` and `last`, which is first or first + 1, of a few values.
Search select_few(const ConstMatrixRef& x, Index first, Index last, RankPair& out) {
  std::vector<float> v;
  v.reserve(static_cast<std::size_t>(x.size()));
  for (Index t = 0; t < x.rows(); ++t)
    for (Index j = 0; j < x.cols(); ++j) v.push_back(std::abs(x(t, j)));
  if (std::any_of(v.begin(), v.end(), [](float a) { return std::isnan(a); })) return Search::has_nan;
  std::nth_element(v.begin(), v.begin() + first, v.end());
  out.first = v[static_cast<std::size_t>(first)];
  out.last = first == last ? out.first : *std::min_element(v.begin() + last, v.end());
  return Search::found;
}

/// A sample says between which two magnitudes the ranks lie; one look at the matrix counts what is below and
/// keeps what is between, and the ranks are sought in that. Misses where the sample was wrong or too much is
/// between.
Search select(const ConstMatrixRef& x, Index first, Index last, RankPair& out, CpuLevel level) {
  constexpr Index kSample = 16384;
  constexpr double kMargin = 0.0175;  // of the ranks: 4.5 standard deviations of a sample's median
  constexpr Index kRoom = 4096;
  const Index n = x.size();
  if (n < 4 * kSample) return select_few(x, first, last, out);
  std::vector<float> sample(kSample);
  for (Index i = 0; i < kSample; ++i)
    sample[static_cast<std::size_t>(i)] = magnitude_at(x, sample_place(i, kSample, n));
  // A NaN has no place in an order; the look at the matrix below will find it.
  for (float& v : sample) v = std::isnan(v) ? 0 : v;
  const double share = static_cast<double>(first) / static_cast<double>(n);
  const auto rank = [&](double s) {
    return sample.begin() + static_cast<Index>(std::clamp(s, 0.0, 1.0) * static_cast<double>(kSample - 1));
  };
  std::nth_element(sample.begin(), rank(share + kMargin), sample.end());
  const float high = *rank(share + kMargin);
  std::nth_element(sample.begin(), rank(share - kMargin), rank(share + kMargin));
  const float low = *rank(share - kMargin);

  // Twice what a sample of this size lets expect.
  const Index capacity = n / 16 + kRoom;
  // NOLINTNEXTLINE(*-avoid-c-arrays): a vector would be filled with zeros first
  const auto inside = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(capacity));
  MagnitudeCounts all;
  for (Index t = 0; t < x.rows(); ++t) {
    const MagnitudeCounts row = count_magnitudes(row_at(x, t), x.cols(), low, high, inside.get() + all.inside,
                                                 capacity - all.inside, level);
    all.below += row.below;
    all.low += row.low;
    all.inside += row.inside;
    if (row.has_nan) return Search::has_nan;
    if (capacity - all.inside < kRoom) return Search::missed;
  }
  const Index below = all.below;
  const Index upto = all.below + all.low;
  if (first < below || last >= upto + all.inside) return Search::missed;
  if (last < upto) {
    out = {low, low};
    return Search::found;
  }
  const Eigen::Map<const Matrix> rest(inside.get(), 1, all.inside);
  if (first >= upto) return select(rest, first - upto, last - upto, out, level);
  const Search found = select(rest, 0, 0, out, level);
  out = {low, out.first};
  return found;
}

/// Selection by counting: first the upper half of the bits, then the lower half within the one bucket that
/// holds the wanted rank. No order that a NaN could upset. NaN where there is one.
double median_by_counting(const ConstMatrixRef& x) {
  constexpr std::uint32_t kLowBits = 16;
  constexpr std::uint32_t kLowMask = (1U << kLowBits) - 1;
  std::vector<Index> high(1U << (31 - kLowBits));
  bool has_nan = false;
  for (Index t = 0; t < x.rows(); ++t) {
    const float* const row = row_at(x, t);
    for (Index j = 0; j < x.cols(); ++j) {
      const std::uint32_t bits = magnitude_bits(row[j]);
      has_nan |= bits > kInfinityBits;
      ++high[bits >> kLowBits];
    }
  }
  if (has_nan) return kNaN;

  std::vector<Index> low;
  std::uint32_t counted = 0;
  const auto value_at = [&](Index rank) {
    std::uint32_t bucket = 0;
    for (; rank >= high[bucket]; ++bucket) rank -= high[bucket];
    if (low.empty() || counted != bucket) {
      low.assign(kLowMask + 1, 0);
      counted = bucket;
      for (Index t = 0; t < x.rows(); ++t) {
        const float* const row = row_at(x, t);
        for (Index j = 0; j < x.cols(); ++j) {
          const std::uint32_t bits = magnitude_bits(row[j]);
          if (bits >> kLowBits == bucket) ++low[bits & kLowMask];
        }
      }
    }
    std::uint32_t rest = 0;
    for (; rank >= low[rest]; ++rest) rank -= low[rest];
    return std::bit_cast<float>(bucket << kLowBits | rest);
  };
  const float lower = value_at((x.size() - 1) / 2);
  return mean_of(lower, value_at(x.size() / 2));
}

/// In the order of the rows, so that threads change no bit.
void add_rows(ErrorSums& sums, std::span<const PairSums> rows, Index columns) {
  sums.count += static_cast<Index>(rows.size()) * columns;
  sums.rows += static_cast<Index>(rows.size());
  for (const PairSums& row : rows) {
    sums.error += row.error;
    sums.signal += row.signal;
    sums.estimate += row.estimate;
    sums.product += row.product;
    sums.max_error = std::max(sums.max_error, row.max_error);
    sums.row_relative += relative_error(row.error, row.signal);
  }
  if (std::isnan(sums.error)) sums.max_error = kNaN;
}

}  // namespace

double Moments::kurtosis() const {
  return pearson(m2, m4);
}

Moments compute_moments(const ConstMatrixRef& x, CpuLevel level) {
  if (x.size() == 0) return {};
  const double centre = provisional_centre(x, level);
  return moments_of(x, matrix_sums(x, centre, level), centre, level);
}

Summary summarize(const ConstMatrixRef& x, CpuLevel level) {
  Summary out;
  out.channel_absmax = Vector::Zero(x.cols());
  out.token_absmax = Vector::Zero(x.rows());
  out.channel_abs_mean.resize(static_cast<std::size_t>(x.cols()));
  if (x.size() == 0) return out;
  const double centre = provisional_centre(x, level);
  PowerSums sum = kNoSums;
  for (Index tile = 0; tile < x.rows(); tile += kTileRows) {
    const Index rows = std::min(kTileRows, x.rows() - tile);
    for (Index t = tile; t < tile + rows; ++t) {
      const PowerSums row = power_sums(row_at(x, t), x.cols(), centre, level);
      add(sum, row);
      // Nothing but NaN in the row: the range is empty.
      if (row.range.low <= row.range.high)
        out.token_absmax[t] = std::max(std::abs(row.range.low), std::abs(row.range.high));
    }
    add_column_magnitudes(x.middleRows(tile, rows), out.channel_absmax.data(), out.channel_abs_mean.data(),
                          level);
  }
  for (double& v : out.channel_abs_mean) v /= static_cast<double>(x.rows());
  out.moments = moments_of(x, sum, centre, level);
  return out;
}

double relative_error(double error, double signal) {
  return error == 0 ? 0 : error / signal;
}

ErrorSums compute_errors(const ConstMatrixRef& x, const ConstMatrixRef& reference, CpuLevel level) {
  ErrorSums out;
  add_errors(out, x, reference, level);
  return out;
}

void add_errors(ErrorSums& sums, const ConstMatrixRef& x, const ConstMatrixRef& reference, CpuLevel level) {
  assert(x.rows() == reference.rows() && x.cols() == reference.cols());
  constexpr Index kRowsPerTask = 16;
  std::vector<PairSums> rows(static_cast<std::size_t>(x.rows()));
  parallel_for(x.rows(), kRowsPerTask, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t)
      rows[static_cast<std::size_t>(t)] = pair_sums(row_at(x, t), row_at(reference, t), x.cols(), level);
  });
  add_rows(sums, rows, x.cols());
}

void add_errors_of(ErrorSums& sums, const std::function<void(Index first, MatrixRef rows)>& fill,
                   const ConstMatrixRef& reference, CpuLevel level) {
  constexpr Index kRowsPerTask = 4;  // stay in cache between the two uses
  std::vector<PairSums> rows(static_cast<std::size_t>(reference.rows()));
  parallel_for(reference.rows(), kRowsPerTask, [&](Index begin, Index end) {
    Matrix x(end - begin, reference.cols());
    fill(begin, x);
    for (Index t = begin; t < end; ++t)
      rows[static_cast<std::size_t>(t)] =
          pair_sums(row_at(x, t - begin), row_at(reference, t), x.cols(), level);
  });
  add_rows(sums, rows, reference.cols());
}

double median_of_abs(const ConstMatrixRef& x, CpuLevel level) {
  if (x.size() == 0) return kNaN;
  RankPair middle;
  switch (select(x, (x.size() - 1) / 2, x.size() / 2, middle, level)) {
    case Search::has_nan:
      return kNaN;
    case Search::missed:
      return median_by_counting(x);
    case Search::found:
      break;
  }
  return mean_of(middle.first, middle.last);
}

std::vector<double> channel_abs_mean(const ConstMatrixRef& x, CpuLevel level) {
  std::vector<double> out(static_cast<std::size_t>(x.cols()));
  std::vector<float> unused(out.size());
  add_column_magnitudes(x, unused.data(), out.data(), level);
  if (x.rows() > 0)
    for (double& v : out) v /= static_cast<double>(x.rows());
  return out;
}

double mean_row_kurtosis(const ConstMatrixRef& x, CpuLevel level) {
  KurtosisMean out;
  for (Index t = 0; t < x.rows() && x.cols() > 0; ++t) {
    const float* const row = row_at(x, t);
    CentralMoments m = central_moments(power_sums(row, x.cols(), 0, level), x.cols(), 0);
    if (needs_another_pass(m))
      m = central_moments(power_sums(row, x.cols(), m.mean, level), x.cols(), m.mean);
    out.add(m);
  }
  return out.mean();
}

double mean_column_kurtosis(const ConstMatrixRef& x, CpuLevel level) {
  if (x.size() == 0) return kNaN;
  const auto columns = static_cast<std::size_t>(x.cols());
  // Channels have means of their own, so each gets a centre: the mean of a few rows.
  std::vector<double> centre(columns);
  const Index sample = std::min(2 * kSampleRows, x.rows());
  for (Index i = 0; i < sample; ++i) {
    const float* const row = row_at(x, sample_row(x, i, sample));
    for (std::size_t j = 0; j < columns; ++j) centre[j] += static_cast<double>(row[j]);
  }
  for (double& c : centre) c = std::isfinite(c) ? c / static_cast<double>(sample) : 0;

  std::vector<double> sums(4 * columns);
  const auto moments_at = [&](std::size_t j) {
    return central_moments({sums[j], sums[columns + j], sums[2 * columns + j], sums[3 * columns + j], {}},
                           x.rows(), centre[j]);
  };
  column_power_sums(x, centre.data(), sums.data(), level);
  bool again = false;
  for (std::size_t j = 0; j < columns; ++j) {
    const CentralMoments m = moments_at(j);
    if (!needs_another_pass(m)) continue;
    centre[j] = m.mean;
    again = true;
  }
  if (again) column_power_sums(x, centre.data(), sums.data(), level);

  KurtosisMean out;
  for (std::size_t j = 0; j < columns; ++j) out.add(moments_at(j));
  return out.mean();
}

}  // namespace olab

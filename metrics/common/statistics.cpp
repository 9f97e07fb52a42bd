#include "metrics/common/statistics.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <limits>

namespace olab {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Independent accumulators of one sum. The compiler may not reorder a floating-point sum, so without them it
// can use neither vectors nor more than one addition in flight.
constexpr Index kLanes = 8;
using Lanes = std::array<double, kLanes>;

double total(const Lanes& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

const float* row_at(const ConstMatrixRef& x, Index t) {
  return x.data() + t * x.outerStride();
}

double sum(const float* x, Index n) {
  Lanes s{};
  Index j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (Index k = 0; k < kLanes; ++k) s[k] += static_cast<double>(x[j + k]);
  for (Index k = 0; j < n; ++j, ++k) s[k] += static_cast<double>(x[j]);
  return total(s);
}

struct CentralSums {
  double d2 = 0;
  double d3 = 0;
  double d4 = 0;
};

CentralSums central_sums(const float* x, Index n, double mean) {
  Lanes s2{};
  Lanes s3{};
  Lanes s4{};
  const auto add = [&](Index j, Index k) {
    const double d = static_cast<double>(x[j]) - mean;
    const double dd = d * d;
    s2[k] += dd;
    s3[k] += dd * d;
    s4[k] += dd * dd;
  };
  Index j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (Index k = 0; k < kLanes; ++k) add(j + k, k);
  for (Index k = 0; j < n; ++j, ++k) add(j, k);
  return {total(s2), total(s3), total(s4)};
}

struct RowErrors {
  double error = 0;
  double signal = 0;
  double estimate = 0;
  double product = 0;
  double max_error = 0;
};

RowErrors row_errors(const float* x, const float* r, Index n) {
  Lanes error{};
  Lanes signal{};
  Lanes estimate{};
  Lanes product{};
  Lanes worst{};
  const auto add = [&](Index j, Index k) {
    const double a = x[j];
    const double b = r[j];
    const double d = a - b;
    error[k] += d * d;
    signal[k] += b * b;
    estimate[k] += a * a;
    product[k] += a * b;
    worst[k] = std::max(worst[k], std::abs(d));
  };
  Index j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (Index k = 0; k < kLanes; ++k) add(j + k, k);
  for (Index k = 0; j < n; ++j, ++k) add(j, k);
  return {total(error), total(signal), total(estimate), total(product),
          *std::max_element(worst.begin(), worst.end())};
}

double pearson(double m2, double m4) {
  return m2 > 0 ? m4 / (m2 * m2) : kNaN;
}

// The bits of |v|; they sort like the values, and every NaN lies above kInfinityBits.
constexpr std::uint32_t kInfinityBits = 0x7f800000U;
std::uint32_t magnitude_bits(float v) {
  return std::bit_cast<std::uint32_t>(v) & 0x7fffffffU;
}

}  // namespace

double Moments::kurtosis() const {
  return pearson(m2, m4);
}

Moments compute_moments(const ConstMatrixRef& x) {
  Moments out;
  out.count = x.size();
  if (out.count == 0) return out;
  const auto n = static_cast<double>(out.count);

  double all = 0;
  float low = x(0, 0);
  float high = x(0, 0);
  for (Index t = 0; t < x.rows(); ++t) {
    all += sum(row_at(x, t), x.cols());
    low = std::min(low, x.row(t).minCoeff());
    high = std::max(high, x.row(t).maxCoeff());
  }
  out.mean = all / n;
  // Minimum and maximum overlook a NaN, the sum does not.
  out.minimum = std::isnan(out.mean) ? kNaN : low;
  out.maximum = std::isnan(out.mean) ? kNaN : high;
  out.absmax = std::isnan(out.mean) ? kNaN : std::max(std::abs(low), std::abs(high));

  for (Index t = 0; t < x.rows(); ++t) {
    const CentralSums row = central_sums(row_at(x, t), x.cols(), out.mean);
    out.m2 += row.d2;
    out.m3 += row.d3;
    out.m4 += row.d4;
  }
  out.m2 /= n;
  out.m3 /= n;
  out.m4 /= n;
  return out;
}

double relative_error(double error, double signal) {
  return error == 0 ? 0 : error / signal;
}

ErrorSums compute_errors(const ConstMatrixRef& x, const ConstMatrixRef& reference) {
  ErrorSums out;
  add_errors(out, x, reference);
  return out;
}

void add_errors(ErrorSums& out, const ConstMatrixRef& x, const ConstMatrixRef& reference) {
  assert(x.rows() == reference.rows() && x.cols() == reference.cols());
  out.count += x.size();
  out.rows += x.rows();
  for (Index t = 0; t < x.rows(); ++t) {
    const RowErrors row = row_errors(row_at(x, t), row_at(reference, t), x.cols());
    out.error += row.error;
    out.signal += row.signal;
    out.estimate += row.estimate;
    out.product += row.product;
    out.max_error = std::max(out.max_error, row.max_error);
    out.row_relative += relative_error(row.error, row.signal);
  }
  if (std::isnan(out.error)) out.max_error = kNaN;
}

double median_of_abs(const ConstMatrixRef& x) {
  if (x.size() == 0) return kNaN;
  // Selection by counting: first the upper half of the bits, then the lower half within the one bucket that
  // holds the wanted rank. Exact, no copy of the matrix, and no order that a NaN could upset.
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
  const double lower = value_at((x.size() - 1) / 2);
  const double upper = value_at(x.size() / 2);
  return lower == upper ? lower : (lower + upper) / 2;
}

std::vector<double> channel_abs_mean(const ConstMatrixRef& x) {
  std::vector<double> out(static_cast<std::size_t>(x.cols()));
  for (Index t = 0; t < x.rows(); ++t) {
    const float* const row = row_at(x, t);
    for (Index j = 0; j < x.cols(); ++j) out[j] += std::abs(static_cast<double>(row[j]));
  }
  if (x.rows() > 0)
    for (double& v : out) v /= static_cast<double>(x.rows());
  return out;
}

double mean_row_kurtosis(const ConstMatrixRef& x) {
  const auto n = static_cast<double>(x.cols());
  double all = 0;
  Index counted = 0;
  for (Index t = 0; t < x.rows(); ++t) {
    const float* const row = row_at(x, t);
    const CentralSums s = central_sums(row, x.cols(), sum(row, x.cols()) / n);
    if (s.d2 == 0) continue;
    all += pearson(s.d2 / n, s.d4 / n);
    ++counted;
  }
  return counted == 0 ? kNaN : all / static_cast<double>(counted);
}

double mean_column_kurtosis(const ConstMatrixRef& x) {
  const auto n = static_cast<double>(x.rows());
  const auto columns = static_cast<std::size_t>(x.cols());
  std::vector<double> mean(columns);
  for (Index t = 0; t < x.rows(); ++t) {
    const float* const row = row_at(x, t);
    for (std::size_t j = 0; j < columns; ++j) mean[j] += static_cast<double>(row[j]);
  }
  for (double& m : mean) m /= n;
  std::vector<double> d2(columns);
  std::vector<double> d4(columns);
  for (Index t = 0; t < x.rows(); ++t) {
    const float* const row = row_at(x, t);
    for (std::size_t j = 0; j < columns; ++j) {
      const double d = static_cast<double>(row[j]) - mean[j];
      const double dd = d * d;
      d2[j] += dd;
      d4[j] += dd * dd;
    }
  }
  double all = 0;
  Index counted = 0;
  for (std::size_t j = 0; j < columns; ++j) {
    if (d2[j] == 0) continue;
    all += pearson(d2[j] / n, d4[j] / n);
    ++counted;
  }
  return counted == 0 ? kNaN : all / static_cast<double>(counted);
}

}  // namespace olab

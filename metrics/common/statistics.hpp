// Fused statistics in double: one pass over a matrix for many metrics.
#pragma once

#include "core/matrix.hpp"

namespace olab {

/// Population moments over all entries of a matrix.
struct Moments {
  Index count = 0;
  double mean = 0;
  double m2 = 0;  ///< mean of (x - mean)²
  double m3 = 0;  ///< mean of (x - mean)³
  double m4 = 0;  ///< mean of (x - mean)⁴
  double absmax = 0;
  double minimum = 0;
  double maximum = 0;
  /// Pearson's kurtosis m4 / m2² (Gaussian = 3); NaN where m2 = 0.
  double kurtosis() const;
};

/// Two passes (mean first), so that a large mean costs no digits. Zero for an empty matrix.
Moments compute_moments(const ConstMatrixRef& x);

/// Sums over all entries of a matrix against its reference.
struct ErrorSums {
  Index count = 0;
  double error = 0;      ///< Σ (x - r)²
  double signal = 0;     ///< Σ r²
  double estimate = 0;   ///< Σ x²
  double product = 0;    ///< Σ x r
  double max_error = 0;  ///< max |x - r|
};
ErrorSums compute_errors(const ConstMatrixRef& x, const ConstMatrixRef& reference);

/// Median of |x| over all entries (exact; even counts: mean of the two middle values).
double median_of_abs(const ConstMatrixRef& x);

}  // namespace olab

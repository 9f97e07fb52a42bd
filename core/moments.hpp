// Sums over rows and columns, in double. All levels give the same bits: lane j mod 32 of a row has its own
// sum, and the lanes are added in one fixed tree.
#pragma once

#include "core/cpu.hpp"
#include "core/extremes.hpp"
#include "core/matrix.hpp"

namespace olab {

/// Σ d, Σ d², Σ d³, Σ d⁴ over d = x - centre, and the range of x.
struct PowerSums {
  double s1 = 0;
  double s2 = 0;
  double s3 = 0;
  double s4 = 0;
  Range range;
};

/// d² is rounded once, d² d and d² d² are added without a rounding of their own: Σ d^k is off by at most
/// (n / 32 + 8) 2^-53 Σ |d|^k.
PowerSums power_sums(const float* x, Index n, double centre, CpuLevel level = cpu_level());

/// The population moments that follow from sums about a centre.
struct CentralMoments {
  double mean = 0;
  double m2 = 0;
  double m3 = 0;
  double m4 = 0;
  /// The mean lies within a standard deviation of the centre. Then going from the centre to the mean costs m2
  /// less than 2 bits and m4 less than 6 (the terms of m4 add up to less than 63 m4 there); else sum again
  /// about the mean.
  bool reliable = true;
};
CentralMoments central_moments(const PowerSums& sums, Index n, double centre);

/// Sums over pairs of a value and its reference.
struct PairSums {
  double error = 0;      ///< Σ (x - r)²
  double signal = 0;     ///< Σ r²
  double estimate = 0;   ///< Σ x²
  double product = 0;    ///< Σ x r
  double max_error = 0;  ///< max |x - r|; overlooks NaN
};
PairSums pair_sums(const float* x, const float* reference, Index n, CpuLevel level = cpu_level());

/// For every column: absmax[j] ← max(absmax[j], |x_tj|), sum[j] ← sum[j] + |x_tj| row by row.
void add_column_magnitudes(const ConstMatrixRef& x, float* absmax, double* sum, CpuLevel level = cpu_level());

/// For every column the power sums about centre[j], row by row: sums[k n + j] ← Σ_t (x_tj - centre[j])^(k+1),
/// k below 4.
void column_power_sums(const ConstMatrixRef& x, const double* centre, double* sums,
                       CpuLevel level = cpu_level());

}  // namespace olab

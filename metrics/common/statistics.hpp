// Fused statistics in double: one pass over a matrix for many metrics.
#pragma once

#include <functional>
#include <vector>

#include "core/cpu.hpp"
#include "core/matrix.hpp"

namespace olab {

// All sums are taken row by row, in a fixed order that does not depend on the instruction level. Errors are
// summed by all threads, the same bits for any number; the rest by one: runs are parallel.

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

/// One pass about a provisional centre: 0, or the mean of eight rows where that lies far from 0 for their
/// deviation. Where the mean turns out more than a deviation away from it (a few rows that are unlike the
/// rest) a second pass about the mean follows, so that a large mean costs no digits: m2 and m4 are off by at
/// most 63 (columns / 32 + rows + 16) 2^-53 of themselves. Zero for an empty matrix; a NaN in the matrix
/// makes every field but the count NaN.
Moments compute_moments(const ConstMatrixRef& x, CpuLevel level = cpu_level());

/// What most metrics ask for.
struct Summary {
  Moments moments;
  Vector channel_absmax;                 ///< core/matrix.hpp
  Vector token_absmax;                   ///< core/matrix.hpp
  std::vector<double> channel_abs_mean;  ///< as the function below
};
/// All of it while a few rows are in cache, in little more time than the moments alone; the same bits as one
/// by one.
Summary summarize(const ConstMatrixRef& x, CpuLevel level = cpu_level());

/// ‖error‖² / ‖signal‖² from the two sums: 0 at zero error whatever the signal, infinite where only the
/// signal is zero.
double relative_error(double error, double signal);

/// Sums over all entries of a matrix against its reference.
struct ErrorSums {
  Index count = 0;
  Index rows = 0;
  double error = 0;      ///< Σ (x - r)²
  double signal = 0;     ///< Σ r²
  double estimate = 0;   ///< Σ x²
  double product = 0;    ///< Σ x r
  double max_error = 0;  ///< max |x - r|; NaN where a difference is
  /// Σ over rows of relative_error(error of the row, signal of the row): a few massive tokens dominate
  /// `signal` but not this.
  double row_relative = 0;
};
/// Both have the same shape.
ErrorSums compute_errors(const ConstMatrixRef& x, const ConstMatrixRef& reference,
                         CpuLevel level = cpu_level());
/// Goes on with the next rows of the same matrices: rows added a few at a time give the bits of all at once.
void add_errors(ErrorSums& sums, const ConstMatrixRef& x, const ConstMatrixRef& reference,
                CpuLevel level = cpu_level());

/// The same for x that is never in memory as a whole: `fill(first, rows)` writes its rows from `first` on;
/// called from several threads.
void add_errors_of(ErrorSums& sums, const std::function<void(Index first, MatrixRef rows)>& fill,
                   const ConstMatrixRef& reference, CpuLevel level = cpu_level());

/// Median of |x| over all entries (exact; even counts: mean of the two middle values). NaN for an empty
/// matrix and where an entry is NaN. Takes a sixteenth of the matrix besides it, or 0.8 MB where
/// that is more.
double median_of_abs(const ConstMatrixRef& x, CpuLevel level = cpu_level());

/// mean_t |x_tj| of every channel j (PeRQ's score of a channel); zero for a matrix without rows.
std::vector<double> channel_abs_mean(const ConstMatrixRef& x, CpuLevel level = cpu_level());

/// Mean over rows (one kurtosis for each token) or over columns (one for each channel) of Pearson's kurtosis.
/// Constant rows and columns have no kurtosis and are left out; NaN where all of them are.
double mean_row_kurtosis(const ConstMatrixRef& x, CpuLevel level = cpu_level());
double mean_column_kurtosis(const ConstMatrixRef& x, CpuLevel level = cpu_level());

}  // namespace olab

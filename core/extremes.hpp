// Smallest, largest and largest magnitude of rows and columns. All levels give the same bits; a NaN is
// overlooked.
#pragma once

#include "core/cpu.hpp"
#include "core/matrix.hpp"

namespace olab {

/// The interval that values span; empty (low > high) where there are none.
struct Range {
  float low = 0;
  float high = 0;
};

Range value_range(const float* x, Index n, CpuLevel level = cpu_level());

/// low[j], high[j] ← range of column j; each holds x.cols() values.
void column_ranges(const ConstMatrixRef& x, float* low, float* high, CpuLevel level = cpu_level());

/// max |x|; 0 where there are no values.
float absmax(const float* x, Index n, CpuLevel level = cpu_level());

/// out[j] ← max_t |x_tj|; `out` holds x.cols() values.
void column_absmax(const ConstMatrixRef& x, float* out, CpuLevel level = cpu_level());

/// No NaN and no infinity among the values.
bool all_finite(const float* x, Index n, CpuLevel level = cpu_level());

/// Magnitudes |x| seen from two of them.
struct MagnitudeCounts {
  Index below = 0;   ///< |x| < low
  Index low = 0;     ///< |x| = low
  Index inside = 0;  ///< low < |x| < high
  bool has_nan = false;
};
/// Writes the magnitudes between low and high (>= 0) to `inside`, in order, as long as they leave 16 of the
/// `capacity` (>= 16) places free; beyond that it stops, and `inside` of the result is more than capacity
/// - 16.
MagnitudeCounts count_magnitudes(const float* x, Index n, float low, float high, float* inside,
                                 Index capacity, CpuLevel level = cpu_level());

}  // namespace olab

// Smallest, largest and largest magnitude of rows and columns. All levels give the same bits; a NaN is
// overlooked.
#pragma once

#include <cstdint>

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

/// Magnitudes |x| seen from two of them, both as bits (the bits of |x| sort like |x|, NaN above infinity).
struct MagnitudeCounts {
  Index below = 0;            ///< |x| < low
  Index low = 0;              ///< |x| = low
  Index inside = 0;           ///< low < |x| < high
  std::uint32_t largest = 0;  ///< bits of the largest magnitude: above those of infinity where there is a NaN
};
/// Writes the bits of the magnitudes between low and high to `inside`, in order, as long as at most
/// `capacity`
/// (>= 16) of them come; beyond that it stops writing and `inside` of the result is more than capacity - 16.
MagnitudeCounts count_magnitudes(const float* x, Index n, std::uint32_t low, std::uint32_t high,
                                 std::uint32_t* inside, Index capacity, CpuLevel level = cpu_level());

}  // namespace olab

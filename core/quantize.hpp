// Rounding to integer grids: fake quantization, and the same as codes. All levels give the same bits, those
// of the formulas below in float32 with a true division and rounding half to even.
//
// For values that share a grid, with minimum lo and maximum hi, both multiplied by `clip`, b bits:
//   asymmetric  step = (hi - lo) / (2^b - 1),               zero = round(-lo / step)
//   symmetric   step = max(|lo|, |hi|) / (2^(b-1) - 1),     zero = 2^(b-1) - 1
//   step is kept within [1e-5, 1e4];  code = clamp(round(x / step) + zero, 0, 2^b - 1)
//   x^ = (code - zero) step
#pragma once

#include <cstdint>

#include "core/cpu.hpp"
#include "core/extremes.hpp"
#include "core/integer_matrix.hpp"
#include "core/matrix.hpp"

namespace olab {

/// How a grid is laid over a range of values.
struct IntegerRule {
  int bits = 4;            ///< 2 to 8
  bool symmetric = false;  ///< zero point in the middle
  float clip = 1;          ///< ratio by which both ends are multiplied
  /// As the released DuQuant code: zero cut to [-1e4, 1e4], round(x / step) passed through fp16, and equal
  /// values rounded like others; else equal values are kept as they are, whatever `clip`.
  bool released = false;
};

/// One grid.
struct IntegerGrid {
  float step = 1;
  float zero = 0;  ///< an integer
  float last = 1;  ///< largest code
  bool through_half = false;
  bool constant = false;  ///< all values are equal and kept
};

IntegerGrid integer_grid(const IntegerRule& rule, Range range);

/// Where results go. Streaming stores pass the caches by: they save reading what is overwritten, and they pay
/// where the result is too large to be found in a cache again. They need a row of `out` at a multiple of 64
/// bytes and grids of a multiple of 16 values, or they are ordinary ones.
enum class Store { automatic, cached, streaming };

// Each returns how many values lay beyond the grid's ends and were clipped to them. Values are finite; `out`
// has the shape of `in` and may be the same matrix, but not overlap otherwise. The same bits for any number
// of threads.

/// One grid for every `size` neighbours of a row; size divides in.cols(), and is in.cols() for one a row.
Index round_groups(const ConstMatrixRef& in, Index size, const IntegerRule& rule, MatrixRef out,
                   Store store = Store::automatic, CpuLevel level = cpu_level());
/// One grid.
Index round_matrix(const ConstMatrixRef& in, const IntegerRule& rule, MatrixRef out,
                   Store store = Store::automatic, CpuLevel level = cpu_level());
/// One grid a column.
Index round_columns(const ConstMatrixRef& in, const IntegerRule& rule, MatrixRef out,
                    Store store = Store::automatic, CpuLevel level = cpu_level());

// The same as integers: (code - zero) step is, value by value, what the functions above write (a zero may
// have the other sign). False, and `out` unspecified, where a zero point lies beyond
// IntegerMatrix::kLargestZero.

/// One grid a row.
bool rows_to_codes(const ConstMatrixRef& in, const IntegerRule& rule, IntegerMatrix& out, Index& clipped,
                   CpuLevel level = cpu_level());
/// One grid; every row of `out` has the same step and zero point.
bool matrix_to_codes(const ConstMatrixRef& in, const IntegerRule& rule, IntegerMatrix& out, Index& clipped,
                     CpuLevel level = cpu_level());

/// A row of codes and what they mean.
struct RowCodes {
  float step = 1;
  float zero = 0;
  Index clipped = 0;
};
/// One row of n values on a grid of its own, for a caller that has it in cache. The zero point is not
/// checked.
RowCodes row_to_codes(const float* x, Index n, const IntegerRule& rule, std::uint8_t* codes,
                      CpuLevel level = cpu_level());

}  // namespace olab

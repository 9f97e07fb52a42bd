// Largest and smallest entries of rows times a matrix, without storing the product: the exact scores in
// float, and a filter on 8-bit codes that leaves few rows for them. For searches (DuQuant's) that look at the
// extremes of X·R for many R in turn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/cpu.hpp"
#include "core/matrix.hpp"

namespace olab {

/// What is known of a row before any product. square_sum is summed in double.
struct RowFacts {
  double square_sum;
  float low;   ///< smallest entry
  float high;  ///< largest entry
};

/// Facts of `count` rows of `size` floats each, `stride` floats apart. Same bits at every level.
void measure_rows(const float* rows, Index stride, Index count, Index size, RowFacts* out, CpuLevel level);

/// A b × b matrix with its columns padded to a multiple of 16 by copies of the first column, which change
/// neither a largest nor a smallest entry. (Where b is such a multiple, R itself is as good.)
Matrix pad_columns(const ConstMatrixRef& square);

/// Least and largest entry of one row of a product.
struct RowRange {
  float low;
  float high;
};

/// out[i] = range of row_i · R over its b entries, each summed over k in rising order, multiply and add
/// apart: the bits of core/linalg's products. `padded` is pad_columns(R). Same bits at every level.
void score_rows(const float* const* rows, Index count, const Matrix& padded, RowRange* out, CpuLevel level);

/// y = row · R, the same sums: padded.cols() floats, of which the first b count.
void row_product(const float* row, const Matrix& padded, float* y, CpuLevel level);

// The filter. A row x of b floats becomes x = q + e with q = step · a, a in −63 … 63; a column r of R becomes
// r = f + g with f = step_R · c, c in −127 … 127. Then |x·r − step · step_R · (a·c)| <= ‖e‖ ‖r‖ + ‖q‖ ‖g‖
// (Cauchy-Schwarz). Products are summed in groups of four channels. With `skip` > 0 the filter looks once on
// the way: all but the last `skip` groups done, the rest of the sum is at most ‖x_rest‖ ‖r_rest‖, and most
// rows can be let go there.

/// Rows in one block of codes; a block is filtered in one call.
constexpr Index kCodeRows = 64;
/// The values that `skip` can have: 0 … kSkips − 1, in units of skip_unit(size) groups.
constexpr Index kSkips = 12;

/// Groups of four channels, the last one padded by zeros.
constexpr Index code_groups(Index size) {
  return (size + 3) / 4;
}
/// Groups that one unit of `skip` leaves for later; 0: too few groups for a look on the way.
constexpr Index skip_unit(Index size) {
  const Index groups = code_groups(size);
  return groups < 16 ? 0 : groups < 32 ? 1 : groups / 32;
}

/// The codes of up to kCodeRows rows.
struct CodedRows {
  /// 64 + a as unsigned bytes [group][row][channel in the group]: code_groups(size) · kCodeRows · 4.
  std::uint8_t* codes;
  /// Of each row: its step, and an estimate of ‖e‖ in which only float rounding is left out (below
  /// 2^-21 (‖x‖ + ‖e‖)). A row whose step would not be a normal number gets step 0, codes 0 and ‖e‖ = ‖x‖.
  std::array<float, kCodeRows> step;
  std::array<float, kCodeRows> residual;
  /// [skip][row]: ‖x_rest‖ rounded up; 0 for skip = 0.
  std::array<std::array<float, kCodeRows>, kSkips> rest;
};

/// Codes of `count` rows (1 … kCodeRows) of `size` floats; rows beyond `count` get zeros. Same bits at every
/// level.
void encode_rows(const float* const* rows, Index count, Index size, CodedRows& out, CpuLevel level);

/// A bound of max_j ‖r_j‖ of pad_columns(R), at most 1 + b 2^-22 times too large. Same bits at every level.
double longest_column(const Matrix& padded, CpuLevel level);

/// The codes of a matrix.
struct CodedMatrix {
  Index size = 0;
  Index groups = 0;
  Index skip = 0;       ///< groups that are left for the second part
  float step = 0;       ///< step_R, one for all columns
  double norm = 0;      ///< max_j ‖r_j‖
  double residual = 0;  ///< max_j ‖g_j‖
  /// Signed bytes [column / 4][group][column % 4][channel in the group]; columns padded by copies.
  Eigen::Matrix<std::int8_t, Eigen::Dynamic, 1> codes;
  /// −64 Σ c over the first part and over the second, of each column: what the offset of the rows' codes
  /// adds.
  std::vector<std::int32_t> first_offset;
  std::vector<std::int32_t> second_offset;
  std::vector<float> rest;  ///< of each tile of four columns: max ‖r_rest‖, rounded up
};

/// Codes of pad_columns(R); `skip` in units. Reuses what `out` holds. Same bits at every level.
void encode_matrix(const Matrix& padded, Index skip, CodedMatrix& out, CpuLevel level);

/// Bounds of each row of a block.
struct RowBounds {
  std::array<float, kCodeRows> error;         ///< of what falls on ‖r‖; infinite: the row always counts
  std::array<float, kCodeRows> length;        ///< of what falls on ‖g‖
  std::array<float, kCodeRows> inverse_step;  ///< 1 / step; 0 where the step is 0
};

/// The limits of one block of rows, in units of their codes' products.
struct alignas(64) FilterLimits {
  std::array<std::int32_t, kCodeRows> low;   ///< a row counts where its least sum Σ a c is at most this …
  std::array<std::int32_t, kCodeRows> high;  ///< … or its largest at least this; both within ±2^30
  std::array<float, kCodeRows> rest;  ///< <= 0: −‖x_rest‖ for the matrix's skip, over step · step_R
};

/// Limits by which no row is lost whose entries reach down to `range.low` or up to `range.high`, if these are
/// off by at most error · norm + length · residual, and by what some float operations here may round: eight
/// units in the last place of limits and bounds. Same bits at every level.
void set_limits(const RowBounds& bounds, const std::array<float, kCodeRows>& rest, RowRange range, float norm,
                float residual, float step_r, FilterLimits& out, CpuLevel level);

struct FilterRows {
  const std::uint8_t* codes;  ///< 64-byte aligned
  const std::uint8_t* next;   ///< codes of the block after this one, to be fetched; or `codes`
  const FilterLimits* limits;
};

/// Bit i is set where row i, in one tile of four columns, reaches low or high: where its reach, the larger of
/// largest sum − high and low − least sum, is >= 0; and where with skip > 0 its reach after the first part
/// was, as a float, at least rest · rest_tile. `second` counts the tiles of 64 rows that needed their second
/// part. Same bits at every level; `second` too. Sums and differences must stay within 32 bits: size <=
/// 65536.
std::uint64_t filter_rows(const FilterRows& rows, const CodedMatrix& matrix, Index& second, CpuLevel level);

}  // namespace olab

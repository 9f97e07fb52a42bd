// The inner loops of matrix products, one table a CPU level.
//
// A product is cut into tiles: a few rows of the left operand times a panel, `tile_columns` columns of the
// right operand that lie packed one step of k after the other. Panels are also the form in which a group of
// tokens is transposed (one channel a step, its tokens side by side), so the same kernels rotate both ways.
#pragma once

#include <vector>

#include "core/cpu.hpp"
#include "core/matrix.hpp"

namespace olab {

/// Left operands are handed to a tile as rows of at most kTileDepth values, kTileStride apart: a constant, so
/// that every row is addressed from one pointer, and no power of two, so that rows do not share cache sets.
constexpr Index kTileDepth = 256;
constexpr Index kTileStride = kTileDepth + 16;
/// At least tile_rows and tile_columns of every level.
constexpr Index kMostTileRows = 12;
constexpr Index kMostTileColumns = 32;

struct ProductKernels {
  Index tile_rows = 0;     ///< rows that keep all registers busy
  Index tile_columns = 0;  ///< width of a panel

  /// y (rows × columns, rows `ldy` apart) = a (rows × k) times a panel (k × tile_columns), or, where `go_on`,
  /// y + that: the sum runs on from what y holds, so a product cut along k has the bits of an uncut one.
  /// rows <= tile_rows, columns <= tile_columns, k <= kTileDepth; the panel is padded to its full width.
  using Tile = void (*)(const float* a, const float* panel, Index k, float* y, Index ldy, Index rows,
                        Index columns, bool go_on);
  /// Every product is rounded, then added, k rising: the same bits at every level.
  Tile tile = nullptr;
  /// Fused multiply-add where the CPU has it. The bits differ between levels, unless all values of `a` are 1
  /// or -1: then a product has no rounding, and they are those of `tile`.
  Tile fused_tile = nullptr;

  /// out (columns × rows, `out_stride` apart) = inᵀ, with in rows × columns, `in_stride` apart.
  void (*transpose)(const float* in, Index in_stride, Index rows, Index columns, float* out,
                    Index out_stride) = nullptr;
};

const ProductKernels& product_kernels(CpuLevel level = cpu_level());

/// A matrix as left operands of tiles, whatever the level.
class LeftOperand {
 public:
  LeftOperand() = default;
  explicit LeftOperand(const ConstMatrixRef& a);
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }

  /// y (rows() × tile_columns, `ldy` apart) = A · panel, by a tile of `kernels`. The panel has cols() steps.
  void multiply(const float* panel, const ProductKernels& kernels, ProductKernels::Tile tile, float* y,
                Index ldy) const;

 private:
  Index rows_ = 0;
  Index cols_ = 0;
  std::vector<float> values_;  // kTileDepth columns at a time, all rows one below the other
};

}  // namespace olab

// The fast Hadamard transform, and its odd factors.
#pragma once

#include "core/cpu.hpp"
#include "core/matrix.hpp"
#include "core/product_kernels.hpp"

namespace olab {

/// The factor F of order m in F ⊗ Sylvester(2^k). It is applied after the butterflies of Sylvester's part.
/// Sums run over the input's rows in rising order, products apart from sums: the same bits at every level.
class OddFactor {
 public:
  /// Order 1: no factor.
  OddFactor() = default;
  /// ±1 entries, m × m. A row x becomes x F: m additions a value.
  static OddFactor signs(Matrix core);
  /// Hartley's matrix of odd order m >= 3, F(j, k) = cos(2π j k / m) + sin(2π j k / m); F / sqrt(m) is
  /// symmetric and orthogonal for every m. About m / 2 multiply-adds a value: with e_j = x_j + x_(m-j) and
  /// o_j = x_j - x_(m-j), j = 1 … (m-1)/2, entries k and m - k are C_k + S_k and C_k - S_k, where
  /// C_k = x_0 + Σ e_j cos(2π j k / m) and S_k = Σ o_j sin(2π j k / m), j rising.
  static OddFactor hartley(Index m);

  Index order() const { return order_; }
  bool is_hartley() const { return hartley_; }
  /// F itself; 1 × 1 for order 1.
  Matrix matrix() const;

  /// x ← scale · Fᵀ x, with x order() rows of product_kernels(level).tile_columns values, `stride` apart.
  /// `scratch` holds scratch_size() values.
  void mix(float* x, Index stride, float scale, float* scratch, CpuLevel level) const;
  Index scratch_size() const;

 private:
  Index order_ = 1;
  bool hartley_ = false;
  Matrix core_;       // ±1 entries; empty for Hartley
  LeftOperand even_;  // coreᵀ, or the cosines
  LeftOperand odd_;   // the sines
};

/// x ← (x ∘ signs) · blockdiag(H), H = F ⊗ Sylvester(block / m) / sqrt(block), F an odd factor of order m
/// and Sylvester(2^k)(i, j) = (-1)^(number of common bits of i and j).
///
/// The order of operations is fixed: signs, butterflies at distance 1, 2, 4, …, the factor, one product with
/// 1 / sqrt(block). Every level gives the same bits.
class FastHadamard {
 public:
  /// block = factor.order() · 2^k. signs: ±1, one a channel, or empty. Asserts that the sizes fit.
  FastHadamard(Index block, OddFactor factor, Vector signs);

  Index block() const { return block_; }
  const OddFactor& factor() const { return factor_; }
  const Vector& signs() const { return signs_; }
  float scale() const { return scale_; }  ///< 1 / sqrt(block)

  /// Rows of x in place, on the calling thread. x's columns are a multiple of block(), and as many as there
  /// are signs.
  void apply(MatrixRef x, CpuLevel level = cpu_level()) const { apply(x, x, level); }
  /// The same from one matrix into another, or into itself.
  void apply(const ConstMatrixRef& from, MatrixRef to, CpuLevel level = cpu_level()) const;
  /// Whether a row costs the same alone as among others: blocks of small powers of two beside a factor are
  /// worked on several at a time.
  bool rows_apart(CpuLevel level = cpu_level()) const;

 private:
  void mix_narrow_blocks(MatrixRef& x, CpuLevel level) const;

  Index block_;
  Index inner_;  // block / factor.order(): a power of two
  float scale_;
  OddFactor factor_;
  Vector signs_;
};

}  // namespace olab

// Products of quantized matrices, exact in integers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/cpu.hpp"
#include "core/integer_matrix.hpp"

namespace olab {

/// Ŵ in the order in which the product reads it, with its row sums: packed once a quantized weight, then used
/// for any number of Â. Takes a byte a code at level vnni, two below it.
class PackedCodes {
 public:
  PackedCodes() = default;
  explicit PackedCodes(const IntegerMatrix& w, CpuLevel level = cpu_level()) { pack(w, level); }
  /// Another Ŵ, in the memory of the one before where that suffices.
  void pack(const IntegerMatrix& w, CpuLevel level = cpu_level());

  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  CpuLevel level() const { return level_; }
  /// Memory that the packed codes and their row constants take.
  std::size_t bytes() const;

 private:
  friend void multiply_codes(const IntegerMatrix& a, Index first, const PackedCodes& w, MatrixRef y);

  using Words = Eigen::Matrix<std::uint32_t, Eigen::Dynamic, 1>;  // aligned, and not cleared on allocation

  Index rows_ = 0;
  Index cols_ = 0;
  CpuLevel level_ = CpuLevel::portable;
  Words words_;
  // One a row, padded to whole panels: the step, and what the zero points of Â and the sums of its rows are
  // multiplied by.
  std::vector<double> step_;
  std::vector<std::int64_t> by_zero_;
  std::vector<std::int64_t> by_sum_;
};

/// y = Â Ŵᵀ for Â tokens × k and Ŵ out × k: y[t, o] = step_a[t] · step_w[o] · Σ_j (a[t,j] − zero_a[t])
/// (w[o,j] − zero_w[o]). The sum is exact (64-bit integers), the scales are multiplied in double, the result
/// is rounded to float once, so every level and any number of threads give the same bits. y is tokens × out
/// and must not overlap. With both zero points at their limits the sum fits for k <= 2^18.
void multiply_codes(const IntegerMatrix& a, const IntegerMatrix& w, MatrixRef y,
                    CpuLevel level = cpu_level());

/// The same for the tokens first … first + y.rows() − 1 of Â, at the level of `w`: a caller bounds memory by
/// tiling over tokens. y is y.rows() × out. Needs about 4 MiB of its own, whatever the number of tokens.
void multiply_codes(const IntegerMatrix& a, Index first, const PackedCodes& w, MatrixRef y);

}  // namespace olab

// What happens to a token in front of a quantized layer, in one pass: scale, rotations, permutations, then
// integers. The float result is never written to memory.
#pragma once

#include <memory>
#include <vector>

#include "core/cpu.hpp"
#include "core/hadamard.hpp"
#include "core/integer_matrix.hpp"
#include "core/matrix.hpp"
#include "core/product_kernels.hpp"

namespace olab {

/// One step on the channels of a token. Copies share what they hold.
struct OnlineStage {
  enum class Kind { scale, block_rotation, hadamard, permutation };

  /// x_j ← x_j / factors_j, or x_j · factors_j.
  static OnlineStage divide(Vector factors);
  static OnlineStage multiply(Vector factors);
  /// x ← x · blockdiag(R, …): one square matrix for all blocks, or one a block.
  static OnlineStage rotate(const std::vector<Matrix>& rotations);
  static OnlineStage transform(FastHadamard hadamard);
  /// Channel j of the result is channel order[j] of the input.
  static OnlineStage permute(std::vector<Index> order);

  Kind kind = Kind::scale;
  bool divides = false;                                        ///< scale
  std::shared_ptr<const Vector> factors;                       ///< scale
  std::shared_ptr<const std::vector<LeftOperand>> transposed;  ///< block_rotation: Rᵀ
  std::shared_ptr<const std::vector<Matrix>> rotations;        ///< block_rotation: R
  std::shared_ptr<const FastHadamard> hadamard;                ///< hadamard
  std::shared_ptr<const std::vector<Index>> order;             ///< permutation
};

/// How rotations are multiplied. Everything else is float always.
enum class Precision {
  stored,  ///< multiply and add apart, k rising: the bits of `multiply` and `rotate_blocks`
  fp32,    ///< fused multiply-add where the CPU has it
  bf16,    ///< rotations and what they are applied to rounded to bfloat16, sums in float
};

/// Whether this CPU, at this level, has the instructions.
bool precision_available(Precision precision, CpuLevel level = cpu_level());

/// A list of stages made ready for one width.
///
/// Where there are only scales and Hadamard transforms, a token is worked on alone, in L1. Else as many
/// tokens as a panel of the product kernels is wide are transposed together, one channel a row; a permutation
/// then only renames rows and costs nothing, and butterflies need no shuffles. Either way memory is read once
/// and written once, and everything between stays in cache.
class OnlineTransform {
 public:
  /// Asserts that the stages fit the width. Error where this CPU lacks the precision.
  OnlineTransform(Index channels, std::vector<OnlineStage> stages, Precision precision = Precision::fp32,
                  CpuLevel level = cpu_level());
  ~OnlineTransform();
  OnlineTransform(OnlineTransform&&) noexcept;
  OnlineTransform& operator=(OnlineTransform&&) noexcept;
  OnlineTransform(const OnlineTransform&) = delete;
  OnlineTransform& operator=(const OnlineTransform&) = delete;

  Index channels() const;

  /// out = x transformed, and each token quantized to integers of `bits` bits (2 to 8), asymmetric:
  ///   step = (hi - lo) / (2^bits - 1), kept within [1e-5, 1e4];  zero = round(-lo / step);
  ///   code = clamp(round(x · (1 / step)) + zero, 0, 2^bits - 1)
  /// with rounding half to even. A constant token is kept as IntegerMatrix says. Without stages it is plain
  /// round-to-nearest. The product by 1 / step may fall on the other side of a tie than x / step does, by one
  /// code. The same for any number of threads; the codes of one level equal those of another except for
  /// roundings of Precision::fp32.
  void run(const ConstMatrixRef& x, int bits, IntegerMatrix& out) const;

  /// x ← x transformed, in place, as float.
  void apply(MatrixRef x) const;

  /// ‖T(x) − T'(x)‖² / ‖T'(x)‖² in double, T' with Precision::stored: what the precision costs.
  double precision_error(const ConstMatrixRef& x) const;

 private:
  struct Program;
  std::unique_ptr<Program> program_;
};

}  // namespace olab

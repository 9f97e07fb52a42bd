// Invertible linear maps on the channels of a layer, each in its cheapest form.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/matrix.hpp"
#include "core/online.hpp"
#include "core/tensor_sink.hpp"

namespace olab {

/// What a transform costs for one token at inference time when it is applied to activations.
struct Cost {
  double multiply_adds = 0;  ///< per token
  double bytes = 0;          ///< read and written per token, beyond what the quantizer reads anyway, fp32
  bool foldable = false;     ///< it can be merged into the layer in front (norm weight, previous linear)

  Cost& operator+=(const Cost& other);
};

/// An invertible linear map T on the channel axis. Activations become x T, weights w T⁻ᵀ, so that
/// (x T)(w T⁻ᵀ)ᵀ = x wᵀ in exact arithmetic.
class Transform {
 public:
  Transform() = default;
  Transform(const Transform&) = delete;
  Transform& operator=(const Transform&) = delete;
  virtual ~Transform();

  virtual std::string kind() const = 0;                      ///< "channel_scale", "permutation", …
  virtual Index channels() const = 0;                        ///< width that it applies to
  virtual void apply_to_activations(MatrixRef x) const = 0;  ///< x (tokens × channels) ← x T, in place
  virtual void apply_to_weights(MatrixRef w) const = 0;      ///< w (out × channels) ← w T⁻ᵀ, in place
  virtual Cost online_cost() const = 0;
  /// Appends what it does to activations as stages that can be fused with others. false: it has no such
  /// form, and nothing was appended.
  virtual bool append_online(std::vector<OnlineStage>& stages) const;
  /// Writes its tensors under names that begin with `prefix`.
  virtual void save(TensorSink& sink, const std::string& prefix) const = 0;
};

/// T = T1 · T2 · … · Tk, applied in this order. Empty: the identity.
class Chain {
 public:
  Chain() = default;
  void add(std::shared_ptr<const Transform> transform);
  /// Appends another chain's transforms.
  void append(const Chain& other);
  const std::vector<std::shared_ptr<const Transform>>& transforms() const { return transforms_; }
  bool empty() const { return transforms_.empty(); }

  /// All parts on some rows, which stay in cache, before the next rows: one pass over memory instead of one a
  /// part, where every part has online stages. The bits are those of the parts one after the other.
  void apply_to_activations(MatrixRef x) const;
  void apply_to_weights(MatrixRef w) const;
  /// What has to be done to activations at inference time. Parts that fold into the layer in front (see
  /// online_cost) are left out. Nothing where a part has no online form.
  std::optional<std::vector<OnlineStage>> online_stages() const;
  /// The sum. A foldable part counts nothing while everything in front of it folds as well: behind an online
  /// transform there is no layer to merge it into. Foldable as a whole where every part folds.
  Cost online_cost() const;
  /// Tensors "0.channel_scale.scale", "1.block_rotation.rotation", "2.permutation.order", …: position in the
  /// chain, kind, tensor.
  void save(TensorSink& sink) const;

 private:
  std::optional<std::vector<OnlineStage>> stages_from(std::size_t first) const;
  std::vector<std::shared_ptr<const Transform>> transforms_;
};

/// x_j ← x_j / s_j, w_j ← w_j · s_j for every channel j. Foldable into the layer in front. Error on a scale
/// that is not finite and positive. Cost: one multiply-add a channel. Saves "scale" (1 × channels).
std::shared_ptr<const Transform> make_channel_scale(const Vector& scale);

/// Channel j of the result is channel order[j] of the input. Error where `order` is no permutation. Cost:
/// bytes only (a gather). Saves "order" (channels).
std::shared_ptr<const Transform> make_permutation(const std::vector<Index>& order);

/// Block diagonal rotation: `rotations` holds one b × b orthogonal matrix for all blocks, or one per block.
/// Error where b does not divide `channels` or a matrix is not orthogonal (max |RᵀR − I| > 1e-3). Cost: b
/// multiply-adds a channel. Saves "rotation" (matrices · b × b, one below the other).
std::shared_ptr<const Transform> make_block_rotation(Index channels, const std::vector<Matrix>& rotations);

/// What stands for the odd part m of a Hadamard block m · 2^k.
enum class OddPart {
  hadamard,  ///< a Hadamard matrix of the smallest order m · 2^i that can be built (hadamard_matrix.hpp)
  hartley,   ///< Hartley's matrix of order m, orthogonal for every m, but not of equal magnitudes
};

/// Block diagonal normalised Hadamard matrix of order `block` (block = channels: one full transform), after
/// random signs (1 × channels of ±1; empty: none): x ← (x ∘ signs) · blockdiag(H). For a power of two H is
/// Sylvester's, which is symmetric; other orders m · 2^k are F ⊗ Sylvester(2^k) / sqrt(block) with F of order
/// m from hadamard_core (Paley, Turyn, Williamson), or, for any odd m, Hartley's matrix
/// F(i, j) = cos(2π i j / m) + sin(2π i j / m) (Bracewell 1983, J. Opt. Soc. Am. 73). Error where no
/// construction has such an order (the message lists the block sizes of this width that have one), where
/// block does not divide channels, or on a sign other than ±1. Cost: log2(2^k) additions a channel, and where
/// m > 1 m more, or (m + 1/m) / 2 + 2 for Hartley's matrix, which is applied by its even and odd half. Saves
/// "block" (one integer), "signs" where there are any, and "core" (F, m × m) where m > 1.
std::shared_ptr<const Transform> make_hadamard(Index channels, Index block, Vector signs,
                                               OddPart odd_part = OddPart::hadamard);

/// Throws Error where `block` is below 2 or does not divide `channels`; the message lists the block sizes
/// that do.
void check_block_size(Index channels, Index block, const std::string& who);

}  // namespace olab

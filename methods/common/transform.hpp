// Invertible linear maps on the channels of a layer, each in its cheapest form.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/matrix.hpp"
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

  void apply_to_activations(MatrixRef x) const;
  void apply_to_weights(MatrixRef w) const;
  Cost online_cost() const;  ///< the sum; foldable parts count nothing
  void save(TensorSink& sink) const;

 private:
  std::vector<std::shared_ptr<const Transform>> transforms_;
};

/// x_j ← x_j / s_j, w_j ← w_j · s_j for every channel j. Foldable into the layer in front. Error on a scale
/// that is not finite and positive.
std::shared_ptr<const Transform> make_channel_scale(Vector scale);

/// Channel j of the result is channel order[j] of the input. Error where `order` is no permutation.
std::shared_ptr<const Transform> make_permutation(std::vector<Index> order);

/// Block diagonal rotation: `rotations` holds one b × b orthogonal matrix for all blocks, or one per block.
/// Error where b does not divide `channels` or a matrix is not orthogonal (max |RᵀR − I| > 1e-3).
std::shared_ptr<const Transform> make_block_rotation(Index channels, std::vector<Matrix> rotations);

/// Block diagonal normalised Hadamard matrix of order `block` (block = channels: one full transform), after
/// random signs (1 × channels of ±1; empty: none). Error where no Hadamard matrix of that order is available
/// or block does not divide channels.
std::shared_ptr<const Transform> make_hadamard(Index channels, Index block, Vector signs);

/// Throws Error where `block` does not divide `channels`; the message lists the block sizes that do.
void check_block_size(Index channels, Index block, const std::string& who);

}  // namespace olab

#include "methods/common/transform.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <utility>

#include "core/error.hpp"
#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "methods/common/divisors.hpp"
#include "methods/common/hadamard_matrix.hpp"

namespace olab {
namespace {

constexpr Index kRowsPerTask = 16;
constexpr double kOrthogonal = 1e-3;
/// Bytes a channel to write the result and to read it again, in fp32.
constexpr double kPassBytes = 8;

class ChannelScale final : public Transform {
 public:
  explicit ChannelScale(Vector scale) : scale_(std::move(scale)) {}
  std::string kind() const override { return "channel_scale"; }
  Index channels() const override { return scale_.size(); }
  void apply_to_activations(MatrixRef x) const override {
    assert(x.cols() == channels());
    for (Index t = 0; t < x.rows(); ++t) x.row(t).array() /= scale_.array();
  }
  void apply_to_weights(MatrixRef w) const override {
    assert(w.cols() == channels());
    for (Index o = 0; o < w.rows(); ++o) w.row(o).array() *= scale_.array();
  }
  Cost online_cost() const override {
    const auto n = static_cast<double>(channels());
    return {n, kPassBytes * n, true};
  }
  void save(TensorSink& sink, const std::string& prefix) const override {
    sink.put(prefix + "scale", Matrix(scale_));
  }

 private:
  Vector scale_;
};

class Permutation final : public Transform {
 public:
  explicit Permutation(std::vector<Index> order) : order_(std::move(order)) {}
  std::string kind() const override { return "permutation"; }
  Index channels() const override { return static_cast<Index>(order_.size()); }
  void apply_to_activations(MatrixRef x) const override { gather(x); }
  // A permutation matrix is orthogonal: T⁻ᵀ = T.
  void apply_to_weights(MatrixRef w) const override { gather(w); }
  Cost online_cost() const override { return {0, kPassBytes * static_cast<double>(channels()), false}; }
  void save(TensorSink& sink, const std::string& prefix) const override {
    sink.put(prefix + "order", std::span<const Index>(order_));
  }

 private:
  void gather(MatrixRef& x) const {
    assert(x.cols() == channels());
    parallel_for(x.rows(), kRowsPerTask, [&](Index begin, Index end) {
      Vector copy(channels());
      for (Index t = begin; t < end; ++t) {
        copy = x.row(t);
        for (Index j = 0; j < channels(); ++j) x(t, j) = copy[order_[static_cast<std::size_t>(j)]];
      }
    });
  }
  std::vector<Index> order_;
};

class BlockRotation final : public Transform {
 public:
  BlockRotation(Index channels, std::vector<Matrix> rotations)
      : channels_(channels), rotations_(std::move(rotations)) {}
  std::string kind() const override { return "block_rotation"; }
  Index channels() const override { return channels_; }
  void apply_to_activations(MatrixRef x) const override { rotate(x); }
  // Orthogonal: R⁻ᵀ = R.
  void apply_to_weights(MatrixRef w) const override { rotate(w); }
  Cost online_cost() const override {
    const auto n = static_cast<double>(channels_);
    return {n * static_cast<double>(rotations_.front().rows()), kPassBytes * n, false};
  }
  void save(TensorSink& sink, const std::string& prefix) const override {
    const Index b = rotations_.front().rows();
    Matrix all(b * static_cast<Index>(rotations_.size()), b);
    for (std::size_t k = 0; k < rotations_.size(); ++k)
      all.middleRows(b * static_cast<Index>(k), b) = rotations_[k];
    sink.put(prefix + "rotation", all);
  }

 private:
  void rotate(MatrixRef& x) const {
    assert(x.cols() == channels_);
    if (rotations_.size() == 1) {
      rotate_blocks(x, rotations_.front());
      return;
    }
    const Index b = rotations_.front().rows();
    for (std::size_t k = 0; k < rotations_.size(); ++k)
      rotate_blocks(x.middleCols(b * static_cast<Index>(k), b), rotations_[k]);
  }
  Index channels_;
  std::vector<Matrix> rotations_;
};

class Hadamard final : public Transform {
 public:
  Hadamard(Index channels, Index block, HadamardOrder order, Vector signs)
      : channels_(channels),
        block_(block),
        order_(order),
        core_(hadamard_core(order.core)),
        signs_(std::move(signs)) {}
  std::string kind() const override { return "hadamard"; }
  Index channels() const override { return channels_; }
  void apply_to_activations(MatrixRef x) const override { rotate(x); }
  // Signs and normalised Hadamard matrices are orthogonal, and so is their product: T⁻ᵀ = T.
  void apply_to_weights(MatrixRef w) const override { rotate(w); }
  Cost online_cost() const override {
    const auto n = static_cast<double>(channels_);
    const double dense = order_.core > 1 ? static_cast<double>(order_.core) : 0.0;
    return {n * (order_.doublings + dense), kPassBytes * n, false};
  }
  void save(TensorSink& sink, const std::string& prefix) const override {
    const std::array<Index, 1> block{block_};
    sink.put(prefix + "block", std::span<const Index>(block));
    if (signs_.size() > 0) sink.put(prefix + "signs", Matrix(signs_));
    if (order_.core > 1) sink.put(prefix + "core", core_);
  }

 private:
  void rotate(MatrixRef& x) const {
    assert(x.cols() == channels_);
    parallel_for(x.rows(), kRowsPerTask, [&](Index begin, Index end) {
      for (Index t = begin; t < end; ++t) {
        if (signs_.size() > 0) x.row(t).array() *= signs_.array();
        for (Index from = 0; from < channels_; from += block_)
          hadamard_transform({x.row(t).data() + from, static_cast<std::size_t>(block_)}, core_);
      }
    });
  }
  Index channels_;
  Index block_;
  HadamardOrder order_;
  Matrix core_;
  Vector signs_;
};

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  multiply_adds += other.multiply_adds;
  bytes += other.bytes;
  foldable = foldable && other.foldable;
  return *this;
}

Transform::~Transform() = default;

void Chain::add(std::shared_ptr<const Transform> transform) {
  assert(transform != nullptr);
  transforms_.push_back(std::move(transform));
}

void Chain::append(const Chain& other) {
  const std::vector<std::shared_ptr<const Transform>> more = other.transforms_;
  transforms_.insert(transforms_.end(), more.begin(), more.end());
}

// Writable views go by value in this room: a const reference would hide that they are written.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void Chain::apply_to_activations(MatrixRef x) const {
  for (const auto& t : transforms_) t->apply_to_activations(x);
}

// NOLINTNEXTLINE(performance-unnecessary-value-param)
void Chain::apply_to_weights(MatrixRef w) const {
  for (const auto& t : transforms_) t->apply_to_weights(w);
}

Cost Chain::online_cost() const {
  Cost total{0, 0, true};
  for (const auto& t : transforms_) {
    const Cost cost = t->online_cost();
    if (total.foldable && cost.foldable) continue;
    total += cost;
    total.foldable = false;
  }
  return total;
}

void Chain::save(TensorSink& sink) const {
  for (std::size_t k = 0; k < transforms_.size(); ++k)
    transforms_[k]->save(sink, fmt::format("{}.{}.", k, transforms_[k]->kind()));
}

std::shared_ptr<const Transform> make_channel_scale(Vector scale) {
  for (Index j = 0; j < scale.size(); ++j)
    if (!std::isfinite(scale[j]) || !(scale[j] > 0.0F))
      throw Error(fmt::format("channel scale: {} at channel {}; every scale must be finite and positive",
                              scale[j], j));
  return std::make_shared<ChannelScale>(std::move(scale));
}

std::shared_ptr<const Transform> make_permutation(std::vector<Index> order) {
  const auto n = static_cast<Index>(order.size());
  std::vector<bool> seen(order.size(), false);
  for (std::size_t j = 0; j < order.size(); ++j) {
    const Index from = order[j];
    if (from < 0 || from >= n)
      throw Error(fmt::format("permutation: position {} takes channel {}, outside 0 to {}", j, from, n - 1));
    if (seen[static_cast<std::size_t>(from)])
      throw Error(fmt::format("permutation: position {} takes channel {} a second time", j, from));
    seen[static_cast<std::size_t>(from)] = true;
  }
  return std::make_shared<Permutation>(std::move(order));
}

std::shared_ptr<const Transform> make_block_rotation(Index channels, std::vector<Matrix> rotations) {
  if (rotations.empty())
    throw Error("block rotation: no matrix given; give one for all blocks or one per block");
  const Index b = rotations.front().rows();
  check_block_size(channels, b, "block rotation");
  const Index blocks = channels / b;
  if (rotations.size() != 1 && static_cast<Index>(rotations.size()) != blocks)
    throw Error(fmt::format(
        "block rotation: {} matrices for {} blocks of {} channels; give one for all or one per block",
        rotations.size(), blocks, b));
  for (std::size_t k = 0; k < rotations.size(); ++k) {
    const Matrix& r = rotations[k];
    if (r.rows() != b || r.cols() != b)
      throw Error(
          fmt::format("block rotation: matrix {} is {} x {}, expected {} x {}", k, r.rows(), r.cols(), b, b));
    const double off = orthogonality_error(r);
    if (!(off <= kOrthogonal))
      throw Error(
          fmt::format("block rotation: matrix {} is not orthogonal: max |R^T R - I| is {:.3g}, allowed {:g}",
                      k, off, kOrthogonal));
  }
  return std::make_shared<BlockRotation>(channels, std::move(rotations));
}

std::shared_ptr<const Transform> make_hadamard(Index channels, Index block, Vector signs) {
  check_block_size(channels, block, "hadamard");
  const HadamardOrder order = find_hadamard_order(block);
  if (!order)
    throw Error(fmt::format(
        "hadamard: no Hadamard matrix of order {} is available; block sizes of the {} channels that "
        "have one: {}",
        block, channels, join_sizes(hadamard_blocks(channels))));
  if (signs.size() != 0 && signs.size() != channels)
    throw Error(fmt::format("hadamard: {} signs for {} channels", signs.size(), channels));
  for (Index j = 0; j < signs.size(); ++j)
    if (signs[j] != 1.0F && signs[j] != -1.0F)
      throw Error(fmt::format("hadamard: sign {} at channel {}; every sign must be 1 or -1", signs[j], j));
  return std::make_shared<Hadamard>(channels, block, order, std::move(signs));
}

void check_block_size(Index channels, Index block, const std::string& who) {
  if (block < 2)
    throw Error(
        fmt::format("{}: a block needs at least 2 channels, got {}; sizes that divide the {} channels: {}",
                    who, block, channels, join_sizes(divisors(channels))));
  if (channels % block != 0)
    throw Error(fmt::format("{}: block size {} does not divide the {} channels; sizes that do: {}", who,
                            block, channels, join_sizes(divisors(channels))));
}

}  // namespace olab

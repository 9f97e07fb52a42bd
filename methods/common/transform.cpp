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

/// What is done to every row alone, so that rows can be worked on in any number and by any thread.
class RowTransform : public Transform {
 public:
  RowTransform(Index channels, OnlineStage stage) : channels_(channels), stage_(std::move(stage)) {}
  Index channels() const override { return channels_; }
  bool append_online(std::vector<OnlineStage>& stages) const override {
    stages.push_back(stage_);
    return true;
  }
  void apply_to_activations(MatrixRef x) const override { apply(x); }
  // Rotations and permutations are orthogonal: T⁻ᵀ = T.
  void apply_to_weights(MatrixRef w) const override { apply(w); }

 protected:
  const OnlineStage& stage() const { return stage_; }
  virtual void apply_to_rows(MatrixRef rows) const = 0;
  virtual void apply(MatrixRef& x) const {
    assert(x.cols() == channels_);
    parallel_for(x.rows(), kRowsPerTask,
                 [&](Index begin, Index end) { apply_to_rows(x.middleRows(begin, end - begin)); });
  }

 private:
  Index channels_;
  OnlineStage stage_;
};

class ChannelScale final : public RowTransform {
 public:
  explicit ChannelScale(const Vector& scale) : RowTransform(scale.size(), OnlineStage::divide(scale)) {}
  std::string kind() const override { return "channel_scale"; }
  void apply_to_weights(MatrixRef w) const override {
    assert(w.cols() == channels());
    parallel_for(w.rows(), kRowsPerTask, [&](Index begin, Index end) {
      for (Index o = begin; o < end; ++o) w.row(o).array() *= stage().factors->array();
    });
  }
  Cost online_cost() const override {
    const auto n = static_cast<double>(channels());
    return {n, kPassBytes * n, true};
  }
  void save(TensorSink& sink, const std::string& prefix) const override {
    sink.put(prefix + "scale", Matrix(*stage().factors));
  }

 protected:
  void apply_to_rows(MatrixRef rows) const override {
    for (Index t = 0; t < rows.rows(); ++t) rows.row(t).array() /= stage().factors->array();
  }
};

class Permutation final : public RowTransform {
 public:
  explicit Permutation(const std::vector<Index>& order)
      : RowTransform(static_cast<Index>(order.size()), OnlineStage::permute(order)) {}
  std::string kind() const override { return "permutation"; }
  Cost online_cost() const override { return {0, kPassBytes * static_cast<double>(channels()), false}; }
  void save(TensorSink& sink, const std::string& prefix) const override {
    sink.put(prefix + "order", std::span<const Index>(*stage().order));
  }

 protected:
  void apply_to_rows(MatrixRef rows) const override {
    const std::vector<Index>& order = *stage().order;
    Vector copy(channels());
    for (Index t = 0; t < rows.rows(); ++t) {
      copy = rows.row(t);
      for (Index j = 0; j < channels(); ++j) rows(t, j) = copy[order[static_cast<std::size_t>(j)]];
    }
  }
};

class BlockRotation final : public RowTransform {
 public:
  BlockRotation(Index channels, const std::vector<Matrix>& rotations)
      : RowTransform(channels, OnlineStage::rotate(rotations)) {}
  std::string kind() const override { return "block_rotation"; }
  Cost online_cost() const override {
    const auto n = static_cast<double>(channels());
    return {n * static_cast<double>(rotations().front().rows()), kPassBytes * n, false};
  }
  void save(TensorSink& sink, const std::string& prefix) const override {
    const Index b = rotations().front().rows();
    Matrix all(b * static_cast<Index>(rotations().size()), b);
    for (std::size_t k = 0; k < rotations().size(); ++k)
      all.middleRows(b * static_cast<Index>(k), b) = rotations()[k];
    sink.put(prefix + "rotation", all);
  }

 protected:
  void apply(MatrixRef& x) const override { apply_to_rows(x); }
  void apply_to_rows(MatrixRef rows) const override {
    assert(rows.cols() == channels());
    if (rotations().size() == 1) {
      rotate_blocks(rows, rotations().front());
      return;
    }
    const Index b = rotations().front().rows();
    for (std::size_t k = 0; k < rotations().size(); ++k)
      rotate_blocks(rows.middleCols(b * static_cast<Index>(k), b), rotations()[k]);
  }

 private:
  const std::vector<Matrix>& rotations() const { return *stage().rotations; }
};

class Hadamard final : public RowTransform {
 public:
  Hadamard(Index channels, FastHadamard fast)
      : RowTransform(channels, OnlineStage::transform(std::move(fast))) {}
  std::string kind() const override { return "hadamard"; }
  Cost online_cost() const override {
    const auto n = static_cast<double>(channels());
    const auto m = static_cast<double>(fast().factor().order());
    double additions = std::log2(static_cast<double>(fast().block()) / m);
    if (m > 1) additions += fast().factor().is_hartley() ? (m + 1 / m) / 2 + 2 : m;
    return {n * additions, kPassBytes * n, false};
  }
  void save(TensorSink& sink, const std::string& prefix) const override {
    const std::array<Index, 1> block{fast().block()};
    sink.put(prefix + "block", std::span<const Index>(block));
    if (fast().signs().size() > 0) sink.put(prefix + "signs", Matrix(fast().signs()));
    if (fast().factor().order() > 1) sink.put(prefix + "core", fast().factor().matrix());
  }

 protected:
  void apply_to_rows(MatrixRef rows) const override { fast().apply(rows); }

 private:
  const FastHadamard& fast() const { return *stage().hadamard; }
};

/// Fewer rows than a panel has tokens leave it half empty, and one part has nothing to be fused with.
bool worth_fusing(std::size_t parts, Index rows) {
  constexpr Index kFewRows = 16;
  return parts > 1 && rows >= kFewRows;
}

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  multiply_adds += other.multiply_adds;
  bytes += other.bytes;
  foldable = foldable && other.foldable;
  return *this;
}

Transform::~Transform() = default;

bool Transform::append_online(std::vector<OnlineStage>& /*stages*/) const {
  return false;
}

void Chain::add(std::shared_ptr<const Transform> transform) {
  assert(transform != nullptr);
  transforms_.push_back(std::move(transform));
}

void Chain::append(const Chain& other) {
  const std::vector<std::shared_ptr<const Transform>> more = other.transforms_;
  transforms_.insert(transforms_.end(), more.begin(), more.end());
}

std::optional<std::vector<OnlineStage>> Chain::stages_from(std::size_t first) const {
  std::vector<OnlineStage> out;
  for (std::size_t k = first; k < transforms_.size(); ++k)
    if (!transforms_[k]->append_online(out)) return std::nullopt;
  return out;
}

std::optional<std::vector<OnlineStage>> Chain::online_stages() const {
  std::size_t first = 0;
  while (first < transforms_.size() && transforms_[first]->online_cost().foldable) ++first;
  return stages_from(first);
}

// Writable views go by value in this room: a const reference would hide that they are written.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void Chain::apply_to_activations(MatrixRef x) const {
  if (worth_fusing(transforms_.size(), x.rows())) {
    if (const auto stages = stages_from(0)) {
      OnlineTransform(x.cols(), *stages, Precision::stored).apply(x);
      return;
    }
  }
  for (const auto& t : transforms_) t->apply_to_activations(x);
}

// NOLINTNEXTLINE(performance-unnecessary-value-param)
void Chain::apply_to_weights(MatrixRef w) const {
  if (worth_fusing(transforms_.size(), w.rows())) {
    if (auto stages = stages_from(0)) {
      // Scales are undone; everything else is orthogonal.
      for (OnlineStage& stage : *stages)
        if (stage.kind == OnlineStage::Kind::scale) stage.divides = !stage.divides;
      OnlineTransform(w.cols(), *stages, Precision::stored).apply(w);
      return;
    }
  }
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

std::shared_ptr<const Transform> make_channel_scale(const Vector& scale) {
  for (Index j = 0; j < scale.size(); ++j)
    if (!std::isfinite(scale[j]) || !(scale[j] > 0.0F))
      throw Error(fmt::format("channel scale: {} at channel {}; every scale must be finite and positive",
                              scale[j], j));
  return std::make_shared<ChannelScale>(scale);
}

std::shared_ptr<const Transform> make_permutation(const std::vector<Index>& order) {
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
  return std::make_shared<Permutation>(order);
}

std::shared_ptr<const Transform> make_block_rotation(Index channels, const std::vector<Matrix>& rotations) {
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
  return std::make_shared<BlockRotation>(channels, rotations);
}

std::shared_ptr<const Transform> make_hadamard(Index channels, Index block, Vector signs, OddPart odd_part) {
  check_block_size(channels, block, "hadamard");
  OddFactor factor;
  if (odd_part == OddPart::hartley) {
    const Index odd = block / (block & -block);
    if (odd > 1) factor = OddFactor::hartley(odd);
  } else {
    const HadamardOrder order = find_hadamard_order(block);
    if (!order)
      throw Error(fmt::format(
          "hadamard: no Hadamard matrix of order {} is available; block sizes of the {} channels that "
          "have one: {}; odd_part=hartley takes any size",
          block, channels, join_sizes(hadamard_blocks(channels))));
    factor = OddFactor::signs(hadamard_core(order.core));
  }
  return make_hadamard_of(channels, block, std::move(factor), std::move(signs));
}

std::shared_ptr<const Transform> make_hadamard_of(Index channels, Index block, OddFactor factor,
                                                  Vector signs) {
  check_block_size(channels, block, "hadamard");
  const Index doublings = block / factor.order();
  if (block % factor.order() != 0 || (doublings & (doublings - 1)) != 0)
    throw Error(fmt::format("hadamard: a block of {} is no power of two times the odd factor's order {}",
                            block, factor.order()));
  if (signs.size() != 0 && signs.size() != channels)
    throw Error(fmt::format("hadamard: {} signs for {} channels", signs.size(), channels));
  for (Index j = 0; j < signs.size(); ++j)
    if (signs[j] != 1.0F && signs[j] != -1.0F)
      throw Error(fmt::format("hadamard: sign {} at channel {}; every sign must be 1 or -1", signs[j], j));
  return std::make_shared<Hadamard>(channels, FastHadamard(block, std::move(factor), std::move(signs)));
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

#include "methods/common/transform.hpp"

#include <gtest/gtest.h>

#include <map>

#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "methods_layers.hpp"

namespace olab {
namespace {

using test::error_of;

Matrix row(std::initializer_list<float> values) {
  Matrix out(1, static_cast<Index>(values.size()));
  Index j = 0;
  for (const float v : values) out(0, j++) = v;
  return out;
}

Vector vector(std::initializer_list<float> values) {
  return row(values).row(0);
}

struct Names final : TensorSink {
  std::map<std::string, Matrix> tensors;
  std::map<std::string, std::vector<Index>> indices;
  void put(const std::string& name, const ConstMatrixRef& values) override { tensors[name] = values; }
  void put(const std::string& name, std::span<const Index> values) override {
    indices[name] = {values.begin(), values.end()};
  }
};

TEST(ChannelScale, DividesActivationsAndMultipliesWeights) {
  const auto scale = make_channel_scale(vector({2, 4}));
  Matrix x = row({6, 6});
  Matrix w = row({3, 5});
  scale->apply_to_activations(x);
  scale->apply_to_weights(w);
  EXPECT_EQ(x, row({3, 1.5F}));
  EXPECT_EQ(w, row({6, 20}));
}

TEST(ChannelScale, RefusesAScaleThatIsNotFiniteAndPositive) {
  EXPECT_EQ(error_of([] {
              make_channel_scale(vector({1, 0}));
            }),
            "channel scale: 0 at channel 1; every scale must be finite and positive");
  EXPECT_EQ(error_of([] { make_channel_scale(vector({INFINITY})); }),
            "channel scale: inf at channel 0; every scale must be finite and positive");
}

TEST(PermutationTransform, TakesChannelOrderJAtPositionJ) {
  const auto permutation = make_permutation({2, 0, 1});
  Matrix x = row({10, 11, 12});
  permutation->apply_to_activations(x);
  EXPECT_EQ(x, row({12, 10, 11}));
  permutation->apply_to_weights(x);
  EXPECT_EQ(x, row({11, 12, 10}));
}

TEST(PermutationTransform, RefusesWhatIsNoPermutation) {
  EXPECT_EQ(error_of([] {
              make_permutation({0, 0});
            }),
            "permutation: position 1 takes channel 0 a second time");
  EXPECT_EQ(error_of([] {
              make_permutation({0, 2});
            }),
            "permutation: position 1 takes channel 2, outside 0 to 1");
}

TEST(BlockRotation, RotatesEveryBlockByTheSharedMatrix) {
  Matrix quarter(2, 2);
  quarter << 0, 1, -1, 0;  // (a, b) -> (-b, a)
  const auto rotation = make_block_rotation(4, {quarter});
  Matrix x = row({1, 2, 3, 4});
  rotation->apply_to_activations(x);
  EXPECT_EQ(x, row({-2, 1, -4, 3}));
}

TEST(BlockRotation, RotatesEachBlockByItsOwnMatrix) {
  Matrix quarter(2, 2);
  quarter << 0, 1, -1, 0;
  const auto rotation = make_block_rotation(4, {Matrix::Identity(2, 2), quarter});
  Matrix x = row({1, 2, 3, 4});
  rotation->apply_to_activations(x);
  EXPECT_EQ(x, row({1, 2, -4, 3}));
  Matrix w = row({1, 2, 3, 4});
  rotation->apply_to_weights(w);
  EXPECT_EQ(w, x);
}

TEST(BlockRotation, RefusesBadMatrices) {
  const Matrix one = Matrix::Identity(2, 2);
  EXPECT_EQ(error_of([&] { make_block_rotation(5, {one}); }),
            "block rotation: block size 2 does not divide the 5 channels; sizes that do: 5");
  EXPECT_EQ(error_of([&] {
              make_block_rotation(8, {one, one});
            }),
            "block rotation: 2 matrices for 4 blocks of 2 channels; give one for all or one per block");
  EXPECT_EQ(error_of([&] {
              make_block_rotation(4, {one, Matrix::Identity(2, 3)});
            }),
            "block rotation: matrix 1 is 2 x 3, expected 2 x 2");
  EXPECT_EQ(error_of([&] { make_block_rotation(4, {Matrix(2 * one)}); }),
            "block rotation: matrix 0 is not orthogonal: max |R^T R - I| is 3, allowed 0.001");
  EXPECT_EQ(error_of([&] { make_block_rotation(4, {}); }),
            "block rotation: no matrix given; give one for all blocks or one per block");
}

TEST(HadamardTransform, FlipsSignsThenAddsAndSubtracts) {
  const auto hadamard = make_hadamard(4, 2, vector({1, -1, 1, 1}));
  Matrix x = row({3, 1, 5, 2});
  hadamard->apply_to_activations(x);
  const Matrix want = row({2, 4, 7, 3}) / std::sqrt(2.0F);
  EXPECT_LT((x - want).cwiseAbs().maxCoeff(), 1e-6);
}

TEST(HadamardTransform, RefusesOrdersThatCannotBeBuiltAndNamesTheBlocksThatCan) {
  EXPECT_EQ(error_of([] { make_hadamard(172, 172, {}); }),
            "hadamard: no Hadamard matrix of order 172 is available; block sizes of the 172 channels that "
            "have one: "
            "2, 4");
  EXPECT_EQ(
      error_of([] { make_hadamard(15, 3, {}); }),
      "hadamard: no Hadamard matrix of order 3 is available; block sizes of the 15 channels that have one: "
      "none");
  EXPECT_EQ(error_of([] { make_hadamard(96, 64, {}); }),
            "hadamard: block size 64 does not divide the 96 channels; sizes that do: 2, 3, 4, 6, 8, 12, 16, "
            "24, 32, "
            "48, 96");
  EXPECT_EQ(error_of([] {
              make_hadamard(2, 2, vector({1, 0.5F}));
            }),
            "hadamard: sign 0.5 at channel 1; every sign must be 1 or -1");
  EXPECT_EQ(error_of([] { make_hadamard(2, 2, vector({1})); }), "hadamard: 1 signs for 2 channels");
}

TEST(Cost, CountsWhatEachTransformDoesForOneToken) {
  const Cost rotation = make_block_rotation(8, {Matrix::Identity(4, 4)})->online_cost();
  EXPECT_EQ(rotation.multiply_adds, 8 * 4);
  EXPECT_EQ(rotation.bytes, 8 * 8);
  EXPECT_FALSE(rotation.foldable);
  EXPECT_EQ(make_hadamard(8, 8, {})->online_cost().multiply_adds, 8 * 3);
  EXPECT_EQ(make_hadamard(24, 24, {})->online_cost().multiply_adds, 24 * (1 + 12));
  const Cost permutation = make_permutation({1, 0})->online_cost();
  EXPECT_EQ(permutation.multiply_adds, 0);
  EXPECT_EQ(permutation.bytes, 2 * 8);
  const Cost scale = make_channel_scale(vector({1, 2, 3}))->online_cost();
  EXPECT_EQ(scale.multiply_adds, 3);
  EXPECT_TRUE(scale.foldable);
}

TEST(ChainOfTransforms, CountsAFoldablePartOnlyBehindAnOnlineOne) {
  Chain chain;
  EXPECT_TRUE(chain.online_cost().foldable);
  chain.add(make_channel_scale(vector({1, 2})));
  EXPECT_EQ(chain.online_cost().bytes, 0);
  EXPECT_TRUE(chain.online_cost().foldable);
  chain.add(make_permutation({1, 0}));
  EXPECT_EQ(chain.online_cost().multiply_adds, 0);
  EXPECT_EQ(chain.online_cost().bytes, 16);
  EXPECT_FALSE(chain.online_cost().foldable);
  chain.add(make_channel_scale(vector({1, 2})));
  EXPECT_EQ(chain.online_cost().multiply_adds, 2);
  EXPECT_EQ(chain.online_cost().bytes, 32);
}

TEST(ChainOfTransforms, AppliesInOrderAndCanAppendItself) {
  Chain chain;
  chain.add(make_channel_scale(vector({1, 2})));
  chain.add(make_permutation({1, 0}));
  Matrix x = row({4, 6});
  chain.apply_to_activations(x);
  EXPECT_EQ(x, row({3, 4}));
  chain.append(chain);
  EXPECT_EQ(chain.transforms().size(), 4U);
}

TEST(ChainOfTransforms, SavesEveryTensorUnderPositionAndKind) {
  Chain chain;
  chain.add(make_channel_scale(vector({1, 2, 3, 4})));
  chain.add(make_permutation({3, 2, 1, 0}));
  chain.add(make_block_rotation(4, {Matrix::Identity(2, 2), Matrix::Identity(2, 2)}));
  chain.add(make_hadamard(4, 2, vector({1, -1, 1, -1})));
  Names sink;
  chain.save(sink);
  EXPECT_EQ(sink.tensors.at("0.channel_scale.scale"), row({1, 2, 3, 4}));
  EXPECT_EQ(sink.indices.at("1.permutation.order"), (std::vector<Index>{3, 2, 1, 0}));
  EXPECT_EQ(sink.tensors.at("2.block_rotation.rotation").rows(), 4);
  EXPECT_EQ(sink.indices.at("3.hadamard.block"), (std::vector<Index>{2}));
  EXPECT_EQ(sink.tensors.at("3.hadamard.signs"), row({1, -1, 1, -1}));
  EXPECT_EQ(sink.tensors.size() + sink.indices.size(), 5U);
}

TEST(BlockSize, ErrorListsTheSizesThatDivide) {
  EXPECT_EQ(error_of([] { check_block_size(24, 16, "duquant"); }),
            "duquant: block size 16 does not divide the 24 channels; sizes that do: 2, 3, 4, 6, 8, 12, 24");
  EXPECT_EQ(error_of([] { check_block_size(1, 2, "duquant"); }),
            "duquant: block size 2 does not divide the 1 channels; sizes that do: none");
  EXPECT_EQ(error_of([] { check_block_size(15, 1, "duquant"); }),
            "duquant: a block needs at least 2 channels, got 1; sizes that divide the 15 channels: 3, 5, 15");
  EXPECT_EQ(error_of([] { check_block_size(24, 24, "duquant"); }), "");
}

}  // namespace
}  // namespace olab

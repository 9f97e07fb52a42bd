#include "methods/common/transform.hpp"

#include <gtest/gtest.h>

#include <cmath>
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
  EXPECT_EQ(error_of([] { make_hadamard(268, 268, {}); }),
            "hadamard: no Hadamard matrix of order 268 is available; block sizes of the 268 channels that "
            "have one: "
            "2, 4; odd_part=hartley takes any size");
  EXPECT_EQ(
      error_of([] { make_hadamard(15, 3, {}); }),
      "hadamard: no Hadamard matrix of order 3 is available; block sizes of the 15 channels that have one: "
      "none; odd_part=hartley takes any size");
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

TEST(HadamardTransform, TakesHartleysMatrixForAnyOddPart) {
  // 6 = 3 · 2: cas of order 3 (1, 1, 1; 1, u, v; 1, v, u) beside (1, 1; 1, -1), over √6.
  const double u = (std::sqrt(3.0) - 1) / 2;
  const double v = (-std::sqrt(3.0) - 1) / 2;
  Eigen::Matrix3d cas;
  cas << 1, 1, 1, 1, u, v, 1, v, u;
  Eigen::MatrixXd want(6, 6);
  for (Index i = 0; i < 6; ++i)
    for (Index j = 0; j < 6; ++j)
      want(i, j) = cas(i / 2, j / 2) * (i % 2 == 1 && j % 2 == 1 ? -1 : 1) / std::sqrt(6.0);
  Matrix t = Matrix::Identity(6, 6);
  make_hadamard(6, 6, {}, OddPart::hartley)->apply_to_activations(t);
  EXPECT_LT((t.cast<double>() - want).cwiseAbs().maxCoeff(), 1e-7);
  Names sink;
  make_hadamard(12, 6, {}, OddPart::hartley)->save(sink, "");
  EXPECT_LT((sink.tensors.at("core").cast<double>() - cas).cwiseAbs().maxCoeff(), 1e-7);
  EXPECT_EQ(sink.indices.at("block"), (std::vector<Index>{6}));
}

TEST(HadamardTransform, OfAPowerOfTwoIsTheSameWithEitherOddPart) {
  Matrix a = Matrix::Identity(8, 8);
  Matrix b = a;
  make_hadamard(8, 8, {}, OddPart::hadamard)->apply_to_activations(a);
  make_hadamard(8, 8, {}, OddPart::hartley)->apply_to_activations(b);
  EXPECT_EQ(a, b);
}

TEST(HadamardTransform, KeepsTheProductOverTheWholeWidthOf11008) {
  Matrix x(3, 11008);
  Matrix w(4, 11008);
  RandomStream random(1);
  random.fill_normal(x);
  random.fill_normal(w);
  Vector signs(11008);
  for (float& s : signs) s = random.sign();
  Chain chain;
  chain.add(make_hadamard(11008, 11008, signs, OddPart::hartley));
  EXPECT_LT(test::product_error({x, w}, chain), 2e-6);
}

TEST(HadamardTransform, KeepsTheProductOverTheWholeWidthsOfModels) {
  for (const Index width :
       {11008, 13824, 14336, 28672, 18944, 29568, 17408, 25600, 4864, 9728, 5376, 21504, 8960}) {
    Matrix x(2, width);
    Matrix w(2, width);
    RandomStream random(static_cast<std::uint64_t>(width));
    random.fill_normal(x);
    random.fill_normal(w);
    x(0, width / 3) = 1000;
    Chain chain;
    chain.add(make_hadamard(width, width, {}));
    EXPECT_LT(test::product_error({x, w}, chain), 2e-6) << width;
    // An outlier is spread over all channels in equal parts.
    Matrix one = Matrix::Zero(1, width);
    one(0, width / 3) = 1;
    chain.apply_to_activations(one);
    EXPECT_LT((one.cwiseAbs().array() * std::sqrt(static_cast<float>(width)) - 1).abs().maxCoeff(), 1e-6)
        << width;
  }
}

TEST(Cost, CountsWhatEachTransformDoesForOneToken) {
  const Cost rotation = make_block_rotation(8, {Matrix::Identity(4, 4)})->online_cost();
  EXPECT_EQ(rotation.multiply_adds, 8 * 4);
  EXPECT_EQ(rotation.bytes, 8 * 8);
  EXPECT_FALSE(rotation.foldable);
  EXPECT_EQ(make_hadamard(8, 8, {})->online_cost().multiply_adds, 8 * 3);
  EXPECT_EQ(make_hadamard(24, 24, {})->online_cost().multiply_adds, 24 * (1 + 12));
  EXPECT_DOUBLE_EQ(make_hadamard(24, 24, {}, OddPart::hartley)->online_cost().multiply_adds,
                   24 * (3 + (3 + 1.0 / 3) / 2 + 2));
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

/// A transform of the given kind with random contents; `channels` is a multiple of 8.
std::shared_ptr<const Transform> random_transform(Index kind, Index channels, RandomStream& random) {
  if (kind == 0) {
    Vector scale(channels);
    for (float& s : scale) s = static_cast<float>(0.5 + random.uniform());
    return make_channel_scale(scale);
  }
  if (kind == 1) return make_permutation(random.permutation(channels));
  if (kind == 2) {
    const Index block = random.below(2) == 0 ? 8 : channels;
    std::vector<Matrix> rotations;
    const Index count = random.below(2) == 0 ? 1 : channels / block;
    for (Index k = 0; k < count; ++k) rotations.push_back(random_orthogonal(block, random));
    return make_block_rotation(channels, rotations);
  }
  Vector signs;
  if (random.below(2) == 0) {
    signs.resize(channels);
    for (float& s : signs) s = random.sign();
  }
  return make_hadamard(channels, random.below(2) == 0 ? 8 : channels, signs, OddPart::hartley);
}

TEST(ChainOfTransforms, GivesTheBitsOfItsPartsOneAfterTheOther) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomStream random(seed);
    const Index channels = 8 * (1 + random.below(seed % 10 == 0 ? 60 : 12));
    Chain chain;
    const Index parts = 2 + random.below(4);
    std::string kinds;
    for (Index k = 0; k < parts; ++k) {
      chain.add(random_transform(random.below(4), channels, random));
      kinds += chain.transforms().back()->kind() + " ";
    }
    Matrix x(1 + random.below(150), channels);
    random.fill_normal(x);
    for (const bool weights : {false, true}) {
      Matrix fused = x;
      Matrix apart = x;
      for (const auto& t : chain.transforms())
        weights ? t->apply_to_weights(apart) : t->apply_to_activations(apart);
      with_threads(2, [&] { weights ? chain.apply_to_weights(fused) : chain.apply_to_activations(fused); });
      EXPECT_EQ(fused, apart) << "seed " << seed << ": " << kinds << "of " << x.rows() << " x " << channels;
    }
  }
}

struct Doubled final : Transform {
  std::string kind() const override { return "doubled"; }
  Index channels() const override { return 2; }
  void apply_to_activations(MatrixRef x) const override { x *= 2.0F; }
  void apply_to_weights(MatrixRef w) const override { w *= 0.5F; }
  Cost online_cost() const override { return {2, 0, false}; }
  void save(TensorSink& /*sink*/, const std::string& /*prefix*/) const override {}
};

TEST(ChainOfTransforms, TakesPartsThatHaveNoOnlineForm) {
  Chain chain;
  chain.add(std::make_shared<Doubled>());
  chain.add(make_permutation({1, 0}));
  Matrix x(20, 2);
  x.col(0).setConstant(1);
  x.col(1).setConstant(3);
  chain.apply_to_activations(x);
  EXPECT_TRUE((x.col(0).array() == 6.0F).all() && (x.col(1).array() == 2.0F).all());
  EXPECT_FALSE(chain.online_stages().has_value());
}

TEST(ChainOfTransforms, LeavesWhatFoldsOutOfItsOnlineStages) {
  Chain chain;
  chain.add(make_channel_scale(vector({1, 2})));
  chain.add(make_permutation({1, 0}));
  chain.add(make_channel_scale(vector({1, 2})));
  const auto stages = chain.online_stages();
  ASSERT_TRUE(stages.has_value());
  ASSERT_EQ(stages->size(), 2U);
  EXPECT_EQ(stages->front().kind, OnlineStage::Kind::permutation);
  EXPECT_EQ(stages->back().kind, OnlineStage::Kind::scale);
  EXPECT_TRUE(Chain().online_stages()->empty());
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

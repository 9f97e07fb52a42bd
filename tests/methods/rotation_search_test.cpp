#include "methods/common/rotation_search.hpp"

#include <gtest/gtest.h>

#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "methods_layers.hpp"

namespace olab {
namespace {

RotationSettings settings(Index block, Index steps) {
  RotationSettings s;
  s.block_size = block;
  s.steps = steps;
  return s;
}

RotationSettings released(Index block, Index steps) {
  RotationSettings s = settings(block, steps);
  s.pivot = "row";
  s.fresh_q = "per-search";
  s.score = "peak-to-peak";
  return s;
}

/// Quarter turn of two channels: (a, b) -> (-b, a); its own exchange of both positions turns the other way.
StepRotation quarter_turns() {
  return [](Index) {
    Matrix r(2, 2);
    r << 0, 1, -1, 0;
    return r;
  };
}

TEST(BaseRotation, HasAFlatFirstRowAndIsOrthogonal) {
  for (const Index n : {1, 2, 3, 8, 96, 128}) {
    const Matrix r = base_rotation(n);
    EXPECT_LT(orthogonality_error(r), 1e-6) << n;
    EXPECT_LT((r.row(0).array() - 1.0F / std::sqrt(static_cast<float>(n))).abs().maxCoeff(), 1e-7) << n;
  }
  Matrix two(2, 2);
  two << std::sqrt(0.5F), std::sqrt(0.5F), -std::sqrt(0.5F), std::sqrt(0.5F);
  EXPECT_LT((base_rotation(2) - two).cwiseAbs().maxCoeff(), 1e-7);
}

TEST(RotationSearch, KeepsNoStepWhereNoneHelps) {
  Matrix x(1, 2);
  x << 3, 1;
  const RotationSearch found = search_rotation(x, settings(2, 5), quarter_turns(), nullptr);
  EXPECT_EQ(found.rotation, Matrix::Identity(2, 2));
  EXPECT_TRUE(found.exchanges.empty());
  EXPECT_EQ(found.scores, (std::vector<float>{3, 3, 3, 3, 3, 3}));
}

TEST(RotationSearch, CutsTheProductAtTheFirstLeastScore) {
  // Peak to peak of (3, -1): 4; after one quarter turn (1, 3): 2; then (-3, 1): 4, (-1, -3): 2.
  Matrix x(1, 2);
  x << 3, -1;
  RotationSettings s = settings(2, 3);
  s.score = "peak-to-peak";
  s.pivot = "row";
  const RotationSearch found = search_rotation(x, s, quarter_turns(), nullptr);
  EXPECT_EQ(found.scores, (std::vector<float>{4, 2, 4, 2}));
  EXPECT_EQ(found.exchanges, (std::vector<Index>{0}));
  EXPECT_EQ(found.rotation, quarter_turns()(0));
}

TEST(RotationSearch, PivotsOnTheChannelOrOnTheRowOfTheOutlier) {
  // Rows of 4 channels: token 0 has rows 0 and 1, token 1 rows 2 and 3; the outlier is in row 3, channel 1.
  Matrix x = Matrix::Zero(2, 8);
  x(1, 4 + 1) = -9;
  x(0, 2) = 8;
  // A step that mixes positions 0 and 1, so the outlier shrinks whether 0 and 1 or 0 and 3 are exchanged.
  Matrix mixing = Matrix::Identity(4, 4);
  mixing.topLeftCorner(2, 2) = base_rotation(2);
  const StepRotation steps = [&](Index) { return mixing; };
  RotationSettings s = settings(4, 1);
  const RotationSearch channel = search_rotation(x, s, steps, nullptr);
  EXPECT_EQ(channel.exchanges, (std::vector<Index>{1}));
  EXPECT_FLOAT_EQ(channel.rotation(0, 1), -mixing(0, 1));
  s.pivot = "row";
  const RotationSearch row = search_rotation(x, s, steps, nullptr);
  EXPECT_EQ(row.exchanges, (std::vector<Index>{3}));
  EXPECT_EQ(row.rotation(0, 0), 1.0F);
  EXPECT_EQ(row.rotation(3, 1), mixing(0, 1));
}

TEST(RotationSearch, TiesGoToTheFirstRowAndTheMinimumAsInTheReleasedCode) {
  Matrix x = Matrix::Zero(3, 2);
  x(1, 0) = 5;
  x(2, 1) = 5;
  RotationSettings s = settings(2, 1);
  s.pivot = "row";
  const StepRotation half_turn = [](Index) { return base_rotation(2); };
  EXPECT_EQ(search_rotation(x, s, half_turn, nullptr).exchanges, (std::vector<Index>{1}));
  x(2, 1) = -5;
  EXPECT_EQ(search_rotation(x, s, half_turn, nullptr).exchanges, (std::vector<Index>{2}));
}

TEST(RotationSearch, NeverRaisesTheScoreAndLowersAMassiveOutlier) {
  const test::Layer layer = test::make_layer(16, 64, 4, 1);
  for (const bool as_released : {false, true}) {
    const RotationSettings s = as_released ? released(32, 40) : settings(32, 40);
    const RotationSearch found = search_rotation(layer.x, s, random_steps(s, RandomStream(5)), nullptr);
    EXPECT_EQ(found.scores.size(), 41U);
    const auto kept = found.exchanges.size();
    EXPECT_EQ(found.scores[kept], *std::min_element(found.scores.begin(), found.scores.end()));
    EXPECT_LT(found.scores[kept], 0.5F * found.scores[0]);
    EXPECT_LT(orthogonality_error(found.rotation), 1e-5);
    Matrix x = layer.x;
    rotate_blocks(x, found.rotation);
    const float reached = as_released ? x.maxCoeff() - x.minCoeff() : x.cwiseAbs().maxCoeff();
    EXPECT_NEAR(reached, found.scores[kept], 1e-3F * reached);
  }
}

TEST(RotationSearch, AShorterSearchIsAPrefixOfALongerOne) {
  const test::Layer layer = test::make_layer(8, 32, 4, 2);
  for (const char* fresh : {"per-step", "per-search"}) {
    RotationSettings s = settings(16, 20);
    s.fresh_q = fresh;
    const RotationSearch longer = search_rotation(layer.x, s, random_steps(s, RandomStream(9)), nullptr);
    s.steps = 6;
    const RotationSearch shorter = search_rotation(layer.x, s, random_steps(s, RandomStream(9)), nullptr);
    EXPECT_EQ(shorter.scores, std::vector<float>(longer.scores.begin(), longer.scores.begin() + 7));
  }
}

TEST(RandomSteps, ShareTheirFirstDrawBetweenTheModes) {
  RotationSettings s = settings(8, 3);
  const StepRotation fresh = random_steps(s, RandomStream(4));
  s.fresh_q = "per-search";
  const StepRotation same = random_steps(s, RandomStream(4));
  const Matrix first = fresh(0);
  EXPECT_EQ(first, same(0));
  EXPECT_EQ(first, same(1));
  EXPECT_NE(first, fresh(1));
  EXPECT_LT(orthogonality_error(first), 1e-6);
  // Rt · diag(1, Q'): the first column of Rt stays.
  EXPECT_EQ(Matrix(first.col(0)), Matrix(base_rotation(8).col(0)));
}

TEST(BlockSearch, FindsOneMatrixForAllBlocksOrOnePerBlock) {
  const test::Layer layer = test::make_layer(8, 64, 4, 3);
  RotationSettings s = settings(16, 5);
  const RandomStream random(11);
  EXPECT_EQ(search_block_rotation(layer.x, s, random_block_steps(s, random), nullptr).searches.size(), 1U);
  s.share_rotation = false;
  const SearchedRotation own = search_block_rotation(layer.x, s, random_block_steps(s, random), nullptr);
  ASSERT_EQ(own.searches.size(), 4U);
  for (Index k = 0; k < 4; ++k) {
    const RotationSearch alone =
        search_rotation(layer.x.middleCols(16 * k, 16), s,
                        random_steps(s, random.fork("block " + std::to_string(k))), nullptr);
    EXPECT_EQ(alone.rotation, own.searches[static_cast<std::size_t>(k)].rotation);
  }
  EXPECT_NE(own.searches[0].scores, own.searches[1].scores);
}

TEST(BlockSearch, GivesTheSameBitsForAnyNumberOfThreads) {
  const test::Layer layer = test::make_layer(70, 128, 4, 4);
  for (const bool share : {true, false}) {
    RotationSettings s = released(32, 12);
    s.share_rotation = share;
    std::vector<Matrix> results;
    for (const int threads : {1, 2}) {
      const ThreadLimit limit(threads);
      Matrix x = layer.x;
      search_block_rotation(x, s, random_block_steps(s, RandomStream(6)), nullptr)
          .transform->apply_to_activations(x);
      results.push_back(x);
    }
    EXPECT_EQ(results[0], results[1]);
  }
}

TEST(BlockSearch, StopsWhenAskedAndRefusesABlockThatDoesNotDivide) {
  const test::Layer layer = test::make_layer(4, 24, 4, 5);
  StopFlag stop;
  stop.request();
  RotationSettings s = settings(8, 1000000);
  const RandomStream random(1);
  EXPECT_THROW(search_block_rotation(layer.x, s, random_block_steps(s, random), &stop), Interrupted);
  s.share_rotation = false;
  EXPECT_THROW(search_block_rotation(layer.x, s, random_block_steps(s, random), &stop), Interrupted);
  s.block_size = 16;
  EXPECT_EQ(
      test::error_of([&] { search_block_rotation(layer.x, s, random_block_steps(s, random), nullptr); }),
      "rotation search: block size 16 does not divide the 24 channels; sizes that do: 2, 3, 4, 6, 8, 12, 24");
}

}  // namespace
}  // namespace olab

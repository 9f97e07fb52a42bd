#include "methods/common/rotation_search.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "methods/common/row_scorer.hpp"
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

// ---- the plain search, as it is defined

Extremes plain_extremes(const Matrix& rows, Index b) {
  Extremes out;
  float absmax = -1;
  const Index blocks = rows.cols() / b;
  for (Index t = 0; t < rows.rows(); ++t)
    for (Index j = 0; j < rows.cols(); ++j) {
      const Index number = t * blocks + j / b;
      const float value = rows(t, j);
      if (value > out.high) {
        out.high = value;
        out.high_row = number;
      }
      if (value < out.low) {
        out.low = value;
        out.low_row = number;
      }
      const float a = std::abs(value);
      if (a > absmax || (a == absmax && j % b < out.channel)) out.channel = j % b;
      absmax = std::max(absmax, a);
    }
  return out;
}

/// The greedy search by whole products: of x with the accumulated matrix (what search_rotation promises), or
/// of x step after step (the released code).
RotationSearch plain_search(const Matrix& x, const RotationSettings& s, const StepRotation& steps,
                            bool step_after_step = false) {
  const Index b = s.block_size;
  Matrix sequential = x;
  Matrix product = Matrix::Identity(b, b);
  RotationSearch best;
  best.rotation = product;
  std::vector<Index> exchanges;
  float least = std::numeric_limits<float>::infinity();
  for (Index k = 0;; ++k) {
    Matrix rotated = step_after_step ? sequential : x;
    if (!step_after_step && k > 0) rotate_blocks(rotated, product);
    const Extremes e = plain_extremes(rotated, b);
    const float score =
        s.score == "peak-to-peak" ? e.high - e.low : std::max(std::abs(e.high), std::abs(e.low));
    best.scores.push_back(score);
    if (score < least) {
      least = score;
      best.rotation = product;
      best.exchanges = exchanges;
      best.kept = k;
    }
    if (k == s.steps) return best;
    const Index by_row = std::abs(e.high) > std::abs(e.low) ? e.high_row : e.low_row;
    exchanges.push_back(s.pivot == "row" ? by_row : e.channel);
    Matrix step = steps(k);
    const Index p = exchanges.back() % b;
    step.row(0).swap(step.row(p));
    step.col(0).swap(step.col(p));
    if (step_after_step) rotate_blocks(sequential, step);
    rotate_blocks(product, step);
  }
}

void expect_equal(const RotationSearch& got, const RotationSearch& want, const std::string& what) {
  EXPECT_EQ(got.exchanges, want.exchanges) << what;
  EXPECT_EQ(got.kept, want.kept) << what;
  EXPECT_EQ(got.scores, want.scores) << what;
  EXPECT_TRUE(got.rotation == want.rotation) << what;
}

const std::vector<std::string>& families() {
  static const std::vector<std::string> names{
      "gaussian",       "heavy tails", "massive row", "constant norm", "repeated rows", "exact ties", "zeros",
      "some zero rows", "one-sided",   "huge",        "denormal",      "mixed sizes",   "channels"};
  return names;
}

Matrix make_data(const std::string& family, Index tokens, Index blocks, Index b, RandomStream& random) {
  Matrix x(tokens, blocks * b);
  random.fill_normal(x);
  const auto each_row = [&](const auto& change) {
    for (Index t = 0; t < tokens; ++t)
      for (Index k = 0; k < blocks; ++k) change(x.block(t, k * b, 1, b));
  };
  if (family == "heavy tails") {
    for (float& v : x.reshaped()) v = static_cast<float>(random.student_t(2.0));
  } else if (family == "massive row") {
    x(random.below(tokens), random.below(x.cols())) = 500.0F * random.sign();
  } else if (family == "constant norm") {
    each_row([](auto row) { row *= 3.0F / std::max(row.norm(), 1e-20F); });
  } else if (family == "repeated rows") {
    const Matrix first = x.block(0, 0, 1, b);
    each_row([&](auto row) {
      if (random.uniform() < 0.7) row = first;
      if (random.uniform() < 0.2) row = -first;
    });
  } else if (family == "exact ties") {
    for (float& v : x.reshaped()) v = static_cast<float>(static_cast<int>(random.below(5)) - 2);
  } else if (family == "zeros") {
    x.setZero();
  } else if (family == "some zero rows") {
    each_row([&](auto row) {
      if (random.uniform() < 0.5) row.setZero();
    });
  } else if (family == "one-sided") {
    x = x.cwiseAbs().eval();
    if (random.sign() < 0) x = -x;
  } else if (family == "huge") {
    x *= 1e30F;
  } else if (family == "denormal") {
    x *= 1e-42F;
  } else if (family == "mixed sizes") {
    each_row([&](auto row) { row *= static_cast<float>(std::pow(10.0, 60 * random.uniform() - 30)); });
  } else if (family == "channels") {
    for (int i = 0; i < 3; ++i) x.col(random.below(x.cols())) *= 20.0F;
  }
  return x;
}

/// Random settings of the greedy search.
RotationSettings random_settings(Index b, RandomStream& random) {
  RotationSettings s = settings(b, random.below(9));
  if (random.below(2) == 0) s.pivot = "row";
  if (random.below(2) == 0) s.fresh_q = "per-search";
  if (random.below(2) == 0) s.score = "peak-to-peak";
  return s;
}

std::string text_of(const std::string& family, const Matrix& x, const RotationSettings& s) {
  return family + ", " + std::to_string(x.rows()) + " x " + std::to_string(x.cols()) + ", " + describe(s);
}

TEST(ExactSearch, HasTheBitsOfThePlainSearch) {
  // Sizes up to where the filter works: it needs more than 160 rows.
  int filtered = 0;
  for (int round = 0; round < 390; ++round) {
    RandomStream random(static_cast<std::uint64_t>(round) + 7000);
    const std::string& family = families()[static_cast<std::size_t>(round) % families().size()];
    const Index b = round % 4 == 0 ? 128 : 2 + random.below(round % 4 == 1 ? 6 : 70);
    const Index blocks = 1 + random.below(4);
    const Index tokens = 1 + random.below(round % 3 == 0 ? 200 : 20);
    const Matrix x = make_data(family, tokens, blocks, b, random);
    const RotationSettings s = random_settings(b, random);
    const RandomStream stream = random.fork("steps");
    expect_equal(search_rotation(x, s, random_steps(s, stream.fork("")), nullptr),
                 plain_search(x, s, random_steps(s, stream.fork(""))), text_of(family, x, s));
    if (tokens * blocks > 160) ++filtered;
  }
  EXPECT_GT(filtered, 60);
}

TEST(ExactSearch, HasTheBitsOfThePlainSearchOnManyRows) {
  for (const std::string& family : families()) {
    for (const bool as_released : {false, true}) {
      RandomStream random(31);
      const Matrix x = make_data(family, 400, 4, 64, random);
      const RotationSettings s = as_released ? released(64, 30) : settings(64, 30);
      expect_equal(search_rotation(x, s, random_steps(s, RandomStream(5)), nullptr),
                   plain_search(x, s, random_steps(s, RandomStream(5))), text_of(family, x, s));
    }
  }
}

TEST(ExactSearch, TakesBlocksAsWideAsTheLayerAndStridedRows) {
  RandomStream random(32);
  const Matrix wide = make_data("heavy tails", 220, 2, 150, random);
  for (const bool as_released : {false, true}) {
    const RotationSettings full = as_released ? released(300, 4) : settings(300, 4);
    expect_equal(search_rotation(wide, full, random_steps(full, RandomStream(6)), nullptr),
                 plain_search(wide, full, random_steps(full, RandomStream(6))), "full");
    const RotationSettings part = as_released ? released(150, 6) : settings(150, 6);
    expect_equal(
        search_rotation(wide.middleCols(150, 150), part, random_steps(part, RandomStream(6)), nullptr),
        plain_search(wide.middleCols(150, 150), part, random_steps(part, RandomStream(6))), "part");
  }
}

TEST(ExactSearch, ExchangesAsTheReleasedCodeDoesStepAfterStep) {
  // Scores differ in their last bits, so exchanges could, where two entries tie to rounding. On random data,
  // nothing ties: all 240 searches exchange alike.
  int differ = 0;
  for (int round = 0; round < 240; ++round) {
    RandomStream random(static_cast<std::uint64_t>(round) + 9000);
    const char* family = round % 3 == 0 ? "gaussian" : round % 3 == 1 ? "heavy tails" : "massive row";
    const Index b = round % 2 == 0 ? 32 : 128;
    const Matrix x = make_data(family, 24, 3, b, random);
    RotationSettings s = random_settings(b, random);
    s.steps = 24;
    const RandomStream stream = random.fork("steps");
    const RotationSearch here = search_rotation(x, s, random_steps(s, stream.fork("")), nullptr);
    const RotationSearch there = plain_search(x, s, random_steps(s, stream.fork("")), true);
    if (here.exchanges != there.exchanges) ++differ;
  }
  EXPECT_EQ(differ, 0);
}

// ---- the scorer alone

TEST(RowScorer, IsExactForEveryAimOnEveryLevel) {
  for (const std::string& family : families()) {
    RandomStream random(41);
    const Index b = 96;
    const Matrix x = make_data(family, 150, 3, b, random);
    for (const CpuLevel level : runnable_levels()) {
      RowScorer scorer(x, b, level);
      RandomStream draws(42);
      for (int k = 0; k < 4; ++k) {
        const Matrix r = random_orthogonal(b, draws);
        Matrix y = x;
        rotate_blocks(y, r);
        const Extremes want = plain_extremes(y, b);
        Extremes got;
        ASSERT_TRUE(scorer.score(r, {true, true}, got));
        EXPECT_EQ(got.high, want.high) << family;
        EXPECT_EQ(got.low, want.low) << family;
        EXPECT_EQ(got.high_row, want.high_row) << family;
        EXPECT_EQ(got.low_row, want.low_row) << family;
        EXPECT_EQ(got.channel, want.channel) << family;
        ASSERT_TRUE(scorer.score(r, {false, true}, got));
        EXPECT_EQ(got.absmax(), want.absmax()) << family;
        EXPECT_EQ(got.channel, want.channel) << family;
        EXPECT_EQ(std::abs(got.high) > std::abs(got.low), std::abs(want.high) > std::abs(want.low)) << family;
        EXPECT_EQ(scorer.score(r, {true, false}, got, want.peak_to_peak()), false) << family;
        EXPECT_EQ(scorer.score(r, {true, false}, got,
                               std::nextafter(want.peak_to_peak(), std::numeric_limits<float>::infinity())),
                  true)
            << family;
        EXPECT_EQ(scorer.score(r, {false, false}, got, want.absmax()), false) << family;
      }
      const Extremes unrotated = scorer.score_unrotated();
      const Extremes want = plain_extremes(x, b);
      EXPECT_EQ(unrotated.high_row, want.high_row) << family;
      EXPECT_EQ(unrotated.low_row, want.low_row) << family;
      EXPECT_EQ(unrotated.channel, want.channel) << family;
    }
  }
}

TEST(RowScorer, TakesMatricesThatAreNotOrthogonal) {
  RandomStream random(43);
  const Matrix x = make_data("gaussian", 300, 1, 40, random);
  for (const float scale : {0.0F, 1e-30F, 1e-4F, 1.0F, 1e5F, 1e30F}) {
    Matrix r(40, 40);
    random.fill_normal(r);
    r *= scale;
    Matrix y = x;
    rotate_blocks(y, r);
    const Extremes want = plain_extremes(y, 40);
    RowScorer scorer(x, 40);
    Extremes got;
    ASSERT_TRUE(scorer.score(r, {true, true}, got));
    EXPECT_EQ(got.high, want.high) << scale;
    EXPECT_EQ(got.low_row, want.low_row) << scale;
    EXPECT_EQ(got.channel, want.channel) << scale;
  }
}

TEST(RowScorer, LooksAtTheLongestRowsOnlyWhereAsked) {
  RandomStream random(44);
  const Index b = 24;
  Matrix x = make_data("some zero rows", 90, 2, b, random);
  x.block(17, b, 1, b) *= 9.0F;
  x.block(60, 0, 1, b) *= 8.0F;
  Matrix longest = Matrix::Zero(90, 2 * b);
  longest.block(17, b, 1, b) = x.block(17, b, 1, b);
  longest.block(60, 0, 1, b) = x.block(60, 0, 1, b);
  RowScorer scorer(x, b);
  scorer.use_longest(2);
  const Matrix r = random_orthogonal(b, random);
  Extremes got;
  scorer.score(r, {true, true}, got);
  rotate_blocks(longest, r);
  EXPECT_EQ(got.high, plain_extremes(longest, b).high);
  EXPECT_EQ(got.low_row, plain_extremes(longest, b).low_row);
  EXPECT_EQ(scorer.score_unrotated().high, std::max(x.row(17).maxCoeff(), x.row(60).maxCoeff()));
  scorer.use_longest(scorer.rows());
  EXPECT_EQ(scorer.score_unrotated().high, x.maxCoeff());
}

// ---- the cheap searches

/// Every product of a blind search scored in full.
RotationSearch plain_blind(const Matrix& x, const RotationSettings& s, const StepRotation& steps) {
  const bool alone = s.search == "hadamards";
  RotationSearch best;
  best.rotation = Matrix::Identity(s.block_size, s.block_size);
  Matrix product = best.rotation;
  float least = std::numeric_limits<float>::infinity();
  for (Index k = 0; k <= (alone ? s.candidates : s.steps); ++k) {
    if (k > 0 && alone) product = steps(k - 1);
    if (k > 0 && !alone) rotate_blocks(product, steps(k - 1));
    Matrix y = x;
    if (k > 0) rotate_blocks(y, product);
    const float score = s.score == "peak-to-peak" ? y.maxCoeff() - y.minCoeff() : y.cwiseAbs().maxCoeff();
    best.scores.push_back(score < least ? score : std::numeric_limits<float>::infinity());
    if (!(score < least)) continue;
    least = score;
    best.rotation = product;
    best.kept = k;
  }
  return best;
}

TEST(CheapSearch, LeavesStepsEarlyWithTheResultOfFullOnes) {
  for (int round = 0; round < 60; ++round) {
    RandomStream random(static_cast<std::uint64_t>(round) + 11000);
    const std::string& family = families()[static_cast<std::size_t>(round) % families().size()];
    const Index b = round % 2 == 0 ? 64 : 12;
    const Matrix x = make_data(family, 1 + random.below(120), 3, b, random);
    RotationSettings s = random_settings(b, random);
    s.search = round % 4 < 2 ? "random-pivot" : "hadamards";
    s.steps = 12;
    s.candidates = 9;
    const RandomStream stream = random.fork("steps");
    expect_equal(search_rotation(x, s, random_steps(s, stream.fork("")), nullptr),
                 plain_blind(x, s, random_steps(s, stream.fork(""))), text_of(family, x, s));
  }
}

TEST(CheapSearch, RandomPivotsExchangeTheGreedySearchsMatrices) {
  RotationSettings s = settings(16, 4);
  const StepRotation greedy = random_steps(s, RandomStream(3));
  s.search = "random-pivot";
  const StepRotation pivoted = random_steps(s, RandomStream(3));
  RandomStream pivots = RandomStream(3).fork("pivots");
  for (Index k = 0; k < 4; ++k) {
    Matrix want = greedy(k);
    const Index p = pivots.below(16);
    want.row(0).swap(want.row(p));
    want.col(0).swap(want.col(p));
    EXPECT_EQ(pivoted(k), want);
  }
}

TEST(CheapSearch, HadamardsAreSignedAndOrthogonal) {
  RotationSettings s = settings(12, 1);
  s.search = "hadamards";
  const StepRotation steps = random_steps(s, RandomStream(3));
  const Matrix first = steps(0);
  const Matrix second = steps(1);
  EXPECT_NE(first, second);
  for (const Matrix& m : {first, second}) {
    EXPECT_LT(orthogonality_error(m), 1e-6);
    EXPECT_LT((m.cwiseAbs().array() - 1.0F / std::sqrt(12.0F)).abs().maxCoeff(), 1e-7);
  }
  // Only the signs of rows differ.
  EXPECT_LT((first.cwiseProduct(second).rowwise().sum().cwiseAbs().array() - 1.0F).abs().maxCoeff(), 1e-6);
}

TEST(CheapSearch, OfHadamardsNeedsOneOfTheBlocksOrder) {
  RotationSettings s = settings(14, 1);
  s.search = "hadamards";
  EXPECT_EQ(
      test::error_of([&] { check_search(s, "duquant"); }),
      "duquant: search=hadamards needs a Hadamard matrix, and there is none of order 14 here; choose another "
      "block_size (any power of two has one) or search=random-pivot");
  s.block_size = 12;
  EXPECT_EQ(test::error_of([&] { check_search(s, "duquant"); }), "");
  const Registries r = test::method_registries();
  for (const std::string method : {"duquant", "rotate"})
    EXPECT_NE(test::error_of([&] {
                r.methods.make(method + "(block_size=14,search=hadamards)", r)->check(28, r);
              }).find(method + ": search=hadamards needs"),
              std::string::npos);
}

TEST(CheapSearch, OnASampleIsTheGreedySearchOfTheLongestRows) {
  RandomStream random(51);
  const Index b = 32;
  const Matrix x = make_data("heavy tails", 60, 1, b, random);
  // The 20 longest rows, in their order.
  std::vector<float> norms;
  for (Index t = 0; t < 60; ++t) norms.push_back(x.row(t).norm());
  std::vector<float> sorted = norms;
  std::ranges::sort(sorted, std::greater<>());
  Matrix sample(20, b);
  Index rows = 0;
  for (Index t = 0; t < 60; ++t)
    if (norms[static_cast<std::size_t>(t)] >= sorted[19]) sample.row(rows++) = x.row(t);
  ASSERT_EQ(rows, 20);
  RotationSettings s = settings(b, 20);
  const RotationSearch want = search_rotation(sample, s, random_steps(s, RandomStream(4)), nullptr);
  s.search = "sample";
  s.sample_rows = 20;
  const RotationSearch got = search_rotation(x, s, random_steps(s, RandomStream(4)), nullptr);
  expect_equal(got, want, "sample");
  EXPECT_GT(got.kept, 0);
}

TEST(CheapSearch, OnASampleKeepsNothingThatRaisesTheScoreOfAllRows) {
  // The longest row is flattened by a quarter of a half turn, which makes a peak of the flat row.
  Matrix x(2, 2);
  x << 3.9467F, 1.4365F, 2.9F, 2.9F;  // norms 4.2 and 4.1
  const StepRotation turn = [](Index) { return base_rotation(2); };
  RotationSettings s = settings(2, 1);
  s.search = "sample";
  s.sample_rows = 1;
  const RotationSearch found = search_rotation(x, s, turn, nullptr);
  EXPECT_LT(found.scores[1], found.scores[0]);
  EXPECT_EQ(found.kept, 0);
  EXPECT_TRUE(found.exchanges.empty());
  EXPECT_EQ(found.rotation, Matrix::Identity(2, 2));
  x(1, 1) = 0;
  EXPECT_EQ(search_rotation(x, s, turn, nullptr).kept, 1);
}

TEST(CheapSearch, GivesTheSameBitsForAnyNumberOfThreads) {
  RandomStream random(52);
  const Matrix x = make_data("gaussian", 500, 4, 32, random);
  for (const std::string search : {"exact", "random-pivot", "hadamards", "sample"}) {
    for (const bool share : {true, false}) {
      RotationSettings s = settings(32, 20);
      s.search = search;
      s.share_rotation = share;
      std::vector<SearchedRotation> results;
      for (const int threads : {1, 2, 4}) {
        const ThreadLimit limit(threads);
        results.push_back(search_block_rotation(x, s, random_block_steps(s, RandomStream(6)), nullptr));
      }
      for (std::size_t i = 1; i < results.size(); ++i)
        for (std::size_t k = 0; k < results[0].searches.size(); ++k)
          expect_equal(results[i].searches[k], results[0].searches[k], search);
    }
  }
}

TEST(CheapSearch, StopsWhenAsked) {
  const test::Layer layer = test::make_layer(4, 24, 4, 5);
  StopFlag stop;
  stop.request();
  for (const char* search : {"exact", "random-pivot", "hadamards", "sample"}) {
    RotationSettings s = settings(8, 1000000);
    s.search = search;
    EXPECT_THROW(search_rotation(layer.x, s, random_steps(s, RandomStream(1)), &stop), Interrupted) << search;
  }
}

TEST(Settings, TextNamesWhatTheResultDependsOnAndNothingElse) {
  RotationSettings s = settings(8, 3);
  const std::string exact = describe(s);
  s.candidates = 5;
  s.sample_rows = 7;
  EXPECT_EQ(describe(s), exact);
  s.search_on = "largest-block";
  EXPECT_NE(describe(s).find(", search_on=largest-block"), std::string::npos);
  s.search_on = "all-blocks";
  s.search = "hadamards";
  EXPECT_NE(describe(s).find("search=hadamards, candidates=5"), std::string::npos);
  s.search = "sample";
  EXPECT_NE(describe(s).find("search=sample, sample_rows=7"), std::string::npos);
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

TEST(BlockSearch, LooksAtTheBlockWithTheLargestOutlierAloneWhereAsked) {
  // Blocks of 2: the largest entry is in the second, though the third holds more.
  Matrix x(2, 6);
  x << 1, 2, 3, -9, 8, 8,  //
      0, 1, 4, 1, 8, -8;
  RotationSettings s = settings(2, 6);
  s.search_on = "largest-block";
  const RandomStream random(3);
  const SearchedRotation found = search_block_rotation(x, s, random_block_steps(s, random), nullptr);
  ASSERT_EQ(found.searches.size(), 1U);
  EXPECT_EQ(found.searches[0].scores.front(), 9.0F);
  const RotationSearch same =
      search_rotation(x.middleCols(2, 2), s, random_block_steps(s, random)(0), nullptr);
  expect_equal(found.searches[0], same, "largest block");
  // It is applied to all blocks.
  Matrix t = Matrix::Identity(6, 6);
  found.transform->apply_to_activations(t);
  EXPECT_EQ(Matrix(t.topLeftCorner(2, 2)), Matrix(t.bottomRightCorner(2, 2)));
  // A tie goes to the first block; with a matrix per block the setting is without effect.
  x(0, 4) = -9;
  const SearchedRotation tied = search_block_rotation(x, s, random_block_steps(s, random), nullptr);
  expect_equal(tied.searches[0], same, "tie");
  x(0, 4) = -9.5F;
  EXPECT_EQ(search_block_rotation(x, s, random_block_steps(s, random), nullptr).searches[0].scores.front(),
            9.5F);
  s.share_rotation = false;
  const std::string apart = describe(s);
  s.search_on = "all-blocks";
  EXPECT_EQ(describe(s), apart);
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

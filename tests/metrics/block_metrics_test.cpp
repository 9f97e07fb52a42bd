// block_variance, within_block_variance, block_l1_mass and their common block size.
#include "metrics/common/blocks.hpp"

#include <cmath>

#include "collect.hpp"
#include "core/error.hpp"

namespace olab {
namespace {

Index size_for(Index width, Index own, Index requested = kMethodBlockSize) {
  const Matrix x = Matrix::Zero(1, width);
  return resolve_block_size("m", requested, Observation(Stage::original, x, std::nullopt, own, -1));
}

TEST(BlockSize, IsTheMethodsWhereItHasOne) {
  EXPECT_EQ(size_for(256, 32), 32);
  EXPECT_EQ(size_for(256, 256), 256);
}

TEST(BlockSize, IsElseTheLargestDivisorNotAbove128) {
  EXPECT_EQ(size_for(4096, 0), 128);
  EXPECT_EQ(size_for(11008, 0), 128);
  EXPECT_EQ(size_for(172, 0), 86);
  EXPECT_EQ(size_for(37, 0), 37);
  EXPECT_EQ(size_for(131, 0), 1) << "a prime";
  EXPECT_EQ(size_for(1, 0), 1);
  EXPECT_EQ(size_for(172, 128), 86) << "the method's block does not divide the width";
}

TEST(BlockSize, AnExplicitOneWins) {
  EXPECT_EQ(size_for(256, 32, 64), 64);
  EXPECT_EQ(size_for(256, 32, 256), 256);
}

TEST(BlockSize, AnExplicitOneThatDoesNotDivideIsAnErrorThatListsTheDivisors) {
  const Matrix x = Matrix::Zero(2, 12);
  try {
    (void)collect("block_variance(block_size=5)", Observation(Stage::transformed, x, std::nullopt, 4, -1));
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(
        std::string(e.what()),
        "block_variance.block_size: 5 does not divide the 12 channels at stage transformed; use 'method' or "
        "a divisor: 1, 2, 3, 4, 6, 12");
  }
  EXPECT_THROW((void)value_of("within_block_variance(block_size=5)", x), Error);
  EXPECT_THROW((void)value_of("block_l1_mass(block_size=24)", x), Error);
  EXPECT_THROW((void)value_of("block_profile(block_size=5)", x), Error);
}

TEST(BlockSize, IsWrittenAsTheWordMethodByDefault) {
  const Registries r = metric_registries();
  EXPECT_EQ(r.metrics.canonical("block_variance", r), "block_variance(block_size=method)");
  EXPECT_EQ(r.metrics.canonical("block_variance(method)", r), "block_variance(block_size=method)");
  EXPECT_EQ(r.metrics.canonical("block_variance(64)", r), "block_variance(block_size=64)");
  EXPECT_THROW((void)r.metrics.canonical("block_variance(0)", r), SpecError);
}

TEST(BlockVariance, OfTheToyExampleInFigure2cFollowsEquation4) {
  // Channel maxima after rotation 1 as printed: block means 4.425 and 3.525. The printed variance 1.65 is not
  // theirs.
  const Matrix x =
      matrix({{2.2F, -5.5F, 0, 5.8F, 0, 4.8F, 1.0F, -3.4F}, {-1.0F, 5.0F, 4.2F, 0, 1.2F, 0, -4.7F, 3.0F}});
  const Collect out = collect("block_variance", Observation(Stage::transformed, x, std::nullopt, 4, -1));
  EXPECT_NEAR(out.at("block_variance"), 0.2025, 1e-6);
  EXPECT_EQ(out.at("block_variance.blocks"), 2);
}

TEST(BlockVariance, ComparesMeansOfMaximaNotOfEntries) {
  // O = 4 2 | 1 1: means 3 and 1, variance 1. Means of |x| would give another number.
  const Matrix x = matrix({{4, 0, 1, 1}, {0, -2, 1, 1}});
  EXPECT_DOUBLE_EQ(value_of("block_variance(block_size=2)", x), 1);
  EXPECT_DOUBLE_EQ(value_of("block_variance(block_size=1)", x), 1.5) << "of 4 2 1 1";
}

TEST(BlockVariance, OfOneBlockIsZero) {
  const Matrix x = gaussian(5, 8);
  const Collect out = collect("block_variance", Observation(Stage::original, x, std::nullopt, 8, -1));
  EXPECT_EQ(out.at("block_variance"), 0);
  EXPECT_EQ(out.at("block_variance.blocks"), 1);
}

TEST(BlockVariance, AgreesWithANaiveReference) {
  const Matrix x = gaussian(33, 172, 9);
  const Index size = 43;
  std::vector<double> means;
  for (Index b = 0; b < 4; ++b) {
    double mean = 0;
    for (Index j = b * size; j < (b + 1) * size; ++j)
      mean += static_cast<double>(x.col(j).cwiseAbs().maxCoeff());
    means.push_back(mean / static_cast<double>(size));
  }
  const double all = (means[0] + means[1] + means[2] + means[3]) / 4;
  double variance = 0;
  for (const double m : means) variance += (m - all) * (m - all) / 4;
  EXPECT_NEAR(value_of("block_variance", x, size), variance, 1e-12);
}

TEST(WithinBlockVariance, IsTheMeanOfTheBlocksOwnVariances) {
  // Block 1: 1 3 1 3 (mean 2, variance 1); block 2: 10 10 10 10 (variance 0).
  const Matrix x = matrix({{1, 3, 10, 10}, {1, 3, 10, 10}});
  EXPECT_DOUBLE_EQ(value_of("within_block_variance(block_size=2)", x), 0.5);
  EXPECT_DOUBLE_EQ(value_of("within_block_variance(block_size=1)", x), 0);
  EXPECT_DOUBLE_EQ(value_of("within_block_variance(block_size=4)", x), compute_moments(x).m2);
}

TEST(WithinBlockVariance, AgreesWithTheMomentsOfEachBlock) {
  const Matrix x = gaussian(33, 172, 9);
  double mean = 0;
  for (Index b = 0; b < 4; ++b) mean += compute_moments(x.middleCols(b * 43, 43)).m2 / 4;
  EXPECT_NEAR(value_of("within_block_variance", x, 43), mean, 1e-12);
}

TEST(BlockL1Mass, IsTheMeanOverTokensOfTheSumOfMagnitudes) {
  // Masses: (1 + 3 + 0 + 2) / 2 = 3 and (4 + 1 + 3 + 10) / 2 = 9.
  const Matrix x = matrix({{1, -3, 4, -1}, {0, 2, 3, 10}});
  const Collect out = collect("block_l1_mass", Observation(Stage::original, x, std::nullopt, 2, -1));
  EXPECT_DOUBLE_EQ(out.at("block_l1_mass.max"), 9);
  EXPECT_DOUBLE_EQ(out.at("block_l1_mass.mean"), 6);
  EXPECT_DOUBLE_EQ(out.at("block_l1_mass.max_over_mean"), 1.5);
}

TEST(BlockL1Mass, OfAZeroMatrixHasNoRatio) {
  const Matrix x = Matrix::Zero(2, 4);
  const Collect out = collect("block_l1_mass", Observation(Stage::original, x, std::nullopt, 2, -1));
  EXPECT_EQ(out.at("block_l1_mass.max"), 0);
  EXPECT_EQ(out.at("block_l1_mass.mean"), 0);
  EXPECT_TRUE(std::isnan(out.at("block_l1_mass.max_over_mean")));
}

TEST(BlockL1Mass, AgreesWithANaiveReference) {
  const Matrix x = gaussian(21, 96, 4);
  double largest = 0;
  double mean = 0;
  for (Index b = 0; b < 6; ++b) {
    double mass = 0;
    for (Index t = 0; t < 21; ++t)
      for (Index j = 0; j < 16; ++j) mass += std::abs(static_cast<double>(x(t, b * 16 + j))) / 21;
    largest = std::max(largest, mass);
    mean += mass / 6;
  }
  const Collect out = collect("block_l1_mass", Observation(Stage::original, x, std::nullopt, 16, -1));
  EXPECT_NEAR(out.at("block_l1_mass.max"), largest, 1e-11);
  EXPECT_NEAR(out.at("block_l1_mass.mean"), mean, 1e-11);
  EXPECT_NEAR(out.at("block_l1_mass.max_over_mean"), largest / mean, 1e-12);
}

}  // namespace
}  // namespace olab

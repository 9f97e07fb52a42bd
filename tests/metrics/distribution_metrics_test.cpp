// kurtosis, excess_kurtosis, absmax, absmax_to_median, channel_absmax_ratio.
#include <cmath>
#include <limits>

#include "collect.hpp"

namespace olab {
namespace {

TEST(Kurtosis, OfTwoEquallyLikelyValuesIsOne) {
  EXPECT_DOUBLE_EQ(value_of("kurtosis", matrix({{3, 7}, {7, 3}})), 1);
  EXPECT_DOUBLE_EQ(value_of("excess_kurtosis", matrix({{3, 7}, {7, 3}})), -2);
}

TEST(Kurtosis, OfAUniformDistributionIsNineFifths) {
  // n equally spaced values have exactly 3 (3 n² − 7) / (5 (n² − 1)), which tends to 1.8.
  Matrix x(32, 32);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(i);
  const double n2 = 1024.0 * 1024.0;
  EXPECT_NEAR(value_of("kurtosis", x), 3 * (3 * n2 - 7) / (5 * (n2 - 1)), 1e-12);
  EXPECT_NEAR(value_of("kurtosis", x), 1.8, 1e-5);
}

TEST(Kurtosis, OfAGaussianIsThree) {
  // Standard error sqrt(24 / n) = 0.0068 over 2^19 values.
  const Matrix x = gaussian(512, 1024);
  EXPECT_NEAR(value_of("kurtosis", x), 3, 0.03);
  EXPECT_NEAR(value_of("excess_kurtosis", x), 0, 0.03);
  EXPECT_DOUBLE_EQ(value_of("excess_kurtosis", x), value_of("kurtosis", x) - 3);
}

TEST(Kurtosis, IgnoresShiftAndScale) {
  const Matrix x = gaussian(40, 50);
  Matrix y = 4.0F * x;
  EXPECT_NEAR(value_of("kurtosis", y), value_of("kurtosis", x), 1e-12);
  y.array() += 16.0F;
  EXPECT_NEAR(value_of("kurtosis", y), value_of("kurtosis", x), 1e-5);
}

TEST(Kurtosis, IsThePopulationsNotTheUnbiasedOne) {
  // Values 0 0 0 1: m2 = 3/16, m4 = 21/256; with the unbiased deviation it would be 21/16.
  EXPECT_DOUBLE_EQ(value_of("kurtosis", matrix({{0, 0, 0, 1}})), 21.0 / 9);
}

TEST(Kurtosis, OfOneOutlierAmongEqualsGrowsWithTheCount) {
  // One 1 among n values: (1 − 3p + 3p²) / (p (1 − p)) with p = 1/n.
  Matrix x = Matrix::Zero(10, 100);
  x(3, 4) = -50;
  const double p = 1e-3;
  EXPECT_NEAR(value_of("kurtosis", x), (1 - 3 * p + 3 * p * p) / (p * (1 - p)), 1e-9);
}

TEST(Kurtosis, AlongTokensAndChannelsIsTheMeanOfTheParts) {
  // Rows: 0 0 0 1 (21/9) and 1 1 3 3 (1). Columns: two different values each: 1.
  const Matrix x = matrix({{0, 0, 0, 1}, {1, 1, 3, 3}});
  EXPECT_DOUBLE_EQ(value_of("kurtosis(axis=token)", x), (21.0 / 9 + 1) / 2);
  EXPECT_DOUBLE_EQ(value_of("kurtosis(axis=channel)", x), 1);
  EXPECT_DOUBLE_EQ(value_of("excess_kurtosis(token)", x), (21.0 / 9 + 1) / 2 - 3);
  EXPECT_DOUBLE_EQ(value_of("excess_kurtosis(channel)", x), -2);
}

TEST(Kurtosis, AlongAnAxisAgreesWithTheWholeOfEachPart) {
  const Matrix x = gaussian(13, 29, 5);
  double tokens = 0;
  for (Index t = 0; t < x.rows(); ++t) tokens += compute_moments(x.row(t)).kurtosis();
  double channels = 0;
  for (Index j = 0; j < x.cols(); ++j) {
    const Matrix column = x.col(j);
    channels += compute_moments(column).kurtosis();
  }
  EXPECT_NEAR(value_of("kurtosis(axis=token)", x), tokens / 13, 1e-12);
  EXPECT_NEAR(value_of("kurtosis(axis=channel)", x), channels / 29, 1e-12);
}

TEST(Kurtosis, AlongAnAxisLeavesConstantPartsOut) {
  const Matrix x = matrix({{0, 0, 0, 1}, {5, 5, 5, 5}});
  EXPECT_DOUBLE_EQ(value_of("kurtosis(axis=token)", x), 21.0 / 9);
  EXPECT_TRUE(std::isnan(value_of("kurtosis(axis=channel)", matrix({{1, 2}, {1, 2}}))));
}

TEST(Kurtosis, OfAConstantIsNaN) {
  EXPECT_TRUE(std::isnan(value_of("kurtosis", Matrix::Zero(3, 4))));
  EXPECT_TRUE(std::isnan(value_of("kurtosis", Matrix::Constant(3, 4, 0.1F))));
  EXPECT_TRUE(std::isnan(value_of("kurtosis", matrix({{2}}))));
  EXPECT_TRUE(std::isnan(value_of("excess_kurtosis", matrix({{2}}))));
}

TEST(Kurtosis, ABadAxisIsRefusedByName) {
  const Registries r = metric_registries();
  try {
    (void)r.metrics.make("kurtosis(axis=tokens)", r);
    FAIL() << "accepted";
  } catch (const SpecError& e) {
    EXPECT_TRUE(
        std::string(e.what()).starts_with("kurtosis.axis: 'tokens' is no choice; did you mean 'token'?"))
        << e.what();
  }
}

TEST(AbsMax, OfAHandComputedMatrix) {
  const Matrix x = matrix({{1, -8, 2}, {0.5F, 4, -2}});
  EXPECT_DOUBLE_EQ(value_of("absmax", x), 8);
  EXPECT_DOUBLE_EQ(value_of("absmax_to_median", x), 4) << "sorted: 0.5 1 2 2 4 8";
  EXPECT_DOUBLE_EQ(value_of("channel_absmax_ratio", x), 4) << "channel maxima 1 8 2";
}

TEST(AbsMax, RatiosAreNaNWhereTheMedianIsZero) {
  EXPECT_TRUE(std::isnan(value_of("absmax_to_median", matrix({{0, 0, 3}}))));
  EXPECT_TRUE(std::isnan(value_of("channel_absmax_ratio", matrix({{0, 0, 3}}))));
  EXPECT_TRUE(std::isnan(value_of("absmax_to_median", Matrix::Zero(2, 2))));
  EXPECT_DOUBLE_EQ(value_of("absmax", Matrix::Zero(2, 2)), 0);
}

TEST(AbsMax, OfOneTokenAndOfOneChannel) {
  EXPECT_DOUBLE_EQ(value_of("channel_absmax_ratio", matrix({{1, 3, 9}})), 3);
  EXPECT_DOUBLE_EQ(value_of("channel_absmax_ratio", matrix({{1}, {-3}, {2}})), 1);
  EXPECT_DOUBLE_EQ(value_of("absmax_to_median", matrix({{1}, {-3}, {2}})), 1.5);
}

TEST(AbsMax, ANaNIsNotOverlooked) {
  const Matrix x = matrix({{1, std::numeric_limits<float>::quiet_NaN()}, {2, 3}});
  EXPECT_TRUE(std::isnan(value_of("absmax", x)));
  EXPECT_TRUE(std::isnan(value_of("absmax_to_median", x)));
  EXPECT_TRUE(std::isnan(value_of("channel_absmax_ratio", x)));
}

}  // namespace
}  // namespace olab

#include "metrics/common/outliers.hpp"

#include <cmath>
#include <limits>

#include "collect.hpp"

namespace olab {
namespace {

constexpr Index kTokens = 64;
constexpr Index kChannels = 128;

TEST(Outliers, AGaussianHasNone) {
  const OutlierReport report = classify_outliers(gaussian(kTokens, kChannels));
  EXPECT_FALSE(report.has_massive());
  EXPECT_FALSE(report.has_normal());
  EXPECT_EQ(report.massive_tokens, 0);
  EXPECT_EQ(report.massive_channels, 0);
}

TEST(Outliers, ChannelsThatAreLargeInAllTokensAreNormal) {
  Matrix x = gaussian(kTokens, kChannels);
  x.col(17) *= 20.0F;
  x.col(90).array() += 30.0F;
  const OutlierReport report = classify_outliers(x);
  EXPECT_EQ(report.normal_channels, (std::vector<Index>{17, 90}));
  EXPECT_TRUE(report.has_normal());
  EXPECT_FALSE(report.has_massive());
}

TEST(Outliers, AChannelThatOnlyOneMassiveTokenHitsIsNotNormal) {
  Matrix x = gaussian(kTokens, kChannels);
  x(5, 40) = -1400;
  x(5, 41) = 900;
  x(9, 40) = 800;
  const OutlierReport report = classify_outliers(x);
  EXPECT_EQ(report.massive_entries, 3);
  EXPECT_EQ(report.massive_tokens, 2);
  EXPECT_EQ(report.massive_channels, 2);
  EXPECT_TRUE(report.normal_channels.empty());
}

TEST(Outliers, BothKindsMayBePresent) {
  Matrix x = gaussian(kTokens, kChannels);
  x.col(3) *= 20.0F;
  x(0, 77) = 1400;
  const OutlierReport report = classify_outliers(x);
  EXPECT_TRUE(report.has_massive());
  EXPECT_EQ(report.normal_channels, (std::vector<Index>{3}));
}

TEST(Outliers, AMassiveEntryPassesBothThresholdsStrictly) {
  // Median |x| = 0.25: the limits are 100 and 250.
  Matrix x = Matrix::Constant(3, 9, 0.25F);
  x(1, 1) = 250;
  EXPECT_EQ(classify_outliers(x).massive_entries, 0) << "not more than 1000 times the median";
  x(1, 1) = 250.5F;
  EXPECT_EQ(classify_outliers(x).massive_entries, 1);
  EXPECT_DOUBLE_EQ(classify_outliers(x).massive_limit, 250);

  // Median |x| = 1/64: the limits are 100 and 15.625.
  Matrix y = Matrix::Constant(3, 9, 1.0F / 64);
  y(1, 1) = 100;
  EXPECT_EQ(classify_outliers(y).massive_entries, 0) << "not more than 100";
  y(1, 1) = -101;
  EXPECT_EQ(classify_outliers(y).massive_entries, 1);
  EXPECT_DOUBLE_EQ(classify_outliers(y).massive_limit, 100);
}

TEST(Outliers, ANormalChannelIsLargeInMoreThanTheShareOfTokens) {
  // Median |x| = median O = 1, so the limit is 6 for both rules; channel 2 is large in half of the tokens.
  Matrix x = Matrix::Ones(4, 9);
  x(0, 2) = 7;
  x(1, 2) = -7;
  EXPECT_TRUE(classify_outliers(x).normal_channels.empty()) << "half is not more than half";
  x(2, 2) = 7;
  EXPECT_EQ(classify_outliers(x).normal_channels, (std::vector<Index>{2}));
  OutlierRules strict;
  strict.persistence = 0.75;
  EXPECT_TRUE(classify_outliers(x, strict).normal_channels.empty());
}

TEST(Outliers, ANormalChannelReachesTheRatio) {
  Matrix x = Matrix::Ones(4, 9);
  x.col(2).setConstant(6.5F);
  EXPECT_EQ(classify_outliers(x).normal_channels.size(), 1U);
  OutlierRules strict;
  strict.normal_ratio = 7;
  EXPECT_TRUE(classify_outliers(x, strict).normal_channels.empty());
}

TEST(Outliers, DeadChannelsAreNoYardstick) {
  Matrix x = Matrix::Zero(8, 9);
  x.leftCols(4) = gaussian(8, 4);
  const OutlierReport report = classify_outliers(x);
  EXPECT_TRUE(report.normal_channels.empty());
  EXPECT_GT(report.channel_median, 0);
}

TEST(Outliers, AZeroMatrixHasNone) {
  const OutlierReport report = classify_outliers(Matrix::Zero(4, 5));
  EXPECT_FALSE(report.has_massive());
  EXPECT_FALSE(report.has_normal());
  EXPECT_EQ(report.abs_median, 0);
  EXPECT_TRUE(std::isnan(report.channel_median));
}

TEST(Outliers, NamesTheLargestChannelsAndTokens) {
  const Matrix x = matrix({{1, -9, 2}, {3, 4, 9}, {0, 1, 2}});
  const OutlierReport report = classify_outliers(x, {}, 2);
  ASSERT_EQ(report.top_channels.size(), 2U);
  EXPECT_EQ(report.top_channels[0].index, 1) << "equal ones by index";
  EXPECT_EQ(report.top_channels[0].magnitude, 9);
  EXPECT_EQ(report.top_channels[1].index, 2);
  ASSERT_EQ(report.top_tokens.size(), 2U);
  EXPECT_EQ(report.top_tokens[0].index, 0);
  EXPECT_EQ(report.top_tokens[1].index, 1);
  EXPECT_EQ(classify_outliers(x).top_channels.size(), 3U) << "not more than there are";
  EXPECT_EQ(classify_outliers(x).top_channels[2].magnitude, 3);
}

TEST(Outliers, TheReportCarriesItsThresholds) {
  OutlierRules rules;
  rules.massive_ratio = 10;
  rules.massive_absolute = 1;
  rules.normal_ratio = 3;
  const OutlierReport report = classify_outliers(matrix({{1, 2, 3, -2}}), rules);
  EXPECT_EQ(report.rules.massive_ratio, 10);
  EXPECT_DOUBLE_EQ(report.abs_median, 2);
  EXPECT_DOUBLE_EQ(report.channel_median, 2);
  EXPECT_DOUBLE_EQ(report.massive_limit, 20);
  EXPECT_DOUBLE_EQ(report.channel_limit, 6);
  EXPECT_DOUBLE_EQ(report.token_limit, 6);
}

TEST(OutliersMetric, CountsWhatTheClassificationFinds) {
  Matrix x = gaussian(kTokens, kChannels);
  x.col(17) *= 20.0F;
  x.col(21) *= 30.0F;
  x(5, 40) = 2000;
  x(5, 44) = 2000;
  const Collect out = collect("outliers", Observation(Stage::original, x, std::nullopt, 0, -1));
  EXPECT_EQ(out.at("outliers.massive_entries"), 2);
  EXPECT_EQ(out.at("outliers.massive_tokens"), 1);
  EXPECT_EQ(out.at("outliers.massive_channels"), 2);
  EXPECT_EQ(out.at("outliers.normal_channels"), 2);
}

TEST(OutliersMetric, TakesItsThresholdsAsParameters) {
  const Matrix x = matrix({{1, 1, 1, 9, 1}, {1, 1, 1, 9, 40}, {1, 1, 1, 9, 1}});
  const Observation o(Stage::original, x, std::nullopt, 0, -1);
  EXPECT_EQ(collect("outliers", o).at("outliers.massive_entries"), 0);
  EXPECT_EQ(collect("outliers(massive_absolute=8, massive_ratio=8)", o).at("outliers.massive_entries"), 4);
  EXPECT_EQ(collect("outliers", o).at("outliers.normal_channels"), 1);
  EXPECT_EQ(collect("outliers(normal_ratio=20)", o).at("outliers.normal_channels"), 0);
  EXPECT_EQ(collect("outliers(persistence=0.2)", o).at("outliers.normal_channels"), 2);
}

TEST(OutliersMetric, KnowsNothingOfAMatrixWithANaN) {
  const Matrix x = matrix({{1, std::numeric_limits<float>::quiet_NaN(), 2}});
  const Collect out = collect("outliers", Observation(Stage::original, x, std::nullopt, 0, -1));
  for (const auto& [name, v] : out.values) EXPECT_TRUE(std::isnan(v)) << name;
}

}  // namespace
}  // namespace olab

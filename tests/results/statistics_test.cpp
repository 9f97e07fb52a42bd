// Reference values are of SciPy 1.10.1 where no other origin is named.
#include "results/statistics.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace olab {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
using Values = std::vector<double>;

/// Darwin's maize, crossed minus self-fertilized, in eighths of an inch (Fisher, The Design of Experiments).
const Values& maize() {
  static const Values out{6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75};
  return out;
}

/// Hamilton depression scale, second minus first visit (Hollander and Wolfe 1973, table 3.1).
const Values& depression() {
  static const Values out{-0.952, 0.147, -1.022, -0.430, -0.620, -0.590, -0.490, 0.080, -0.010};
  return out;
}

/// 60 values without ties or zeros.
Values sixty() {
  Values out;
  for (int i = 0; i < 60; ++i) out.push_back((i * 7919) % 997 - 430.5);
  return out;
}

Values counted(std::size_t n) {
  Values out(n);
  std::iota(out.begin(), out.end(), 0.0);
  return out;
}

Values negated(Values values) {
  for (double& v : values) v = -v;
  return values;
}

TEST(MeanAndDeviation, AreThoseOfSmallSamples) {
  EXPECT_DOUBLE_EQ(sample_mean(Values{1, 4, 7}), 4);
  EXPECT_DOUBLE_EQ(sample_deviation(Values{1, 4, 7}), 3);
  EXPECT_DOUBLE_EQ(sample_deviation(maize()), 37.7443783262898);
  EXPECT_EQ(sample_mean(Values{5}), 5);
  EXPECT_TRUE(std::isnan(sample_deviation(Values{5})));
  EXPECT_TRUE(std::isnan(sample_mean({})));
  EXPECT_TRUE(std::isnan(sample_deviation({})));
}

TEST(MeanAndDeviation, OfEqualValuesAreExact) {
  EXPECT_EQ(sample_mean(Values{0.1, 0.1, 0.1}), 0.1) << "(0.1 + 0.1 + 0.1) / 3 is not 0.1 in binary";
  EXPECT_EQ(sample_deviation(Values{0.1, 0.1, 0.1}), 0);
}

TEST(MeanAndDeviation, KeepNaNAndInfinity) {
  EXPECT_TRUE(std::isnan(sample_mean(Values{1, kNaN})));
  EXPECT_TRUE(std::isnan(sample_mean(Values{kNaN, kNaN})));
  EXPECT_EQ(sample_mean(Values{1, kInfinity}), kInfinity);
  EXPECT_TRUE(std::isnan(sample_mean(Values{-kInfinity, kInfinity})));
  EXPECT_TRUE(std::isnan(sample_deviation(Values{1, kInfinity})));
}

TEST(MeanInterval, IsStudents) {
  const Interval maize_mean = mean_interval(maize());
  EXPECT_NEAR(maize_mean.low, 0.03119331840152384, 1e-10);
  EXPECT_NEAR(maize_mean.high, 41.83547334826514, 1e-10);
  const Values five{0.1, 0.2, 0.4, 0.3, 0.25};
  EXPECT_NEAR(mean_interval(five).low, 0.11117774474011008, 1e-14);
  // t(4, 0.95) = 2.131846786326649 from its closed form (SciPy's has ten digits); sd / √n is 0.05 here.
  EXPECT_NEAR(mean_interval(five, 0.9).high, 0.25 + 0.05 * 2.131846786326649, 1e-14);
  // t(1, 0.975) = 12.7062: the first line of every table of it; sd = √2, √n = √2.
  EXPECT_NEAR(mean_interval(Values{0, 2}).high, 1 + 12.706204736432095, 1e-9);
}

TEST(MeanInterval, OfTooFewValuesIsTheWholeLine) {
  EXPECT_EQ(mean_interval(Values{3}).low, -kInfinity);
  EXPECT_EQ(mean_interval(Values{3}).high, kInfinity);
  EXPECT_TRUE(std::isnan(mean_interval({}).low));
  EXPECT_TRUE(std::isnan(mean_interval(Values{1, kNaN}).high));
  EXPECT_TRUE(std::isnan(mean_interval(Values{1, kInfinity}).low));
  EXPECT_EQ(mean_interval(Values{0.1, 0.1, 0.1}).low, 0.1);
}

TEST(Midranks, ShareTheRanksOfTies) {
  EXPECT_EQ(midranks(Values{3, 1, 3, 2, 3}), (Values{4, 1, 4, 2, 4}));
  EXPECT_EQ(midranks(Values{7, 7}), (Values{1.5, 1.5}));
  EXPECT_EQ(midranks(Values{kInfinity, 0, -kInfinity, kInfinity}), (Values{3.5, 2, 1, 3.5}));
  EXPECT_TRUE(midranks({}).empty());
  EXPECT_TRUE(std::isnan(midranks(Values{1, kNaN})[0]));
}

TEST(Wilcoxon, IsExactForTextbookSamples) {
  const SignedRankTest plants = wilcoxon_signed_rank(maize());
  EXPECT_EQ(plants.n, 15U);
  EXPECT_EQ(plants.positive, 96);
  EXPECT_EQ(plants.negative, 24);
  EXPECT_TRUE(plants.exact);
  EXPECT_DOUBLE_EQ(plants.p, 0.041259765625);
  // Hollander and Wolfe, example 3.1: one-sided 0.020, that is 10 of 512 signs.
  const SignedRankTest patients = wilcoxon_signed_rank(depression());
  EXPECT_EQ(patients.positive, 5);
  EXPECT_EQ(patients.negative, 40);
  EXPECT_DOUBLE_EQ(patients.p, 2 * 10.0 / 512);
}

TEST(Wilcoxon, CountsSignsByHand) {
  // Ranks 1, 2, 3: W+ = 6 comes from one of 8 signs, W+ = 5 or more from two.
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(Values{1, 2, 3}).p, 2.0 / 8);
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(Values{-1, 2, 3}).p, 4.0 / 8);
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(Values{1, 2, -3}).p, 1) << "3 against 3";
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(Values{5}).p, 1);
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(Values{1, 2, 3, 4, 5}).p, 2.0 / 32);
  EXPECT_DOUBLE_EQ(wilcoxon_signed_rank(Values{1, 2, 3, 4, 5, 6}).p, 2.0 / 64);
}

TEST(Wilcoxon, IsExactWithTiesAndZerosByPrattsRule) {
  // Two zeros take ranks 1 and 2; |d| 1, 1, 1 share 4, and so on. 25 of the 1024 signs have W ≤ 11.5 (counted
  // by a loop over all of them, written apart).
  const SignedRankTest t = wilcoxon_signed_rank(Values{1, 1, -1, 2, 2, -2, 3, 0, 0, 4, 5, 2});
  EXPECT_EQ(t.n, 10U);
  EXPECT_EQ(t.zeros, 2U);
  EXPECT_EQ(t.positive, 63.5);
  EXPECT_EQ(t.negative, 11.5);
  EXPECT_TRUE(t.exact);
  EXPECT_DOUBLE_EQ(t.p, 2 * 25.0 / 1024);
}

TEST(Wilcoxon, ApproximatesLargeSamples) {
  const SignedRankTest plain = wilcoxon_signed_rank(sixty());
  EXPECT_FALSE(plain.exact);
  EXPECT_EQ(std::min(plain.positive, plain.negative), 595);
  EXPECT_NEAR(plain.p, 0.018671160620621796, 1e-14);
  Values ties;
  for (int i = 0; i < 60; ++i) ties.push_back((i * 7) % 13 - 4);
  const SignedRankTest pratt = wilcoxon_signed_rank(ties);  // zero_method="pratt", correction=True
  EXPECT_EQ(pratt.zeros, 4U);
  EXPECT_EQ(std::min(pratt.positive, pratt.negative), 460);
  EXPECT_NEAR(pratt.p, 0.0009105436049429885, 1e-15);
}

TEST(Wilcoxon, CountsUpToFifty) {
  Values values = sixty();
  values.resize(51);
  EXPECT_FALSE(wilcoxon_signed_rank(values).exact);
  EXPECT_NEAR(wilcoxon_signed_rank(values).p, 0.07724522752015318, 1e-14);
  values.resize(50);
  EXPECT_TRUE(wilcoxon_signed_rank(values).exact);
  EXPECT_NEAR(wilcoxon_signed_rank(values).p, 0.052989788310034314, 1e-15);  // mode="exact"
}

TEST(Wilcoxon, DoesNotDependOnTheSign) {
  EXPECT_EQ(wilcoxon_signed_rank(maize()).p, wilcoxon_signed_rank(negated(maize())).p);
  EXPECT_EQ(wilcoxon_signed_rank(sixty()).p, wilcoxon_signed_rank(negated(sixty())).p);
}

TEST(Wilcoxon, HasEdges) {
  EXPECT_TRUE(std::isnan(wilcoxon_signed_rank({}).p));
  EXPECT_EQ(wilcoxon_signed_rank({}).n, 0U);
  const SignedRankTest same = wilcoxon_signed_rank(Values{0, 0, -0.0});
  EXPECT_EQ(same.p, 1);
  EXPECT_EQ(same.n, 0U);
  EXPECT_EQ(same.zeros, 3U);
  EXPECT_TRUE(std::isnan(wilcoxon_signed_rank(Values{1, kNaN, 3}).p)) << "a NaN must not vanish";
  // An infinite difference is the farthest, and no more than that.
  EXPECT_EQ(wilcoxon_signed_rank(Values{1, 2, kInfinity}).p, wilcoxon_signed_rank(Values{1, 2, 3}).p);
  EXPECT_EQ(wilcoxon_signed_rank(Values{-kInfinity, 2, kInfinity}).positive, 1 + 2.5);
}

TEST(FewestDifferences, AreThoseThatCanGiveP) {
  EXPECT_EQ(fewest_differences(0.05), 6U);
  EXPECT_EQ(fewest_differences(0.01), 8U);
  EXPECT_EQ(fewest_differences(0.0625), 5U);
  EXPECT_EQ(fewest_differences(1), 1U);
  const std::size_t n = fewest_differences(0.05);
  EXPECT_LE(wilcoxon_signed_rank(Values(n, 1.0)).p, 0.05);
  EXPECT_GT(wilcoxon_signed_rank(Values(n - 1, 1.0)).p, 0.05);
}

TEST(SignTest, IsBinomial) {
  const SignTest plants = sign_test(maize());
  EXPECT_EQ(plants.positive, 13U);
  EXPECT_EQ(plants.negative, 2U);
  EXPECT_NEAR(plants.p, 0.00738525390625, 1e-15);
  // 2 · (1 + 5) / 32, with a zero left out.
  const SignTest one_down = sign_test(Values{1, 1, 1, 0, 1, -1});
  EXPECT_NEAR(one_down.p, 12.0 / 32, 1e-15);
  EXPECT_EQ(one_down.zeros, 1U);
  EXPECT_EQ(sign_test(Values{1, -1}).p, 1);
}

TEST(SignTest, HasEdges) {
  EXPECT_TRUE(std::isnan(sign_test({}).p));
  EXPECT_EQ(sign_test(Values{0, 0}).p, 1);
  EXPECT_EQ(sign_test(Values{2}).p, 1);
  EXPECT_TRUE(std::isnan(sign_test(Values{1, kNaN}).p));
  EXPECT_NEAR(sign_test(Values{kInfinity, 1, 1}).p, 2.0 / 8, 1e-15);
}

TEST(HodgesLehmann, IsTheMedianOfMeans) {
  // Means of 1, 2, 6: 1, 1.5, 2, 3.5, 4, 6; their median is 2.75.
  EXPECT_DOUBLE_EQ(hodges_lehmann(Values{1, 2, 6}).estimate, 2.75);
  EXPECT_DOUBLE_EQ(hodges_lehmann(Values{4}).estimate, 4);
  // Hollander and Wolfe, examples 3.3 and 3.4: -0.46, and (-0.786, -0.010) at 0.961.
  const MedianEstimate patients = hodges_lehmann(depression());
  EXPECT_NEAR(patients.estimate, -0.46, 1e-15);
  EXPECT_NEAR(patients.interval.low, -0.786, 1e-15);
  EXPECT_NEAR(patients.interval.high, -0.010, 1e-15);
  // Lehmann's table for n = 15: P(W ≤ 25) = 0.024, so the 26th mean from both ends.
  const MedianEstimate plants = hodges_lehmann(maize());
  EXPECT_DOUBLE_EQ(plants.estimate, 25);
  EXPECT_DOUBLE_EQ(plants.interval.low, 4);
  EXPECT_DOUBLE_EQ(plants.interval.high, 41.5);
}

TEST(HodgesLehmann, IntervalHoldsWhatTheTestDoesNotRefuse) {
  const Interval interval = hodges_lehmann(maize()).interval;
  const auto p_at = [](double shift) {
    Values moved = maize();
    for (double& v : moved) v -= shift;
    return wilcoxon_signed_rank(moved).p;
  };
  EXPECT_LE(p_at(interval.low - 0.01), 0.05);
  EXPECT_GT(p_at(interval.low + 0.01), 0.05);
  EXPECT_GT(p_at(interval.high - 0.01), 0.05);
  EXPECT_LE(p_at(interval.high + 0.01), 0.05);
}

TEST(HodgesLehmann, UsesTheNormalQuantileForLargeSamples) {
  // k = floor(60 · 61 / 4 − ½ − 1.96 sqrt(60 · 61 · 121 / 24)) = 648.
  const MedianEstimate m = hodges_lehmann(sixty());
  EXPECT_DOUBLE_EQ(m.estimate, 96);
  EXPECT_DOUBLE_EQ(m.interval.low, 24);
  EXPECT_DOUBLE_EQ(m.interval.high, 181.5);
}

TEST(HodgesLehmann, HasEdges) {
  EXPECT_TRUE(std::isnan(hodges_lehmann({}).estimate));
  EXPECT_TRUE(std::isnan(hodges_lehmann(Values{kNaN, 1}).interval.low));
  EXPECT_EQ(hodges_lehmann(Values{1, 2, 3, 4, 5}).interval.low, -kInfinity) << "five values cannot give 95 %";
  EXPECT_EQ(hodges_lehmann(Values{1, 2, 3, 4, 5, 6}).interval.low, 1);
  EXPECT_EQ(hodges_lehmann(Values{0, 0, 0}).estimate, 0);
  EXPECT_EQ(hodges_lehmann(Values{-kInfinity, kInfinity}).estimate, 0);
  EXPECT_EQ(hodges_lehmann(Values{kInfinity, kInfinity, 1}).estimate, kInfinity);
}

TEST(Kendall, IsExactWithoutTies) {
  const Values x = counted(10);
  const RankCorrelation ten = kendall_tau_b(x, Values{2, 1, 4, 3, 6, 5, 8, 10, 7, 9});
  EXPECT_DOUBLE_EQ(ten.coefficient, 33.0 / 45);
  EXPECT_NEAR(ten.p, 0.002212852733686067, 1e-15);
  EXPECT_TRUE(ten.exact);
  EXPECT_EQ(ten.n, 10U);
  // By hand: of the 24 orders of four, 1 has no inversion and 3 have one.
  EXPECT_NEAR(kendall_tau_b(counted(4), Values{1, 2, 3, 4}).p, 2.0 / 24, 1e-15);
  EXPECT_NEAR(kendall_tau_b(counted(4), Values{2, 1, 3, 4}).p, 8.0 / 24, 1e-15);
  EXPECT_NEAR(kendall_tau_b(counted(4), Values{4, 3, 2, 1}).p, 2.0 / 24, 1e-15);
  EXPECT_EQ(kendall_tau_b(counted(4), Values{4, 3, 2, 1}).coefficient, -1);
  EXPECT_EQ(kendall_tau_b(counted(7), counted(7)).coefficient, 1);
}

TEST(Kendall, IsExactUpToFifty) {
  Values y;
  for (int i = 0; i < 50; ++i) y.push_back((i * 20) % 53 + i * 0.201);
  const RankCorrelation fifty = kendall_tau_b(counted(50), y);
  EXPECT_TRUE(fifty.exact);
  EXPECT_NEAR(fifty.coefficient, 0.22285714285714286, 1e-15);
  EXPECT_NEAR(fifty.p, 0.022342320689009303, 1e-14);
}

TEST(Kendall, CorrectsForTies) {
  const Values x{1, 2, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8};
  const RankCorrelation strong = kendall_tau_b(x, Values{2, 1, 3, 3, 5, 4, 4, 6, 6, 9, 7, 8});
  EXPECT_FALSE(strong.exact);
  EXPECT_NEAR(strong.coefficient, 0.8549499226759615, 1e-15);
  EXPECT_NEAR(strong.p, 0.00020834506887477486, 1e-16);
  EXPECT_NEAR(kendall_tau_b(x, Values{5, 1, 3, 9, 5, 4, 4, 6, 6, 2, 7, 3}).p, 0.5747489262762877, 1e-13);
  // Few values with ties: all 120 orders, of which 44 have as large a score (counted apart).
  const RankCorrelation few = kendall_tau_b(Values{12, 2, 1, 12, 2}, Values{1, 4, 7, 1, 0});
  EXPECT_NEAR(few.coefficient, -0.4714045207910316, 1e-15);
  EXPECT_NEAR(few.p, 44.0 / 120, 1e-15);
  EXPECT_TRUE(few.exact);
}

TEST(Kendall, ApproximatesLargeSamples) {
  Values y;
  for (int i = 0; i < 60; ++i) y.push_back((i * 17) % 61);
  const RankCorrelation sixty_points = kendall_tau_b(counted(60), y);
  EXPECT_FALSE(sixty_points.exact);
  EXPECT_NEAR(sixty_points.coefficient, 0.04519774011299435, 1e-15);
  EXPECT_NEAR(sixty_points.p, 0.6098873645371456, 1e-13);
}

TEST(Spearman, IsPearsonsOfMidranks) {
  const RankCorrelation ten = spearman_rho(counted(10), Values{2, 1, 4, 3, 6, 5, 8, 10, 7, 9});
  EXPECT_NEAR(ten.coefficient, 0.9030303030303028, 1e-15);
  EXPECT_NEAR(ten.p, 0.00034361219776328223, 1e-12);
  EXPECT_FALSE(ten.exact);
  const Values x{1, 2, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8};
  const RankCorrelation ties = spearman_rho(x, Values{5, 1, 3, 9, 5, 4, 4, 6, 6, 2, 7, 3});
  EXPECT_NEAR(ties.coefficient, 0.13523217305126084, 1e-15);
  EXPECT_NEAR(ties.p, 0.6751845009360542, 1e-12);
  // 1 − 6 · Σd² / (n³ − n) = 1 − 24 / 120; 16 of the 120 orders are as far (counted apart).
  const RankCorrelation five = spearman_rho(Values{1, 2, 3, 4, 5}, Values{1, 3, 2, 5, 4});
  EXPECT_NEAR(five.coefficient, 0.8, 1e-15);
  EXPECT_NEAR(five.p, 16.0 / 120, 1e-15);
}

TEST(Spearman, APerfectOrderIsNoCertainty) {
  EXPECT_NEAR(spearman_rho(counted(3), counted(3)).p, 2.0 / 6, 1e-15);
  const RankCorrelation twelve = spearman_rho(counted(12), negated(counted(12)));
  EXPECT_EQ(twelve.coefficient, -1);
  EXPECT_NEAR(twelve.p, 2 / 479001600.0, 1e-20);
}

TEST(RankCorrelations, HaveEdges) {
  for (const auto& correlation : {kendall_tau_b, spearman_rho}) {
    EXPECT_TRUE(std::isnan(correlation({}, {}).p));
    EXPECT_TRUE(std::isnan(correlation(Values{1}, Values{2}).coefficient));
    EXPECT_TRUE(std::isnan(correlation(Values{1, 1, 1}, Values{1, 2, 3}).coefficient)) << "x says nothing";
    EXPECT_TRUE(std::isnan(correlation(Values{1, kNaN, 3}, Values{1, 2, 3}).p));
    EXPECT_EQ(correlation(Values{1, 2}, Values{5, 4}).coefficient, -1);
    EXPECT_EQ(correlation(Values{1, 2}, Values{5, 4}).p, 1);
    EXPECT_EQ(correlation(Values{-kInfinity, 2, kInfinity}, Values{1, 2, 3}).coefficient, 1);
    EXPECT_EQ(correlation(Values{1, 2, 3}, Values{10, 200, 3000}).coefficient, 1) << "only the order counts";
  }
}

TEST(Holm, IsTheExampleByHand) {
  // Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, and 0.04 raised to 0.06.
  const Values p = holm(Values{0.04, 0.01, 0.03, 0.02});
  ASSERT_EQ(p.size(), 4U);
  EXPECT_DOUBLE_EQ(p[0], 0.06);
  EXPECT_DOUBLE_EQ(p[1], 0.04);
  EXPECT_DOUBLE_EQ(p[2], 0.06);
  EXPECT_DOUBLE_EQ(p[3], 0.06);
}

TEST(Holm, HasEdges) {
  EXPECT_TRUE(holm({}).empty());
  EXPECT_EQ(holm(Values{0.03}), Values{0.03});
  EXPECT_EQ(holm(Values{0.6, 0.7}), (Values{1, 1}));
  const Values with_nan = holm(Values{0.03, kNaN, 0.5});
  EXPECT_DOUBLE_EQ(with_nan[0], 0.06) << "a NaN is no test";
  EXPECT_TRUE(std::isnan(with_nan[1]));
  EXPECT_DOUBLE_EQ(with_nan[2], 0.5);
}

}  // namespace
}  // namespace olab

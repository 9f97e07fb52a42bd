// Tests and estimates for paired comparisons and for orders: plain functions of values, in double.
//
// Not-a-number is never dropped: one NaN among the values makes every result NaN. Infinities are values: the
// rank tests put them beyond every finite one, means become infinite (or NaN where both signs meet). All p
// are two-sided.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace olab {

struct Interval {
  double low = 0;
  double high = 0;
};

/// Arithmetic mean; values that are all equal have exactly that mean. NaN of none.
double sample_mean(std::span<const double> values);

/// sqrt(Σ (x − mean)² / (n − 1)); exactly 0 where all are equal and finite, NaN of fewer than two.
double sample_deviation(std::span<const double> values);

/// Student's interval: mean ± t(n − 1, (1 + confidence) / 2) · sd / √n (Student 1908). One value says nothing
/// of its spread: the whole line. NaN of none, and where the mean is not finite. 0 < confidence < 1.
Interval mean_interval(std::span<const double> values, double confidence = 0.95);

/// Ranks from 1; equal values share the mean of their ranks. All NaN where a value is.
std::vector<double> midranks(std::span<const double> values);

/// Wilcoxon's signed ranks of differences: whether they lie around zero.
struct SignedRankTest {
  std::size_t n = 0;      ///< differences that are not zero
  std::size_t zeros = 0;  ///< differences that are
  double positive = 0;    ///< W+: sum of the ranks of positive differences
  double negative = 0;    ///< W−
  double p = 0;           ///< NaN without differences, 1 where all are zero
  bool exact = true;      ///< false: normal approximation
};

/// Wilcoxon 1945, with midranks of |d|. Zeros by Pratt's rule (1959): they are ranked with the others, then
/// their ranks leave, so that small differences among many zeros weigh little. Up to 50 non-zero
/// differences p is exact, with and without ties: all 2ⁿ signs of the ranks at hand are counted, and p =
/// min(1, 2 P(W ≤ min(W+, W−))). Above, z = (|W+ − Σr/2| − ½) / sqrt(Σr²/4), whose variance holds the
/// corrections for ties and zeros, and ½ that for continuity.
SignedRankTest wilcoxon_signed_rank(std::span<const double> differences);

/// The fewest differences whose signed ranks (or signs) can give p ≤ alpha: 2 · 2⁻ⁿ ≤ alpha. 6 for 0.05.
std::size_t fewest_differences(double alpha);

/// How many differences are positive, against a fair coin.
struct SignTest {
  std::size_t positive = 0;
  std::size_t negative = 0;
  std::size_t zeros = 0;  ///< left out, as usual for this test
  double p = 0;           ///< NaN without differences, 1 where all are zero
};

/// p = min(1, 2 P(B ≤ min(positive, negative))), B binomial with n = positive + negative and ½ (Arbuthnott
/// 1710; Dixon and Mood 1946).
SignTest sign_test(std::span<const double> differences);

/// A median of differences and where it may lie.
struct MedianEstimate {
  double estimate = 0;
  Interval interval;
};

/// Hodges and Lehmann 1963: the median of the n (n + 1) / 2 means (d_i + d_j) / 2, i ≤ j. The interval holds
/// what Wilcoxon's test does not refuse: from the (k + 1)-th smallest of these means to the (k + 1)-th
/// largest, k the largest with P(W ≤ k) ≤ (1 − confidence) / 2; exact for n ≤ 50, normal above. Where no k
/// exists (n < 6 at 0.95) it is the whole line. Zeros take part; with ties it is wider than need be. Two
/// opposite infinities have the mean 0. NaN of none. Needs memory for all the means.
MedianEstimate hodges_lehmann(std::span<const double> differences, double confidence = 0.95);

struct RankCorrelation {
  std::size_t n = 0;
  double coefficient = 0;  ///< −1 to 1; NaN below two pairs and where all x or all y are equal
  double p = 0;            ///< of independence; NaN where the coefficient is
  bool exact = true;       ///< false: approximation
};

/// Kendall's tau-b = (concordant − discordant) / sqrt((n₀ − n₁)(n₀ − n₂)), n₀ = n (n − 1) / 2, n₁ and n₂ the
/// pairs tied in x and in y (Kendall 1945). p without ties and n ≤ 50: from the distribution of the number
/// of inversions, exact; with ties and n ≤ 9: from all orders of y, exact; else normal with the variance for
/// ties (Kendall 1970, chapter 4), without continuity correction. x and y have one length.
RankCorrelation kendall_tau_b(std::span<const double> x, std::span<const double> y);

/// Spearman's rho: Pearson's correlation of the midranks. p for n ≤ 9 from all orders of y, exact; else from
/// t = rho sqrt((n − 2) / (1 − rho²)) with n − 2 degrees of freedom, but not below 2 / n!, the smallest that
/// an order can have. x and y have one length.
RankCorrelation spearman_rho(std::span<const double> x, std::span<const double> y);

/// Holm 1979: the i-th smallest of m p-values times m − i + 1, made monotone, at most 1; in the order given.
/// A NaN is no test: it stays NaN and is not counted.
std::vector<double> holm(std::span<const double> p_values);

}  // namespace olab

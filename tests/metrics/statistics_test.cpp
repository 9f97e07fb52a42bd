#include "metrics/common/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "collect.hpp"
#include "core/parallel.hpp"

namespace olab {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<double> entries(const Matrix& x) {
  std::vector<double> out;
  for (Index t = 0; t < x.rows(); ++t)
    for (Index j = 0; j < x.cols(); ++j) out.push_back(static_cast<double>(x(t, j)));
  return out;
}

double naive_moment(const std::vector<double>& v, int power) {
  long double mean = 0;
  for (const double a : v) mean += a;
  mean /= static_cast<long double>(v.size());
  long double out = 0;
  for (const double a : v) out += std::pow(a - mean, static_cast<long double>(power));
  return static_cast<double>(out / static_cast<long double>(v.size()));
}

TEST(Moments, AreThoseOfAHandComputedMatrix) {
  // Mean 2; deviations -1 0 -2 3: squares 1 0 4 9, cubes -1 0 -8 27, fourth powers 1 0 16 81.
  const Moments m = compute_moments(matrix({{1, 2}, {0, 5}}));
  EXPECT_EQ(m.count, 4);
  EXPECT_DOUBLE_EQ(m.mean, 2);
  EXPECT_DOUBLE_EQ(m.m2, 14.0 / 4);
  EXPECT_DOUBLE_EQ(m.m3, 18.0 / 4);
  EXPECT_DOUBLE_EQ(m.m4, 98.0 / 4);
  EXPECT_DOUBLE_EQ(m.absmax, 5);
  EXPECT_DOUBLE_EQ(m.minimum, 0);
  EXPECT_DOUBLE_EQ(m.maximum, 5);
  EXPECT_DOUBLE_EQ(m.kurtosis(), (98.0 / 4) / (3.5 * 3.5));
}

TEST(Moments, AbsmaxSeesNegativeEntries) {
  EXPECT_DOUBLE_EQ(compute_moments(matrix({{1, -7, 3}})).absmax, 7);
}

TEST(Moments, AgreeWithANaiveReferenceOnManyShapes) {
  for (const auto& [rows, columns] :
       {std::pair<Index, Index>{1, 1}, {1, 9}, {3, 7}, {8, 8}, {31, 65}, {200, 3}}) {
    const Matrix x = gaussian(rows, columns, 7) * 3.0F;
    const std::vector<double> v = entries(x);
    const Moments m = compute_moments(x);
    EXPECT_NEAR(m.m2, naive_moment(v, 2), 1e-12 * std::max(1.0, m.m2)) << rows << " x " << columns;
    EXPECT_NEAR(m.m3, naive_moment(v, 3), 1e-11 * std::max(1.0, m.m4)) << rows << " x " << columns;
    EXPECT_NEAR(m.m4, naive_moment(v, 4), 1e-12 * std::max(1.0, m.m4)) << rows << " x " << columns;
  }
}

TEST(Moments, ALargeMeanCostsNoDigits) {
  // One pass over x, x², x³, x⁴ would lose all digits of m4 here.
  Matrix x(64, 64);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = i % 2 == 0 ? 1048577.0F : 1048575.0F;
  const Moments m = compute_moments(x);
  EXPECT_DOUBLE_EQ(m.mean, 1048576);
  EXPECT_DOUBLE_EQ(m.m2, 1);
  EXPECT_DOUBLE_EQ(m.kurtosis(), 1);
}

/// Two passes in long double.
struct Exact {
  double mean = 0;
  double m2 = 0;
  double m3 = 0;
  double m4 = 0;
};
Exact exact_moments(const Matrix& x) {
  const auto n = static_cast<long double>(x.size());
  long double mean = 0;
  for (const float v : x.reshaped()) mean += static_cast<long double>(v);
  mean /= n;
  long double s2 = 0;
  long double s3 = 0;
  long double s4 = 0;
  for (const float v : x.reshaped()) {
    const long double d = static_cast<long double>(v) - mean;
    s2 += d * d;
    s3 += d * d * d;
    s4 += d * d * d * d;
  }
  return {static_cast<double>(mean), static_cast<double>(s2 / n), static_cast<double>(s3 / n),
          static_cast<double>(s4 / n)};
}

void expect_exact(const Matrix& x, const std::string& what) {
  const Exact exact = exact_moments(x);
  const Moments first = compute_moments(x, CpuLevel::portable);
  // The bound of the docstring.
  const Index additions = x.cols() / 32 + x.rows() + 16;
  const double bound = 63 * static_cast<double>(additions) * 0x1p-53;
  EXPECT_NEAR(first.mean, exact.mean, bound * (std::abs(exact.mean) + std::sqrt(exact.m2))) << what;
  EXPECT_NEAR(first.m2, exact.m2, bound * exact.m2) << what;
  EXPECT_NEAR(first.m3, exact.m3, bound * std::pow(exact.m4, 0.75)) << what;
  EXPECT_NEAR(first.m4, exact.m4, bound * exact.m4) << what;
  for (const CpuLevel level : runnable_levels()) {
    const Moments m = compute_moments(x, level);
    EXPECT_EQ(m.mean, first.mean) << what << cpu_level_name(level);
    EXPECT_EQ(m.m2, first.m2) << what << cpu_level_name(level);
    EXPECT_EQ(m.m3, first.m3) << what << cpu_level_name(level);
    EXPECT_EQ(m.m4, first.m4) << what << cpu_level_name(level);
    EXPECT_EQ(m.absmax, x.cwiseAbs().maxCoeff()) << what << cpu_level_name(level);
    EXPECT_EQ(m.minimum, x.minCoeff()) << what << cpu_level_name(level);
    EXPECT_EQ(m.maximum, x.maxCoeff()) << what << cpu_level_name(level);
  }
}

TEST(Moments, StayWithinTheStatedErrorOnHardData) {
  for (const Index columns : {5, 64, 97}) {
    Matrix x = gaussian(300, columns, 12);
    expect_exact(x, "plain");
    expect_exact(x * 1e-30F, "tiny");
    expect_exact(x * 1e30F, "huge");
    expect_exact((x.array() + 1e4F).matrix(), "mean of 1e4 deviations");
    expect_exact((x.array() * 1e-3F - 7.0F).matrix(), "mean of -7e3 deviations");
    expect_exact((x.array() + 0.7F).matrix(), "mean of a fraction of the deviation");
    Matrix massive = x;
    massive(17, 1) = 3e5F;
    expect_exact(massive, "one massive outlier");
    // The sampled rows are unlike the rest: the first guess of the centre is bad.
    Matrix apart = (x.array() * 0.01F + 500.0F).matrix();
    for (Index i = 0; i < 8; ++i) apart.row(i * 300 / 8) = x.row(i);
    expect_exact(apart, "sample about 0, rest about 500");
    for (Index i = 0; i < 8; ++i) x.row(i * 300 / 8).array() += 1e5F;
    expect_exact(x, "sample about 1e5, rest about 0");
  }
}

TEST(Moments, OfAConstantThatIsNoBinaryFractionHaveNoSpread) {
  const Moments m = compute_moments(Matrix::Constant(37, 53, 0.1F));
  EXPECT_EQ(m.m2, 0);
  EXPECT_TRUE(std::isnan(m.kurtosis()));
}

TEST(Moments, OfAnEmptyMatrixAreZero) {
  for (const auto& [rows, columns] : {std::pair<Index, Index>{0, 0}, {0, 4}, {4, 0}}) {
    const Moments m = compute_moments(Matrix(rows, columns));
    EXPECT_EQ(m.count, 0);
    EXPECT_EQ(m.absmax, 0);
    EXPECT_TRUE(std::isnan(m.kurtosis()));
  }
}

TEST(Moments, ANaNIsNotOverlooked) {
  const Moments m = compute_moments(matrix({{1, 2, 3}, {4, kNaN, 6}}));
  EXPECT_TRUE(std::isnan(m.absmax));
  EXPECT_TRUE(std::isnan(m.minimum));
  EXPECT_TRUE(std::isnan(m.maximum));
  EXPECT_TRUE(std::isnan(m.m2));
}

TEST(Moments, OfABlockOfColumnsReadOnlyThatBlock) {
  const Matrix x = matrix({{1, 2, 90}, {3, 4, -90}});
  const Moments m = compute_moments(x.leftCols(2));
  EXPECT_DOUBLE_EQ(m.mean, 2.5);
  EXPECT_DOUBLE_EQ(m.absmax, 4);
}

TEST(Errors, AreThoseOfAHandComputedPair) {
  const ErrorSums e = compute_errors(matrix({{1, 2}, {3, 5}}), matrix({{1, 1}, {3, 1}}));
  EXPECT_EQ(e.count, 4);
  EXPECT_EQ(e.rows, 2);
  EXPECT_DOUBLE_EQ(e.error, 0 + 1 + 0 + 16);
  EXPECT_DOUBLE_EQ(e.signal, 1 + 1 + 9 + 1);
  EXPECT_DOUBLE_EQ(e.estimate, 1 + 4 + 9 + 25);
  EXPECT_DOUBLE_EQ(e.product, 1 + 2 + 9 + 5);
  EXPECT_DOUBLE_EQ(e.max_error, 4);
  EXPECT_DOUBLE_EQ(e.row_relative, 1.0 / 2 + 16.0 / 10);
}

TEST(Errors, AgreeWithANaiveReferenceOnManyShapes) {
  for (const auto& [rows, columns] :
       {std::pair<Index, Index>{1, 1}, {1, 9}, {3, 7}, {8, 8}, {31, 65}, {200, 3}}) {
    const Matrix r = gaussian(rows, columns, 3);
    const Matrix x = r + 0.25F * gaussian(rows, columns, 4);
    double error = 0;
    double product = 0;
    double worst = 0;
    for (Index i = 0; i < x.size(); ++i) {
      const double a = x.data()[i];
      const double b = r.data()[i];
      error += (a - b) * (a - b);
      product += a * b;
      worst = std::max(worst, std::abs(a - b));
    }
    const ErrorSums e = compute_errors(x, r);
    EXPECT_NEAR(e.error, error, 1e-12 * error);
    EXPECT_NEAR(e.product, product, 1e-11 * std::max(1.0, std::abs(product)));
    EXPECT_EQ(e.max_error, worst);
  }
}

TEST(Errors, RowsThatAreMadeOnTheWayGiveTheSameBits) {
  const Matrix x = Matrix::Random(37, 53);
  const Matrix r = Matrix::Random(37, 53);
  const ErrorSums whole = compute_errors(x, r);
  for (const int threads : {1, 3}) {
    ErrorSums made;
    with_threads(threads, [&] {
      add_errors_of(
          made, [&](Index first, MatrixRef rows) { rows = x.middleRows(first, rows.rows()); }, r);
    });
    EXPECT_EQ(made.count, whole.count);
    EXPECT_EQ(made.rows, whole.rows);
    EXPECT_EQ(made.error, whole.error);
    EXPECT_EQ(made.signal, whole.signal);
    EXPECT_EQ(made.product, whole.product);
    EXPECT_EQ(made.row_relative, whole.row_relative);
    EXPECT_EQ(made.max_error, whole.max_error);
  }
}

TEST(Errors, ANaNIsNotOverlooked) {
  EXPECT_TRUE(std::isnan(compute_errors(matrix({{1, kNaN}}), matrix({{1, 1}})).max_error));
}

TEST(RelativeError, HasItsLimits) {
  EXPECT_DOUBLE_EQ(relative_error(1, 4), 0.25);
  EXPECT_EQ(relative_error(0, 0), 0);
  EXPECT_EQ(relative_error(1, 0), std::numeric_limits<double>::infinity());
}

TEST(MedianOfAbs, OfOddAndEvenCounts) {
  EXPECT_DOUBLE_EQ(median_of_abs(matrix({{-3, 1, 2}})), 2);
  EXPECT_DOUBLE_EQ(median_of_abs(matrix({{-3, 1}, {2, -10}})), 2.5);
  EXPECT_DOUBLE_EQ(median_of_abs(matrix({{-4}})), 4);
  EXPECT_DOUBLE_EQ(median_of_abs(matrix({{0, 0}, {0, 5}})), 0);
}

TEST(MedianOfAbs, TheTwoMiddleValuesMayLieFarApart) {
  EXPECT_DOUBLE_EQ(median_of_abs(matrix({{1, 2, 1000, 3000}})), 501);
}

TEST(MedianOfAbs, AgreesWithSortingOnManyShapes) {
  for (const auto& [rows, columns] : {std::pair<Index, Index>{1, 2}, {3, 7}, {8, 8}, {31, 65}, {64, 64}}) {
    const Matrix x = gaussian(rows, columns, 11);
    std::vector<double> v = entries(x);
    for (double& a : v) a = std::abs(a);
    std::sort(v.begin(), v.end());
    EXPECT_EQ(median_of_abs(x), (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2) << rows << " x " << columns;
  }
}

double sorted_median(const Matrix& x) {
  std::vector<double> v = entries(x);
  for (double& a : v) a = std::abs(a);
  std::sort(v.begin(), v.end());
  return (v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2;
}

TEST(MedianOfAbs, OfLargeMatricesIsExactWhateverASampleSays) {
  // Large enough that a sample brackets the median first.
  for (const Index columns : {300, 333}) {
    Matrix x = gaussian(301, columns, 17);
    const auto check = [&](const Matrix& m, const char* what) {
      const double expected = sorted_median(m);
      for (const CpuLevel level : runnable_levels())
        EXPECT_EQ(median_of_abs(m, level), expected) << what << " " << cpu_level_name(level);
    };
    check(x, "plain");
    check(Matrix((x * 2).array().rint()), "few values");
    check(Matrix::Constant(301, columns, -0.1F), "one value");
    Matrix zeros = x;
    zeros.topRows(160).setZero();
    check(zeros, "mostly zeros");
    Matrix sorted = x;
    std::sort(sorted.data(), sorted.data() + sorted.size());
    check(sorted, "sorted");
    Matrix halves = x;  // nothing near the middle
    for (Index i = 0; i < halves.size(); ++i)
      halves.data()[i] = (i % 2 == 0 ? 1.0F : 100.0F) + 0.1F * std::abs(x.data()[i]);
    check(halves, "two heaps");
    x(300, 5) = kNaN;
    EXPECT_TRUE(std::isnan(median_of_abs(x)));
    x(300, 5) = std::numeric_limits<float>::infinity();
    check(x, "an infinity");
  }
}

TEST(MedianOfAbs, HandlesInfinityNaNAndNothing) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(median_of_abs(matrix({{1, -kInf, kInf}})), std::numeric_limits<double>::infinity());
  EXPECT_EQ(median_of_abs(matrix({{kInf, -kInf}})), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(median_of_abs(matrix({{1, -kNaN, 2}}))));
  EXPECT_TRUE(std::isnan(median_of_abs(Matrix(0, 5))));
}

TEST(ChannelAbsMean, IsTheMeanOverTokens) {
  const std::vector<double> mean = channel_abs_mean(matrix({{1, -2}, {-3, 0}}));
  EXPECT_EQ(mean, (std::vector<double>{2, 1}));
  EXPECT_EQ(channel_abs_mean(Matrix(0, 2)), (std::vector<double>{0, 0}));
}

TEST(Statistics, OfOneMatrixAreComputedOnceForAllMetrics) {
  const Matrix x = gaussian(5, 6);
  const Observation o(Stage::original, x, std::nullopt, 0, -1);
  EXPECT_EQ(&o.moments(), &o.moments());
  EXPECT_EQ(&o.errors(), &o.errors());
  EXPECT_EQ(&o.channel_absmax(), &o.channel_absmax());
  EXPECT_EQ(&o.token_absmax(), &o.token_absmax());
  EXPECT_EQ(&o.channel_abs_mean(), &o.channel_abs_mean());
  EXPECT_EQ(o.channel_absmax(), channel_absmax(x));
  EXPECT_EQ(o.token_absmax(), token_absmax(x));
  EXPECT_EQ(o.abs_median(), median_of_abs(x));
  EXPECT_EQ(o.moments().m4, compute_moments(x).m4);
  EXPECT_EQ(o.channel_abs_mean(), channel_abs_mean(x));
  EXPECT_EQ(o.errors().count, 0) << "nothing to compare with";
}

TEST(Statistics, OfOnePassAreThoseOfEachFunction) {
  for (const auto& [rows, columns] :
       {std::pair<Index, Index>{1, 1}, {3, 7}, {8, 33}, {9, 64}, {17, 100}, {30, 5}}) {
    Matrix x = gaussian(rows, columns, 13);
    x.row(0).array() += 40.0F;
    for (const CpuLevel level : runnable_levels()) {
      const Summary s = summarize(x, level);
      const Moments m = compute_moments(x, CpuLevel::portable);
      EXPECT_EQ(s.moments.mean, m.mean) << cpu_level_name(level);
      EXPECT_EQ(s.moments.m2, m.m2) << cpu_level_name(level);
      EXPECT_EQ(s.moments.m4, m.m4) << cpu_level_name(level);
      EXPECT_EQ(s.channel_absmax, channel_absmax(x)) << cpu_level_name(level);
      EXPECT_EQ(s.token_absmax, token_absmax(x)) << cpu_level_name(level);
      EXPECT_EQ(s.channel_abs_mean, channel_abs_mean(x, CpuLevel::portable)) << cpu_level_name(level);
    }
  }
  const Summary nothing = summarize(Matrix(0, 3));
  EXPECT_EQ(nothing.moments.count, 0);
  EXPECT_EQ(nothing.channel_absmax, Vector::Zero(3));
  EXPECT_EQ(nothing.token_absmax.size(), 0);
}

TEST(Statistics, HaveTheSameBitsAtEveryLevel) {
  const Matrix r = gaussian(70, 101, 14);
  const Matrix x = r + 0.25F * gaussian(70, 101, 15);
  const ErrorSums errors = compute_errors(x, r, CpuLevel::portable);
  for (const CpuLevel level : runnable_levels()) {
    const ErrorSums e = compute_errors(x, r, level);
    EXPECT_EQ(e.error, errors.error) << cpu_level_name(level);
    EXPECT_EQ(e.row_relative, errors.row_relative) << cpu_level_name(level);
    EXPECT_EQ(e.max_error, errors.max_error) << cpu_level_name(level);
    EXPECT_EQ(mean_row_kurtosis(x, level), mean_row_kurtosis(x, CpuLevel::portable));
    EXPECT_EQ(mean_column_kurtosis(x, level), mean_column_kurtosis(x, CpuLevel::portable));
  }
}

double kurtosis_of(const std::vector<double>& v) {
  return naive_moment(v, 4) / (naive_moment(v, 2) * naive_moment(v, 2));
}

TEST(Kurtosis, OfRowsAndColumnsFarFromZeroKeepsItsDigits) {
  for (const float offset : {0.0F, 3.0F, 1e4F}) {
    Matrix x = gaussian(90, 40, 16);
    for (Index t = 0; t < x.rows(); ++t) x.row(t).array() += offset * static_cast<float>(t % 3);
    for (Index j = 0; j < x.cols(); ++j) x.col(j).array() += offset * static_cast<float>(j % 5);
    x.row(4).setConstant(0.1F);  // has no kurtosis
    double rows = 0;
    double columns = 0;
    for (Index t = 0; t < 90; ++t)
      if (t != 4) rows += kurtosis_of(entries(x.row(t))) / 89;
    for (Index j = 0; j < 40; ++j) columns += kurtosis_of(entries(x.col(j))) / 40;
    EXPECT_NEAR(mean_row_kurtosis(x), rows, 1e-10 * rows) << offset;
    EXPECT_NEAR(mean_column_kurtosis(x), columns, 1e-10 * columns) << offset;
  }
  EXPECT_TRUE(std::isnan(mean_row_kurtosis(Matrix::Constant(3, 5, 0.1F))));
  EXPECT_TRUE(std::isnan(mean_column_kurtosis(Matrix::Constant(3, 5, 0.1F))));
}

TEST(Stages, HaveTheirStoredNames) {
  EXPECT_EQ(stage_name(Stage::original), "original");
  EXPECT_EQ(stage_name(Stage::transformed), "transformed");
  EXPECT_EQ(stage_name(Stage::quantized), "quantized");
  EXPECT_EQ(stage_name(Stage::output), "output");
  EXPECT_EQ(stage_name(Stage::weight_original), "weight_original");
  EXPECT_EQ(stage_name(Stage::weight_transformed), "weight_transformed");
  EXPECT_EQ(stage_name(Stage::weight_quantized), "weight_quantized");
  EXPECT_TRUE(is_weight_stage(Stage::weight_original));
  EXPECT_TRUE(is_weight_stage(Stage::weight_transformed));
  EXPECT_TRUE(is_weight_stage(Stage::weight_quantized));
  EXPECT_FALSE(is_weight_stage(Stage::quantized));
  EXPECT_FALSE(is_weight_stage(Stage::output));
}

}  // namespace
}  // namespace olab

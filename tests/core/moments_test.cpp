// Sums against plain loops in long double, and equal bits at every instruction level.
#include "core/moments.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/random.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;

constexpr double kUnit = 0x1p-53;

const std::vector<Index>& widths() {
  static const std::vector<Index> out{1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 100, 1000};
  return out;
}

void expect_equal(const PowerSums& a, const PowerSums& b, const std::string& what) {
  EXPECT_EQ(a.s1, b.s1) << what;
  EXPECT_EQ(a.s2, b.s2) << what;
  EXPECT_EQ(a.s3, b.s3) << what;
  EXPECT_EQ(a.s4, b.s4) << what;
  EXPECT_EQ(a.range.low, b.range.low) << what;
  EXPECT_EQ(a.range.high, b.range.high) << what;
}

TEST(PowerSums, HaveTheSameBitsAtEveryLevel) {
  for (const Index n : widths())
    for (const double centre : {0.0, 0.1, -12345.678}) {
      const Matrix x = gaussian(1, n, 1) * 3.0F;
      const PowerSums expected = power_sums(x.data(), n, centre, CpuLevel::portable);
      for (const CpuLevel level : runnable_levels())
        expect_equal(power_sums(x.data(), n, centre, level), expected,
                     std::string(cpu_level_name(level)) + " " + std::to_string(n));
    }
}

TEST(PowerSums, StayWithinTheStatedErrorOfLongDouble) {
  for (const Index n : widths())
    for (const double centre : {0.0, 0.1, 100.0}) {
      const Matrix x = gaussian(1, n, 2);
      long double s[4] = {};     // NOLINT(*-avoid-c-arrays)
      long double size[4] = {};  // NOLINT(*-avoid-c-arrays)
      for (Index j = 0; j < n; ++j) {
        const long double d = static_cast<long double>(x(0, j)) - centre;
        long double power = 1;
        for (int k = 0; k < 4; ++k) {
          power *= d;
          s[k] += power;
          size[k] += std::fabs(power);
        }
      }
      const PowerSums sums = power_sums(x.data(), n, centre);
      const double bound = (static_cast<double>(n) / 32 + 8) * kUnit;
      EXPECT_LE(std::fabs(static_cast<double>(sums.s1 - s[0])), bound * static_cast<double>(size[0])) << n;
      EXPECT_LE(std::fabs(static_cast<double>(sums.s2 - s[1])), bound * static_cast<double>(size[1])) << n;
      EXPECT_LE(std::fabs(static_cast<double>(sums.s3 - s[2])), bound * static_cast<double>(size[2])) << n;
      EXPECT_LE(std::fabs(static_cast<double>(sums.s4 - s[3])), bound * static_cast<double>(size[3])) << n;
      EXPECT_EQ(sums.range.low, x.minCoeff());
      EXPECT_EQ(sums.range.high, x.maxCoeff());
    }
}

TEST(PowerSums, OfSmallIntegersAreExact) {
  Matrix x(1, 50);
  for (Index j = 0; j < 50; ++j) x(0, j) = static_cast<float>(j % 5 - 1);  // ten times -1 0 1 2 3
  for (const CpuLevel level : runnable_levels()) {
    const PowerSums s = power_sums(x.data(), 50, 1, level);
    EXPECT_EQ(s.s1, 0);
    EXPECT_EQ(s.s2, 10 * (4 + 1 + 0 + 1 + 4));
    EXPECT_EQ(s.s3, 0);
    EXPECT_EQ(s.s4, 10 * (16 + 1 + 0 + 1 + 16));
    EXPECT_EQ(s.range.low, -1);
    EXPECT_EQ(s.range.high, 3);
  }
}

TEST(PowerSums, ANaNReachesTheSum) {
  for (const CpuLevel level : runnable_levels())
    for (Index at = 0; at < 70; ++at) {
      Matrix x = Matrix::Ones(1, 70);
      x(0, at) = std::numeric_limits<float>::quiet_NaN();
      EXPECT_TRUE(std::isnan(power_sums(x.data(), 70, 0, level).s1)) << cpu_level_name(level) << " " << at;
      EXPECT_TRUE(std::isnan(power_sums(x.data(), 70, 0.5, level).s4)) << cpu_level_name(level) << " " << at;
    }
}

TEST(CentralMoments, FollowFromSumsAboutAnyCentre) {
  // -1 0 -2 3 about 2 are 1 2 0 5: mean 2.
  const std::vector<float> x{1, 2, 0, 5};
  for (const double centre : {0.0, 2.0, 3.0}) {
    const CentralMoments m = central_moments(power_sums(x.data(), 4, centre), 4, centre);
    EXPECT_DOUBLE_EQ(m.mean, 2);
    EXPECT_NEAR(m.m2, 14.0 / 4, 1e-14);
    EXPECT_NEAR(m.m3, 18.0 / 4, 1e-13);
    EXPECT_NEAR(m.m4, 98.0 / 4, 1e-13);
    // The deviation is 1.87.
    EXPECT_EQ(m.reliable, centre != 0);
  }
}

TEST(PairSums, HaveTheSameBitsAtEveryLevelAndThoseOfLongDouble) {
  for (const Index n : widths()) {
    const Matrix r = gaussian(1, n, 3);
    const Matrix x = r + 0.1F * gaussian(1, n, 4);
    long double error = 0;
    long double signal = 0;
    long double estimate = 0;
    long double product = 0;
    double worst = 0;
    for (Index j = 0; j < n; ++j) {
      const long double a = x(0, j);
      const long double b = r(0, j);
      error += (a - b) * (a - b);
      signal += b * b;
      estimate += a * a;
      product += a * b;
      worst = std::max(worst, std::fabs(static_cast<double>(x(0, j)) - static_cast<double>(r(0, j))));
    }
    const PairSums expected = pair_sums(x.data(), r.data(), n, CpuLevel::portable);
    const double bound = (static_cast<double>(n) / 32 + 8) * kUnit;
    EXPECT_NEAR(expected.error, static_cast<double>(error), bound * static_cast<double>(error));
    EXPECT_NEAR(expected.signal, static_cast<double>(signal), bound * static_cast<double>(signal));
    EXPECT_NEAR(expected.estimate, static_cast<double>(estimate), bound * static_cast<double>(estimate));
    EXPECT_NEAR(expected.product, static_cast<double>(product),
                bound * static_cast<double>(signal + estimate));
    EXPECT_EQ(expected.max_error, worst);
    for (const CpuLevel level : runnable_levels()) {
      const PairSums s = pair_sums(x.data(), r.data(), n, level);
      EXPECT_EQ(s.error, expected.error) << cpu_level_name(level) << " " << n;
      EXPECT_EQ(s.signal, expected.signal) << cpu_level_name(level) << " " << n;
      EXPECT_EQ(s.estimate, expected.estimate) << cpu_level_name(level) << " " << n;
      EXPECT_EQ(s.product, expected.product) << cpu_level_name(level) << " " << n;
      EXPECT_EQ(s.max_error, expected.max_error) << cpu_level_name(level) << " " << n;
    }
  }
}

TEST(ColumnMagnitudes, AreAddedRowByRow) {
  for (const Index rows : {1, 7, 8, 9, 20})
    for (const Index columns : widths()) {
      const Matrix big = gaussian(rows, columns + 3, 5);
      const ConstMatrixRef x = big.middleCols(1, columns);
      for (const CpuLevel level : runnable_levels()) {
        std::vector<float> largest(static_cast<std::size_t>(columns), 0.25F);
        std::vector<double> sum(largest.size(), 0.5);
        add_column_magnitudes(x, largest.data(), sum.data(), level);
        for (Index j = 0; j < columns; ++j) {
          double expected = 0.5;
          float top = 0.25F;
          for (Index t = 0; t < rows; ++t) {
            expected += static_cast<double>(std::abs(x(t, j)));
            top = std::max(top, std::abs(x(t, j)));
          }
          EXPECT_EQ(sum[static_cast<std::size_t>(j)], expected) << cpu_level_name(level);
          EXPECT_EQ(largest[static_cast<std::size_t>(j)], top) << cpu_level_name(level);
        }
      }
    }
}

TEST(ColumnPowerSums, AreThoseOfEachColumnAtEveryLevel) {
  for (const Index rows : {1, 8, 13})
    for (const Index columns : widths()) {
      const Matrix x = gaussian(rows, columns, 6);
      std::vector<double> centre(static_cast<std::size_t>(columns));
      for (std::size_t j = 0; j < centre.size(); ++j) centre[j] = 0.01 * static_cast<double>(j % 7);
      std::vector<double> expected(4 * centre.size());
      column_power_sums(x, centre.data(), expected.data(), CpuLevel::portable);
      for (Index j = 0; j < columns; ++j) {
        double s2 = 0;
        for (Index t = 0; t < rows; ++t) {
          const double d = static_cast<double>(x(t, j)) - centre[static_cast<std::size_t>(j)];
          s2 += d * d;
        }
        EXPECT_EQ(expected[static_cast<std::size_t>(columns + j)], s2);
      }
      for (const CpuLevel level : runnable_levels()) {
        std::vector<double> sums(expected.size(), -1.0);
        column_power_sums(x, centre.data(), sums.data(), level);
        EXPECT_EQ(sums, expected) << cpu_level_name(level) << " " << rows << " x " << columns;
      }
    }
}

}  // namespace
}  // namespace olab

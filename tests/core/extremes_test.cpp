// Extremes of rows and columns against plain loops, at every instruction level.
#include "core/extremes.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/random.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

const std::vector<Index>& widths() {
  static const std::vector<Index> out{1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257};
  return out;
}

TEST(Extremes, OfRowsAreFoundWhereverTheyLie) {
  for (const CpuLevel level : runnable_levels())
    for (const Index n : widths())
      for (Index at = 0; at < n; ++at) {
        Matrix x = gaussian(1, n, 1);
        x(0, at) = 50;
        EXPECT_EQ(value_range(x.data(), n, level).high, 50) << cpu_level_name(level) << n << " " << at;
        EXPECT_EQ(absmax(x.data(), n, level), 50) << cpu_level_name(level) << n << " " << at;
        x(0, at) = -60;
        EXPECT_EQ(value_range(x.data(), n, level).low, -60) << cpu_level_name(level) << n << " " << at;
        EXPECT_EQ(absmax(x.data(), n, level), 60) << cpu_level_name(level) << n << " " << at;
        EXPECT_TRUE(all_finite(x.data(), n, level));
        for (const float bad : {kNaN, -kNaN, kInf, -kInf}) {
          x(0, at) = bad;
          EXPECT_FALSE(all_finite(x.data(), n, level)) << cpu_level_name(level) << n << " " << at;
        }
      }
}

TEST(Extremes, OfNothingAreEmpty) {
  for (const CpuLevel level : runnable_levels()) {
    const Range r = value_range(nullptr, 0, level);
    EXPECT_GT(r.low, r.high);
    EXPECT_EQ(absmax(nullptr, 0, level), 0);
    EXPECT_TRUE(all_finite(nullptr, 0, level));
  }
}

TEST(Extremes, OverlookNaN) {
  for (const CpuLevel level : runnable_levels())
    for (const Index n : {3, 16, 40}) {
      Matrix x = gaussian(1, n, 2);
      x(0, 0) = 7;
      x(0, 1) = -8;
      x(0, n - 1) = kNaN;
      EXPECT_EQ(value_range(x.data(), n, level).low, -8) << cpu_level_name(level);
      EXPECT_EQ(value_range(x.data(), n, level).high, 7) << cpu_level_name(level);
      EXPECT_EQ(absmax(x.data(), n, level), 8) << cpu_level_name(level);
    }
}

TEST(Extremes, OfColumnsAreThoseOfAPlainLoop) {
  for (const CpuLevel level : runnable_levels())
    for (const Index rows : {1, 2, 7, 8, 9, 30})
      for (const Index columns : widths()) {
        // A block of a larger matrix, so that rows lie apart.
        const Matrix big = gaussian(rows, columns + 5, 3);
        const ConstMatrixRef x = big.middleCols(2, columns);
        std::vector<float> low(static_cast<std::size_t>(columns));
        std::vector<float> high(low.size());
        std::vector<float> largest(low.size());
        column_ranges(x, low.data(), high.data(), level);
        column_absmax(x, largest.data(), level);
        for (Index j = 0; j < columns; ++j) {
          float l = x(0, j);
          float h = x(0, j);
          for (Index t = 0; t < rows; ++t) {
            l = std::min(l, x(t, j));
            h = std::max(h, x(t, j));
          }
          const auto i = static_cast<std::size_t>(j);
          EXPECT_EQ(low[i], l) << cpu_level_name(level) << " " << rows << " x " << columns;
          EXPECT_EQ(high[i], h) << cpu_level_name(level) << " " << rows << " x " << columns;
          EXPECT_EQ(largest[i], std::max(-l, h)) << cpu_level_name(level) << " " << rows << " x " << columns;
        }
      }
}

TEST(CountMagnitudes, CountsAndKeepsThoseBetween) {
  for (const CpuLevel level : runnable_levels())
    for (const Index n : widths()) {
      Matrix x = gaussian(1, n, 4);
      x(0, n / 2) = -0.5F;
      std::vector<float> inside(static_cast<std::size_t>(n) + 16);
      const MagnitudeCounts c =
          count_magnitudes(x.data(), n, 0.5F, 1.0F, inside.data(), static_cast<Index>(inside.size()), level);
      Index below = 0;
      Index equal = 0;
      std::vector<float> expected;
      for (Index j = 0; j < n; ++j) {
        const float size = std::abs(x(0, j));
        below += size < 0.5F ? 1 : 0;
        equal += size == 0.5F ? 1 : 0;
        if (size > 0.5F && size < 1) expected.push_back(size);
      }
      EXPECT_EQ(c.below, below) << cpu_level_name(level) << " " << n;
      EXPECT_EQ(c.low, equal) << cpu_level_name(level) << " " << n;
      EXPECT_EQ(c.inside, static_cast<Index>(expected.size())) << cpu_level_name(level) << " " << n;
      EXPECT_FALSE(c.has_nan);
      inside.resize(expected.size());
      EXPECT_EQ(inside, expected) << cpu_level_name(level) << " " << n;
      for (Index at = 0; at < n; ++at) {
        Matrix bad = Matrix::Zero(1, n);
        bad(0, at) = -kNaN;
        std::vector<float> none(16);
        EXPECT_TRUE(count_magnitudes(bad.data(), n, 0, 0, none.data(), 16, level).has_nan) << at;
      }
    }
}

TEST(CountMagnitudes, NeverWritesBeyondItsRoom) {
  const Matrix x = Matrix::Constant(1, 100, 2);
  for (const CpuLevel level : runnable_levels())
    for (const Index capacity : {16, 17, 40, 64}) {
      std::vector<float> inside(static_cast<std::size_t>(capacity) + 1, 77);
      const MagnitudeCounts c = count_magnitudes(x.data(), 100, 0, kInf, inside.data(), capacity, level);
      EXPECT_GT(c.inside, capacity - 16) << cpu_level_name(level);
      EXPECT_LE(c.inside, capacity) << cpu_level_name(level);
      EXPECT_EQ(inside.back(), 77.0F) << cpu_level_name(level);
    }
}

}  // namespace
}  // namespace olab

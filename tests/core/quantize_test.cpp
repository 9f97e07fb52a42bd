// Rounding kernels against the formulas in their plainest form, at every instruction level, bit for bit.
#include "core/quantize.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/parallel.hpp"
#include "core/random.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;

struct Plain {
  std::vector<float> values;
  std::vector<int> codes;
  float step = 0;
  float zero = 0;
  Index clipped = 0;
};

/// The formulas of core/quantize.hpp for one group of values, one operation a line.
Plain plain_group(const std::vector<float>& x, const IntegerRule& rule) {
  Plain out;
  float low = *std::min_element(x.begin(), x.end());
  float high = *std::max_element(x.begin(), x.end());
  const bool constant = low == high && !rule.released;
  if (constant) {
    out.values = x;
    out.codes.assign(x.size(), 1);
    out.step = low;
    return out;
  }
  low *= rule.clip;
  high *= rule.clip;
  const float last = std::ldexp(1.0F, rule.bits) - 1;
  if (rule.symmetric) {
    out.zero = std::ldexp(1.0F, rule.bits - 1) - 1;
    out.step = std::max(std::fabs(low), std::fabs(high)) / out.zero;
    out.step = std::min(std::max(out.step, 1e-5F), 1e4F);
  } else {
    out.step = (high - low) / last;
    out.step = std::min(std::max(out.step, 1e-5F), 1e4F);
    out.zero = -low / out.step;
    if (rule.released) out.zero = std::min(std::max(out.zero, -1e4F), 1e4F);
    out.zero = std::nearbyint(out.zero);
  }
  for (const float v : x) {
    const volatile float quotient = v / out.step;
    float code = std::nearbyint(quotient);
    if (rule.released) code = static_cast<float>(Eigen::half(code));
    code += out.zero;
    if (code < 0 || code > last) ++out.clipped;
    code = std::min(std::max(code, 0.0F), last);
    out.codes.push_back(static_cast<int>(code));
    const volatile float steps = code - out.zero;
    out.values.push_back(steps * out.step);
  }
  return out;
}

std::vector<float> values_of(const Matrix& x, Index row, Index column, Index rows, Index columns) {
  std::vector<float> out;
  for (Index t = row; t < row + rows; ++t)
    for (Index j = column; j < column + columns; ++j) out.push_back(x(t, j));
  return out;
}

/// Every rows x columns tile of x shares a grid.
Plain plain_tiles(const Matrix& x, Index rows, Index columns, const IntegerRule& rule) {
  Plain out;
  out.values.resize(static_cast<std::size_t>(x.size()));
  out.codes.resize(out.values.size());
  for (Index t = 0; t < x.rows(); t += rows)
    for (Index j = 0; j < x.cols(); j += columns) {
      const Plain tile = plain_group(values_of(x, t, j, rows, columns), rule);
      out.clipped += tile.clipped;
      for (std::size_t i = 0; i < tile.values.size(); ++i) {
        const Index r = t + static_cast<Index>(i) / columns;
        const Index c = j + static_cast<Index>(i) % columns;
        out.values[static_cast<std::size_t>(r * x.cols() + c)] = tile.values[i];
        out.codes[static_cast<std::size_t>(r * x.cols() + c)] = tile.codes[i];
      }
    }
  return out;
}

/// Index of the first value that differs in a bit, or -1.
Index first_difference(const Matrix& x, const std::vector<float>& expected) {
  for (Index i = 0; i < x.size(); ++i)
    if (std::bit_cast<std::uint32_t>(x.data()[i]) !=
        std::bit_cast<std::uint32_t>(expected[static_cast<std::size_t>(i)]))
      return i;
  return -1;
}

std::vector<IntegerRule> rules() {
  std::vector<IntegerRule> out;
  for (const int bits : {2, 3, 4, 8})
    for (const bool symmetric : {false, true})
      for (const float clip : {1.0F, 0.83F})
        for (const bool released : {false, true}) out.push_back({bits, symmetric, clip, released});
  out.push_back({4, false, 1e-6F, false});
  return out;
}

std::string name(const IntegerRule& r, CpuLevel level) {
  return std::string(cpu_level_name(level)) + " bits " + std::to_string(r.bits) +
         (r.symmetric ? " symmetric" : "") + " clip " + std::to_string(r.clip) +
         (r.released ? " released" : "");
}

/// Rows of many kinds: plain, far from zero, tiny, huge, constant, all integers, with outliers.
Matrix nasty(Index columns, std::uint64_t seed) {
  Matrix x = gaussian(14, columns, seed);
  x.row(1).array() += 50.0F;
  x.row(2).array() -= 3000.0F;
  x.row(3).array() = x.row(3).array() * 1e-3F + 4e5F;
  x.row(4) *= 1e-7F;
  x.row(5) *= 1e30F;
  x.row(6).setConstant(-2.5F);
  x.row(7).setZero();
  x.row(8) = (x.row(8) * 4).array().rint();
  x(9, 0) = 9000;
  x.row(10) = x.row(10).cwiseAbs() * 1e-38F;
  x.row(11).array() = x.row(11).array() * 1e-6F + 30.0F;
  x.row(12) *= 2e5F;
  for (Index j = 0; j < columns; ++j) x(13, j) = j % 2 == 0 ? 1e35F : -1e35F;
  return x;
}

TEST(IntegerGrid, IsThatOfTheFormulas) {
  const IntegerGrid a = integer_grid({4, false, 1, false}, {-2, 13});
  EXPECT_EQ(a.step, 1);
  EXPECT_EQ(a.zero, 2);
  EXPECT_EQ(a.last, 15);
  EXPECT_FALSE(a.constant);
  const IntegerGrid b = integer_grid({4, true, 0.5F, false}, {-28, 13});
  EXPECT_EQ(b.step, 2);
  EXPECT_EQ(b.zero, 7);
  EXPECT_TRUE(integer_grid({4, false, 1, false}, {3, 3}).constant);
  EXPECT_FALSE(integer_grid({4, false, 1, true}, {3, 3}).constant);
  EXPECT_EQ(integer_grid({4, false, 1, true}, {3, 3}).zero, -1e4F);
  EXPECT_EQ(integer_grid({8, false, 1, false}, {0, 1e-9F}).step, 1e-5F);
  EXPECT_EQ(integer_grid({8, false, 1, false}, {0, 1e9F}).step, 1e4F);
}

TEST(RoundGroups, HasTheBitsOfThePlainFormulasForRowsOfAllKinds) {
  for (const Index columns : {1, 2, 7, 16, 31, 64, 65, 130, 256, 1000}) {
    const Matrix x = nasty(columns, 3 + static_cast<std::uint64_t>(columns));
    for (const IntegerRule& rule : rules()) {
      const Plain expected = plain_tiles(x, 1, columns, rule);
      for (const CpuLevel level : runnable_levels()) {
        for (const Store store : {Store::cached, Store::streaming}) {
          Matrix out(x.rows(), columns);
          EXPECT_EQ(round_groups(x, columns, rule, out, store, level), expected.clipped)
              << name(rule, level) << " x " << columns;
          EXPECT_EQ(first_difference(out, expected.values), -1) << name(rule, level) << " x " << columns;
        }
        Matrix both = x;
        EXPECT_EQ(round_groups(both, columns, rule, both, Store::automatic, level), expected.clipped);
        EXPECT_EQ(first_difference(both, expected.values), -1) << name(rule, level) << " in place";
      }
    }
  }
}

TEST(RoundGroups, HasTheBitsOfThePlainFormulasForGroups) {
  const Matrix x = nasty(384, 5);
  for (const Index size : {1, 2, 6, 16, 48, 64, 96, 128, 192})
    for (const IntegerRule& rule : rules()) {
      const Plain expected = plain_tiles(x, 1, size, rule);
      for (const CpuLevel level : runnable_levels()) {
        Matrix out(x.rows(), x.cols());
        EXPECT_EQ(round_groups(x, size, rule, out, Store::streaming, level), expected.clipped)
            << name(rule, level) << " groups of " << size;
        EXPECT_EQ(first_difference(out, expected.values), -1) << name(rule, level) << " groups of " << size;
      }
    }
}

TEST(RoundMatrix, HasTheBitsOfThePlainFormulas) {
  for (const Index columns : {1, 33, 64, 200}) {
    for (const float offset : {0.0F, 700.0F, 1e6F}) {
      Matrix x = gaussian(9, columns, 8);
      x.array() += offset;
      for (const IntegerRule& rule : rules()) {
        const Plain expected = plain_tiles(x, 9, columns, rule);
        for (const CpuLevel level : runnable_levels()) {
          Matrix out(9, columns);
          EXPECT_EQ(round_matrix(x, rule, out, Store::streaming, level), expected.clipped)
              << name(rule, level);
          EXPECT_EQ(first_difference(out, expected.values), -1) << name(rule, level);
          Matrix both = x;
          round_matrix(both, rule, both, Store::automatic, level);
          EXPECT_EQ(first_difference(both, expected.values), -1) << name(rule, level) << " in place";
        }
      }
    }
  }
}

TEST(RoundColumns, HasTheBitsOfThePlainFormulas) {
  for (const Index columns : {1, 7, 8, 16, 37, 64, 129}) {
    // Columns of all kinds beside one another.
    Matrix x = gaussian(21, columns, 9);
    const Matrix kinds = nasty(21, 10).transpose();
    for (Index j = 0; j < columns; ++j)
      if (j % 5 != 0) x.col(j) = kinds.col(j % kinds.cols());
    for (const IntegerRule& rule : rules()) {
      const Plain expected = plain_tiles(x, 21, 1, rule);
      for (const CpuLevel level : runnable_levels()) {
        for (const Store store : {Store::cached, Store::streaming}) {
          Matrix out(21, columns);
          EXPECT_EQ(round_columns(x, rule, out, store, level), expected.clipped)
              << name(rule, level) << " x " << columns;
          EXPECT_EQ(first_difference(out, expected.values), -1) << name(rule, level) << " x " << columns;
        }
        Matrix both = x;
        round_columns(both, rule, both, Store::automatic, level);
        EXPECT_EQ(first_difference(both, expected.values), -1) << name(rule, level) << " in place";
      }
    }
  }
}

/// lo, hi, and the floats round every half-way point of the grid between them.
Matrix halfway_points(float low, float high, const IntegerRule& rule) {
  const IntegerGrid grid = integer_grid(rule, {low, high});
  std::vector<float> v{low, high};
  const double step = grid.step;
  const auto first = static_cast<int>(std::floor(static_cast<double>(low) / step)) - 1;
  const auto last = static_cast<int>(std::ceil(static_cast<double>(high) / step)) + 1;
  for (int k = first; k <= last; ++k) {
    float near = static_cast<float>((k + 0.5) * step);
    for (int i = 0; i < 4; ++i) near = std::nextafter(near, -std::numeric_limits<float>::infinity());
    for (int i = 0; i < 9; ++i, near = std::nextafter(near, std::numeric_limits<float>::infinity()))
      if (near >= low && near <= high) v.push_back(near);
  }
  // Fillers, so that a register holds few of them as well as many.
  while (v.size() % 64 != 0) v.push_back(low);
  Matrix out(1, static_cast<Index>(v.size()));
  std::copy(v.begin(), v.end(), out.data());
  return out;
}

TEST(RoundGroups, RoundsLikeADivisionRoundEveryHalfWayPoint) {
  RandomStream random(17);
  for (int i = 0; i < 300; ++i) {
    const auto scale = static_cast<float>(std::exp(6 * (random.uniform() - 0.5)));
    const auto low = static_cast<float>(-scale * random.uniform());
    const auto high = low + scale * static_cast<float>(0.1 + random.uniform());
    for (const int bits : {2, 4, 8})
      for (const float clip : {1.0F, 0.9F})
        for (const bool symmetric : {false, true}) {
          const IntegerRule rule{bits, symmetric, clip, false};
          const Matrix x = halfway_points(low, high, rule);
          const Plain expected = plain_tiles(x, 1, x.cols(), rule);
          for (const CpuLevel level : runnable_levels()) {
            Matrix out(1, x.cols());
            ASSERT_EQ(round_groups(x, x.cols(), rule, out, Store::cached, level), expected.clipped)
                << name(rule, level) << " " << low << " " << high;
            ASSERT_EQ(first_difference(out, expected.values), -1)
                << name(rule, level) << " " << low << " " << high;
          }
        }
  }
}

TEST(RoundGroups, RoundsExactHalvesToTheEvenCode) {
  // Step 1, zero 0: every value is half an integer.
  Matrix x(1, 512);
  for (Index j = 0; j < 512; ++j) x(0, j) = static_cast<float>(j % 511) * 0.5F;
  x(0, 511) = 255;
  for (const CpuLevel level : runnable_levels()) {
    Matrix out(1, 512);
    EXPECT_EQ(round_groups(x, 512, {8, false, 1, false}, out, Store::cached, level), 0);
    EXPECT_EQ(out, Matrix(x.array().rint())) << cpu_level_name(level);
  }
}

TEST(RoundGroups, LooksAtEveryBlockOfLargerMatricesAlone) {
  const Matrix big = gaussian(12, 200, 21);
  const Matrix block = big.block(2, 3, 9, 130);
  for (const CpuLevel level : runnable_levels()) {
    Matrix expected(9, 130);
    round_groups(block, 130, {}, expected, Store::cached, level);
    Matrix out = Matrix::Constant(12, 200, 7);
    round_groups(big.block(2, 3, 9, 130), 130, {}, out.block(2, 3, 9, 130), Store::streaming, level);
    EXPECT_EQ(Matrix(out.block(2, 3, 9, 130)), expected) << cpu_level_name(level);
    EXPECT_EQ(out.row(1), Matrix::Constant(1, 200, 7));
    EXPECT_EQ(out.col(2), Matrix::Constant(12, 1, 7));
    EXPECT_EQ(out.col(133), Matrix::Constant(12, 1, 7));
  }
}

TEST(RoundGroups, IsTheSameForAnyNumberOfThreadsAndEveryStore) {
  // Large enough for several tasks and for streaming stores by default.
  const Matrix x = gaussian(1100, 2048, 22);
  const IntegerRule rule{4, false, 0.8F, false};
  Matrix expected(x.rows(), x.cols());
  Index clipped = 0;
  with_threads(1, [&] { clipped = round_groups(x, 2048, rule, expected, Store::cached); });
  EXPECT_GT(clipped, 0);
  for (const int threads : {1, 2, 4})
    with_threads(threads, [&] {
      Matrix out(x.rows(), x.cols());
      EXPECT_EQ(round_groups(x, 2048, rule, out), clipped);
      EXPECT_EQ(out, expected) << threads;
    });
}

TEST(Rounding, OfNothingIsNothing) {
  Matrix out(0, 4);
  EXPECT_EQ(round_groups(Matrix(0, 4), 4, {}, out), 0);
  EXPECT_EQ(round_matrix(Matrix(0, 4), {}, out), 0);
  EXPECT_EQ(round_columns(Matrix(0, 4), {}, out), 0);
  IntegerMatrix codes;
  Index clipped = 1;
  EXPECT_TRUE(rows_to_codes(Matrix(0, 4), {}, codes, clipped));
  EXPECT_EQ(clipped, 0);
  EXPECT_EQ(codes.cols, 4);
}

void expect_codes(const IntegerMatrix& codes, const Plain& expected, const std::string& what) {
  for (Index t = 0; t < codes.rows; ++t)
    for (Index j = 0; j < codes.cols; ++j) {
      const auto row = static_cast<std::size_t>(t);
      const auto at = static_cast<std::size_t>(t * codes.cols + j);
      const volatile float steps = static_cast<float>(codes.row(t)[j]) - codes.zero[row];
      ASSERT_EQ(steps * codes.step[row], expected.values[at]) << what << " at " << t << ", " << j;
      ASSERT_EQ(static_cast<int>(codes.row(t)[j]), expected.codes[at]) << what << " at " << t << ", " << j;
    }
}

TEST(RowsToCodes, AreTheIntegersOfFakeQuantization) {
  for (const Index columns : {1, 5, 16, 63, 64, 100, 256}) {
    // Without the rows whose zero points lie too far for codes.
    Matrix x = nasty(columns, 23);
    for (const Index t : {3, 5, 13}) x.row(t) = x.row(0);
    for (const IntegerRule& rule : rules()) {
      if (rule.clip < 0.01F) continue;
      const Plain expected = plain_tiles(x, 1, columns, rule);
      for (const CpuLevel level : runnable_levels()) {
        IntegerMatrix codes;
        Index clipped = -1;
        ASSERT_TRUE(rows_to_codes(x, rule, codes, clipped, level)) << name(rule, level) << " " << columns;
        EXPECT_EQ(clipped, expected.clipped) << name(rule, level);
        EXPECT_EQ(codes.rows, x.rows());
        EXPECT_EQ(codes.cols, columns);
        expect_codes(codes, expected, name(rule, level));
        if (!rule.released) {
          EXPECT_EQ(codes.step[6], -2.5F) << "a constant row is (1 - 0) v";
          EXPECT_EQ(codes.zero[6], 0.0F);
          EXPECT_EQ(codes.row(6)[0], 1);
          EXPECT_EQ(codes.step[7], 0.0F);
          EXPECT_EQ(codes.row(7)[0], 1);
        }
        std::vector<std::uint8_t> row(static_cast<std::size_t>(columns));
        const RowCodes alone = row_to_codes(x.row(1).data(), columns, rule, row.data(), level);
        EXPECT_EQ(alone.step, codes.step[1]);
        EXPECT_EQ(alone.zero, codes.zero[1]);
        EXPECT_TRUE(std::equal(row.begin(), row.end(), codes.row(1)));
      }
    }
  }
}

TEST(MatrixToCodes, HaveOneStepForAllRows) {
  for (const float offset : {0.0F, 700.0F}) {
    Matrix x = gaussian(9, 77, 24);
    x.array() += offset;
    for (const IntegerRule& rule : rules()) {
      const Plain expected = plain_tiles(x, 9, 77, rule);
      for (const CpuLevel level : runnable_levels()) {
        IntegerMatrix codes;
        Index clipped = -1;
        if (!matrix_to_codes(x, rule, codes, clipped, level)) {
          EXPECT_LT(rule.clip, 0.01F) << name(rule, level);
          continue;
        }
        EXPECT_EQ(clipped, expected.clipped) << name(rule, level);
        expect_codes(codes, expected, name(rule, level));
        for (std::size_t t = 1; t < 9; ++t) {
          EXPECT_EQ(codes.step[t], codes.step[0]);
          EXPECT_EQ(codes.zero[t], codes.zero[0]);
        }
      }
    }
  }
}

TEST(RowsToCodes, RefuseZeroPointsThatAreNotExactInFloat) {
  Matrix x(2, 4);
  x << 0, 1, 2, 3,  //
      1e9F, 1e9F + 64, 1e9F + 128, 1e9F + 192;
  IntegerMatrix codes;
  Index clipped = 0;
  for (const CpuLevel level : runnable_levels()) {
    EXPECT_FALSE(rows_to_codes(x, {8, false, 1, false}, codes, clipped, level));
    EXPECT_FALSE(matrix_to_codes(x.bottomRows(1), {8, false, 1, false}, codes, clipped, level));
    EXPECT_TRUE(rows_to_codes(x, {8, true, 1, false}, codes, clipped, level)) << "zero in the middle";
    EXPECT_TRUE(rows_to_codes(x, {8, false, 1, true}, codes, clipped, level)) << "zero cut to 1e4";
  }
}

}  // namespace
}  // namespace olab

// Every kernel of the row scores, on every level, against plain loops.
#include "core/row_scores.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "core/linalg.hpp"
#include "core/random.hpp"
#include "cpu_levels.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;

std::vector<const float*> pointers_of(const Matrix& x) {
  std::vector<const float*> out;
  for (Index i = 0; i < x.rows(); ++i) out.push_back(x.row(i).data());
  return out;
}

/// x · r with every product and every sum rounded, k rising.
float plain_dot(const float* x, const Matrix& r, Index column) {
  volatile float sum = 0;
  for (Index k = 0; k < r.rows(); ++k) {
    const volatile float product = x[k] * r(k, column);
    sum = sum + product;
  }
  return sum;
}

class RowScores : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Cpu, RowScores, testing::ValuesIn(runnable_levels()), test::level_label);

TEST_P(RowScores, FactsAreThoseOfThePlainLoop) {
  for (const Index size : {1, 2, 7, 8, 9, 16, 31, 128, 129}) {
    const Matrix x = gaussian(5, size + 3, static_cast<std::uint64_t>(size));
    std::vector<RowFacts> facts(5);
    std::vector<RowFacts> portable(5);
    measure_rows(x.data() + 1, x.outerStride(), 5, size, facts.data(), GetParam());
    measure_rows(x.data() + 1, x.outerStride(), 5, size, portable.data(), CpuLevel::portable);
    for (Index i = 0; i < 5; ++i) {
      const auto row = x.row(i).segment(1, size);
      const RowFacts& f = facts[static_cast<std::size_t>(i)];
      EXPECT_EQ(f.low, row.minCoeff());
      EXPECT_EQ(f.high, row.maxCoeff());
      const double squares = row.cast<double>().squaredNorm();
      EXPECT_NEAR(f.square_sum, squares, 1e-14 * squares);
      EXPECT_EQ(f.square_sum, portable[static_cast<std::size_t>(i)].square_sum) << size;
    }
  }
}

TEST_P(RowScores, RangesHaveTheBitsOfThePlainProduct) {
  for (const Index size : {1, 2, 3, 5, 16, 17, 31, 64, 65, 96, 128, 144}) {
    const Matrix x = gaussian(9, size, static_cast<std::uint64_t>(size) + 50);
    const Matrix r = gaussian(size, size, static_cast<std::uint64_t>(size) + 90);
    const Matrix padded = pad_columns(r);
    std::vector<RowRange> ranges(9);
    score_rows(pointers_of(x).data(), 9, padded, ranges.data(), GetParam());
    Vector y(padded.cols());
    for (Index i = 0; i < 9; ++i) {
      float low = std::numeric_limits<float>::infinity();
      float high = -low;
      row_product(x.row(i).data(), padded, y.data(), GetParam());
      for (Index j = 0; j < size; ++j) {
        const float entry = plain_dot(x.row(i).data(), r, j);
        EXPECT_EQ(y[j], entry);
        low = std::min(low, entry);
        high = std::max(high, entry);
      }
      EXPECT_EQ(ranges[static_cast<std::size_t>(i)].low, low) << size;
      EXPECT_EQ(ranges[static_cast<std::size_t>(i)].high, high) << size;
    }
  }
}

TEST(PaddedColumns, RepeatTheFirstOne) {
  const Matrix r = gaussian(5, 5, 3);
  const Matrix padded = pad_columns(r);
  ASSERT_EQ(padded.cols(), 16);
  EXPECT_EQ(Matrix(padded.leftCols(5)), r);
  for (Index j = 5; j < 16; ++j) EXPECT_EQ(Matrix(padded.col(j)), Matrix(r.col(0)));
}

/// Rows and a matrix with their codes.
struct Coded {
  Coded(Matrix rows, const Matrix& r, Index skip, CpuLevel level) : x(std::move(rows)) {
    codes.resize(code_groups(r.rows()) * kCodeRows * 4);
    block.codes = codes.data();
    encode_rows(pointers_of(x).data(), x.rows(), x.cols(), block, level);
    encode_matrix(pad_columns(r), skip, matrix, level);
  }
  /// Code of row i, channel k.
  int a(Index i, Index k) const { return codes[((k / 4) * kCodeRows + i) * 4 + k % 4] - 64; }
  /// Code of column j, channel k.
  int c(Index j, Index k) const {
    return matrix.codes[((j / 4 * matrix.groups + k / 4) * 4 + j % 4) * 4 + k % 4];
  }
  Matrix x;
  Eigen::Matrix<std::uint8_t, Eigen::Dynamic, 1> codes;
  CodedRows block{};
  CodedMatrix matrix;
};

TEST_P(RowScores, CodesBoundWhatTheyLeaveOut) {
  for (const Index size : {2, 3, 4, 15, 16, 33, 64, 128, 200}) {
    const Index count = size % 2 == 0 ? kCodeRows : 11;
    Matrix x = gaussian(count, size, static_cast<std::uint64_t>(size) + 7);
    x.row(3) *= 1e30F;
    x.row(5).setZero();
    x.row(6) *= 1e-42F;
    const Matrix r = random_orthogonal(size, *std::make_unique<RandomStream>(5));
    const Coded coded(x, r, skip_unit(size) > 0 ? 5 : 0, GetParam());
    for (Index i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      double error = 0;
      for (Index k = 0; k < size; ++k) {
        EXPECT_LE(std::abs(coded.a(i, k)), 63);
        const double e =
            static_cast<double>(x(i, k)) - static_cast<double>(coded.block.step[at]) * coded.a(i, k);
        error += e * e;
      }
      const double norm = std::sqrt(x.row(i).cast<double>().squaredNorm());
      EXPECT_LE(std::sqrt(error), static_cast<double>(coded.block.residual[at]) + 0x1.0p-21 * norm + 1e-44);
      EXPECT_GE(std::sqrt(error) * 1.0001 + 1e-44,
                static_cast<double>(coded.block.residual[at]) - 1e-6 * norm);
      for (Index s = 0; s < kSkips; ++s) {
        const Index rest = s * skip_unit(size);
        const Index from = std::min(size, (code_groups(size) - rest) * 4);
        const double want = std::sqrt(x.row(i).tail(size - from).cast<double>().squaredNorm());
        const auto got = static_cast<double>(coded.block.rest[static_cast<std::size_t>(s)][at]);
        if (norm > 1e-30) {
          EXPECT_GE(got, want);
          EXPECT_LE(got, want * 1.00001);
        }
      }
    }
    double norm = 0;
    double residual = 0;
    for (Index j = 0; j < size; ++j) {
      double error = 0;
      double rest = 0;
      for (Index k = 0; k < size; ++k) {
        EXPECT_LE(std::abs(coded.c(j, k)), 127);
        const double g =
            static_cast<double>(r(k, j)) - static_cast<double>(coded.matrix.step) * coded.c(j, k);
        error += g * g;
        if (k / 4 >= coded.matrix.groups - coded.matrix.skip)
          rest += static_cast<double>(r(k, j)) * static_cast<double>(r(k, j));
      }
      residual = std::max(residual, std::sqrt(error));
      norm = std::max(norm, std::sqrt(r.col(j).cast<double>().squaredNorm()));
      EXPECT_GE(static_cast<double>(coded.matrix.rest[static_cast<std::size_t>(j / 4)]), std::sqrt(rest));
    }
    EXPECT_NEAR(coded.matrix.norm, norm, 1e-9);
    EXPECT_NEAR(coded.matrix.residual, residual, 1e-6);
  }
}

TEST_P(RowScores, CodesAreTheSameOnEveryLevel) {
  for (const Index size : {3, 17, 64, 128, 130}) {
    const Matrix x = gaussian(50, size, static_cast<std::uint64_t>(size) + 17);
    const Matrix r = gaussian(size, size, static_cast<std::uint64_t>(size) + 18);
    const Index skip = skip_unit(size) > 0 ? 3 : 0;
    const Coded here(x, r, skip, GetParam());
    const Coded plain(x, r, skip, CpuLevel::portable);
    EXPECT_EQ(here.codes, plain.codes);
    EXPECT_EQ(here.block.step, plain.block.step);
    EXPECT_EQ(here.block.residual, plain.block.residual);
    EXPECT_EQ(here.block.rest, plain.block.rest);
    EXPECT_EQ(here.matrix.codes, plain.matrix.codes);
    EXPECT_EQ(here.matrix.first_offset, plain.matrix.first_offset);
    EXPECT_EQ(here.matrix.second_offset, plain.matrix.second_offset);
    EXPECT_EQ(here.matrix.rest, plain.matrix.rest);
    EXPECT_EQ(here.matrix.step, plain.matrix.step);
    EXPECT_EQ(here.matrix.norm, plain.matrix.norm);
    EXPECT_EQ(here.matrix.residual, plain.matrix.residual);
  }
}

/// filter_rows as its docstring says it, row by row.
std::uint64_t plain_filter(const Coded& coded, const FilterRows& rows, Index& second) {
  std::uint64_t found = 0;
  const Index head = coded.matrix.groups - coded.matrix.skip;
  for (Index t = 0; t < static_cast<Index>(coded.matrix.rest.size()); ++t) {
    std::uint64_t first = 0;
    for (Index i = 0; i < kCodeRows; ++i) {
      std::array<std::int32_t, 2> high{INT32_MIN, INT32_MIN};
      std::array<std::int32_t, 2> low{INT32_MAX, INT32_MAX};
      for (Index j = 4 * t; j < 4 * t + 4; ++j) {
        std::int32_t sum = 0;
        for (Index k = 0; k < coded.matrix.size; ++k) {
          if (k == 4 * head) {
            high[0] = std::max(high[0], sum);
            low[0] = std::min(low[0], sum);
          }
          sum += coded.a(i, k) * coded.c(j, k);
        }
        high[1] = std::max(high[1], sum);
        low[1] = std::min(low[1], sum);
      }
      const auto reach = [&](std::size_t part) {
        return std::max(high[part] - rows.limits->high[static_cast<std::size_t>(i)],
                        rows.limits->low[static_cast<std::size_t>(i)] - low[part]);
      };
      const float least =
          rows.limits->rest[static_cast<std::size_t>(i)] * coded.matrix.rest[static_cast<std::size_t>(t)];
      const bool early = coded.matrix.skip == 0 || static_cast<float>(reach(0)) >= least;
      first |= static_cast<std::uint64_t>(early) << static_cast<unsigned>(i);
      if (early && reach(1) >= 0) found |= std::uint64_t{1} << static_cast<unsigned>(i);
    }
    if (coded.matrix.skip > 0 && first != 0) ++second;
  }
  return found;
}

TEST_P(RowScores, FilterIsThePlainOne) {
  int mixed = 0;
  int early = 0;
  for (int round = 0; round < 60; ++round) {
    RandomStream random(static_cast<std::uint64_t>(round) + 1000);
    const Index size = round % 3 == 0 ? 128 : 2 + random.below(140);
    const Matrix x = gaussian(kCodeRows, size, random.bits());
    const Matrix r = random_orthogonal(size, random);
    const Coded coded(x, r, skip_unit(size) > 0 ? random.below(6) : 0, GetParam());
    const double limit = 2 + 2 * random.uniform();
    const std::size_t skip =
        coded.matrix.skip == 0 ? 0 : static_cast<std::size_t>(coded.matrix.skip / skip_unit(size));
    FilterLimits limits;
    for (std::size_t i = 0; i < kCodeRows; ++i) {
      const float scale = coded.block.step[i] * coded.matrix.step;
      limits.low[i] = static_cast<std::int32_t>((-limit - random.uniform()) / scale);
      limits.high[i] = static_cast<std::int32_t>(limit / scale);
      limits.rest[i] = -coded.block.rest[skip][i] / scale;
    }
    const FilterRows rows{coded.codes.data(), coded.codes.data(), &limits};
    Index second = 0;
    Index plain_second = 0;
    const std::uint64_t got = filter_rows(rows, coded.matrix, second, GetParam());
    EXPECT_EQ(got, plain_filter(coded, rows, plain_second)) << size;
    EXPECT_EQ(second, plain_second) << size;
    if (got != 0 && got != ~std::uint64_t{0}) ++mixed;
    if (second > 0 && second < static_cast<Index>(coded.matrix.rest.size())) ++early;
  }
  EXPECT_GT(mixed, 20);
  EXPECT_GT(early, 10);
}

TEST_P(RowScores, LargestCodesNeitherSaturateNorOverflow) {
  // 63 · 127 in every place: the largest sums there are, at a size where 16 bits would not hold them.
  const Index size = 512;
  const Matrix x = Matrix::Constant(kCodeRows, size, 2.0F);
  Matrix r = Matrix::Constant(size, size, 1.0F);
  r.col(1).setConstant(-1.0F);
  const Coded coded(x, r, 0, GetParam());
  FilterLimits limits{};
  constexpr std::int32_t kSum = 63 * 127 * 512;
  const FilterRows rows{coded.codes.data(), coded.codes.data(), &limits};
  for (const bool reached : {true, false}) {
    const std::uint64_t want = reached ? ~std::uint64_t{0} : 0;
    Index second = 0;
    limits.low.fill(reached ? -kSum : -kSum - 1);
    limits.high.fill(kSum + 1);
    EXPECT_EQ(filter_rows(rows, coded.matrix, second, GetParam()), want);
    limits.low.fill(-kSum - 1);
    limits.high.fill(reached ? kSum : kSum + 1);
    EXPECT_EQ(filter_rows(rows, coded.matrix, second, GetParam()), want);
  }
}

TEST_P(RowScores, LimitsLoseNoRow) {
  RandomStream random(77);
  const double infinity = std::numeric_limits<double>::infinity();
  for (int round = 0; round < 50; ++round) {
    RowBounds bounds;
    std::array<float, kCodeRows> rest;
    for (std::size_t i = 0; i < kCodeRows; ++i) {
      bounds.error[i] = static_cast<float>(i % 16 == 3 ? infinity : random.uniform());
      bounds.length[i] = static_cast<float>(10 * random.uniform());
      bounds.inverse_step[i] = static_cast<float>(i % 16 == 5 ? 0 : std::pow(10.0, 6 * random.uniform() - 3));
      rest[i] = static_cast<float>(random.uniform());
    }
    const RowRange range{static_cast<float>(-20 * random.uniform()),
                         static_cast<float>(20 * random.normal())};
    FilterLimits got;
    set_limits(bounds, rest, range, 1.01F, 0.02F, 0.003F, got, GetParam());
    FilterLimits plain;
    set_limits(bounds, rest, range, 1.01F, 0.02F, 0.003F, plain, CpuLevel::portable);
    EXPECT_EQ(got.low, plain.low);
    EXPECT_EQ(got.high, plain.high);
    EXPECT_EQ(got.rest, plain.rest);
    for (std::size_t i = 0; i < kCodeRows; ++i) {
      if (i % 16 == 3) {
        EXPECT_EQ(got.low[i], 1 << 30);
        EXPECT_EQ(got.high[i], -(1 << 30));
        continue;
      }
      const double error =
          static_cast<double>(bounds.error[i]) * 1.01 + static_cast<double>(bounds.length[i]) * 0.02;
      const double unit = static_cast<double>(bounds.inverse_step[i]) / 0.003;
      const double high = (static_cast<double>(range.high) - error) * unit;
      const double low = (static_cast<double>(range.low) + error) * unit;
      const double slack = 2.5 + 1e-6 * (std::abs(high) + std::abs(low) + error * unit);
      EXPECT_NEAR(got.high[i], high - 1, slack);
      EXPECT_NEAR(got.low[i], low + 1, slack);
      EXPECT_LE(got.high[i], high + 1e-6 * (std::abs(high) + error * unit));
      EXPECT_GE(got.low[i], low - 1e-6 * (std::abs(low) + error * unit));
      EXPECT_NEAR(static_cast<double>(got.rest[i]), -static_cast<double>(rest[i]) * unit, 1e-6 * unit);
    }
  }
}

TEST_P(RowScores, LongestColumnIsABound) {
  for (const Index size : {1, 5, 16, 40, 128}) {
    for (const float scale : {0.0F, 1e-30F, 1.0F, 1e15F}) {
      const Matrix r = scale * gaussian(size, size, static_cast<std::uint64_t>(size) + 60);
      double want = 0;
      for (Index j = 0; j < size; ++j) want = std::max(want, r.col(j).cast<double>().norm());
      const double got = longest_column(pad_columns(r), GetParam());
      EXPECT_GE(got, want);
      EXPECT_LE(got, want * (1 + static_cast<double>(size) * 0x1.0p-22) + 1e-17);
      EXPECT_EQ(got, longest_column(pad_columns(r), CpuLevel::portable));
    }
  }
}

}  // namespace
}  // namespace olab

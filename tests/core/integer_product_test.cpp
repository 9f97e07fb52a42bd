#include "core/integer_product.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"

namespace olab {
namespace {

constexpr float kLimit = IntegerMatrix::kLargestZero;

/// The definition, with nothing clever in it.
Matrix plain_product(const IntegerMatrix& a, const IntegerMatrix& w) {
  Matrix y(a.rows, w.rows);
  for (Index t = 0; t < a.rows; ++t)
    for (Index o = 0; o < w.rows; ++o) {
      const auto i = static_cast<std::size_t>(t);
      const auto k = static_cast<std::size_t>(o);
      const auto za = static_cast<std::int64_t>(a.zero[i]);
      const auto zw = static_cast<std::int64_t>(w.zero[k]);
      std::int64_t sum = 0;
      for (Index j = 0; j < a.cols; ++j) sum += (a.row(t)[j] - za) * (w.row(o)[j] - zw);
      y(t, o) = static_cast<float>(static_cast<double>(a.step[i]) * static_cast<double>(w.step[k]) *
                                   static_cast<double>(sum));
    }
  return y;
}

IntegerMatrix filled(Index rows, Index cols, std::uint8_t code, float zero, float step) {
  IntegerMatrix m;
  m.rows = rows;
  m.cols = cols;
  m.codes.assign(static_cast<std::size_t>(rows * cols), code);
  m.step.assign(static_cast<std::size_t>(rows), step);
  m.zero.assign(static_cast<std::size_t>(rows), zero);
  return m;
}

/// Codes 0 … highest, zeros −largest_zero … largest_zero, steps of many sizes.
IntegerMatrix random_codes(Index rows, Index cols, int highest, double largest_zero, RandomStream& random) {
  IntegerMatrix m = filled(rows, cols, 0, 0.0F, 1.0F);
  for (std::uint8_t& c : m.codes) c = static_cast<std::uint8_t>(random.below(highest + 1));
  for (float& z : m.zero)
    z = static_cast<float>(std::nearbyint((2.0 * random.uniform() - 1.0) * largest_zero));
  for (float& s : m.step) s = static_cast<float>(std::exp(random.normal()));
  return m;
}

Matrix dequantized(const IntegerMatrix& m) {
  Matrix out(m.rows, m.cols);
  for (Index t = 0; t < m.rows; ++t)
    for (Index j = 0; j < m.cols; ++j)
      out(t, j) = (static_cast<float>(m.row(t)[j]) - m.zero[static_cast<std::size_t>(t)]) *
                  m.step[static_cast<std::size_t>(t)];
  return out;
}

std::string shape_of(const IntegerMatrix& a, const IntegerMatrix& w, CpuLevel level) {
  return std::to_string(a.rows) + " x " + std::to_string(a.cols) + " by " + std::to_string(w.rows) + ", " +
         std::string(cpu_level_name(level));
}

void expect_plain_at_every_level(const IntegerMatrix& a, const IntegerMatrix& w) {
  const Matrix expected = plain_product(a, w);
  for (const CpuLevel level : runnable_levels()) {
    Matrix y = Matrix::Constant(a.rows, w.rows, -7.0F);
    multiply_codes(a, w, y, level);
    EXPECT_TRUE(y == expected) << shape_of(a, w, level);
  }
}

TEST(IntegerProduct, OfASmallCaseIsTheOneByHand) {
  IntegerMatrix a = filled(1, 3, 0, 2.0F, 0.5F);
  a.codes = {0, 3, 255};
  IntegerMatrix w = filled(2, 3, 0, 1.0F, 0.25F);
  w.codes = {5, 0, 2, 255, 1, 128};
  w.zero[1] = -1.0F;
  w.step[1] = 2.0F;
  // (-2, 1, 253) · (4, -1, 1) = 244;  (-2, 1, 253) · (256, 2, 129) = 32127
  for (const CpuLevel level : runnable_levels()) {
    Matrix y(1, 2);
    multiply_codes(a, w, y, level);
    EXPECT_EQ(y(0, 0), 30.5F) << cpu_level_name(level);
    EXPECT_EQ(y(0, 1), 32127.0F) << cpu_level_name(level);
  }
}

TEST(IntegerProduct, EqualsThePlainSumOverRandomShapesAtEveryLevel) {
  RandomStream random(11);
  for (int round = 0; round < 150; ++round) {
    const Index rows = 1 + random.below(40);
    const Index outs = 1 + random.below(140);
    const Index cols = 1 + random.below(round % 3 == 0 ? 9 : 300);
    const double zeros[] = {0.0, 15.0, 300.0, kLimit};
    const int highest_a = random.below(2) == 0 ? 15 : 255;
    const int highest_w = random.below(2) == 0 ? 15 : 255;
    const IntegerMatrix a = random_codes(rows, cols, highest_a, zeros[random.below(4)], random);
    const IntegerMatrix w = random_codes(outs, cols, highest_w, zeros[random.below(4)], random);
    expect_plain_at_every_level(a, w);
  }
}

TEST(IntegerProduct, EqualsThePlainSumAtTheEdgesOfTilesAndBlocks) {
  RandomStream random(12);
  for (const Index rows : {1, 5, 6, 7, 96, 97})
    for (const Index outs : {1, 15, 16, 17, 63, 64, 65}) {
      const IntegerMatrix a = random_codes(rows, 5, 255, 9.0, random);
      expect_plain_at_every_level(a, random_codes(outs, 5, 255, 9.0, random));
    }
  // Sums pass to 64 bits after 2048 words of two or four codes.
  for (const Index cols : {4095, 4096, 4097, 8191, 8192, 8193, 8196, 16385}) {
    const IntegerMatrix a = random_codes(7, cols, 255, 255.0, random);
    expect_plain_at_every_level(a, random_codes(3, cols, 255, 255.0, random));
  }
}

TEST(IntegerProduct, DoesNotOverflowWhereEveryCodeIsAtItsEnd) {
  for (const Index cols : {65536, 65793, 65794, 131072, 140001})
    for (const std::uint8_t code : {0, 255})
      for (const float zero : {0.0F, 128.0F, 255.0F})
        expect_plain_at_every_level(filled(7, cols, 255, zero, 1.0F), filled(2, cols, code, 0.0F, 1.0F));
}

TEST(IntegerProduct, IsExactWhereZeroPointsAreAtTheirLimits) {
  for (const Index cols : {3, 4096, 65536, 262144})
    for (const float zero_a : {-kLimit, kLimit})
      for (const float zero_w : {-kLimit, 0.0F, kLimit}) {
        RandomStream random(13);
        IntegerMatrix a = random_codes(2, cols, 255, 0.0, random);
        IntegerMatrix w = random_codes(2, cols, 255, 0.0, random);
        a.zero.assign(2, zero_a);
        w.zero.assign(2, zero_w);
        expect_plain_at_every_level(a, w);
      }
}

TEST(IntegerProduct, KeepsConstantRows) {
  RandomStream random(14);
  IntegerMatrix a = random_codes(9, 130, 15, 8.0, random);
  IntegerMatrix w = random_codes(70, 130, 15, 8.0, random);
  for (const Index row : {0, 8}) {  // a row of equal values: codes 1, zero 0, the value as step
    std::fill_n(a.row(row), a.cols, std::uint8_t{1});
    a.zero[static_cast<std::size_t>(row)] = 0.0F;
    a.step[static_cast<std::size_t>(row)] = -3.25F;
  }
  std::fill_n(w.row(69), w.cols, std::uint8_t{1});
  w.zero[69] = 0.0F;
  w.step[69] = 0.0F;
  expect_plain_at_every_level(a, w);
  Matrix y(9, 70);
  multiply_codes(a, w, y);
  EXPECT_TRUE((y.col(69).array() == 0.0F).all());
}

TEST(IntegerProduct, OfNothingIsNothing) {
  for (const CpuLevel level : runnable_levels()) {
    Matrix y(0, 3);
    multiply_codes(filled(0, 4, 1, 0.0F, 1.0F), filled(3, 4, 1, 0.0F, 1.0F), y, level);
    Matrix no_outputs(2, 0);
    multiply_codes(filled(2, 4, 1, 0.0F, 1.0F), filled(0, 4, 1, 0.0F, 1.0F), no_outputs, level);
    Matrix no_codes = Matrix::Constant(2, 3, 5.0F);
    multiply_codes(filled(2, 0, 1, 0.0F, 1.0F), filled(3, 0, 1, 0.0F, 1.0F), no_codes, level);
    EXPECT_TRUE((no_codes.array() == 0.0F).all());
  }
}

TEST(IntegerProduct, OfSomeTokensIsThatPartOfTheWhole) {
  RandomStream random(15);
  const IntegerMatrix a = random_codes(31, 77, 255, 255.0, random);
  const IntegerMatrix w = random_codes(67, 77, 255, 255.0, random);
  const IntegerMatrix other = random_codes(4, 77, 15, 8.0, random);
  const Matrix expected = plain_product(a, w);
  for (const CpuLevel level : runnable_levels()) {
    const PackedCodes packed(w, level);
    EXPECT_EQ(packed.rows(), 67);
    EXPECT_EQ(packed.cols(), 77);
    EXPECT_EQ(packed.level(), level);
    EXPECT_GE(packed.bytes(), w.codes.size() * (level == CpuLevel::vnni ? 1 : 2));
    for (const Index first : {0, 1, 6, 20})
      for (const Index count : {0, 1, 6, 7, 11}) {
        // A tile inside of a larger matrix: what lies round it stays as it is.
        Matrix y = Matrix::Constant(count + 2, 69, -7.0F);
        multiply_codes(a, first, packed, y.block(1, 1, count, 67));
        EXPECT_TRUE(y.block(1, 1, count, 67) == expected.middleRows(first, count)) << first << " " << count;
        y.block(1, 1, count, 67).setConstant(-7.0F);
        EXPECT_TRUE((y.array() == -7.0F).all());
      }
    Matrix y(4, 67);
    multiply_codes(other, 0, packed, y);
    EXPECT_TRUE(y == plain_product(other, w));
  }
}

TEST(IntegerProduct, GivesTheSameBitsForAnyNumberOfThreads) {
  RandomStream random(16);
  // More tokens than are packed at once, and several panels of both.
  const IntegerMatrix a = random_codes(230, 32771, 255, 255.0, random);
  const IntegerMatrix w = random_codes(35, 32771, 255, 255.0, random);
  IntegerMatrix last = filled(3, a.cols, 0, 0.0F, 1.0F);
  std::copy(a.row(227), a.row(230), last.row(0));
  std::copy(a.step.end() - 3, a.step.end(), last.step.begin());
  std::copy(a.zero.end() - 3, a.zero.end(), last.zero.begin());
  const Matrix expected = plain_product(last, w);
  Matrix first;
  for (const CpuLevel level : runnable_levels())
    for (const int threads : {1, 2, 4}) {
      Matrix y(230, 35);
      with_threads(threads, [&] { multiply_codes(a, w, y, level); });
      if (first.size() == 0) first = y;
      EXPECT_TRUE(y == first) << cpu_level_name(level) << ", " << threads << " threads";
      EXPECT_TRUE(y.bottomRows(3) == expected) << cpu_level_name(level) << ", " << threads << " threads";
    }
}

// A float product of k terms of values that are rounded once each is within (k + 3) 2^-24 Σ |a| |w| of the
// exact one (Higham 2002, equation 3.5, to first order), and ours is within one rounding.
TEST(IntegerProduct, AgreesWithTheFloatProductToFloatRounding) {
  RandomStream random(17);
  for (const Index cols : {64, 1000, 4096}) {
    const IntegerMatrix a = random_codes(20, cols, 15, 15.0, random);
    const IntegerMatrix w = random_codes(30, cols, 255, 255.0, random);
    const Matrix x = dequantized(a);
    const Matrix v = dequantized(w);
    Matrix y(20, 30);
    Matrix in_float(20, 30);
    multiply_codes(a, w, y);
    multiply_transposed(x, v, in_float);
    const Eigen::MatrixXd sizes = x.cast<double>().cwiseAbs() * v.cast<double>().cwiseAbs().transpose();
    for (Index t = 0; t < 20; ++t)
      for (Index o = 0; o < 30; ++o)
        EXPECT_LE(std::abs(static_cast<double>(y(t, o)) - static_cast<double>(in_float(t, o))),
                  std::ldexp(static_cast<double>(cols) + 4.0, -24) * sizes(t, o));
  }
}

}  // namespace
}  // namespace olab

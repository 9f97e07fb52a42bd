#include "models/rope.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "core/parallel.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

RopeSpec llama3_rope() {
  RopeSpec rope;
  rope.kind = RopeSpec::Kind::llama3;
  rope.theta = 500000;
  rope.factor = 8;
  rope.low_freq_factor = 1;
  rope.high_freq_factor = 4;
  rope.original_max_positions = 8192;
  return rope;
}

TEST(InverseFrequencies, AreRisingPowersOfTheta) {
  RopeSpec rope;
  const std::vector<double> four = inverse_frequencies(rope, 8);  // θ = 10000
  ASSERT_EQ(four.size(), 4U);
  EXPECT_DOUBLE_EQ(four[0], 1.0);
  EXPECT_DOUBLE_EQ(four[1], 0.1);
  EXPECT_DOUBLE_EQ(four[2], 0.01);
  EXPECT_DOUBLE_EQ(four[3], 0.001);
}

TEST(InverseFrequencies, OfLinearScalingAreDividedByTheFactor) {
  RopeSpec rope;
  rope.kind = RopeSpec::Kind::linear;
  rope.factor = 4;
  EXPECT_DOUBLE_EQ(inverse_frequencies(rope, 8)[1], 0.025);
}

TEST(InverseFrequencies, OfLlama3StayWhereWavesAreShortAndAreDividedWhereTheyAreLong) {
  // Wavelengths below 2048 stay, those above 8192 are divided by 8.
  const RopeSpec rope = llama3_rope();
  RopeSpec standard = rope;
  standard.kind = RopeSpec::Kind::standard;
  const std::vector<double> got = inverse_frequencies(rope, 128);
  const std::vector<double> plain = inverse_frequencies(standard, 128);
  std::size_t stay = 0;
  std::size_t divided = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / plain[i];
    if (wavelength < 2048) {
      EXPECT_EQ(got[i], plain[i]) << i;
      ++stay;
    } else if (wavelength > 8192) {
      EXPECT_EQ(got[i], plain[i] / 8) << i;
      ++divided;
    } else {
      EXPECT_LT(got[i], plain[i]) << i;
      EXPECT_GT(got[i], plain[i] / 8) << i;
    }
  }
  // 2π 500000^(i/64) < 2048 up to i = 28, > 8192 from i = 35 on.
  EXPECT_EQ(stay, 29U);
  EXPECT_EQ(divided, 29U);
}

TEST(InverseFrequencies, OfLlama3AreInterpolatedSmoothlyBetween) {
  RopeSpec rope = llama3_rope();
  rope.theta = 1e6;
  // Pair 2 of 4: frequency 1e-3, wavelength 2000 π = 6283.2; s = (8192 / 6283.2 − 1) / 3 = 0.10126577.
  EXPECT_NEAR(inverse_frequencies(rope, 8)[2], (1 - 0.10126577) * 1e-3 / 8 + 0.10126577 * 1e-3, 1e-11);
}

TEST(RotaryTables, HoldCosinesAndSinesOfDoubles) {
  const RotaryTables tables = rotary_tables({}, 4, 3001);
  ASSERT_EQ(tables.cosines.rows(), 3001);
  ASSERT_EQ(tables.sines.cols(), 2);
  EXPECT_EQ(tables.cosines(0, 0), 1.0F);
  EXPECT_EQ(tables.sines(0, 1), 0.0F);
  EXPECT_EQ(tables.cosines(3000, 0), static_cast<float>(std::cos(3000.0)));
  EXPECT_EQ(tables.sines(3000, 1), static_cast<float>(std::sin(30.0)));
}

TEST(RotateHeads, TurnsPairsOfHalvesOfEveryHead) {
  const RotaryTables tables = rotary_tables({}, 4, 2);
  Matrix x(2, 8);               // two heads
  x << 1, 2, 3, 4, 5, 6, 7, 8,  //
      1, 0, 0, 2, 0, 3, 4, 0;
  const Matrix before = x;
  rotate_heads(tables, x);
  EXPECT_EQ(Matrix(x.row(0)), Matrix(before.row(0)));
  // Position 1: angles 1 and 0.01; channel 0 with 2, channel 1 with 3.
  const auto c0 = static_cast<float>(std::cos(1.0));
  const auto s0 = static_cast<float>(std::sin(1.0));
  const auto c1 = static_cast<float>(std::cos(0.01));
  const auto s1 = static_cast<float>(std::sin(0.01));
  Matrix want(1, 8);
  want << c0, -2 * s1, s0, 2 * c1, -4 * s0, 3 * c1, 4 * c0, 3 * s1;
  EXPECT_TRUE(x.row(1).isApprox(want, 1e-6F)) << x.row(1) << "\n" << want;
}

TEST(RotateHeads, KeepsLengthsAndDependsOnDistancesAlone) {
  const RotaryTables tables = rotary_tables({}, 16, 70);
  Matrix q = test::gaussian(1, 16, 1).replicate(70, 1);
  Matrix k = test::gaussian(1, 16, 2).replicate(70, 1);
  const float length = q.row(0).norm();
  with_threads(2, [&] { rotate_heads(tables, q); });
  rotate_heads(tables, k);
  for (Index t = 0; t < 70; ++t) EXPECT_NEAR(q.row(t).norm(), length, 1e-5F);
  for (Index t = 10; t < 70; ++t) EXPECT_NEAR(q.row(t).dot(k.row(t - 7)), q.row(7).dot(k.row(0)), 1e-4F) << t;
}

}  // namespace
}  // namespace olab

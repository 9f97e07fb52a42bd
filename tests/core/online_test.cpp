// The online path against the plain one: transform with linalg, then quantize value by value.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/linalg.hpp"
#include "core/online.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "cpu_levels.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;

Vector signs_of(Index n, RandomStream& random) {
  Vector out(n);
  for (float& s : out) s = random.sign();
  return out;
}

/// The stages one after the other, at the portable level.
Matrix plain_transform(Matrix x, const std::vector<OnlineStage>& stages) {
  using Kind = OnlineStage::Kind;
  for (const OnlineStage& s : stages) {
    if (s.kind == Kind::scale) {
      for (Index t = 0; t < x.rows(); ++t) {
        if (s.divides) {
          x.row(t).array() /= s.factors->array();
        } else {
          x.row(t).array() *= s.factors->array();
        }
      }
    } else if (s.kind == Kind::permutation) {
      const Matrix from = x;
      for (Index j = 0; j < x.cols(); ++j) x.col(j) = from.col((*s.order)[static_cast<std::size_t>(j)]);
    } else if (s.kind == Kind::hadamard) {
      s.hadamard->apply(x, CpuLevel::portable);
    } else {
      const Index b = s.rotations->front().rows();
      for (Index j = 0; j < x.cols(); j += b)
        rotate_blocks(x.middleCols(j, b),
                      (*s.rotations)[static_cast<std::size_t>(s.rotations->size() == 1 ? 0 : j / b)],
                      CpuLevel::portable);
    }
  }
  return x;
}

IntegerMatrix plain_codes(const Matrix& x, int bits) {
  IntegerMatrix out;
  out.rows = x.rows();
  out.cols = x.cols();
  const float last = static_cast<float>((1 << bits) - 1);
  for (Index t = 0; t < x.rows(); ++t) {
    const float low = x.row(t).minCoeff();
    const float high = x.row(t).maxCoeff();
    const bool constant = low == high;
    const float step = constant ? low : std::clamp((high - low) / last, 1e-5F, 1e4F);
    const float zero = constant ? 0 : std::nearbyint(-low / step);
    out.step.push_back(step);
    out.zero.push_back(zero);
    for (Index j = 0; j < x.cols(); ++j)
      out.codes.push_back(static_cast<std::uint8_t>(
          constant ? 1.0F : std::clamp(std::nearbyint(x(t, j) / step) + zero, 0.0F, last)));
  }
  return out;
}

/// Share of codes that differ; a difference by more than `most` counts as 1000.
double difference(const IntegerMatrix& a, const IntegerMatrix& b, int most = 1) {
  EXPECT_EQ(a.codes.size(), b.codes.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.codes.size(); ++i) {
    const int d = std::abs(static_cast<int>(a.codes[i]) - static_cast<int>(b.codes[i]));
    sum += d > most ? 1000 : static_cast<double>(d > 0);
  }
  return sum / static_cast<double>(a.codes.size());
}

struct Case {
  std::string name;
  Index channels;
  std::vector<OnlineStage> stages;
};

std::vector<Case> cases() {
  RandomStream random(3);
  const auto rotation = [&](Index b) { return OnlineStage::rotate({random_orthogonal(b, random)}); };
  const auto own = [&](Index b, Index count) {
    std::vector<Matrix> r;
    for (Index k = 0; k < count; ++k) r.push_back(random_orthogonal(b, random));
    return OnlineStage::rotate(r);
  };
  const auto hadamard = [&](Index channels, Index block, Index odd) {
    return OnlineStage::transform(
        {block, odd == 1 ? OddFactor() : OddFactor::hartley(odd), signs_of(channels, random)});
  };
  const auto permutation = [&](Index n) { return OnlineStage::permute(random.permutation(n)); };
  Vector factors(256);
  for (float& f : factors) f = static_cast<float>(0.5 + random.uniform());
  std::vector<Case> out{
      {"nothing", 200, {}},
      {"scale", 256, {OnlineStage::divide(factors)}},
      {"rotation", 256, {rotation(128)}},
      {"rotation, permutation, rotation", 384, {rotation(128), permutation(384), rotation(128)}},
      {"own rotations of 32", 96, {own(32, 3), permutation(96), own(32, 3)}},
      {"odd blocks", 105, {rotation(7), permutation(105), rotation(35)}},
      {"one rotation of 300", 300, {rotation(300)}},
      {"scale, rotation", 256, {OnlineStage::multiply(factors), rotation(64)}},
      {"full Hadamard", 1024, {hadamard(1024, 1024, 1)}},
      {"Hadamard, permutation, Hadamard",
       512,
       {hadamard(512, 128, 1), permutation(512), hadamard(512, 128, 1)}},
      {"Hartley alone", 344, {hadamard(344, 344, 43)}},
      {"narrow Hartley alone", 60, {hadamard(60, 6, 3)}},
      {"permutation, Hartley", 344, {permutation(344), hadamard(344, 344, 43)}},
      {"permutation, blocks of odd order", 63, {permutation(63), hadamard(63, 7, 7)}},
      {"permutation at the end", 96, {rotation(32), permutation(96)}},
      {"scale between",
       256,
       {rotation(32), OnlineStage::divide(factors), permutation(256), hadamard(256, 256, 1)}},
  };
  return out;
}

class OnlineLevels : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Cpu, OnlineLevels, testing::ValuesIn(runnable_levels()), test::level_label);

TEST_P(OnlineLevels, ApplyTheStagesToTheBitWithStoredPrecision) {
  for (const Case& c : cases())
    for (const Index rows : {1, 7, 33, 150}) {
      const Matrix wide = gaussian(rows, c.channels + 3, 5);
      Matrix y = wide;
      OnlineTransform(c.channels, c.stages, Precision::stored, GetParam()).apply(y.middleCols(1, c.channels));
      const Matrix x = wide.middleCols(1, c.channels);
      EXPECT_EQ(Matrix(y.middleCols(1, c.channels)), plain_transform(x, c.stages)) << c.name << ", " << rows;
      EXPECT_EQ(Matrix(y.leftCols(1)), Matrix(wide.leftCols(1)));
      EXPECT_EQ(Matrix(y.rightCols(2)), Matrix(wide.rightCols(2)));
    }
}

TEST_P(OnlineLevels, GiveTheCodesOfTransformThenQuantize) {
  for (const Case& c : cases())
    for (const int bits : {4, 8})
      for (const Index rows : {1, 70}) {
        const Matrix x = gaussian(rows, c.channels, 6);
        const IntegerMatrix want = plain_codes(plain_transform(x, c.stages), bits);
        IntegerMatrix got;
        OnlineTransform(c.channels, c.stages, Precision::stored, GetParam()).run(x, bits, got);
        // Step and zero come from the same bits; a code differs only where x · (1 / step) and x / step round
        // to different sides.
        EXPECT_EQ(got.step, want.step) << c.name;
        EXPECT_EQ(got.zero, want.zero) << c.name;
        EXPECT_LE(difference(got, want), 1e-4 * bits) << c.name;
        OnlineTransform(c.channels, c.stages, Precision::fp32, GetParam()).run(x, bits, got);
        EXPECT_LE(difference(got, want), 1e-3 * (1 << bits) / 16) << c.name;
      }
}

TEST_P(OnlineLevels, KeepConstantTokensAsTheyAre) {
  Matrix x = gaussian(40, 130, 7);
  x.row(3).setZero();
  x.row(20).setConstant(2.5F);
  IntegerMatrix out;
  std::vector<Index> same(130);
  for (Index j = 0; j < 130; ++j) same[static_cast<std::size_t>(j)] = j;
  for (const bool panels : {false, true}) {
    std::vector<OnlineStage> stages;
    if (panels) stages.push_back(OnlineStage::permute(same));
    OnlineTransform(130, stages, Precision::fp32, GetParam()).run(x, 4, out);
    for (const Index t : {3, 20}) {
      EXPECT_EQ(out.zero[static_cast<std::size_t>(t)], 0);
      EXPECT_EQ(out.step[static_cast<std::size_t>(t)], x(t, 0));
      EXPECT_TRUE(std::all_of(out.row(t), out.row(t) + 130, [](std::uint8_t c) { return c == 1; }));
    }
  }
}

TEST_P(OnlineLevels, CutFarCodesAtTheEndsOfTheGrid) {
  // The zero point is rounded, so the largest value may round to one code beyond the last.
  for (const int bits : {2, 4, 8}) {
    const Matrix x = gaussian(64, 192, 8);
    IntegerMatrix out;
    OnlineTransform(192, {}, Precision::fp32, GetParam()).run(x, bits, out);
    EXPECT_LT(*std::max_element(out.codes.begin(), out.codes.end()), 1 << bits);
    const IntegerMatrix want = plain_codes(x, bits);
    EXPECT_LE(difference(out, want), 1e-3);
  }
}

TEST_P(OnlineLevels, AreTheSameForAnyNumberOfThreads) {
  const Case c = cases()[3];
  const Matrix x = gaussian(700, c.channels, 9);
  const OnlineTransform online(c.channels, c.stages, Precision::fp32, GetParam());
  IntegerMatrix one;
  IntegerMatrix two;
  with_threads(1, [&] { online.run(x, 4, one); });
  with_threads(2, [&] { online.run(x, 4, two); });
  EXPECT_EQ(one.codes, two.codes);
  EXPECT_EQ(one.step, two.step);
}

TEST(Bfloat16, ChangesFewCodesAndSaysByHowMuchItIsOff) {
  if (!precision_available(Precision::bf16)) GTEST_SKIP() << "this CPU has no bfloat16 products";
  for (const Case& c : cases()) {
    const Matrix x = gaussian(70, c.channels, 10);
    const OnlineTransform online(c.channels, c.stages, Precision::bf16);
    const bool rotates = std::any_of(c.stages.begin(), c.stages.end(), [](const OnlineStage& s) {
      return s.kind == OnlineStage::Kind::block_rotation;
    });
    const double error = online.precision_error(x);
    // Each rounding to 8 bits is off by up to 2^-9 of the value: 2 operands and at most 2 rotations.
    EXPECT_LE(error, 4 * std::pow(2.0, -18)) << c.name;
    EXPECT_EQ(error > 0, rotates) << c.name;
    IntegerMatrix got;
    online.run(x, 4, got);
    // A token's zero point may move by one, and with it all of its codes.
    EXPECT_LE(difference(got, plain_codes(plain_transform(x, c.stages), 4), 2), 0.08) << c.name;
  }
}

TEST(Bfloat16, IsRefusedWhereTheLevelHasNone) {
  EXPECT_FALSE(precision_available(Precision::bf16, CpuLevel::portable));
  try {
    OnlineTransform(4, {}, Precision::bf16, CpuLevel::portable);
    FAIL() << "not refused";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "precision bf16: the level portable of this CPU has no bfloat16 products; use fp32");
  }
}

TEST(PrecisionError, OfFusedMultiplyAddIsThatOfFloat) {
  const Case c = cases()[3];
  const Matrix x = gaussian(64, c.channels, 11);
  EXPECT_LT(OnlineTransform(c.channels, c.stages).precision_error(x), 1e-12);
  EXPECT_EQ(OnlineTransform(c.channels, c.stages, Precision::stored).precision_error(x), 0);
}

}  // namespace
}  // namespace olab

// Products, random streams, hashes and threads: the promises that every stored number rests on.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/linalg.hpp"
#include "core/matrix.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;
using test::plain_product;

class Product : public testing::TestWithParam<std::tuple<int, int, int>> {};
TEST_P(Product, HasTheBitsOfThePlainLoop) {
  const auto [m, k, n] = GetParam();
  const Matrix a = gaussian(m, k, 1);
  const Matrix b = gaussian(k, n, 2);
  const Matrix expected = plain_product(a, b);
  Matrix y(m, n);
  multiply(a, b, y);
  EXPECT_EQ(y, expected);
  const Matrix bt = b.transpose();
  y.setZero();
  multiply_transposed(a, bt, y);
  EXPECT_EQ(y, expected);
}
INSTANTIATE_TEST_SUITE_P(Sizes, Product,
                         testing::Values(std::tuple{1, 1, 1}, std::tuple{3, 5, 7}, std::tuple{4, 32, 32},
                                         std::tuple{5, 33, 31}, std::tuple{67, 40, 65},
                                         std::tuple{130, 128, 96}));

TEST(Product, WorksOnBlocksOfLargerMatrices) {
  const Matrix big = gaussian(20, 40, 3);
  const Matrix a = big.block(2, 3, 9, 8);
  const Matrix b = gaussian(8, 6, 4);
  Matrix y(9, 6);
  multiply(big.block(2, 3, 9, 8), b, y);
  EXPECT_EQ(y, plain_product(a, b));
}
TEST(Product, IsTheSameForAnyNumberOfThreads) {
  const Matrix a = gaussian(200, 64, 5);
  const Matrix b = gaussian(64, 100, 6);
  Matrix one(200, 100);
  Matrix two(200, 100);
  with_threads(1, [&] { multiply(a, b, one); });
  with_threads(2, [&] { multiply(a, b, two); });
  EXPECT_EQ(one, two);
}
TEST(RotateBlocks, EqualsTheDenseProductOfEachBlock) {
  RandomStream random(1);
  const Matrix r = random_orthogonal(24, random);
  const Matrix x = gaussian(37, 72, 7);
  Matrix y = x;
  rotate_blocks(y, r);
  for (Index b = 0; b < 72; b += 24) {
    const Matrix block = x.middleCols(b, 24);
    EXPECT_EQ(Matrix(y.middleCols(b, 24)), plain_product(block, r));
  }
}
TEST(RandomOrthogonal, IsOrthogonalAndDeterministic) {
  for (const Index n : {1, 2, 7, 64}) {
    RandomStream a(9);
    RandomStream b(9);
    const Matrix q = random_orthogonal(n, a);
    EXPECT_LT(orthogonality_error(q), 1e-6) << n;
    EXPECT_EQ(q, random_orthogonal(n, b));
  }
  RandomStream random(1);
  EXPECT_GT(orthogonality_error(Matrix::Ones(3, 3)), 1.0);
}
TEST(RandomOrthogonal, HasNoPreferredSign) {
  // Haar: the first entry is as often positive as negative. 400 draws: 200 ± 6 standard deviations of 10.
  RandomStream random(11);
  int positive = 0;
  for (int i = 0; i < 400; ++i) positive += random_orthogonal(3, random)(0, 0) > 0 ? 1 : 0;
  EXPECT_NEAR(positive, 200, 60);
}
TEST(RandomStream, ForksDependOnLabelsOnly) {
  RandomStream a(5);
  RandomStream early = a.fork("x");
  (void)a.bits();
  RandomStream late = a.fork("x");
  EXPECT_EQ(early.bits(), late.bits());
  EXPECT_NE(a.fork("x").seed(), a.fork("y").seed());
}
TEST(RandomStream, HasTheNumbersOfTheStandardEngine) {
  // mt19937_64 with its default seed: the 10000th number is fixed by the C++ standard.
  RandomStream random(5489);
  std::uint64_t last = 0;
  for (int i = 0; i < 10000; ++i) last = random.bits();
  EXPECT_EQ(last, 9981545732273789042ULL);
}
TEST(RandomStream, MomentsOfTheDistributions) {
  RandomStream random(3);
  double sum = 0;
  double squares = 0;
  double uniform = 0;
  double signs = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const double v = random.normal();
    sum += v;
    squares += v * v;
    uniform += random.uniform();
    signs += random.sign();
  }
  EXPECT_NEAR(sum / kCount, 0, 0.02);
  EXPECT_NEAR(squares / kCount, 1, 0.03);
  EXPECT_NEAR(uniform / kCount, 0.5, 0.01);
  EXPECT_NEAR(signs / kCount, 0, 0.02);
}
TEST(RandomStream, PermutationsArePermutations) {
  RandomStream random(3);
  for (const Index n : {0, 1, 2, 100}) {
    std::vector<Index> p = random.permutation(n);
    std::sort(p.begin(), p.end());
    for (Index i = 0; i < n; ++i) EXPECT_EQ(p[static_cast<std::size_t>(i)], i);
  }
}
TEST(ParallelFor, CoversEveryItemOnce) {
  std::vector<int> hits(1003, 0);
  parallel_for(1003, 10, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
  });
  EXPECT_TRUE(std::all_of(hits.begin(), hits.end(), [](int h) { return h == 1; }));
  parallel_for(0, 10, [](Index, Index) { FAIL(); });
}
TEST(Hasher, SeparatesFields) {
  EXPECT_NE(Hasher().add("ab").add("c").hex(), Hasher().add("a").add("bc").hex());
  EXPECT_EQ(Hasher().add("ab").hex(), Hasher().add("ab").hex());
  EXPECT_EQ(Hasher().add("x").hex().size(), 32U);
  EXPECT_NE(Hasher().add(std::uint64_t{1}).hex(), Hasher().add(std::uint64_t{2}).hex());
}
TEST(ChannelAbsmax, TakesTheLargestMagnitudeOfEachColumn) {
  Matrix x(2, 3);
  x << 1, -5, 0, -2, 4, 0;
  EXPECT_EQ(channel_absmax(x), (Vector(3) << 2, 5, 0).finished());
  EXPECT_EQ(token_absmax(x), (Vector(2) << 5, 4).finished());
  EXPECT_EQ(channel_absmax(Matrix(0, 2)), Vector::Zero(2));
}
TEST(CheckFinite, NamesRowAndColumn) {
  Matrix x = Matrix::Zero(3, 4);
  EXPECT_NO_THROW(check_finite(x, "x"));
  x(1, 2) = std::numeric_limits<float>::quiet_NaN();
  try {
    check_finite(x, "layer a, tensor x");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()),
              "layer a, tensor x: NaN at row 1, column 2; every value must be finite, so make it again or "
              "drop it");
  }
}

}  // namespace
}  // namespace olab

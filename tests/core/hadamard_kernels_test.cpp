// Every level of the fast Hadamard transform against the plain one, to the bit, and against its definition.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "core/hadamard.hpp"
#include "core/linalg.hpp"
#include "core/random.hpp"
#include "cpu_levels.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;

Vector random_signs(Index n, std::uint64_t seed) {
  Vector out(n);
  RandomStream random(seed);
  for (float& s : out) s = random.sign();
  return out;
}

/// ±1, of no particular kind: the kernels do not ask for orthogonality.
Matrix sign_matrix(Index m, std::uint64_t seed) {
  Matrix out(m, m);
  RandomStream random(seed);
  for (Index i = 0; i < m * m; ++i) out.data()[i] = random.sign();
  return out;
}

OddFactor factor_of(Index m, bool hartley) {
  return hartley ? OddFactor::hartley(m) : OddFactor::signs(sign_matrix(m, 3));
}

/// The promised order of operations, one by one.
void plain_transform(float* x, Index block, const OddFactor& factor) {
  const Index m = factor.order();
  const Index inner = block / m;
  for (Index r = 0; r < m; ++r)
    for (Index half = 1; half < inner; half *= 2)
      for (Index from = 0; from < inner; from += 2 * half)
        for (Index i = from; i < from + half; ++i) {
          float& a = x[r * inner + i];
          float& b = x[r * inner + i + half];
          const float sum = a + b;
          b = a - b;
          a = sum;
        }
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
  for (Index i = 0; i < inner; ++i) {
    std::vector<float> in(static_cast<std::size_t>(m));
    std::vector<float> out(in.size(), 0.0F);
    const auto at = [](std::vector<float>& v, Index j) -> float& { return v[static_cast<std::size_t>(j)]; };
    for (Index r = 0; r < m; ++r) at(in, r) = x[r * inner + i];
    if (m == 1) {
      out = in;
    } else if (!factor.is_hartley()) {
      const Matrix core = factor.matrix();
      for (Index k = 0; k < m; ++k)
        for (Index j = 0; j < m; ++j) at(out, k) += core(j, k) * at(in, j);
    } else {
      for (Index k = 0; k <= m / 2; ++k) {
        float c = 0.0F;
        float s = 0.0F;
        for (Index j = 0; j <= m / 2; ++j) {
          const double angle = 2 * std::numbers::pi / static_cast<double>(m) * static_cast<double>(j * k % m);
          const float even = j == 0 ? at(in, 0) : at(in, j) + at(in, m - j);
          c += static_cast<float>(std::cos(angle)) * even;
          if (j > 0 && k > 0) s += static_cast<float>(std::sin(angle)) * (at(in, j) - at(in, m - j));
        }
        at(out, k) = k == 0 ? c : c + s;
        if (k > 0) at(out, m - k) = c - s;
      }
    }
    for (Index r = 0; r < m; ++r) x[r * inner + i] = at(out, r) * scale;
  }
}

Matrix plain(const Matrix& x, Index block, const OddFactor& factor, const Vector& signs) {
  Matrix y = x;
  for (Index t = 0; t < y.rows(); ++t) {
    if (signs.size() > 0) y.row(t).array() *= signs.array();
    for (Index j = 0; j < y.cols(); j += block) plain_transform(y.row(t).data() + j, block, factor);
  }
  return y;
}

class HadamardLevels : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Cpu, HadamardLevels, testing::ValuesIn(runnable_levels()), test::level_label);

void expect_plain(Index block, Index blocks, Index rows, const OddFactor& factor, bool with_signs,
                  CpuLevel level) {
  const Index channels = block * blocks;
  const Vector signs = with_signs ? random_signs(channels, 5) : Vector();
  const Matrix wide = gaussian(rows, channels + 3, 6);
  const Matrix x = wide.middleCols(2, channels);
  Matrix y = wide;
  FastHadamard(block, factor, signs).apply(y.middleCols(2, channels), level);
  EXPECT_EQ(Matrix(y.middleCols(2, channels)), plain(x, block, factor, signs))
      << "block " << block << " of " << channels << ", factor " << factor.order() << ", " << rows << " rows";
  EXPECT_EQ(Matrix(y.leftCols(2)), Matrix(wide.leftCols(2)));
  EXPECT_EQ(Matrix(y.rightCols(1)), Matrix(wide.rightCols(1)));
}

TEST_P(HadamardLevels, HaveTheBitsOfThePlainButterfliesForEveryPowerOfTwo) {
  for (Index block = 1; block <= 32768; block *= 2)
    for (const Index blocks : {1, 2, 3, 7})
      if (block * blocks <= 40000) expect_plain(block, blocks, 3, OddFactor(), block % 3 == 1, GetParam());
}

TEST_P(HadamardLevels, HaveTheBitsOfThePlainSumForFactorsOfSigns) {
  for (const Index m : {2, 3, 12, 20, 28, 300})
    for (const Index inner : {1, 2, 8, 16, 32, 64, 256})
      if (m * inner <= 6000)
        expect_plain(m * inner, 2, m < 100 ? 5 : 1, OddFactor::signs(sign_matrix(m, 3)), inner % 3 == 1,
                     GetParam());
}

TEST_P(HadamardLevels, HaveTheBitsOfThePlainSumForHartleyFactors) {
  for (const Index m : {3, 5, 7, 43, 513})
    for (const Index inner : {1, 2, 8, 16, 32, 64, 256})
      if (m * inner <= 12000)
        expect_plain(m * inner, m < 100 ? 3 : 1, m < 100 ? 5 : 1, OddFactor::hartley(m), inner % 3 == 1,
                     GetParam());
}

TEST_P(HadamardLevels, EqualTheDenseMatrixOfTheDefinition) {
  for (const auto& [m, inner, hartley] : std::vector<std::tuple<Index, Index, bool>>{
           {1, 128, false}, {1, 1024, false}, {12, 4, false}, {7, 32, true}, {43, 8, true}, {9, 2, true}}) {
    const Index n = m * inner;
    const OddFactor factor = m == 1 ? OddFactor() : factor_of(m, hartley);
    const Matrix core = factor.matrix();
    Eigen::MatrixXd dense(n, n);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j)
        dense(i, j) =
            static_cast<double>(core(i / inner, j / inner)) *
            (std::popcount(static_cast<std::uint64_t>((i % inner) & (j % inner))) % 2 == 0 ? 1 : -1) /
            std::sqrt(static_cast<double>(n));
    Matrix x = gaussian(2, n, 8);
    const Eigen::MatrixXd want = x.cast<double>() * dense;
    FastHadamard(n, factor, {}).apply(x, GetParam());
    EXPECT_LT((x.cast<double>() - want).cwiseAbs().maxCoeff(), 3e-6) << m << " x " << inner;
  }
}

TEST(Hartley, IsOrthogonalForEveryOddOrder) {
  for (const Index m : {3, 5, 7, 9, 15, 43, 99}) {
    const Matrix scaled = OddFactor::hartley(m).matrix() / std::sqrt(static_cast<float>(m));
    EXPECT_LT(orthogonality_error(scaled), 1e-6) << m;
    EXPECT_EQ(scaled, Matrix(scaled.transpose()));
  }
}

TEST(Hartley, OfOrderThreeIsTheOneByHand) {
  // cos(2π/3) = -1/2, sin(2π/3) = √3/2.
  const float up = (std::sqrt(3.0F) - 1) / 2;
  const float down = (-std::sqrt(3.0F) - 1) / 2;
  Matrix want(3, 3);
  want << 1, 1, 1, 1, up, down, 1, down, up;
  EXPECT_LT((OddFactor::hartley(3).matrix() - want).cwiseAbs().maxCoeff(), 1e-7F);
}

}  // namespace
}  // namespace olab

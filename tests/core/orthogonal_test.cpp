// Random orthogonal matrices: orthogonal, Haar-distributed, the same on every level.
#include "core/orthogonal.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "core/linalg.hpp"
#include "core/parallel.hpp"

namespace olab {
namespace {

double determinant(const Matrix& q) {
  // Gaussian elimination with row pivots, in double.
  Eigen::MatrixXd a = q.cast<double>();
  double product = 1;
  for (Index k = 0; k < a.rows(); ++k) {
    Index pivot = k;
    for (Index i = k; i < a.rows(); ++i)
      if (std::abs(a(i, k)) > std::abs(a(pivot, k))) pivot = i;
    if (pivot != k) {
      a.row(pivot).swap(a.row(k));
      product = -product;
    }
    product *= a(k, k);
    for (Index i = k + 1; i < a.rows(); ++i) a.row(i) -= a(i, k) / a(k, k) * a.row(k).eval();
  }
  return product;
}

TEST(RandomOrthogonalMatrix, IsOrthogonalAtEverySize) {
  for (const Index n : {0, 1, 2, 3, 7, 31, 32, 33, 64, 127, 200}) {
    RandomStream random(static_cast<std::uint64_t>(n));
    const Matrix q = random_orthogonal(n, random);
    ASSERT_EQ(q.rows(), n);
    if (n > 0) {
      EXPECT_LT(orthogonality_error(q), 1e-6) << n;
    }
  }
}

TEST(RandomOrthogonalMatrix, HasTheSameBitsOnEveryLevelAndForAnyNumberOfThreads) {
  for (const Index n : {5, 127, 520}) {
    RandomStream plain(3);
    const Matrix want = random_orthogonal(n, plain, CpuLevel::portable);
    for (const CpuLevel level : runnable_levels()) {
      RandomStream random(3);
      EXPECT_EQ(random_orthogonal(n, random, level), want) << cpu_level_name(level);
    }
    for (const int threads : {1, 2, 4}) {
      const ThreadLimit limit(threads);
      RandomStream random(3);
      EXPECT_EQ(random_orthogonal(n, random), want) << threads;
    }
  }
}

TEST(RandomOrthogonalMatrix, DrawsOneTwoAndSoOnNormalNumbers) {
  RandomStream a(8);
  RandomStream b(8);
  (void)random_orthogonal(6, a);
  for (int i = 0; i < 21; ++i) (void)b.normal();
  EXPECT_EQ(a.normal(), b.normal());
  // Of order 1 it is the sign of one number; of order 2 the last draw is the direction of the first column.
  RandomStream c(9);
  RandomStream d(9);
  EXPECT_EQ(random_orthogonal(1, c)(0, 0), d.normal() < 0 ? -1.0F : 1.0F);
  RandomStream e(10);
  RandomStream f(10);
  const Matrix two = random_orthogonal(2, e);
  (void)f.normal();
  const double x = f.normal();
  const double y = f.normal();
  EXPECT_NEAR(two(0, 0), x / std::hypot(x, y), 1e-6);
  EXPECT_NEAR(two(1, 0), y / std::hypot(x, y), 1e-6);
}

TEST(RandomOrthogonalMatrix, IsHaarDistributed) {
  // 4000 draws of order 5. Under Haar measure every entry has mean 0, E q² = 1/n, E q⁴ = 3 / (n (n + 2)),
  // E q_11 q_22 = 0, E q_11² q_22² = (n + 1) / ((n − 1) n (n + 2)); the trace has mean 0, variance 1; the
  // determinant is 1 in half of the draws. Tolerances: five standard deviations of the mean.
  constexpr Index n = 5;
  constexpr int kDraws = 4000;
  RandomStream random(12);
  Eigen::MatrixXd first = Eigen::MatrixXd::Zero(n, n);
  Eigen::MatrixXd second = first;
  Eigen::MatrixXd fourth = first;
  double trace = 0;
  double trace_square = 0;
  double trace_fourth = 0;
  double cross = 0;
  double cross_square = 0;
  int positive = 0;
  for (int i = 0; i < kDraws; ++i) {
    const Matrix q = random_orthogonal(n, random);
    const Eigen::MatrixXd d = q.cast<double>();
    first += d;
    second += d.cwiseProduct(d);
    fourth += d.cwiseProduct(d).cwiseProduct(d.cwiseProduct(d));
    trace += d.trace();
    trace_square += d.trace() * d.trace();
    trace_fourth += std::pow(d.trace(), 4);
    cross += d(0, 0) * d(1, 1);
    cross_square += d(0, 0) * d(0, 0) * d(1, 1) * d(1, 1);
    positive += determinant(q) > 0 ? 1 : 0;
  }
  const double root = std::sqrt(static_cast<double>(kDraws));
  EXPECT_LT((first / kDraws).cwiseAbs().maxCoeff(), 5 * std::sqrt(1.0 / n) / root);
  EXPECT_LT((second / kDraws - Eigen::MatrixXd::Constant(n, n, 1.0 / n)).cwiseAbs().maxCoeff(),
            5 * std::sqrt(3.0 / (n * (n + 2)) - 1.0 / (n * n)) / root);
  EXPECT_LT((fourth / kDraws - Eigen::MatrixXd::Constant(n, n, 3.0 / (n * (n + 2)))).cwiseAbs().maxCoeff(),
            5 * std::sqrt(105.0 / (n * (n + 2) * (n + 4) * (n + 6))) / root);
  EXPECT_NEAR(trace / kDraws, 0, 5 / root);
  EXPECT_NEAR(trace_square / kDraws, 1, 5 * std::sqrt(2.0) / root);
  EXPECT_NEAR(trace_fourth / kDraws, 3, 5 * std::sqrt(96.0) / root);  // as of a normal number
  EXPECT_NEAR(cross / kDraws, 0, 5.0 / n / root);
  EXPECT_NEAR(cross_square / kDraws, (n + 1.0) / ((n - 1.0) * n * (n + 2.0)), 5 * 0.1 / root);
  EXPECT_NEAR(positive, kDraws / 2, 5 * 0.5 * root);
}

TEST(RandomOrthogonalMatrix, KeepsItsDistributionUnderAFixedRotation) {
  // q_11 of Q and the first entry of Q · (1, 1, …)/sqrt(n) have one distribution: their fourth moments agree.
  constexpr Index n = 16;
  constexpr int kDraws = 4000;
  RandomStream random(13);
  double entry = 0;
  double rotated = 0;
  for (int i = 0; i < kDraws; ++i) {
    const Matrix q = random_orthogonal(n, random);
    entry += std::pow(static_cast<double>(q(0, 0)), 4);
    rotated += std::pow(q.row(0).cast<double>().sum() / 4.0, 4);
  }
  const double want = 3.0 / (n * (n + 2));
  const double deviation = std::sqrt(105.0 / (n * (n + 2) * (n + 4) * (n + 6))) / std::sqrt(1.0 * kDraws);
  EXPECT_NEAR(entry / kDraws, want, 5 * deviation);
  EXPECT_NEAR(rotated / kDraws, want, 5 * deviation);
}

}  // namespace
}  // namespace olab

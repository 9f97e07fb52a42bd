// The library's product against sums in double, whatever the shapes, the views and the number of threads.
#include "core/library_product.hpp"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "core/parallel.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// The worst |y − a b| over all entries, in units of what a sum of k products may be off in any order:
/// k · 2⁻²⁴ · Σ |a| |b|.
double worst_error(const ConstMatrixRef& a, const ConstMatrixRef& b, const ConstMatrixRef& y) {
  const Eigen::MatrixXd left = a.cast<double>();
  const Eigen::MatrixXd right = b.cast<double>();
  const Eigen::MatrixXd exact = left * right;
  const Eigen::MatrixXd magnitude = left.cwiseAbs() * right.cwiseAbs();
  const double unit = static_cast<double>(a.cols() + 1) * std::ldexp(1.0, -24);
  double worst = 0;
  for (Index i = 0; i < y.rows(); ++i)
    for (Index j = 0; j < y.cols(); ++j) {
      const double error = std::abs(static_cast<double>(y(i, j)) - exact(i, j)) / (unit * magnitude(i, j));
      if (!(error <= worst)) worst = error;  // a NaN stays
    }
  return worst;
}

void expect_right(Index m, Index n, Index k) {
  const Matrix a = gaussian(m, k + 3, 1);
  const Matrix b = gaussian(k, n + 5, 2);
  const Matrix bt = b.transpose();
  // What is there before is not read, and what is beside the view not written.
  Matrix y = Matrix::Constant(m + 1, n + 4, kNaN);
  Matrix yt = y;
  library_multiply(a.middleCols(1, k), b.middleCols(2, n), y.block(0, 3, m, n));
  library_multiply_transposed(a.middleCols(1, k), bt.middleRows(2, n), yt.block(0, 3, m, n));
  EXPECT_LE(worst_error(a.middleCols(1, k), b.middleCols(2, n), y.block(0, 3, m, n)), 1.0)
      << m << " x " << k << " x " << n;
  EXPECT_LE(worst_error(a.middleCols(1, k), b.middleCols(2, n), yt.block(0, 3, m, n)), 1.0)
      << m << " x " << k << " x " << n << ", transposed";
  for (const Matrix* const out : {&y, &yt}) {
    EXPECT_TRUE(out->leftCols(3).array().isNaN().all() && out->rightCols(1).array().isNaN().all() &&
                out->bottomRows(1).array().isNaN().all());
  }
}

TEST(LibraryProduct, IsTheSumInDoubleForOddShapesAndViews) {
  const std::vector<Index> sizes{1, 3, 7, 17, 100};
  for (const Index m : sizes)
    for (const Index n : sizes)
      for (const Index k : sizes) expect_right(m, n, k);
}

TEST(LibraryProduct, IsTheSumInDoubleForLargeShapes) {
  for (const auto& [m, n, k] : std::vector<std::tuple<Index, Index, Index>>{{513, 513, 513},
                                                                            {1, 513, 2049},
                                                                            {513, 1, 100},
                                                                            {1030, 1100, 64},
                                                                            {7, 3000, 1000},
                                                                            {300, 2100, 17}})
    expect_right(m, n, k);
}

TEST(LibraryProduct, TakesOneRowOfAMatrixAndAllOfAVector) {
  const Matrix x = gaussian(4, 33, 3);
  const Matrix w = gaussian(5, 33, 4);
  Matrix y(3, 5);
  library_multiply_transposed(x.row(2), w, y.row(1));
  EXPECT_LE(worst_error(x.row(2), w.transpose().eval(), y.row(1)), 1.0);
}

TEST(LibraryProduct, OfNothingIsZeroOrNothing) {
  Matrix y = Matrix::Constant(3, 4, kNaN);
  library_multiply(Matrix(3, 0), Matrix(0, 4), y);
  EXPECT_EQ(y, Matrix::Zero(3, 4));
  y.setConstant(kNaN);
  library_multiply_transposed(Matrix(3, 0), Matrix(4, 0), y);
  EXPECT_EQ(y, Matrix::Zero(3, 4));
  Matrix none(0, 4);
  library_multiply_transposed(Matrix(0, 7), gaussian(4, 7), none);
  Matrix no_columns(3, 0);
  library_multiply(gaussian(3, 7), Matrix(7, 0), no_columns);
}

TEST(LibraryProduct, CarriesNaNAndInfinityToTheirRowsAlone) {
  Matrix a = gaussian(40, 60, 5);
  const Matrix b = gaussian(50, 60, 6);
  a(7, 30) = kNaN;
  a(9, 31) = std::numeric_limits<float>::infinity();
  Matrix y(40, 50);
  library_multiply_transposed(a, b, y);
  for (Index i = 0; i < 40; ++i)
    EXPECT_EQ(y.row(i).array().isFinite().all(), i != 7 && i != 9) << "row " << i;
  EXPECT_TRUE(y.row(7).array().isNaN().all());
}

TEST(LibraryProduct, HasTheSameBitsForAnyNumberOfThreadsAndFromWorkers) {
  // More than one tile in both directions, the last ones narrower.
  const Matrix a = gaussian(1300, 300, 7);
  const Matrix b = gaussian(1700, 300, 8);
  const Matrix bt = b.transpose();
  Matrix one(1300, 1700);
  Matrix one_plain(1300, 1700);
  with_threads(1, [&] {
    library_multiply_transposed(a, b, one);
    library_multiply(a, bt, one_plain);
  });
  Matrix many(1300, 1700);
  with_threads(2, [&] { library_multiply_transposed(a, b, many); });
  EXPECT_EQ(many, one);
  with_threads(2, [&] { library_multiply(a, bt, many); });
  EXPECT_EQ(many, one_plain);
  std::vector<Matrix> nested(4, Matrix(1300, 1700));
  parallel_for(4, 1, [&](Index begin, Index) {
    library_multiply_transposed(a, b, nested[static_cast<std::size_t>(begin)]);
  });
  for (const Matrix& y : nested) EXPECT_EQ(y, one);
}

/// Threads of this process.
std::ptrdiff_t threads_alive() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

TEST(LibraryProduct, StartsNoThreadsOfItsOwn) {
  if (!std::filesystem::exists("/proc/self/task")) GTEST_SKIP() << "this system does not list threads";
  const Matrix a = gaussian(700, 500, 9);
  const Matrix b = gaussian(800, 500, 10);
  Matrix y(700, 800);
  with_threads(1, [&] {
    const std::ptrdiff_t before = threads_alive();
    library_multiply_transposed(a, b, y);
    EXPECT_EQ(threads_alive(), before);
  });
  // A thread that neither oneTBB nor OpenMP has seen before.
  std::thread([&] {
    with_threads(1, [&] {
      const std::ptrdiff_t before = threads_alive();
      library_multiply_transposed(a, b, y);
      EXPECT_EQ(threads_alive(), before);
    });
  }).join();
}

// Handlers have no other way to the test.
// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<int> g_signals{0};
std::atomic<int> g_elsewhere{0};
pthread_t g_thread;
std::uintptr_t g_stack = 0;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

extern "C" void on_alarm(int /*signal*/) {
  if (pthread_equal(pthread_self(), g_thread) == 0) return;
  ++g_signals;
  constexpr std::uintptr_t kNear = 1 << 20;
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (here > g_stack || here + kNear < g_stack) ++g_elsewhere;
}

TEST(LibraryProduct, IsNotInterruptedBySignalsWhileTheStackIsElsewhere) {
  g_thread = pthread_self();
  g_stack = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = on_alarm;
  action.sa_flags = SA_RESTART;
  ASSERT_EQ(sigaction(SIGALRM, &action, &before), 0);
  const itimerval often{{0, 500}, {0, 500}};
  const itimerval never{};
  ASSERT_EQ(setitimer(ITIMER_REAL, &often, nullptr), 0);
  const Matrix x = gaussian(256, 128);
  const Matrix w = gaussian(352, 128, 2);
  Matrix first(256, 352);
  library_multiply_transposed(x, w, first);
  const auto start = std::chrono::steady_clock::now();
  while (g_signals < 100 && std::chrono::steady_clock::now() - start < std::chrono::seconds(20)) {
    Matrix y(256, 352);
    library_multiply_transposed(x, w, y);
    EXPECT_EQ(y, first);
    Matrix z(256, 128);
    library_multiply(y, w, z);
  }
  ASSERT_EQ(setitimer(ITIMER_REAL, &never, nullptr), 0);
  ASSERT_EQ(sigaction(SIGALRM, &before, nullptr), 0);
  EXPECT_GE(g_signals, 100);
  EXPECT_EQ(g_elsewhere, 0);
}

TEST(LibraryProduct, NamesLibraryVersionAndInstructionSet) {
  const std::string& name = library_product_name();
  EXPECT_TRUE(name.starts_with("oneDNN ")) << name;
  EXPECT_EQ(std::count(name.begin(), name.end(), ' '), 2) << name;
}

}  // namespace
}  // namespace olab

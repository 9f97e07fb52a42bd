// Every level of the product kernels against the plain loop, to the bit.
#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "core/cpu.hpp"
#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "core/product_kernels.hpp"
#include "core/random.hpp"
#include "cpu_levels.hpp"
#include "matrices.hpp"

namespace olab {
namespace {

using test::gaussian;
using test::plain_product;

class ProductLevels : public testing::TestWithParam<CpuLevel> {};
INSTANTIATE_TEST_SUITE_P(Cpu, ProductLevels, testing::ValuesIn(runnable_levels()), test::level_label);

TEST_P(ProductLevels, HaveTheBitsOfThePlainLoopForRandomShapes) {
  RandomStream random(1);
  for (int round = 0; round < 60; ++round) {
    const Index m = 1 + random.below(50);
    const Index k = 1 + random.below(round % 10 == 0 ? 600 : 70);
    const Index n = 1 + random.below(90);
    const Matrix a = gaussian(m, k + 3, 2 + static_cast<std::uint64_t>(round));
    const Matrix b = gaussian(k, n + 5, 100 + static_cast<std::uint64_t>(round));
    const Matrix want = plain_product(a.middleCols(1, k), b.middleCols(2, n));
    Matrix y = Matrix::Constant(m, n + 4, 7.0F);
    multiply(a.middleCols(1, k), b.middleCols(2, n), y.middleCols(3, n), GetParam());
    EXPECT_EQ(Matrix(y.middleCols(3, n)), want) << m << " x " << k << " x " << n;
    EXPECT_TRUE((y.leftCols(3).array() == 7.0F).all() && (y.rightCols(1).array() == 7.0F).all());
    const Matrix bt = b.middleCols(2, n).transpose();
    y.setZero();
    multiply_transposed(a.middleCols(1, k), bt, y.middleCols(3, n), GetParam());
    EXPECT_EQ(Matrix(y.middleCols(3, n)), want) << m << " x " << k << " x " << n << ", transposed";
  }
}

TEST_P(ProductLevels, HaveTheBitsOfThePlainLoopAcrossEveryCut) {
  // Several tasks of rows and of columns, several stretches of k.
  const Matrix a = gaussian(110, 530, 3);
  const Matrix b = gaussian(530, 1040, 4);
  const Matrix want = plain_product(a, b);
  const Matrix bt = b.transpose();
  for (const int threads : {1, 2}) {
    Matrix y(110, 1040);
    Matrix yt(110, 1040);
    with_threads(threads, [&] {
      multiply(a, b, y, GetParam());
      multiply_transposed(a, bt, yt, GetParam());
    });
    EXPECT_EQ(y, want);
    EXPECT_EQ(yt, want);
  }
}

TEST_P(ProductLevels, GiveZerosWhereThereIsNothingToSum) {
  Matrix y = Matrix::Ones(3, 4);
  multiply(Matrix(3, 0), Matrix(0, 4), y, GetParam());
  EXPECT_EQ(y, Matrix::Zero(3, 4));
  Matrix none(0, 0);
  multiply(Matrix(0, 5), Matrix(5, 0), none, GetParam());
}

TEST_P(ProductLevels, RotateBlocksOfAnySizeInPlace) {
  RandomStream random(5);
  for (const Index size : {1, 2, 3, 7, 8, 16, 24, 32, 33, 64, 100, 128, 256, 300}) {
    const Index rows = 1 + random.below(100);
    const Index blocks = 1 + random.below(3);
    const Matrix r = gaussian(size, size, 6);
    const Matrix x = gaussian(rows, blocks * size + 2, 7);
    Matrix y = x;
    rotate_blocks(y.middleCols(1, blocks * size), r, GetParam());
    for (Index b = 0; b < blocks; ++b)
      EXPECT_EQ(Matrix(y.middleCols(1 + b * size, size)), plain_product(x.middleCols(1 + b * size, size), r))
          << "block " << b << " of " << size;
    EXPECT_EQ(y.col(0), x.col(0));
    EXPECT_EQ(y.rightCols(1), x.rightCols(1));
  }
}

TEST_P(ProductLevels, FusedTilesHaveTheSameBitsForSigns) {
  const ProductKernels& kernels = product_kernels(GetParam());
  RandomStream random(8);
  Matrix signs(kernels.tile_rows, kTileStride);
  for (Index i = 0; i < signs.size(); ++i) signs.data()[i] = random.sign();
  const Matrix panel = gaussian(kTileDepth, kernels.tile_columns, 9);
  for (Index rows = 1; rows <= kernels.tile_rows; ++rows)
    for (const Index columns : {Index{1}, kernels.tile_columns - 1, kernels.tile_columns}) {
      Matrix y = Matrix::Zero(rows, columns);
      Matrix fused = y;
      for (const bool go_on : {false, true}) {
        kernels.tile(signs.data(), panel.data(), 77, y.data(), columns, rows, columns, go_on);
        kernels.fused_tile(signs.data(), panel.data(), 77, fused.data(), columns, rows, columns, go_on);
        EXPECT_EQ(y, fused) << rows << " x " << columns;
      }
    }
}

TEST_P(ProductLevels, TransposeAnyShape) {
  for (const auto& [rows, columns] : std::vector<std::pair<Index, Index>>{
           {1, 1}, {16, 16}, {8, 8}, {32, 48}, {17, 33}, {3, 40}, {40, 3}, {31, 15}}) {
    const Matrix in = gaussian(rows, columns + 2, 10);
    Matrix out = Matrix::Constant(columns, rows + 3, 5.0F);
    product_kernels(GetParam())
        .transpose(in.data() + 1, in.outerStride(), rows, columns, out.data() + 2, out.outerStride());
    EXPECT_EQ(Matrix(out.middleCols(2, rows)), Matrix(in.middleCols(1, columns).transpose()))
        << rows << " x " << columns;
    EXPECT_TRUE((out.leftCols(2).array() == 5.0F).all() && (out.rightCols(1).array() == 5.0F).all());
  }
}

}  // namespace
}  // namespace olab

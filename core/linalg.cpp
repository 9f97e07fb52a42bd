#include "core/linalg.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <vector>

#include "core/parallel.hpp"

// One source, three instruction-set levels, picked at load time. Multiply and add stay apart (the whole build
// has -ffp-contract=off), so a level changes only how many columns are done at once, never a rounding.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define OLAB_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define OLAB_CLONES
#endif

namespace olab {
namespace {

constexpr Index kTileRows = 4;
constexpr Index kTileColumns = 32;

/// y (rows × kTileColumns, stride ldy) = a (rows × k, stride lda) times a packed k × kTileColumns panel.
/// rows is at most kTileRows; the panel is padded with zeros.
using Wide = float __attribute__((vector_size(64)));

OLAB_CLONES void tile(const float* a, Index lda, const float* panel, Index k, float* y, Index ldy, Index rows,
                      Index columns) {
  // Rows beyond `rows` read the last valid row again and are not stored.
  const float* r0 = a;
  const float* r1 = a + std::min<Index>(1, rows - 1) * lda;
  const float* r2 = a + std::min<Index>(2, rows - 1) * lda;
  const float* r3 = a + std::min<Index>(3, rows - 1) * lda;
  Wide acc[kTileRows][2] = {};  // NOLINT(modernize-avoid-c-arrays): these are registers
  for (Index p = 0; p < k; ++p) {
    Wide b0;
    Wide b1;
    __builtin_memcpy(&b0, panel + p * kTileColumns, sizeof b0);
    __builtin_memcpy(&b1, panel + p * kTileColumns + 16, sizeof b1);
    acc[0][0] += r0[p] * b0;
    acc[0][1] += r0[p] * b1;
    acc[1][0] += r1[p] * b0;
    acc[1][1] += r1[p] * b1;
    acc[2][0] += r2[p] * b0;
    acc[2][1] += r2[p] * b1;
    acc[3][0] += r3[p] * b0;
    acc[3][1] += r3[p] * b1;
  }
  for (Index i = 0; i < rows; ++i) {
    std::array<float, kTileColumns> out{};
    __builtin_memcpy(out.data(), &acc[i][0], sizeof(Wide));
    __builtin_memcpy(out.data() + 16, &acc[i][1], sizeof(Wide));
    std::copy_n(out.data(), columns, y + i * ldy);
  }
}

/// Panels of kTileColumns columns of the k × n right-hand side, each k × kTileColumns, zero-padded.
/// `b_at(p, j)` reads entry (p, j).
template <class At>
std::vector<float> pack(Index k, Index n, const At& b_at) {
  const Index panels = (n + kTileColumns - 1) / kTileColumns;
  std::vector<float> out(static_cast<std::size_t>(panels * k * kTileColumns), 0.0F);
  parallel_for(panels, 8, [&](Index begin, Index end) {
    for (Index q = begin; q < end; ++q) {
      float* const panel = out.data() + q * k * kTileColumns;
      const Index columns = std::min(kTileColumns, n - q * kTileColumns);
      for (Index p = 0; p < k; ++p)
        for (Index j = 0; j < columns; ++j) panel[p * kTileColumns + j] = b_at(p, q * kTileColumns + j);
    }
  });
  return out;
}

void multiply_packed(const ConstMatrixRef& a, const std::vector<float>& packed, MatrixRef y) {
  const Index k = a.cols();
  const Index n = y.cols();
  constexpr Index kRowsPerTask = 64;
  parallel_for(a.rows(), kRowsPerTask, [&](Index begin, Index end) {
    for (Index j = 0; j < n; j += kTileColumns) {
      const float* const panel = packed.data() + j * k;
      for (Index i = begin; i < end; i += kTileRows)
        tile(a.data() + i * a.outerStride(), a.outerStride(), panel, k, y.data() + i * y.outerStride() + j,
             y.outerStride(), std::min(kTileRows, end - i), std::min(kTileColumns, n - j));
    }
  });
}

}  // namespace

void multiply(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y) {
  assert(a.cols() == b.rows() && y.rows() == a.rows() && y.cols() == b.cols());
  multiply_packed(a, pack(b.rows(), b.cols(), [&](Index p, Index j) { return b(p, j); }), y);
}

void multiply_transposed(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y) {
  assert(a.cols() == b.cols() && y.rows() == a.rows() && y.cols() == b.rows());
  multiply_packed(a, pack(b.cols(), b.rows(), [&](Index p, Index j) { return b(j, p); }), y);
}

void rotate_blocks(MatrixRef x, const ConstMatrixRef& rotation) {
  const Index size = rotation.rows();
  assert(rotation.cols() == size && x.cols() % size == 0);
  const std::vector<float> packed = pack(size, size, [&](Index p, Index j) { return rotation(p, j); });
  parallel_for(x.rows(), 16, [&](Index begin, Index end) {
    std::vector<float> copy(static_cast<std::size_t>(kTileRows * size));
    for (Index i = begin; i < end; i += kTileRows) {
      const Index rows = std::min(kTileRows, end - i);
      for (Index block = 0; block < x.cols(); block += size) {
        for (Index r = 0; r < rows; ++r)
          std::copy_n(x.data() + (i + r) * x.outerStride() + block, size, copy.data() + r * size);
        for (Index j = 0; j < size; j += kTileColumns)
          tile(copy.data(), size, packed.data() + j * size, size, x.data() + i * x.outerStride() + block + j,
               x.outerStride(), rows, std::min(kTileColumns, size - j));
      }
    }
  });
}

Matrix random_orthogonal(Index n, RandomStream& random) {
  using MatrixD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic>;
  MatrixD gaussian(n, n);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j) gaussian(i, j) = random.normal();
  const Eigen::HouseholderQR<MatrixD> qr(gaussian);
  MatrixD q = qr.householderQ();
  for (Index j = 0; j < n; ++j)
    if (qr.matrixQR()(j, j) < 0) q.col(j) = -q.col(j);
  return q.cast<float>();
}

double orthogonality_error(const ConstMatrixRef& q) {
  const Eigen::MatrixXd d = q.cast<double>();
  const Eigen::MatrixXd gram = d.transpose() * d;
  return (gram - Eigen::MatrixXd::Identity(q.cols(), q.cols())).cwiseAbs().maxCoeff();
}

}  // namespace olab

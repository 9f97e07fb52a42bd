#include "core/linalg.hpp"

#include <algorithm>
#include <cassert>

#include "core/parallel.hpp"
#include "core/product_kernels.hpp"

namespace olab {
namespace {

// How a product is cut. None of it changes a bit: every entry of y is summed over k in rising order, whatever
// part of it is done where.
/// A block of b of kTileDepth × this many columns (512 KiB) stays in L2 while all rows of a task pass by.
constexpr Index kColumnsPerTask = 512;
/// Packing b once more costs about a row of tiles, so a task has many.
constexpr Index kMostRowsPerTask = 512;
constexpr Index kLeastRowsPerTask = 96;
constexpr Index kTasksWanted = 16;
/// Rows that are rotated together: a multiple of every level's tile_rows. Their values of one block and a
/// panel of the rotation share L1.
constexpr Index kRowsRotated = 48;

Index rounded_up(Index n, Index multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Columns j0 … j0 + columns of the right operand at steps p0 … p0 + depth, as panels one after the other,
/// each depth × tile_columns and filled up with zeros.
void pack(const ConstMatrixRef& b, bool transposed, Index p0, Index depth, Index j0, Index columns,
          const ProductKernels& kernels, float* out) {
  const Index width = kernels.tile_columns;
  const Index stride = b.outerStride();
  for (Index j = 0; j < columns; j += width) {
    const Index part = std::min(width, columns - j);
    float* const panel = out + j * depth;
    if (part < width) std::fill_n(panel, depth * width, 0.0F);
    if (transposed) {
      kernels.transpose(b.data() + (j0 + j) * stride + p0, stride, part, depth, panel, width);
    } else {
      for (Index p = 0; p < depth; ++p)
        std::copy_n(b.data() + (p0 + p) * stride + j0 + j, part, panel + p * width);
    }
  }
}

/// Rows of x, `columns` of each, as the left operand of tiles.
void copy_rows(const float* x, Index stride, Index rows, Index columns, float* out) {
  for (Index i = 0; i < rows; ++i) std::copy_n(x + i * stride, columns, out + i * kTileStride);
}

void prefetch_tile(const float* y, Index ldy, Index rows) {
  for (Index i = 0; i < rows; ++i) {
    __builtin_prefetch(y + i * ldy);
    __builtin_prefetch(y + i * ldy + 16);
  }
}

/// Rows begin … end, columns j0 … j0 + columns of y = a b or a bᵀ.
void multiply_part(const ConstMatrixRef& a, const ConstMatrixRef& b, bool transposed, MatrixRef& y,
                   Index begin, Index end, Index j0, Index columns, const ProductKernels& kernels) {
  const Index k = a.cols();
  const Index ldy = y.outerStride();
  const Index width = kernels.tile_columns;
  Vector packed(rounded_up(columns, width) * std::min(k, kTileDepth));
  Vector left(kMostTileRows * kTileStride);
  for (Index p0 = 0; p0 < k; p0 += kTileDepth) {
    const Index depth = std::min(kTileDepth, k - p0);
    pack(b, transposed, p0, depth, j0, columns, kernels, packed.data());
    for (Index i = begin; i < end; i += kernels.tile_rows) {
      const Index rows = std::min(kernels.tile_rows, end - i);
      copy_rows(a.data() + i * a.outerStride() + p0, a.outerStride(), rows, depth, left.data());
      float* const out = y.data() + i * ldy + j0;
      for (Index j = 0; j < columns; j += width) {
        if (j + width < columns) prefetch_tile(out + j + width, ldy, rows);
        kernels.tile(left.data(), packed.data() + j * depth, depth, out + j, ldy, rows,
                     std::min(width, columns - j), p0 > 0);
      }
    }
  }
}

void multiply_in_parts(const ConstMatrixRef& a, const ConstMatrixRef& b, bool transposed, MatrixRef& y,
                       CpuLevel level) {
  if (y.size() == 0) return;
  if (a.cols() == 0) {
    y.setZero();
    return;
  }
  const ProductKernels& kernels = product_kernels(level);
  const Index m = y.rows();
  const Index n = y.cols();
  const Index across = (n + kColumnsPerTask - 1) / kColumnsPerTask;
  const Index columns = rounded_up((n + across - 1) / across, kernels.tile_columns);
  const Index wanted = std::clamp(m * across / kTasksWanted, kLeastRowsPerTask, kMostRowsPerTask);
  const Index down = (m + wanted - 1) / wanted;
  const Index rows = rounded_up((m + down - 1) / down, kernels.tile_rows);
  parallel_for(across * down, 1, [&](Index first, Index last) {
    for (Index task = first; task < last; ++task) {
      const Index i = task / across * rows;
      const Index j = task % across * columns;
      if (i < m && j < n)
        multiply_part(a, b, transposed, y, i, std::min(m, i + rows), j, std::min(columns, n - j), kernels);
    }
  });
}

}  // namespace

void multiply(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y, CpuLevel level) {
  assert(a.cols() == b.rows() && y.rows() == a.rows() && y.cols() == b.cols());
  multiply_in_parts(a, b, false, y, level);
}

void multiply_transposed(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y, CpuLevel level) {
  assert(a.cols() == b.cols() && y.rows() == a.rows() && y.cols() == b.rows());
  multiply_in_parts(a, b, true, y, level);
}

void rotate_blocks(MatrixRef x, const ConstMatrixRef& rotation, CpuLevel level) {
  const Index size = rotation.rows();
  assert(rotation.cols() == size && size > 0 && x.cols() % size == 0);
  const ProductKernels& kernels = product_kernels(level);
  const Index width = kernels.tile_columns;
  const Index padded = rounded_up(size, width);
  Vector packed(padded * size);
  for (Index p0 = 0; p0 < size; p0 += kTileDepth)
    pack(rotation, false, p0, std::min(kTileDepth, size - p0), 0, size, kernels, packed.data() + p0 * padded);
  const Index stride = x.outerStride();
  parallel_for(x.rows(), kRowsRotated, [&](Index begin, Index end) {
    const Index count = end - begin;
    const Index cut = count * kTileStride;  // of one stretch of kTileDepth columns
    Vector left((size + kTileDepth - 1) / kTileDepth * cut);
    for (Index block = 0; block < x.cols(); block += size) {
      float* const values = x.data() + begin * stride + block;
      for (Index p0 = 0; p0 < size; p0 += kTileDepth)
        copy_rows(values + p0, stride, count, std::min(kTileDepth, size - p0),
                  left.data() + p0 / kTileDepth * cut);
      for (Index j = 0; j < size; j += width)
        for (Index p0 = 0; p0 < size; p0 += kTileDepth) {
          const Index depth = std::min(kTileDepth, size - p0);
          const float* const panel = packed.data() + p0 * padded + j * depth;
          for (Index i = 0; i < count; i += kernels.tile_rows) {
            if (p0 == 0 && block + size < x.cols())
              prefetch_tile(values + size + i * stride + j, stride, std::min(kernels.tile_rows, count - i));
            kernels.tile(left.data() + p0 / kTileDepth * cut + i * kTileStride, panel, depth,
                         values + i * stride + j, stride, std::min(kernels.tile_rows, count - i),
                         std::min(width, size - j), p0 > 0);
          }
        }
    }
  });
}

double orthogonality_error(const ConstMatrixRef& q) {
  const Eigen::MatrixXd d = q.cast<double>();
  const Eigen::MatrixXd gram = d.transpose() * d;
  return (gram - Eigen::MatrixXd::Identity(q.cols(), q.cols())).cwiseAbs().maxCoeff();
}

}  // namespace olab

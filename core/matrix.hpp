// The matrices of the project: row-major float, one token (or one output channel) a row.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace olab {

using Index = Eigen::Index;

/// Row-major float. Activations are tokens × in_features, weights out_features × in_features.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
/// One value a channel (or a token).
using Vector = Eigen::Matrix<float, 1, Eigen::Dynamic>;

/// rows × cols, not initialised, on huge pages where it is large (core/memory.hpp).
Matrix large_matrix(Index rows, Index cols);

/// Views for the duration of one call. Rows are contiguous; a block of columns is a view too. A column-major
/// matrix or an expression would be copied silently by Eigen, so hand over `Matrix` objects and blocks of
/// them.
using MatrixRef = Eigen::Ref<Matrix>;
using ConstMatrixRef = Eigen::Ref<const Matrix>;
using VectorRef = Eigen::Ref<Vector>;
using ConstVectorRef = Eigen::Ref<const Vector>;

/// A matrix in memory that may be larger than it is.
class LargeMatrix {
 public:
  LargeMatrix() = default;
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index size() const { return rows_ * cols_; }
  MatrixRef view() { return Eigen::Map<Matrix>(memory_.data(), rows_, cols_); }
  ConstMatrixRef view() const { return Eigen::Map<const Matrix>(memory_.data(), rows_, cols_); }

 private:
  friend class MatrixPool;
  Vector memory_;
  Index rows_ = 0;
  Index cols_ = 0;
};

/// Memory of large matrices that are needed again and again: fresh memory has to be cleared by the system
/// first, which costs as much as a pass over it. Thread-safe.
class MatrixPool {
 public:
  MatrixPool();
  MatrixPool(const MatrixPool&) = delete;
  MatrixPool& operator=(const MatrixPool&) = delete;
  ~MatrixPool();
  /// rows × cols of any content, in the least memory that was given back and suffices; where none does, in
  /// fresh memory, and the smallest that was kept is freed.
  LargeMatrix take(Index rows, Index cols);
  /// Keeps the memory; at most four are kept, the largest.
  void give(LargeMatrix&& matrix);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// max_t |x_tj| of every channel j; 1 × channels. All zero for a matrix without rows.
/// One pass over the rows: Eigen's colwise() walks row-major memory in strides.
Vector channel_absmax(const ConstMatrixRef& x);

/// max_j |x_tj| of every token t; 1 × tokens.
Vector token_absmax(const ConstMatrixRef& x);

/// Position of a value in a matrix.
struct Position {
  Index row = 0;
  Index column = 0;
};

/// Throws Error naming `what` and the first row and column with a NaN or an infinity.
void check_finite(const ConstMatrixRef& x, std::string_view what);

}  // namespace olab

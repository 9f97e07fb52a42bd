#include "models/attention.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/library_product.hpp"
#include "core/parallel.hpp"

namespace olab {
namespace {

constexpr Index kRowsATask = 256;

/// Rows of scores begin on a cache line: then a row's sum has the same order wherever the row lies.
constexpr Index kFloatsALine = 16;

/// exp(scale · (score − maximum)) of the first `visible` entries of a row, 0 in the others; returns their
/// sum.
double exponentials(VectorRef row, Index visible, float scale) {
  VectorRef seen = row.head(visible);
  const float maximum = seen.maxCoeff();
  seen.array() = (scale * (seen.array() - maximum)).exp();
  row.tail(row.size() - visible).setZero();
  return seen.cast<double>().sum();
}

/// Tokens begin … of one head; keys and values are those before the last of them.
void attend(const ConstMatrixRef& queries, const ConstMatrixRef& keys, const ConstMatrixRef& values,
            Index begin, MatrixRef out) {
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(queries.cols())));
  Matrix padded(queries.rows(), (keys.rows() + kFloatsALine - 1) / kFloatsALine * kFloatsALine);
  MatrixRef scores = padded.leftCols(keys.rows());
  library_multiply_transposed(queries, keys, scores);
  Vector shares(queries.rows());
  for (Index i = 0; i < queries.rows(); ++i)
    shares(i) = static_cast<float>(1 / exponentials(scores.row(i), begin + i + 1, scale));
  library_multiply(scores, values, out);
  for (Index i = 0; i < queries.rows(); ++i) out.row(i) *= shares(i);
}

}  // namespace

Matrix causal_attention(const ConstMatrixRef& queries, const ConstMatrixRef& keys,
                        const ConstMatrixRef& values, Index heads, Index kv_heads) {
  const Index tokens = queries.rows();
  const Index head_dim = queries.cols() / heads;
  assert(heads % kv_heads == 0 && queries.cols() == heads * head_dim && keys.cols() == kv_heads * head_dim);
  assert(keys.rows() == tokens && values.rows() == tokens && values.cols() == keys.cols());
  const Index shared = heads / kv_heads;
  const Index tiles = (tokens + kRowsATask - 1) / kRowsATask;
  Matrix out = large_matrix(tokens, queries.cols());
  parallel_for(heads * tiles, 1, [&](Index first, Index last) {
    // A product that waited for its tiles could begin another task here, with scores of its own.
    with_threads(1, [&] {
      for (Index task = first; task < last; ++task) {
        const Index head = task / tiles;
        const Index begin = task % tiles * kRowsATask;
        const Index end = std::min(tokens, begin + kRowsATask);
        const Index key = head / shared * head_dim;
        attend(queries.block(begin, head * head_dim, end - begin, head_dim),
               keys.block(0, key, end, head_dim), values.block(0, key, end, head_dim), begin,
               out.block(begin, head * head_dim, end - begin, head_dim));
      }
    });
  });
  return out;
}

}  // namespace olab

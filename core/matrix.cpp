#include "core/matrix.hpp"

#include <fmt/format.h>

#include <cmath>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/extremes.hpp"
#include "core/memory.hpp"

namespace olab {

Matrix large_matrix(Index rows, Index cols) {
  Matrix out(rows, cols);
  advise_huge_pages(out.data(), static_cast<std::size_t>(out.size()) * sizeof(float));
  return out;
}

struct MatrixPool::State {
  std::mutex lock;
  std::vector<Matrix> kept;  ///< the latest last
};

MatrixPool::MatrixPool() : state_(std::make_unique<State>()) {}
MatrixPool::~MatrixPool() = default;

Matrix MatrixPool::take(Index rows, Index cols) {
  {
    const std::lock_guard guard(state_->lock);
    auto& kept = state_->kept;
    for (std::size_t i = kept.size(); i-- > 0;) {
      if (kept[i].size() != rows * cols) continue;
      Matrix out = std::move(kept[i]);
      kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(i));
      out.resize(rows, cols);  // as many values: the memory stays
      return out;
    }
  }
  return large_matrix(rows, cols);
}

void MatrixPool::give(Matrix&& matrix) {
  constexpr std::size_t kMost = 4;
  if (matrix.size() == 0) return;
  Matrix dropped;  // freed without the lock
  const std::lock_guard guard(state_->lock);
  auto& kept = state_->kept;
  kept.push_back(std::move(matrix));
  if (kept.size() <= kMost) return;
  dropped = std::move(kept.front());
  kept.erase(kept.begin());
}

Vector channel_absmax(const ConstMatrixRef& x) {
  Vector out(x.cols());
  column_absmax(x, out.data());
  return out;
}

Vector token_absmax(const ConstMatrixRef& x) {
  Vector out(x.rows());
  for (Index t = 0; t < x.rows(); ++t) out[t] = absmax(x.row(t).data(), x.cols());
  return out;
}

void check_finite(const ConstMatrixRef& x, std::string_view what) {
  for (Index t = 0; t < x.rows(); ++t) {
    if (all_finite(x.row(t).data(), x.cols())) continue;
    for (Index j = 0; j < x.cols(); ++j) {
      const float v = x(t, j);
      if (std::isfinite(v)) continue;
      throw Error(fmt::format(
          "{}: {} at row {}, column {}; every value must be finite, so record it again or drop it", what,
          std::isnan(v) ? "NaN" : "infinity", t, j));
    }
  }
}

}  // namespace olab

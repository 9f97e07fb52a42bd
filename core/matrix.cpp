#include "core/matrix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/extremes.hpp"
#include "core/memory.hpp"
#include "core/parallel.hpp"

namespace olab {

Matrix large_matrix(Index rows, Index cols) {
  Matrix out(rows, cols);
  advise_huge_pages(out.data(), static_cast<std::size_t>(out.size()) * sizeof(float));
  return out;
}

struct MatrixPool::State {
  std::mutex lock;
  std::vector<Vector> kept;  ///< by size, rising
};

MatrixPool::MatrixPool() : state_(std::make_unique<State>()) {}
MatrixPool::~MatrixPool() = default;

LargeMatrix MatrixPool::take(Index rows, Index cols) {
  LargeMatrix out;
  out.rows_ = rows;
  out.cols_ = cols;
  Vector freed;  // without the lock
  {
    const std::lock_guard guard(state_->lock);
    auto& kept = state_->kept;
    auto it = std::ranges::find_if(kept, [&](const Vector& v) { return v.size() >= rows * cols; });
    const bool found = it != kept.end();
    if (!found) it = kept.begin();
    if (it != kept.end()) {
      (found ? out.memory_ : freed).swap(*it);
      kept.erase(it);
    }
    if (found) return out;
  }
  freed.resize(0);
  out.memory_.resize(rows * cols);
  advise_huge_pages(out.memory_.data(), static_cast<std::size_t>(rows * cols) * sizeof(float));
  return out;
}

void MatrixPool::give(LargeMatrix&& matrix) {
  constexpr std::size_t kMost = 4;
  Vector memory;
  memory.swap(matrix.memory_);
  matrix = {};
  if (memory.size() == 0) return;
  Vector freed;  // without the lock
  const std::lock_guard guard(state_->lock);
  auto& kept = state_->kept;
  const auto at = std::ranges::find_if(kept, [&](const Vector& v) { return v.size() >= memory.size(); });
  kept.insert(at, std::move(memory));
  if (kept.size() <= kMost) return;
  freed.swap(kept.front());
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
  constexpr Index kRowsPerTask = 64;
  std::atomic<bool> finite{true};
  parallel_for(x.rows(), kRowsPerTask, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t)
      if (!all_finite(x.row(t).data(), x.cols())) finite = false;
  });
  if (finite) return;
  for (Index t = 0; t < x.rows(); ++t) {
    for (Index j = 0; j < x.cols(); ++j) {
      const float v = x(t, j);
      if (std::isfinite(v)) continue;
      throw Error(
          fmt::format("{}: {} at row {}, column {}; every value must be finite, so make it again or drop it",
                      what, std::isnan(v) ? "NaN" : "infinity", t, j));
    }
  }
}

}  // namespace olab

#include "core/integer_matrix.hpp"

#include <cstddef>

#include "core/memory.hpp"
#include "core/parallel.hpp"

namespace olab {

void IntegerMatrix::resize(Index new_rows, Index new_cols) {
  rows = new_rows;
  cols = new_cols;
  const auto count = static_cast<std::size_t>(rows * cols);
  if (count > codes.capacity()) {
    codes.clear();
    codes.reserve(count);
    advise_huge_pages(codes.data(), count);
  }
  codes.resize(count);
  step.resize(static_cast<std::size_t>(rows));
  zero.resize(static_cast<std::size_t>(rows));
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): a writable view
void dequantize_rows(const IntegerMatrix& codes, Index first, MatrixRef out) {
  parallel_for(out.rows(), 16, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t) {
      const float zero = codes.zero[static_cast<std::size_t>(first + t)];
      const float step = codes.step[static_cast<std::size_t>(first + t)];
      const std::uint8_t* const row = codes.row(first + t);
      float* const to = out.row(t).data();
      for (Index j = 0; j < codes.cols; ++j) to[j] = (static_cast<float>(row[j]) - zero) * step;
    }
  });
}

}  // namespace olab

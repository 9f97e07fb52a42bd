#include "core/matrix.hpp"

#include <fmt/format.h>

#include <cmath>

#include "core/error.hpp"
#include "core/extremes.hpp"
#include "core/memory.hpp"

namespace olab {

Matrix large_matrix(Index rows, Index cols) {
  Matrix out(rows, cols);
  advise_huge_pages(out.data(), static_cast<std::size_t>(out.size()) * sizeof(float));
  return out;
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

#include "core/integer_matrix.hpp"

#include <cstddef>

#include "core/parallel.hpp"

namespace olab {

Matrix dequantize(const IntegerMatrix& codes) {
  Matrix out = large_matrix(codes.rows, codes.cols);
  parallel_for(codes.rows, 16, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t) {
      const float zero = codes.zero[static_cast<std::size_t>(t)];
      const float step = codes.step[static_cast<std::size_t>(t)];
      const std::uint8_t* const row = codes.row(t);
      float* const to = out.row(t).data();
      for (Index j = 0; j < codes.cols; ++j) to[j] = (static_cast<float>(row[j]) - zero) * step;
    }
  });
  return out;
}

}  // namespace olab

#include "core/integer_product.hpp"

#include <cassert>
#include <cstdint>

#include "core/parallel.hpp"

namespace olab {

void multiply_codes(const IntegerMatrix& a, const IntegerMatrix& w, MatrixRef y, CpuLevel /*level*/) {
  assert(a.cols == w.cols && y.rows() == a.rows && y.cols() == w.rows);
  parallel_for(a.rows, 8, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t)
      for (Index o = 0; o < w.rows; ++o) {
        const auto za = static_cast<std::int64_t>(a.zero[static_cast<std::size_t>(t)]);
        const auto zw = static_cast<std::int64_t>(w.zero[static_cast<std::size_t>(o)]);
        std::int64_t sum = 0;
        for (Index j = 0; j < a.cols; ++j) sum += (a.row(t)[j] - za) * (w.row(o)[j] - zw);
        y(t, o) = static_cast<float>(static_cast<double>(a.step[static_cast<std::size_t>(t)]) *
                                     static_cast<double>(w.step[static_cast<std::size_t>(o)]) *
                                     static_cast<double>(sum));
      }
  });
}

}  // namespace olab

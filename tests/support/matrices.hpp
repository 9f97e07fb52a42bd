// Random matrices and the plain product, for the tests of kernels.
#pragma once

#include "core/matrix.hpp"
#include "core/random.hpp"

namespace olab::test {

/// Independent standard normal entries.
inline Matrix gaussian(Index rows, Index columns, std::uint64_t seed = 1) {
  Matrix out(rows, columns);
  RandomStream(seed).fill_normal(out);
  return out;
}

/// a b as `multiply` promises it: each product and each sum rounded, one by one, k rising.
inline Matrix plain_product(const ConstMatrixRef& a, const ConstMatrixRef& b) {
  Matrix y = Matrix::Zero(a.rows(), b.cols());
  for (Index i = 0; i < a.rows(); ++i)
    for (Index j = 0; j < b.cols(); ++j) {
      volatile float sum = 0;  // keeps each rounding
      for (Index p = 0; p < a.cols(); ++p) {
        const volatile float product = a(i, p) * b(p, j);
        sum = sum + product;
      }
      y(i, j) = sum;
    }
  return y;
}

}  // namespace olab::test

// Matrix products by a library, where speed counts more than equal bits on all machines.
#pragma once

#include <string>

#include "core/matrix.hpp"

namespace olab {

/// y = a bᵀ with a m × k, b n × k (activations times weights). The same bits for any number of threads on one
/// machine; another CPU may have others (fused multiply-add, another order of sums), so what is computed with
/// it is stored with library_product_name(). About 1e-6 relative to |a| |b|. y must not overlap. For bits
/// that are equal everywhere: multiply_transposed (core/linalg.hpp).
void library_multiply_transposed(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y);

/// y = a b with a m × k, b k × n. The same promise.
void library_multiply(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y);

/// Library, version and the instruction set it chose here.
const std::string& library_product_name();

}  // namespace olab

// Products and decompositions: each compiled once, behind plain functions.
#pragma once

#include "core/cpu.hpp"
#include "core/matrix.hpp"
#include "core/orthogonal.hpp"  // random_orthogonal belongs to the same family

namespace olab {

/// y = a b with a m × k, b k × n. Every entry is summed over k in rising order without fused multiply-add, so
/// the bits are the same at every instruction-set level and for any number of threads. y must not overlap.
void multiply(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y, CpuLevel level = cpu_level());

/// y = a bᵀ with a m × k, b n × k (activations times weights). Same promise as `multiply`.
void multiply_transposed(const ConstMatrixRef& a, const ConstMatrixRef& b, MatrixRef y,
                         CpuLevel level = cpu_level());

/// x ← x · blockdiag(R, R, …) in place, with R square; x's columns must be a multiple of R's size. Same bit
/// promise as `multiply`.
void rotate_blocks(MatrixRef x, const ConstMatrixRef& rotation, CpuLevel level = cpu_level());

/// max |QᵀQ − I| over all entries, accumulated in double: 0 for an orthogonal matrix.
double orthogonality_error(const ConstMatrixRef& q);

}  // namespace olab

// Products of quantized matrices, exact in integers.
#pragma once

#include "core/cpu.hpp"
#include "core/integer_matrix.hpp"

namespace olab {

/// y = Â Ŵᵀ for Â tokens × k and Ŵ out × k: y[t, o] = step_a[t] · step_w[o] · Σ_j (a[t,j] − zero_a[t])
/// (w[o,j] − zero_w[o]). The sum is exact (64-bit integers), the scales are multiplied in double, the result
/// is rounded to float once, so every level and any number of threads give the same bits. y is tokens × out
/// and must not overlap.
void multiply_codes(const IntegerMatrix& a, const IntegerMatrix& w, MatrixRef y,
                    CpuLevel level = cpu_level());

}  // namespace olab

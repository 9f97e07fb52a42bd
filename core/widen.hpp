// 16-bit floating-point numbers to float.
#pragma once

#include <cstddef>

#include "core/cpu.hpp"
#include "core/matrix.hpp"

namespace olab {

/// to[i] ← the i-th IEEE half (or bfloat16) number at `from`, which needs no alignment. Exact, at every
/// level.
void widen_f16(const std::byte* from, Index count, float* to, CpuLevel level = cpu_level());
void widen_bf16(const std::byte* from, Index count, float* to, CpuLevel level = cpu_level());

}  // namespace olab

// Which instructions the kernels use, decided once at run time.
//
// A kernel is a plain function per level in one table, `const XKernels& x_kernels(CpuLevel level)`: the
// program asks for cpu_level(), a test asks for every level up to detected_level() and compares. All levels
// of a kernel give the same bits unless its docstring states a bound.
#pragma once

#include <string_view>
#include <vector>

namespace olab {

/// Rising; every level includes the ones below it.
enum class CpuLevel {
  portable,  ///< C++ alone
  avx2,      ///< AVX2, FMA, F16C
  avx512,    ///< AVX-512 F, BW, DQ, VL
  vnni,      ///< AVX-512 VNNI: products of 8-bit integers
};

/// "portable", "avx2", "avx512", "vnni".
std::string_view cpu_level_name(CpuLevel level);

/// The highest level that this CPU and this build have.
CpuLevel detected_level();

/// The level in use: detected_level(), or a lower one that the environment variable OLAB_CPU_LEVEL names.
/// Read once. Error where the variable names no level or one that this CPU lacks.
CpuLevel cpu_level();

/// portable … detected_level(): what a test can run here.
std::vector<CpuLevel> runnable_levels();

/// AVX-512 BF16 dot products beside `CpuLevel::avx512`, and AVX-512 FP16 arithmetic.
bool cpu_has_bf16();
bool cpu_has_fp16();

}  // namespace olab

// For kernel sources: lets one function use the instructions of a level, whatever the file is compiled for.
// Helpers that are inlined into such a function need the same attribute; do not call templates of the
// standard library from it, and guard x86 code by OLAB_X86_KERNELS.
#if defined(__x86_64__) && defined(__GNUC__)
#define OLAB_X86_KERNELS 1
// clang 14 does not know the attribute by which g++ is told to vectorise with whole registers.
#if defined(__clang__)
#define OLAB_WIDE_VECTORS
#else
#define OLAB_WIDE_VECTORS ",prefer-vector-width=512"
#endif
#define OLAB_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define OLAB_TARGET_AVX512 \
  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl" OLAB_WIDE_VECTORS)))
#define OLAB_TARGET_VNNI \
  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni" OLAB_WIDE_VECTORS)))
#else
#define OLAB_X86_KERNELS 0
#endif

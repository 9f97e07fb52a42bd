// The intrinsics of x86, for kernel sources. No header of ours includes this one.
#pragma once

#include "core/cpu.hpp"

#if OLAB_X86_KERNELS
// g++ 12 warns of its own placeholders (PR 105593), which are meant to be undefined.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif

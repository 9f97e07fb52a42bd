// OpenBLAS as a baseline, by name, so that the build does not need it.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "core/cpu.hpp"
#include "core/matrix.hpp"

namespace olab {

struct OpenBlas {
  using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float,
                         float*, int);
  Sgemm sgemm = nullptr;  ///< null where it is not installed (Debian: libopenblas0-pthread)
  std::string core;       ///< whose kernels it takes
};

/// One thread. Debian's does not know new CPUs and would take its SSE3 kernels, up to five times slower:
/// unless the user says otherwise by OPENBLAS_CORETYPE, it is told which to take.
inline const OpenBlas& openblas() {
  static const OpenBlas found = []() -> OpenBlas {
    const char* const core = cpu_level() >= CpuLevel::avx512 ? "SKYLAKEX" : "HASWELL";
    // NOLINTBEGIN(concurrency-mt-unsafe): before any thread
    if (cpu_level() >= CpuLevel::avx2) setenv("OPENBLAS_CORETYPE", core, 0);
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    // NOLINTEND(concurrency-mt-unsafe)
    void* const library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return {};
    OpenBlas out;
    out.sgemm = reinterpret_cast<OpenBlas::Sgemm>(dlsym(library, "cblas_sgemm"));
    using Name = char* (*)();
    const auto name = reinterpret_cast<Name>(dlsym(library, "openblas_get_corename"));
    if (name != nullptr) out.core = name();
    return out;
  }();
  return found;
}

/// y = a b, or a bᵀ, dense row-major, by any library's cblas_sgemm.
inline void cblas_product(OpenBlas::Sgemm sgemm, const Matrix& a, const Matrix& b, bool transposed,
                          Matrix& y) {
  constexpr int kRowMajor = 101;
  constexpr int kPlain = 111;
  constexpr int kTransposed = 112;
  sgemm(kRowMajor, kPlain, transposed ? kTransposed : kPlain, static_cast<int>(y.rows()),
        static_cast<int>(y.cols()), static_cast<int>(a.cols()), 1.0F, a.data(), static_cast<int>(a.cols()),
        b.data(), static_cast<int>(b.cols()), 0.0F, y.data(), static_cast<int>(y.cols()));
}

inline void openblas_product(const Matrix& a, const Matrix& b, bool transposed, Matrix& y) {
  cblas_product(openblas().sgemm, a, b, transposed, y);
}

}  // namespace olab

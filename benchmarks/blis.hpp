// BLIS as a baseline, by name, so that the build does not need it.
#pragma once

#include "openblas.hpp"

namespace olab {

struct Blis {
  OpenBlas::Sgemm sgemm = nullptr;  ///< null where it is not installed (Debian: libblis4-pthread)
  std::string core;                 ///< whose kernels it takes
};

/// One thread.
inline const Blis& blis() {
  static const Blis found = []() -> Blis {
    setenv("BLIS_NUM_THREADS", "1", 1);  // NOLINT(concurrency-mt-unsafe): before any thread
    void* const library = dlopen("libblis.so.4", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return {};
    Blis out;
    out.sgemm = reinterpret_cast<OpenBlas::Sgemm>(dlsym(library, "cblas_sgemm"));
    const auto number = reinterpret_cast<int (*)()>(dlsym(library, "bli_arch_query_id"));
    const auto name = reinterpret_cast<const char* (*)(int)>(dlsym(library, "bli_arch_string"));
    if (number != nullptr && name != nullptr) out.core = name(number());
    return out;
  }();
  return found;
}

}  // namespace olab

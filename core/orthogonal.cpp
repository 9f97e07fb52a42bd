#include "core/orthogonal.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "core/parallel.hpp"

namespace olab {
namespace {

// Reflections act on columns alone, so a few columns take all of them while they lie in the first cache.
#define OLAB_INLINE inline __attribute__((always_inline))

constexpr Index kLanes = 8;
constexpr Index kVectors = 4;
constexpr Index kPanel = kLanes * kVectors;

using Doubles = double __attribute__((vector_size(64)));

OLAB_INLINE void load(const double* from, Doubles& v) {
  __builtin_memcpy(&v, from, sizeof v);
}
OLAB_INLINE void store(double* to, const Doubles& v) {
  __builtin_memcpy(to, &v, sizeof v);
}

/// m (k × kPanel) ← (I − u uᵀ) m.
OLAB_INLINE void reflect(const double* u, Index k, double* m) {
  Doubles w[kVectors] = {};  // NOLINT(modernize-avoid-c-arrays): these are registers
  for (Index i = 0; i < k; ++i) {
    for (Index v = 0; v < kVectors; ++v) {
      Doubles row;
      load(m + i * kPanel + v * kLanes, row);
      w[v] += u[i] * row;
    }
  }
  for (Index i = 0; i < k; ++i) {
    for (Index v = 0; v < kVectors; ++v) {
      Doubles row;
      load(m + i * kPanel + v * kLanes, row);
      row -= u[i] * w[v];
      store(m + i * kPanel + v * kLanes, row);
    }
  }
}

/// m (k + 1 rows) ← (I − v vᵀ) diag(1, I − u uᵀ) m with u of length k, v of length k + 1: both at once, which
/// halves the traffic. vᵀ (I − u uᵀ) m = vᵀ m − (v·u) uᵀ m.
OLAB_INLINE void reflect_twice(const double* u, const double* v, Index k, double* m) {
  double overlap = 0;
  for (Index i = 0; i < k; ++i) overlap += v[i + 1] * u[i];
  Doubles first[kVectors] = {};   // NOLINT(modernize-avoid-c-arrays): these are registers
  Doubles second[kVectors] = {};  // NOLINT(modernize-avoid-c-arrays)
  for (Index p = 0; p < kVectors; ++p) {
    Doubles row;
    load(m + p * kLanes, row);
    second[p] = v[0] * row;
  }
  for (Index i = 0; i < k; ++i) {
    for (Index p = 0; p < kVectors; ++p) {
      Doubles row;
      load(m + (i + 1) * kPanel + p * kLanes, row);
      first[p] += u[i] * row;
      second[p] += v[i + 1] * row;
    }
  }
  for (Index p = 0; p < kVectors; ++p) {
    second[p] -= overlap * first[p];
    Doubles row;
    load(m + p * kLanes, row);
    row -= v[0] * second[p];
    store(m + p * kLanes, row);
  }
  for (Index i = 0; i < k; ++i) {
    for (Index p = 0; p < kVectors; ++p) {
      Doubles row;
      load(m + (i + 1) * kPanel + p * kLanes, row);
      row -= u[i] * first[p];
      row -= v[i + 1] * second[p];
      store(m + (i + 1) * kPanel + p * kLanes, row);
    }
  }
}

/// All reflections k = first … n, u_k at u + k (k − 1) / 2; they act on the last k rows.
OLAB_INLINE void reflect_all(const double* u, Index first, Index n, double* m) {
  Index k = first;
  for (; k + 1 <= n; k += 2)
    reflect_twice(u + k * (k - 1) / 2, u + (k + 1) * k / 2, k, m + (n - k - 1) * kPanel);
  if (k == n) reflect(u + k * (k - 1) / 2, k, m);
}

using Reflect = void (*)(const double* u, Index first, Index n, double* m);

void reflect_portable(const double* u, Index first, Index n, double* m) {
  reflect_all(u, first, n, m);
}
#if OLAB_X86_KERNELS
OLAB_TARGET_AVX2 void reflect_avx2(const double* u, Index first, Index n, double* m) {
  reflect_all(u, first, n, m);
}
OLAB_TARGET_AVX512 void reflect_avx512(const double* u, Index first, Index n, double* m) {
  reflect_all(u, first, n, m);
}
#endif

Reflect reflect_kernel(CpuLevel level) {
#if OLAB_X86_KERNELS
  if (level >= CpuLevel::avx512) return reflect_avx512;
  if (level >= CpuLevel::avx2) return reflect_avx2;
#endif
  (void)level;
  return reflect_portable;
}

}  // namespace

Matrix random_orthogonal(Index n, RandomStream& random, CpuLevel level) {
  assert(n >= 0);
  std::vector<double> reflections(static_cast<std::size_t>(n * (n + 1) / 2));
  std::vector<float> signs(static_cast<std::size_t>(n));  // of the column that enters with reflection k
  for (Index k = 1; k <= n; ++k) {
    double* const u = reflections.data() + k * (k - 1) / 2;
    double squares = 0;
    for (Index i = 0; i < k; ++i) {
      u[i] = random.normal();
      squares += u[i] * u[i];
    }
    const double norm = std::sqrt(squares);
    const double sign = u[0] < 0 ? -1.0 : 1.0;
    // H = I − u uᵀ with u = (v + sign ‖v‖ e1) · sqrt(2) / its norm sends e1 to −sign v / ‖v‖.
    const double scale = 1.0 / std::sqrt(norm * (norm + std::abs(u[0])));
    u[0] += sign * norm;
    for (Index i = 0; i < k; ++i) u[i] *= scale;
    signs[static_cast<std::size_t>(n - k)] = static_cast<float>(-sign);
  }
  // The sign of a reflection turns every column that is there by then.
  for (std::size_t c = 1; c < signs.size(); ++c) signs[c] *= signs[c - 1];

  Matrix q(n, n);
  const Reflect kernel = reflect_kernel(level);
  const auto panel = [&](Index begin) {
    const Index columns = std::min(kPanel, n - begin);
    std::vector<double> m(static_cast<std::size_t>(n * kPanel), 0.0);
    for (Index c = 0; c < columns; ++c) m[static_cast<std::size_t>((begin + c) * kPanel + c)] = 1.0;
    // A column that has not entered yet is zero in the rows that are reflected, and stays as it is.
    kernel(reflections.data(), n - begin - columns + 1, n, m.data());
    for (Index i = 0; i < n; ++i)
      for (Index c = 0; c < columns; ++c)
        q(i, begin + c) = signs[static_cast<std::size_t>(begin + c)] *
                          static_cast<float>(m[static_cast<std::size_t>(i * kPanel + c)]);
  };
  // Small matrices are made beside other work; threads pay from here on.
  constexpr Index kParallelFrom = 512;
  parallel_for(n, n < kParallelFrom ? n : kPanel, [&](Index begin, Index end) {
    for (Index c = begin; c < end; c += kPanel) panel(c);
  });
  return q;
}

}  // namespace olab

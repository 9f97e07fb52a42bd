#include "core/orthogonal.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "core/parallel.hpp"

namespace olab {
namespace {

// Reflections act on columns alone, so a few columns take all of them while they lie in the first cache.
constexpr Index kLanes = 8;
constexpr Index kVectors = 4;
constexpr Index kPanel = kLanes * kVectors;

using Doubles = double __attribute__((vector_size(64)));

/// m (n × kPanel, rows of the last k): m ← (I − u uᵀ) m with u of length k.
inline __attribute__((always_inline)) void reflect(const double* u, Index k, double* m) {
  Doubles w[kVectors] = {};  // NOLINT(modernize-avoid-c-arrays): these are registers
  for (Index i = 0; i < k; ++i) {
    for (Index v = 0; v < kVectors; ++v) {
      Doubles row;
      __builtin_memcpy(&row, m + i * kPanel + v * kLanes, sizeof row);
      w[v] += u[i] * row;
    }
  }
  for (Index i = 0; i < k; ++i) {
    for (Index v = 0; v < kVectors; ++v) {
      Doubles row;
      __builtin_memcpy(&row, m + i * kPanel + v * kLanes, sizeof row);
      row -= u[i] * w[v];
      __builtin_memcpy(m + i * kPanel + v * kLanes, &row, sizeof row);
    }
  }
}

/// All reflections k = first … n, u_k at u + k (k − 1) / 2.
inline __attribute__((always_inline)) void reflect_all(const double* u, Index first, Index n, double* m) {
  for (Index k = first; k <= n; ++k) reflect(u + k * (k - 1) / 2, k, m + (n - k) * kPanel);
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

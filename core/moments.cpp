#include "core/moments.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/intrinsics.hpp"

namespace olab {
namespace {

// Fused multiply-add where a product is added: it saves a sixth of the time, and portable C++ has it too
// (std::fma), so that all levels round alike. A CPU without the instruction takes the slow way through the
// library. Products of two floats are exact in double, so x² is added alike with or without.

constexpr Index kLanes = 32;
using Lanes = std::array<double, kLanes>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Columns are walked in tiles of so many rows: their sums are loaded and stored once a tile.
constexpr Index kTileRows = 8;

double total(const Lanes& lanes) {
  Lanes v = lanes;
  for (std::size_t width = kLanes / 2; width > 0; width /= 2)
    for (std::size_t k = 0; k < width; ++k) v[k] += v[k + width];
  return v[0];
}

struct PowerLanes {
  Lanes s1{};
  Lanes s2{};
  Lanes s3{};
  Lanes s4{};
};

struct PairLanes {
  Lanes error{};
  Lanes signal{};
  Lanes estimate{};
  Lanes product{};
  Lanes worst{};
};

PowerSums totals(const PowerLanes& v, Range range) {
  return {total(v.s1), total(v.s2), total(v.s3), total(v.s4), range};
}

PairSums totals(const PairLanes& v) {
  return {total(v.error), total(v.signal), total(v.estimate), total(v.product),
          *std::max_element(v.worst.begin(), v.worst.end())};
}

struct Kernels {
  PowerSums (*power_sums)(const float* x, Index n, double centre);
  PairSums (*pair_sums)(const float* x, const float* r, Index n);
  /// Rows <= kTileRows, `stride` apart.
  void (*magnitudes)(const float* x, Index stride, Index rows, Index n, float* absmax, double* sum);
  void (*powers)(const float* x, Index stride, Index rows, Index n, const double* centre, double* sums);
};

// ---- C++ alone, from value `from` on: also the ends that fill no register of the levels above. Inlined, for
// std::fma is an instruction only where the caller's level has it.

#if defined(__GNUC__)
#define OLAB_INLINE_BODY inline __attribute__((always_inline))
#else
#define OLAB_INLINE_BODY inline
#endif

OLAB_INLINE_BODY double fused(double a, double b, double c) {
#if defined(__GNUC__)
  return __builtin_fma(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

OLAB_INLINE_BODY void power_rest(const float* x, Index from, Index n, double centre, PowerLanes& s,
                                 Range& range) {
  for (Index j = from; j < n; ++j) {
    const auto k = static_cast<std::size_t>(j % kLanes);
    range.low = x[j] < range.low ? x[j] : range.low;
    range.high = x[j] > range.high ? x[j] : range.high;
    const double d = static_cast<double>(x[j]) - centre;
    const double d2 = d * d;
    s.s1[k] += d;
    s.s2[k] += d2;
    s.s3[k] = fused(d2, d, s.s3[k]);
    s.s4[k] = fused(d2, d2, s.s4[k]);
  }
}

OLAB_INLINE_BODY void pair_rest(const float* x, const float* r, Index from, Index n, PairLanes& s) {
  for (Index j = from; j < n; ++j) {
    const auto k = static_cast<std::size_t>(j % kLanes);
    const double a = x[j];
    const double b = r[j];
    const double d = a - b;
    s.error[k] += d * d;
    s.signal[k] += b * b;
    s.estimate[k] += a * a;
    s.product[k] += a * b;
    const double size = std::abs(d);
    s.worst[k] = size > s.worst[k] ? size : s.worst[k];
  }
}

OLAB_INLINE_BODY void magnitudes_rest(const float* x, Index stride, Index rows, Index from, Index n,
                                      float* absmax, double* sum) {
  for (Index r = 0; r < rows; ++r) {
    const float* const row = x + r * stride;
    for (Index j = from; j < n; ++j) {
      const float size = std::abs(row[j]);
      absmax[j] = size > absmax[j] ? size : absmax[j];
      sum[j] += static_cast<double>(size);
    }
  }
}

OLAB_INLINE_BODY void powers_rest(const float* x, Index stride, Index rows, Index from, Index n,
                                  const double* centre, double* sums) {
  for (Index r = 0; r < rows; ++r) {
    const float* const row = x + r * stride;
    for (Index j = from; j < n; ++j) {
      const double d = static_cast<double>(row[j]) - centre[j];
      const double d2 = d * d;
      sums[j] += d;
      sums[n + j] += d2;
      sums[2 * n + j] = fused(d2, d, sums[2 * n + j]);
      sums[3 * n + j] = fused(d2, d2, sums[3 * n + j]);
    }
  }
}

PowerSums power_sums_portable(const float* x, Index n, double centre) {
  PowerLanes s;
  Range range{kInfinity, -kInfinity};
  power_rest(x, 0, n, centre, s, range);
  return totals(s, range);
}
PairSums pair_sums_portable(const float* x, const float* r, Index n) {
  PairLanes s;
  pair_rest(x, r, 0, n, s);
  return totals(s);
}
void magnitudes_portable(const float* x, Index stride, Index rows, Index n, float* absmax, double* sum) {
  magnitudes_rest(x, stride, rows, 0, n, absmax, sum);
}
void powers_portable(const float* x, Index stride, Index rows, Index n, const double* centre, double* sums) {
  powers_rest(x, stride, rows, 0, n, centre, sums);
}
constexpr Kernels kPortable{power_sums_portable, pair_sums_portable, magnitudes_portable, powers_portable};

#if OLAB_X86_KERNELS

// ---- AVX2. A row is swept once for every 8 of the 32 lanes, which is what 16 registers hold; it stays in
// cache.

OLAB_TARGET_AVX2 PowerSums power_sums_avx2(const float* x, Index n, double centre) {
  const __m256d c = _mm256_set1_pd(centre);
  __m256 low = _mm256_set1_ps(kInfinity);
  __m256 high = _mm256_set1_ps(-kInfinity);
  PowerLanes s;
  for (Index lane = 0; lane < kLanes; lane += 8) {
    __m256d s1[2];  // NOLINT(*-avoid-c-arrays): registers
    __m256d s2[2];  // NOLINT(*-avoid-c-arrays): registers
    __m256d s3[2];  // NOLINT(*-avoid-c-arrays): registers
    __m256d s4[2];  // NOLINT(*-avoid-c-arrays): registers
    for (Index h = 0; h < 2; ++h) s1[h] = s2[h] = s3[h] = s4[h] = _mm256_setzero_pd();
    for (Index j = lane; j + 8 <= n; j += kLanes) {
      const __m256 v = _mm256_loadu_ps(x + j);
      low = _mm256_min_ps(v, low);
      high = _mm256_max_ps(v, high);
      for (Index h = 0; h < 2; ++h) {
        const __m256d d = _mm256_sub_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + j + 4 * h)), c);
        const __m256d d2 = _mm256_mul_pd(d, d);
        s1[h] = _mm256_add_pd(s1[h], d);
        s2[h] = _mm256_add_pd(s2[h], d2);
        s3[h] = _mm256_fmadd_pd(d2, d, s3[h]);
        s4[h] = _mm256_fmadd_pd(d2, d2, s4[h]);
      }
    }
    for (Index h = 0; h < 2; ++h) {
      _mm256_storeu_pd(s.s1.data() + lane + 4 * h, s1[h]);
      _mm256_storeu_pd(s.s2.data() + lane + 4 * h, s2[h]);
      _mm256_storeu_pd(s.s3.data() + lane + 4 * h, s3[h]);
      _mm256_storeu_pd(s.s4.data() + lane + 4 * h, s4[h]);
    }
  }
  alignas(32) float lows[8];   // NOLINT(*-avoid-c-arrays): a register's lanes
  alignas(32) float highs[8];  // NOLINT(*-avoid-c-arrays): a register's lanes
  _mm256_store_ps(lows, low);
  _mm256_store_ps(highs, high);
  Range range{kInfinity, -kInfinity};
  for (Index k = 0; k < 8; ++k)
    range = {lows[k] < range.low ? lows[k] : range.low, highs[k] > range.high ? highs[k] : range.high};
  power_rest(x, n - n % 8, n, centre, s, range);
  return totals(s, range);
}

OLAB_TARGET_AVX2 PairSums pair_sums_avx2(const float* x, const float* r, Index n) {
  const __m256d magnitude = _mm256_castsi256_pd(_mm256_set1_epi64x(0x7fffffffffffffff));
  PairLanes s;
  for (Index lane = 0; lane < kLanes; lane += 4) {
    __m256d error = _mm256_setzero_pd();
    __m256d signal = error;
    __m256d estimate = error;
    __m256d product = error;
    __m256d worst = error;
    for (Index j = lane; j + 4 <= n; j += kLanes) {
      const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + j));
      const __m256d b = _mm256_cvtps_pd(_mm_loadu_ps(r + j));
      const __m256d d = _mm256_sub_pd(a, b);
      error = _mm256_add_pd(error, _mm256_mul_pd(d, d));
      signal = _mm256_fmadd_pd(b, b, signal);
      estimate = _mm256_fmadd_pd(a, a, estimate);
      product = _mm256_fmadd_pd(a, b, product);
      worst = _mm256_max_pd(_mm256_and_pd(d, magnitude), worst);
    }
    _mm256_storeu_pd(s.error.data() + lane, error);
    _mm256_storeu_pd(s.signal.data() + lane, signal);
    _mm256_storeu_pd(s.estimate.data() + lane, estimate);
    _mm256_storeu_pd(s.product.data() + lane, product);
    _mm256_storeu_pd(s.worst.data() + lane, worst);
  }
  pair_rest(x, r, n - n % 4, n, s);
  return totals(s);
}

template <bool kFull>
OLAB_TARGET_AVX2 void magnitudes_tile_avx2(const float* x, Index stride, Index rows, Index n, float* absmax,
                                           double* sum) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  Index j = 0;
  for (; j + 8 <= n; j += 8) {
    __m256 largest = _mm256_loadu_ps(absmax + j);
    __m256d a = _mm256_loadu_pd(sum + j);
    __m256d b = _mm256_loadu_pd(sum + j + 4);
    for (Index r = 0; r < (kFull ? kTileRows : rows); ++r) {
      const __m256 v = _mm256_and_ps(_mm256_loadu_ps(x + r * stride + j), magnitude);
      largest = _mm256_max_ps(v, largest);
      a = _mm256_add_pd(a, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
      b = _mm256_add_pd(b, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
    }
    _mm256_storeu_ps(absmax + j, largest);
    _mm256_storeu_pd(sum + j, a);
    _mm256_storeu_pd(sum + j + 4, b);
  }
  magnitudes_rest(x, stride, rows, j, n, absmax, sum);
}

template <bool kFull>
OLAB_TARGET_AVX2 void powers_tile_avx2(const float* x, Index stride, Index rows, Index n,
                                       const double* centre, double* sums) {
  Index j = 0;
  for (; j + 4 <= n; j += 4) {
    const __m256d c = _mm256_loadu_pd(centre + j);
    __m256d s1 = _mm256_loadu_pd(sums + j);
    __m256d s2 = _mm256_loadu_pd(sums + n + j);
    __m256d s3 = _mm256_loadu_pd(sums + 2 * n + j);
    __m256d s4 = _mm256_loadu_pd(sums + 3 * n + j);
    for (Index r = 0; r < (kFull ? kTileRows : rows); ++r) {
      const __m256d d = _mm256_sub_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + r * stride + j)), c);
      const __m256d d2 = _mm256_mul_pd(d, d);
      s1 = _mm256_add_pd(s1, d);
      s2 = _mm256_add_pd(s2, d2);
      s3 = _mm256_fmadd_pd(d2, d, s3);
      s4 = _mm256_fmadd_pd(d2, d2, s4);
    }
    _mm256_storeu_pd(sums + j, s1);
    _mm256_storeu_pd(sums + n + j, s2);
    _mm256_storeu_pd(sums + 2 * n + j, s3);
    _mm256_storeu_pd(sums + 3 * n + j, s4);
  }
  powers_rest(x, stride, rows, j, n, centre, sums);
}

// Full tiles have a constant number of rows, which the compiler unrolls.
void magnitudes_avx2(const float* x, Index stride, Index rows, Index n, float* absmax, double* sum) {
  rows == kTileRows ? magnitudes_tile_avx2<true>(x, stride, rows, n, absmax, sum)
                    : magnitudes_tile_avx2<false>(x, stride, rows, n, absmax, sum);
}
void powers_avx2(const float* x, Index stride, Index rows, Index n, const double* centre, double* sums) {
  rows == kTileRows ? powers_tile_avx2<true>(x, stride, rows, n, centre, sums)
                    : powers_tile_avx2<false>(x, stride, rows, n, centre, sums);
}

constexpr Kernels kAvx2{power_sums_avx2, pair_sums_avx2, magnitudes_avx2, powers_avx2};

// ---- AVX-512: 4 registers hold the 32 lanes of a sum

constexpr Index kRegisters = 4;
// Values are asked for so many ahead: the arithmetic alone would not keep enough reads in flight.
constexpr Index kPrefetchAhead = 4096;

OLAB_TARGET_AVX512 inline double total5(const __m512d* v) {
  // The tree of total().
  const __m512d eight = _mm512_add_pd(_mm512_add_pd(v[0], v[2]), _mm512_add_pd(v[1], v[3]));
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

OLAB_TARGET_AVX512 inline __mmask8 first_lanes(Index n) {
  return static_cast<__mmask8>(n <= 0 ? 0U : n >= 8 ? 0xffU : (1U << static_cast<unsigned>(n)) - 1);
}

template <bool kCentred>
OLAB_TARGET_AVX512 PowerSums power_sums5(const float* x, Index n, double centre) {
  const __m512d c = _mm512_set1_pd(centre);
  __m512 low = _mm512_set1_ps(kInfinity);
  __m512 high = _mm512_set1_ps(-kInfinity);
  __m512d s1[kRegisters];  // NOLINT(*-avoid-c-arrays): registers
  __m512d s2[kRegisters];  // NOLINT(*-avoid-c-arrays): registers
  __m512d s3[kRegisters];  // NOLINT(*-avoid-c-arrays): registers
  __m512d s4[kRegisters];  // NOLINT(*-avoid-c-arrays): registers
  for (Index k = 0; k < kRegisters; ++k) s1[k] = s2[k] = s3[k] = s4[k] = _mm512_setzero_pd();
  Index j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    _mm_prefetch(reinterpret_cast<const char*>(x + j + kPrefetchAhead), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(x + j + 16 + kPrefetchAhead), _MM_HINT_T0);
    const __m512 a = _mm512_loadu_ps(x + j);
    const __m512 b = _mm512_loadu_ps(x + j + 16);
    low = _mm512_min_ps(b, _mm512_min_ps(a, low));
    high = _mm512_max_ps(b, _mm512_max_ps(a, high));
    for (Index k = 0; k < kRegisters; ++k) {
      __m512d d = _mm512_cvtps_pd(_mm256_loadu_ps(x + j + 8 * k));
      if constexpr (kCentred) d = _mm512_sub_pd(d, c);
      const __m512d d2 = _mm512_mul_pd(d, d);
      s1[k] = _mm512_add_pd(s1[k], d);
      // The square of a float is exact, so both forms give the same bits; half and half they keep the
      // multiplying and the adding ports equally busy.
      s2[k] = !kCentred && k % 2 == 0 ? _mm512_fmadd_pd(d, d, s2[k]) : _mm512_add_pd(s2[k], d2);
      s3[k] = _mm512_fmadd_pd(d2, d, s3[k]);
      s4[k] = _mm512_fmadd_pd(d2, d2, s4[k]);
    }
  }
  if (j < n) {
    for (Index k = 0; k < kRegisters; ++k) {
      const __mmask8 mask = first_lanes(n - j - 8 * k);
      if (mask == 0) break;
      const __m256 v = _mm256_maskz_loadu_ps(mask, x + j + 8 * k);
      const __m512 wide = _mm512_castps256_ps512(v);
      low = _mm512_mask_min_ps(low, mask, wide, low);
      high = _mm512_mask_max_ps(high, mask, wide, high);
      const __m512d d = _mm512_maskz_sub_pd(mask, _mm512_cvtps_pd(v), c);
      const __m512d d2 = _mm512_mul_pd(d, d);
      s1[k] = _mm512_add_pd(s1[k], d);
      s2[k] = _mm512_add_pd(s2[k], d2);
      s3[k] = _mm512_fmadd_pd(d2, d, s3[k]);
      s4[k] = _mm512_fmadd_pd(d2, d2, s4[k]);
    }
  }
  return {total5(s1), total5(s2), total5(s3), total5(s4),
          Range{_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high)}};
}

PowerSums power_sums_avx512(const float* x, Index n, double centre) {
  return centre == 0 ? power_sums5<false>(x, n, centre) : power_sums5<true>(x, n, centre);
}

OLAB_TARGET_AVX512 PairSums pair_sums_avx512(const float* x, const float* r, Index n) {
  __m512d error[kRegisters];     // NOLINT(*-avoid-c-arrays): registers
  __m512d signal[kRegisters];    // NOLINT(*-avoid-c-arrays): registers
  __m512d estimate[kRegisters];  // NOLINT(*-avoid-c-arrays): registers
  __m512d product[kRegisters];   // NOLINT(*-avoid-c-arrays): registers
  __m512d worst = _mm512_setzero_pd();
  for (Index k = 0; k < kRegisters; ++k)
    error[k] = signal[k] = estimate[k] = product[k] = _mm512_setzero_pd();
  for (Index j = 0; j < n; j += kLanes) {
    const bool full = j + kLanes <= n;
    if (full) {
      _mm_prefetch(reinterpret_cast<const char*>(x + j + kPrefetchAhead), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(x + j + 16 + kPrefetchAhead), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(r + j + kPrefetchAhead), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(r + j + 16 + kPrefetchAhead), _MM_HINT_T0);
    }
    for (Index k = 0; k < kRegisters; ++k) {
      const __mmask8 mask = full ? static_cast<__mmask8>(0xff) : first_lanes(n - j - 8 * k);
      const __m512d a = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, x + j + 8 * k));
      const __m512d b = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, r + j + 8 * k));
      const __m512d d = _mm512_sub_pd(a, b);
      error[k] = _mm512_add_pd(error[k], _mm512_mul_pd(d, d));
      signal[k] = _mm512_fmadd_pd(b, b, signal[k]);
      estimate[k] = _mm512_fmadd_pd(a, a, estimate[k]);
      product[k] = _mm512_fmadd_pd(a, b, product[k]);
      worst = _mm512_max_pd(_mm512_abs_pd(d), worst);
    }
  }
  return {total5(error), total5(signal), total5(estimate), total5(product), _mm512_reduce_max_pd(worst)};
}

template <bool kFull>
OLAB_TARGET_AVX512 void magnitudes_tile_avx512(const float* x, Index stride, Index rows, Index n,
                                               float* absmax, double* sum) {
  Index j = 0;
  for (; j + 16 <= n; j += 16) {
    __m512 largest = _mm512_loadu_ps(absmax + j);
    __m512d a = _mm512_loadu_pd(sum + j);
    __m512d b = _mm512_loadu_pd(sum + j + 8);
    for (Index r = 0; r < (kFull ? kTileRows : rows); ++r) {
      const __m512 v = _mm512_abs_ps(_mm512_loadu_ps(x + r * stride + j));
      largest = _mm512_max_ps(v, largest);
      a = _mm512_add_pd(a, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
      b = _mm512_add_pd(b, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
    }
    _mm512_storeu_ps(absmax + j, largest);
    _mm512_storeu_pd(sum + j, a);
    _mm512_storeu_pd(sum + j + 8, b);
  }
  magnitudes_rest(x, stride, rows, j, n, absmax, sum);
}

template <bool kFull>
OLAB_TARGET_AVX512 void powers_tile_avx512(const float* x, Index stride, Index rows, Index n,
                                           const double* centre, double* sums) {
  Index j = 0;
  for (; j + 8 <= n; j += 8) {
    const __m512d c = _mm512_loadu_pd(centre + j);
    __m512d s1 = _mm512_loadu_pd(sums + j);
    __m512d s2 = _mm512_loadu_pd(sums + n + j);
    __m512d s3 = _mm512_loadu_pd(sums + 2 * n + j);
    __m512d s4 = _mm512_loadu_pd(sums + 3 * n + j);
    for (Index r = 0; r < (kFull ? kTileRows : rows); ++r) {
      const __m512d d = _mm512_sub_pd(_mm512_cvtps_pd(_mm256_loadu_ps(x + r * stride + j)), c);
      const __m512d d2 = _mm512_mul_pd(d, d);
      s1 = _mm512_add_pd(s1, d);
      s2 = _mm512_add_pd(s2, d2);
      s3 = _mm512_fmadd_pd(d2, d, s3);
      s4 = _mm512_fmadd_pd(d2, d2, s4);
    }
    _mm512_storeu_pd(sums + j, s1);
    _mm512_storeu_pd(sums + n + j, s2);
    _mm512_storeu_pd(sums + 2 * n + j, s3);
    _mm512_storeu_pd(sums + 3 * n + j, s4);
  }
  powers_rest(x, stride, rows, j, n, centre, sums);
}

// Full tiles have a constant number of rows, which the compiler unrolls.
void magnitudes_avx512(const float* x, Index stride, Index rows, Index n, float* absmax, double* sum) {
  rows == kTileRows ? magnitudes_tile_avx512<true>(x, stride, rows, n, absmax, sum)
                    : magnitudes_tile_avx512<false>(x, stride, rows, n, absmax, sum);
}
void powers_avx512(const float* x, Index stride, Index rows, Index n, const double* centre, double* sums) {
  rows == kTileRows ? powers_tile_avx512<true>(x, stride, rows, n, centre, sums)
                    : powers_tile_avx512<false>(x, stride, rows, n, centre, sums);
}

constexpr Kernels kAvx512{power_sums_avx512, pair_sums_avx512, magnitudes_avx512, powers_avx512};

#endif

const Kernels& kernels(CpuLevel level) {
#if OLAB_X86_KERNELS
  if (level >= CpuLevel::avx512) return kAvx512;
  if (level == CpuLevel::avx2) return kAvx2;
#else
  (void)level;
#endif
  return kPortable;
}

/// Calls body(first row, rows) for every tile of a matrix.
template <class Body>
void for_tiles(const ConstMatrixRef& x, const Body& body) {
  for (Index t = 0; t < x.rows(); t += kTileRows)
    body(x.data() + t * x.outerStride(), std::min(kTileRows, x.rows() - t));
}

}  // namespace

PowerSums power_sums(const float* x, Index n, double centre, CpuLevel level) {
  return kernels(level).power_sums(x, n, centre);
}

CentralMoments central_moments(const PowerSums& sums, Index n, double centre) {
  const auto count = static_cast<double>(n);
  const double shift = sums.s1 / count;
  const double e2 = sums.s2 / count;
  const double e3 = sums.s3 / count;
  const double e4 = sums.s4 / count;
  const double shift2 = shift * shift;
  CentralMoments out;
  out.mean = centre + shift;
  // All equal, but with a mean that is no double, leaves a negative crumb.
  out.m2 = e2 < shift2 ? 0 : e2 - shift2;
  out.m3 = e3 - 3 * shift * e2 + 2 * shift2 * shift;
  out.m4 = e4 - 4 * shift * e3 + 6 * shift2 * e2 - 3 * shift2 * shift2;
  out.reliable = shift2 <= out.m2;
  return out;
}

PairSums pair_sums(const float* x, const float* reference, Index n, CpuLevel level) {
  return kernels(level).pair_sums(x, reference, n);
}

void add_column_magnitudes(const ConstMatrixRef& x, float* absmax, double* sum, CpuLevel level) {
  for_tiles(x, [&](const float* tile, Index rows) {
    kernels(level).magnitudes(tile, x.outerStride(), rows, x.cols(), absmax, sum);
  });
}

void column_power_sums(const ConstMatrixRef& x, const double* centre, double* sums, CpuLevel level) {
  std::fill_n(sums, 4 * x.cols(), 0.0);
  for_tiles(x, [&](const float* tile, Index rows) {
    kernels(level).powers(tile, x.outerStride(), rows, x.cols(), centre, sums);
  });
}

}  // namespace olab

#include "core/extremes.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/intrinsics.hpp"

namespace olab {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Columns are walked in tiles of so many rows: their extremes are loaded and stored once a tile.
constexpr Index kTileRows = 8;

// Values are asked for so many ahead where arithmetic alone would not keep enough reads in flight.
constexpr Index kPrefetchAhead = 2048;

// What count_magnitudes may write beyond the last magnitude that it keeps.
constexpr Index kCollected = 16;

// As MINPS and MAXPS: the accumulator stays where the value is NaN or equal.
float smaller(float value, float accumulator) {
  return value < accumulator ? value : accumulator;
}
float larger(float value, float accumulator) {
  return value > accumulator ? value : accumulator;
}

struct Kernels {
  Range (*value_range)(const float* x, Index n);
  float (*absmax)(const float* x, Index n);
  bool (*all_finite)(const float* x, Index n);
  /// Widen low and high by `rows` <= kTileRows rows that lie `stride` apart.
  void (*widen)(const float* x, Index stride, Index rows, Index n, float* low, float* high);
  void (*raise)(const float* x, Index stride, Index rows, Index n, float* absmax);
  MagnitudeCounts (*count)(const float* x, Index n, float low, float high, float* inside, Index capacity);
};

// ---- C++ alone, from value `from` on: also the ends that fill no register of the levels above

void widen_from(Index from, const float* x, Index stride, Index rows, Index n, float* low, float* high) {
  for (Index r = 0; r < rows; ++r) {
    const float* const row = x + r * stride;
    for (Index j = from; j < n; ++j) {
      low[j] = smaller(row[j], low[j]);
      high[j] = larger(row[j], high[j]);
    }
  }
}

void raise_from(Index from, const float* x, Index stride, Index rows, Index n, float* absmax) {
  for (Index r = 0; r < rows; ++r) {
    const float* const row = x + r * stride;
    for (Index j = from; j < n; ++j) absmax[j] = larger(std::abs(row[j]), absmax[j]);
  }
}

Range range_from(Index from, const float* x, Index n, Range range) {
  for (Index j = from; j < n; ++j) {
    range.low = smaller(x[j], range.low);
    range.high = larger(x[j], range.high);
  }
  return range;
}

float absmax_from(Index from, const float* x, Index n, float out) {
  for (Index j = from; j < n; ++j) out = larger(std::abs(x[j]), out);
  return out;
}

Range value_range_portable(const float* x, Index n) {
  // Lanes: the compiler may not reorder a float minimum, for a NaN could lie among the values.
  constexpr Index kLanes = 16;
  float low[kLanes];   // NOLINT(*-avoid-c-arrays): registers
  float high[kLanes];  // NOLINT(*-avoid-c-arrays): registers
  std::fill_n(low, kLanes, kInfinity);
  std::fill_n(high, kLanes, -kInfinity);
  Index j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (Index k = 0; k < kLanes; ++k) low[k] = smaller(x[j + k], low[k]);
    for (Index k = 0; k < kLanes; ++k) high[k] = larger(x[j + k], high[k]);
  }
  Range range{kInfinity, -kInfinity};
  for (Index k = 0; k < kLanes; ++k) {
    range.low = smaller(low[k], range.low);
    range.high = larger(high[k], range.high);
  }
  return range_from(j, x, n, range);
}

float absmax_portable(const float* x, Index n) {
  constexpr Index kLanes = 16;
  float largest[kLanes] = {};  // NOLINT(*-avoid-c-arrays): registers
  Index j = 0;
  for (; j + kLanes <= n; j += kLanes)
    for (Index k = 0; k < kLanes; ++k) largest[k] = larger(std::abs(x[j + k]), largest[k]);
  return absmax_from(j, x, n, *std::max_element(largest, largest + kLanes));
}

// Written once and compiled for each level: integers vectorise by themselves.
#if defined(__GNUC__)
#define OLAB_INLINE_BODY inline __attribute__((always_inline))
#else
#define OLAB_INLINE_BODY inline
#endif
OLAB_INLINE_BODY bool all_finite_body(const float* x, Index n) {
  constexpr std::uint32_t kInfinityBits = 0x7f800000U;
  constexpr Index kChunk = 1024;
  for (Index from = 0; from < n; from += kChunk) {
    const Index to = from + kChunk < n ? from + kChunk : n;
    std::int32_t largest = 0;
    for (Index j = from; j < to; ++j) {
      const auto bits = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(x[j]) & 0x7fffffffU);
      largest = largest < bits ? bits : largest;
    }
    if (static_cast<std::uint32_t>(largest) >= kInfinityBits) return false;
  }
  return true;
}

/// Counts and collects from value `from` on; a register's width of room stays free for the levels above.
void count_from(Index from, const float* x, Index n, float low, float high, float* inside, Index capacity,
                MagnitudeCounts& c) {
  for (Index j = from; j < n && c.inside <= capacity - kCollected; ++j) {
    const float size = std::abs(x[j]);
    c.below += static_cast<Index>(size < low);
    c.low += static_cast<Index>(size == low);
    c.has_nan |= std::isnan(size);
    inside[c.inside] = size;
    c.inside += static_cast<Index>(low < size && size < high);
  }
}

MagnitudeCounts count_portable(const float* x, Index n, float low, float high, float* inside,
                               Index capacity) {
  MagnitudeCounts c;
  count_from(0, x, n, low, high, inside, capacity, c);
  return c;
}

bool all_finite_portable(const float* x, Index n) {
  return all_finite_body(x, n);
}
void widen_portable(const float* x, Index stride, Index rows, Index n, float* low, float* high) {
  widen_from(0, x, stride, rows, n, low, high);
}
void raise_portable(const float* x, Index stride, Index rows, Index n, float* absmax) {
  raise_from(0, x, stride, rows, n, absmax);
}
constexpr Kernels kPortable{value_range_portable, absmax_portable, all_finite_portable,
                            widen_portable,       raise_portable,  count_portable};

#if OLAB_X86_KERNELS

// ---- AVX2

OLAB_TARGET_AVX2 bool all_finite_avx2(const float* x, Index n) {
  return all_finite_body(x, n);
}

OLAB_TARGET_AVX2 Range value_range_avx2(const float* x, Index n) {
  constexpr Index kUnroll = 4;
  __m256 low[kUnroll];   // NOLINT(*-avoid-c-arrays): registers
  __m256 high[kUnroll];  // NOLINT(*-avoid-c-arrays): registers
  for (Index k = 0; k < kUnroll; ++k) {
    low[k] = _mm256_set1_ps(kInfinity);
    high[k] = _mm256_set1_ps(-kInfinity);
  }
  Index j = 0;
  for (; j + 8 * kUnroll <= n; j += 8 * kUnroll)
    for (Index k = 0; k < kUnroll; ++k) {
      const __m256 v = _mm256_loadu_ps(x + j + 8 * k);
      low[k] = _mm256_min_ps(v, low[k]);
      high[k] = _mm256_max_ps(v, high[k]);
    }
  for (; j + 8 <= n; j += 8) {
    const __m256 v = _mm256_loadu_ps(x + j);
    low[0] = _mm256_min_ps(v, low[0]);
    high[0] = _mm256_max_ps(v, high[0]);
  }
  low[0] = _mm256_min_ps(_mm256_min_ps(low[0], low[1]), _mm256_min_ps(low[2], low[3]));
  high[0] = _mm256_max_ps(_mm256_max_ps(high[0], high[1]), _mm256_max_ps(high[2], high[3]));
  alignas(32) float lows[8];   // NOLINT(*-avoid-c-arrays): a register's lanes
  alignas(32) float highs[8];  // NOLINT(*-avoid-c-arrays): a register's lanes
  _mm256_store_ps(lows, low[0]);
  _mm256_store_ps(highs, high[0]);
  Range range{lows[0], highs[0]};
  for (Index k = 1; k < 8; ++k) range = {smaller(lows[k], range.low), larger(highs[k], range.high)};
  return range_from(j, x, n, range);
}

OLAB_TARGET_AVX2 float absmax_avx2(const float* x, Index n) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 a = _mm256_setzero_ps();
  __m256 b = _mm256_setzero_ps();
  Index j = 0;
  for (; j + 16 <= n; j += 16) {
    a = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + j), magnitude), a);
    b = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + j + 8), magnitude), b);
  }
  alignas(32) float lanes[8];  // NOLINT(*-avoid-c-arrays): a register's lanes
  _mm256_store_ps(lanes, _mm256_max_ps(a, b));
  float out = 0;
  for (const float v : lanes) out = larger(v, out);
  return absmax_from(j, x, n, out);
}

template <bool kFull>
OLAB_TARGET_AVX2 void widen_tile_avx2(const float* x, Index stride, Index rows, Index n, float* low,
                                      float* high) {
  Index j = 0;
  for (; j + 8 <= n; j += 8) {
    __m256 l = _mm256_loadu_ps(low + j);
    __m256 h = _mm256_loadu_ps(high + j);
    for (Index r = 0; r < (kFull ? kTileRows : rows); ++r) {
      const __m256 v = _mm256_loadu_ps(x + r * stride + j);
      l = _mm256_min_ps(v, l);
      h = _mm256_max_ps(v, h);
    }
    _mm256_storeu_ps(low + j, l);
    _mm256_storeu_ps(high + j, h);
  }
  widen_from(j, x, stride, rows, n, low, high);
}

template <bool kFull>
OLAB_TARGET_AVX2 void raise_tile_avx2(const float* x, Index stride, Index rows, Index n, float* absmax) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  Index j = 0;
  for (; j + 8 <= n; j += 8) {
    __m256 a = _mm256_loadu_ps(absmax + j);
    for (Index r = 0; r < (kFull ? kTileRows : rows); ++r)
      a = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + r * stride + j), magnitude), a);
    _mm256_storeu_ps(absmax + j, a);
  }
  raise_from(j, x, stride, rows, n, absmax);
}

OLAB_TARGET_AVX2 MagnitudeCounts count_avx2(const float* x, Index n, float low, float high, float* inside,
                                            Index capacity) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const __m256 lows = _mm256_set1_ps(low);
  const __m256 highs = _mm256_set1_ps(high);
  __m256 nan = _mm256_setzero_ps();
  MagnitudeCounts c;
  Index j = 0;
  for (; j + 8 <= n && c.inside <= capacity - kCollected; j += 8) {
    const __m256 size = _mm256_and_ps(_mm256_loadu_ps(x + j), magnitude);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(size, size, _CMP_UNORD_Q));
    const int under = _mm256_movemask_ps(_mm256_cmp_ps(size, lows, _CMP_LT_OQ));
    const int same = _mm256_movemask_ps(_mm256_cmp_ps(size, lows, _CMP_EQ_OQ));
    c.below += __builtin_popcount(static_cast<unsigned>(under));
    c.low += __builtin_popcount(static_cast<unsigned>(same));
    auto hits = static_cast<unsigned>(_mm256_movemask_ps(
        _mm256_and_ps(_mm256_cmp_ps(size, lows, _CMP_GT_OQ), _mm256_cmp_ps(size, highs, _CMP_LT_OQ))));
    for (; hits != 0; hits &= hits - 1) inside[c.inside++] = std::abs(x[j + __builtin_ctz(hits)]);
  }
  c.has_nan = _mm256_movemask_ps(nan) != 0;
  count_from(j, x, n, low, high, inside, capacity, c);
  return c;
}

// Full tiles have a constant number of rows, which the compiler unrolls.
void widen_avx2(const float* x, Index stride, Index rows, Index n, float* low, float* high) {
  rows == kTileRows ? widen_tile_avx2<true>(x, stride, rows, n, low, high)
                    : widen_tile_avx2<false>(x, stride, rows, n, low, high);
}
void raise_avx2(const float* x, Index stride, Index rows, Index n, float* absmax) {
  rows == kTileRows ? raise_tile_avx2<true>(x, stride, rows, n, absmax)
                    : raise_tile_avx2<false>(x, stride, rows, n, absmax);
}

constexpr Kernels kAvx2{value_range_avx2, absmax_avx2, all_finite_avx2, widen_avx2, raise_avx2, count_avx2};

// ---- AVX-512

OLAB_TARGET_AVX512 bool all_finite_avx512(const float* x, Index n) {
  return all_finite_body(x, n);
}

OLAB_TARGET_AVX512 Range value_range_avx512(const float* x, Index n) {
  __m512 low0 = _mm512_set1_ps(kInfinity);
  __m512 low1 = low0;
  __m512 high0 = _mm512_set1_ps(-kInfinity);
  __m512 high1 = high0;
  Index j = 0;
  for (; j + 32 <= n; j += 32) {
    const __m512 a = _mm512_loadu_ps(x + j);
    const __m512 b = _mm512_loadu_ps(x + j + 16);
    low0 = _mm512_min_ps(a, low0);
    high0 = _mm512_max_ps(a, high0);
    low1 = _mm512_min_ps(b, low1);
    high1 = _mm512_max_ps(b, high1);
  }
  for (; j < n; j += 16) {
    const auto mask =
        static_cast<__mmask16>(n - j >= 16 ? 0xffffU : (1U << static_cast<unsigned>(n - j)) - 1);
    low0 = _mm512_mask_min_ps(low0, mask, _mm512_maskz_loadu_ps(mask, x + j), low0);
    high0 = _mm512_mask_max_ps(high0, mask, _mm512_maskz_loadu_ps(mask, x + j), high0);
  }
  return {_mm512_reduce_min_ps(_mm512_min_ps(low0, low1)), _mm512_reduce_max_ps(_mm512_max_ps(high0, high1))};
}

OLAB_TARGET_AVX512 float absmax_avx512(const float* x, Index n) {
  __m512 a = _mm512_setzero_ps();
  __m512 b = _mm512_setzero_ps();
  Index j = 0;
  for (; j + 32 <= n; j += 32) {
    a = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + j)), a);
    b = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + j + 16)), b);
  }
  return absmax_from(j, x, n, _mm512_reduce_max_ps(_mm512_max_ps(a, b)));
}

template <bool kFull>
OLAB_TARGET_AVX512 void widen_tile_avx512(const float* x, Index stride, Index rows, Index n, float* low,
                                          float* high) {
  Index j = 0;
  for (; j + 16 <= n; j += 16) {
    __m512 l = _mm512_loadu_ps(low + j);
    __m512 h = _mm512_loadu_ps(high + j);
    for (Index r = 0; r < (kFull ? kTileRows : rows); ++r) {
      const __m512 v = _mm512_loadu_ps(x + r * stride + j);
      l = _mm512_min_ps(v, l);
      h = _mm512_max_ps(v, h);
    }
    _mm512_storeu_ps(low + j, l);
    _mm512_storeu_ps(high + j, h);
  }
  widen_from(j, x, stride, rows, n, low, high);
}

template <bool kFull>
OLAB_TARGET_AVX512 void raise_tile_avx512(const float* x, Index stride, Index rows, Index n, float* absmax) {
  Index j = 0;
  for (; j + 16 <= n; j += 16) {
    __m512 a = _mm512_loadu_ps(absmax + j);
    for (Index r = 0; r < rows; ++r) a = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + r * stride + j)), a);
    _mm512_storeu_ps(absmax + j, a);
  }
  raise_from(j, x, stride, rows, n, absmax);
}

OLAB_TARGET_AVX512 MagnitudeCounts count_avx512(const float* x, Index n, float low, float high, float* inside,
                                                Index capacity) {
  const __m512 lows = _mm512_set1_ps(low);
  const __m512 highs = _mm512_set1_ps(high);
  const __m512i one = _mm512_set1_epi32(1);
  constexpr Index kChunk = Index{1} << 30;  // counts of a lane fit an int
  __mmask16 nan = 0;
  MagnitudeCounts c;
  Index j = 0;
  for (Index from = 0; from < n; from = j) {
    const Index to = n - from > kChunk ? from + kChunk : n;
    __m512i below = _mm512_setzero_si512();
    __m512i same = _mm512_setzero_si512();
    for (; j + 16 <= to && c.inside <= capacity - kCollected; j += 16) {
      _mm_prefetch(reinterpret_cast<const char*>(x + j + kPrefetchAhead), _MM_HINT_T0);
      const __m512 size = _mm512_abs_ps(_mm512_loadu_ps(x + j));
      nan |= _mm512_cmp_ps_mask(size, size, _CMP_UNORD_Q);
      below = _mm512_mask_add_epi32(below, _mm512_cmp_ps_mask(size, lows, _CMP_LT_OQ), below, one);
      same = _mm512_mask_add_epi32(same, _mm512_cmp_ps_mask(size, lows, _CMP_EQ_OQ), same, one);
      const __mmask16 hits =
          _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(size, lows, _CMP_GT_OQ), size, highs, _CMP_LT_OQ);
      // A whole register always: writing under a mask takes microcode on some CPUs.
      _mm512_storeu_ps(inside + c.inside, _mm512_maskz_compress_ps(hits, size));
      c.inside += __builtin_popcount(hits);
    }
    c.below += _mm512_reduce_add_epi32(below);
    c.low += _mm512_reduce_add_epi32(same);
    if (j < to) break;
  }
  c.has_nan = nan != 0;
  count_from(j, x, n, low, high, inside, capacity, c);
  return c;
}

// Full tiles have a constant number of rows, which the compiler unrolls.
void widen_avx512(const float* x, Index stride, Index rows, Index n, float* low, float* high) {
  rows == kTileRows ? widen_tile_avx512<true>(x, stride, rows, n, low, high)
                    : widen_tile_avx512<false>(x, stride, rows, n, low, high);
}
void raise_avx512(const float* x, Index stride, Index rows, Index n, float* absmax) {
  rows == kTileRows ? raise_tile_avx512<true>(x, stride, rows, n, absmax)
                    : raise_tile_avx512<false>(x, stride, rows, n, absmax);
}

constexpr Kernels kAvx512{value_range_avx512, absmax_avx512, all_finite_avx512,
                          widen_avx512,       raise_avx512,  count_avx512};

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

}  // namespace

Range value_range(const float* x, Index n, CpuLevel level) {
  return kernels(level).value_range(x, n);
}

void column_ranges(const ConstMatrixRef& x, float* low, float* high, CpuLevel level) {
  std::fill_n(low, x.cols(), kInfinity);
  std::fill_n(high, x.cols(), -kInfinity);
  const Kernels& k = kernels(level);
  for (Index t = 0; t < x.rows(); t += kTileRows)
    k.widen(x.data() + t * x.outerStride(), x.outerStride(), std::min(kTileRows, x.rows() - t), x.cols(), low,
            high);
}

float absmax(const float* x, Index n, CpuLevel level) {
  return kernels(level).absmax(x, n);
}

void column_absmax(const ConstMatrixRef& x, float* out, CpuLevel level) {
  std::fill_n(out, x.cols(), 0.0F);
  const Kernels& k = kernels(level);
  for (Index t = 0; t < x.rows(); t += kTileRows)
    k.raise(x.data() + t * x.outerStride(), x.outerStride(), std::min(kTileRows, x.rows() - t), x.cols(),
            out);
}

bool all_finite(const float* x, Index n, CpuLevel level) {
  return kernels(level).all_finite(x, n);
}

MagnitudeCounts count_magnitudes(const float* x, Index n, float low, float high, float* inside,
                                 Index capacity, CpuLevel level) {
  return kernels(level).count(x, n, low, high, inside, capacity);
}

}  // namespace olab

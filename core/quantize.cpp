#include "core/quantize.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>
#include <vector>

#include "core/intrinsics.hpp"
#include "core/parallel.hpp"

namespace olab {
namespace {

// How the division is avoided, and why the result is nevertheless that of the division.
//
// Wanted is round(fl(q)), q = x / step, half to even; fl is rounding to float. The fast path computes with
// the reciprocal r = fl(1 / step), u = 2^-24, and the two fused operations
//   t = fl(x r + (M + zero)),  M = 1.5 * 2^23      n = t - (M + zero)  (exact)
//   d = fl(x r - n)
// |q| <= kLargestQuotient and |zero| <= kLargestFastZero keep the sum in t within [2^23, 2^24), where floats
// are the integers, so n is an integer next to x r: |x r - n| <= 1/2, and d is off by at most u / 2. The step
// is within [1e-5, 1e4], so r is a normal number with relative error <= u, hence
//   |x r - q| <= u |q|   and   |fl(q) - q| <= u |q|   so   |fl(q) - x r| <= 2 u |q|.
// Where |d| <= limit = 1/2 - 4 u (largest |q| of the group + 1), therefore
//   |fl(q) - n| <= |d| + u / 2 + 2 u |q| < 1/2,
// no half-way point is near and round(fl(q)) = n. The factor 4 and the added 1 leave room for the roundings
// of `limit` and of the largest |q| itself. Elsewhere (about 8 u |q| of all values) a few registers are done
// again with the true division.
//
// Rounding, adding the zero point and dividing by a positive step are monotonic, so the codes of a group lie
// between the codes of its extremes: where those are on the grid nothing has to be clamped or counted.
//
// fp16 holds all integers up to 2048, so `through_half` changes nothing below that.
constexpr float kMagic = 12582912.0F;
constexpr float kLargestQuotient = 16384.0F;
constexpr float kLargestHalfInteger = 2048.0F;
constexpr float kLargestFastZero = 1048576.0F;

enum class Kind {
  keep,    ///< equal values, kept
  inside,  ///< fast, all codes on the grid
  clamp,   ///< fast, codes clamped and counted
  exact,   ///< with the true division
};

/// A grid, prepared for the kernels.
struct Rounding {
  float step = 1;
  float zero = 0;
  float last = 1;
  float inverse = 0;  ///< fl(1 / step); 0 where it is not used
  float base = kMagic;
  float limit = 0;  ///< the fast path holds where |d| is not above it
  bool through_half = false;
  Kind kind = Kind::exact;
};

bool is_fast(const IntegerGrid& grid, float largest) {
  return largest <= (grid.through_half ? kLargestHalfInteger : kLargestQuotient) &&
         std::abs(grid.zero) <= kLargestFastZero;
}

float fast_limit(float largest) {
  constexpr float kFourUnits = 0x1p-22F;
  return 0.5F - kFourUnits * (largest + 1);
}

/// `range` is what the values really span.
Rounding prepare(const IntegerGrid& grid, Range range) {
  Rounding out;
  out.step = grid.step;
  out.zero = grid.zero;
  out.last = grid.last;
  out.through_half = grid.through_half;
  if (grid.constant) {
    out.kind = Kind::keep;
    return out;
  }
  const float low = range.low / grid.step;
  const float high = range.high / grid.step;
  const float largest = std::max(std::abs(low), std::abs(high));
  if (!is_fast(grid, largest)) return out;
  out.inverse = 1 / grid.step;
  out.base = kMagic + grid.zero;
  out.limit = fast_limit(largest);
  const bool inside = std::nearbyint(low) + grid.zero >= 0 && std::nearbyint(high) + grid.zero <= grid.last;
  out.kind = inside ? Kind::inside : Kind::clamp;
  return out;
}

/// Grids of columns, prepared.
struct ColumnGrids {
  explicit ColumnGrids(Index columns)
      : step(static_cast<std::size_t>(columns)),
        zero(step.size()),
        inverse(step.size()),
        base(step.size()),
        limit(step.size()) {}
  std::vector<float> step;
  std::vector<float> zero;
  std::vector<float> inverse;
  std::vector<float> base;
  std::vector<float> limit;  ///< negative: always with the division
  float last = 1;
  bool through_half = false;
};

/// What a kernel writes.
enum class Sink { cached, streaming, codes };

/// Rounds a row of `groups` x `size` values. `out`: float, or std::uint8_t for codes. Where `next` is given,
/// finds the ranges of the next row's groups meanwhile: reading one row from memory while another is written
/// keeps both directions busy.
using RoundRow = Index (*)(const float* x, const Rounding* grids, Index groups, Index size, void* out,
                           const float* next, Range* next_ranges);
/// Values begin … end of a row. `ahead`: a row that comes soon, to be asked for.
using RoundColumns = Index (*)(const float* x, const ColumnGrids& grids, Index begin, Index end, float* out,
                               const float* ahead);

struct Kernels {
  RoundRow cached;
  RoundRow streaming;
  RoundRow codes;
  RoundColumns columns_cached;
  RoundColumns columns_streaming;
};

// ---- C++ alone: the formulas, value by value

float round_half_even(float v) {
  // std::nearbyint without a call, so that the loops vectorise.
  constexpr float kIntegersFrom = 8388608.0F;
  const float shift = std::copysign(kIntegersFrom, v);
  const float rounded = (v + shift) - shift;
  return std::abs(v) < kIntegersFrom ? rounded : v;
}

float half_of(float v) {
  return static_cast<float>(Eigen::half(v));
}

/// 1 for a code beyond the grid's ends.
int is_outside(float code, float last) {
  return static_cast<int>(code < 0) + static_cast<int>(code > last);
}

float clamp_code(float code, float last) {
  code = code > 0 ? code : 0.0F;
  return code < last ? code : last;
}

void put(float* out, Index j, float code, float zero, float step) {
  out[j] = (code - zero) * step;
}
void put(std::uint8_t* out, Index j, float code, float /*zero*/, float /*step*/) {
  out[j] = static_cast<std::uint8_t>(static_cast<int>(code));
}

template <class Out>
Index round_plain(const float* x, Index n, const Rounding& g, Out* out) {
  constexpr Index kChunk = 4096;  // counts fit an int
  Index outside = 0;
  for (Index from = 0; from < n; from += kChunk) {
    const Index to = std::min(n, from + kChunk);
    int count = 0;
    if (g.through_half) {
      for (Index j = from; j < to; ++j) {
        const float code = half_of(round_half_even(x[j] / g.step)) + g.zero;
        count += is_outside(code, g.last);
        put(out, j, clamp_code(code, g.last), g.zero, g.step);
      }
    } else {
      for (Index j = from; j < to; ++j) {
        const float code = round_half_even(x[j] / g.step) + g.zero;
        count += is_outside(code, g.last);
        put(out, j, clamp_code(code, g.last), g.zero, g.step);
      }
    }
    outside += count;
  }
  return outside;
}

void keep_values(const float* x, Index n, float* out) {
  if (x != out) std::copy_n(x, n, out);
}
void keep_values(const float* /*x*/, Index n, std::uint8_t* out) {
  std::fill_n(out, n, std::uint8_t{1});
}

template <class Out>
Index round_row_portable(const float* x, const Rounding* grids, Index groups, Index size, void* out,
                         const float* next, Range* next_ranges) {
  Index outside = 0;
  for (Index g = 0; g < groups; ++g) {
    Out* const to = static_cast<Out*>(out) + g * size;
    if (grids[g].kind == Kind::keep) {
      keep_values(x + g * size, size, to);
    } else {
      outside += round_plain(x + g * size, size, grids[g], to);
    }
    if (next != nullptr) next_ranges[g] = value_range(next + g * size, size, CpuLevel::portable);
  }
  return outside;
}

Index round_columns_portable(const float* x, const ColumnGrids& g, Index begin, Index end, float* out,
                             const float* /*ahead*/) {
  const float* const step = g.step.data();
  const float* const zero = g.zero.data();
  int count = 0;
  for (Index j = begin; j < end; ++j) {
    float n = round_half_even(x[j] / step[j]);
    if (g.through_half) n = half_of(n);
    const float code = n + zero[j];
    count += is_outside(code, g.last);
    put(out, j, clamp_code(code, g.last), zero[j], step[j]);
  }
  return count;
}

constexpr Kernels kPortable{round_row_portable<float>, round_row_portable<float>,
                            round_row_portable<std::uint8_t>, round_columns_portable, round_columns_portable};

#if OLAB_X86_KERNELS

// Values are asked for so many ahead, beyond the end of the matrix too: that is allowed, and nothing comes.
constexpr Index kPrefetchAhead = 2048;

// What keeps a rare branch out of the loop's way.
#define OLAB_RARE(condition) __builtin_expect(static_cast<int>(condition), 0)

// ---- AVX2: chunks of 4 registers

constexpr Index kChunk2 = 32;

/// Registers that hold what the formulas share.
struct Exact2 {
  __m256 step, zero, last;
  bool through_half;
};

OLAB_TARGET_AVX2 inline Exact2 exact_of2(const Rounding& g) {
  return {_mm256_set1_ps(g.step), _mm256_set1_ps(g.zero), _mm256_set1_ps(g.last), g.through_half};
}

/// Codes of 8 values by the true division, clamped.
OLAB_TARGET_AVX2 inline __m256 exact_codes2(__m256 v, const Exact2& g, Index& outside) {
  __m256 n = _mm256_round_ps(_mm256_div_ps(v, g.step), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  if (g.through_half) n = _mm256_cvtph_ps(_mm256_cvtps_ph(n, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  const __m256 code = _mm256_add_ps(n, g.zero);
  const __m256 clamped = _mm256_min_ps(_mm256_max_ps(code, _mm256_setzero_ps()), g.last);
  const int beyond = _mm256_movemask_ps(_mm256_cmp_ps(code, clamped, _CMP_NEQ_OQ));
  outside += __builtin_popcount(static_cast<unsigned>(beyond));
  return clamped;
}

template <Sink kSink>
OLAB_TARGET_AVX2 inline void put2(void* out, Index j, __m256 code, __m256 zero, __m256 step) {
  if constexpr (kSink == Sink::codes) {
    const __m256i i = _mm256_cvtps_epi32(code);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(static_cast<std::uint8_t*>(out) + j),
                     _mm_packus_epi16(words, words));
  } else {
    const __m256 v = _mm256_mul_ps(_mm256_sub_ps(code, zero), step);
    float* const to = static_cast<float*>(out) + j;
    if constexpr (kSink == Sink::streaming) {
      _mm256_stream_ps(to, v);
    } else {
      _mm256_storeu_ps(to, v);
    }
  }
}

template <Sink kSink>
OLAB_TARGET_AVX2 Index round_exact2(const float* x, Index n, const Rounding& g, void* out) {
  const Exact2 e = exact_of2(g);
  Index outside = 0;
  Index j = 0;
  for (; j + 8 <= n; j += 8) {
    const __m256 code = exact_codes2(_mm256_loadu_ps(x + j), e, outside);
    put2<kSink>(out, j, code, e.zero, e.step);
  }
  if constexpr (kSink == Sink::codes) {
    return outside + round_plain(x + j, n - j, g, static_cast<std::uint8_t*>(out) + j);
  } else {
    return outside + round_plain(x + j, n - j, g, static_cast<float*>(out) + j);
  }
}

template <Sink kSink, bool kClamp, bool kScan>
OLAB_TARGET_AVX2 Index round_fast2(const float* x, Index size, const Rounding& g, void* out,
                                   const float* next, Range* range) {
  const __m256 step = _mm256_set1_ps(g.step);
  const __m256 inverse = _mm256_set1_ps(g.inverse);
  const __m256 base = _mm256_set1_ps(g.base);
  const __m256 limit = _mm256_set1_ps(g.limit);
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const __m256 floor = _mm256_set1_ps(kMagic);
  const __m256 ceiling = _mm256_set1_ps(kMagic + g.last);
  const float* const soon = (kScan ? next : x) + kPrefetchAhead;
  __m256 low = _mm256_set1_ps(std::numeric_limits<float>::infinity());
  __m256 high = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
  Index outside = 0;
  Index j = 0;
  for (; j + kChunk2 <= size; j += kChunk2) {
    __m256 t[4];  // NOLINT(*-avoid-c-arrays): registers
    __m256 worst = _mm256_setzero_ps();
    for (Index k = 0; k < 4; ++k) {
      if (k % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(soon + j + 8 * k), _MM_HINT_T0);
      if constexpr (kScan) {
        const __m256 u = _mm256_loadu_ps(next + j + 8 * k);
        low = _mm256_min_ps(u, low);
        high = _mm256_max_ps(u, high);
      }
      const __m256 v = _mm256_loadu_ps(x + j + 8 * k);
      t[k] = _mm256_fmadd_ps(v, inverse, base);
      const __m256 d = _mm256_fmsub_ps(v, inverse, _mm256_sub_ps(t[k], base));
      worst = _mm256_max_ps(worst, _mm256_and_ps(d, magnitude));
    }
    if (OLAB_RARE(_mm256_movemask_ps(_mm256_cmp_ps(worst, limit, _CMP_GT_OQ)) != 0)) {
      if constexpr (kSink == Sink::codes) {
        outside += round_exact2<kSink>(x + j, kChunk2, g, static_cast<std::uint8_t*>(out) + j);
      } else {
        outside += round_exact2<kSink>(x + j, kChunk2, g, static_cast<float*>(out) + j);
      }
      continue;
    }
    if constexpr (kClamp) {
      for (__m256& code : t) {
        const __m256 clamped = _mm256_min_ps(_mm256_max_ps(code, floor), ceiling);
        const int beyond = _mm256_movemask_ps(_mm256_cmp_ps(code, clamped, _CMP_NEQ_OQ));
        outside += __builtin_popcount(static_cast<unsigned>(beyond));
        code = clamped;
      }
    }
    if constexpr (kSink == Sink::codes) {
      // The low byte of t is the code.
      const __m256i byte = _mm256_set1_epi32(0xff);
      const __m256i a = _mm256_packus_epi32(_mm256_and_si256(_mm256_castps_si256(t[0]), byte),
                                            _mm256_and_si256(_mm256_castps_si256(t[1]), byte));
      const __m256i b = _mm256_packus_epi32(_mm256_and_si256(_mm256_castps_si256(t[2]), byte),
                                            _mm256_and_si256(_mm256_castps_si256(t[3]), byte));
      const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(static_cast<std::uint8_t*>(out) + j),
                          _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
    } else {
      for (Index k = 0; k < 4; ++k) {
        const __m256 v = _mm256_mul_ps(_mm256_sub_ps(t[k], base), step);
        float* const to = static_cast<float*>(out) + j + 8 * k;
        if constexpr (kSink == Sink::streaming) {
          _mm256_stream_ps(to, v);
        } else {
          _mm256_storeu_ps(to, v);
        }
      }
    }
  }
  if (j < size) {
    if constexpr (kScan) {
      const Range rest = value_range(next + j, size - j, CpuLevel::avx2);
      low = _mm256_min_ps(low, _mm256_set1_ps(rest.low));
      high = _mm256_max_ps(high, _mm256_set1_ps(rest.high));
    }
    if constexpr (kSink == Sink::codes) {
      outside += round_exact2<kSink>(x + j, size - j, g, static_cast<std::uint8_t*>(out) + j);
    } else {
      outside += round_exact2<kSink>(x + j, size - j, g, static_cast<float*>(out) + j);
    }
  }
  if constexpr (kScan) {
    alignas(32) float lows[8];   // NOLINT(*-avoid-c-arrays): a register's lanes
    alignas(32) float highs[8];  // NOLINT(*-avoid-c-arrays): a register's lanes
    _mm256_store_ps(lows, low);
    _mm256_store_ps(highs, high);
    *range = {lows[0], highs[0]};
    for (Index k = 1; k < 8; ++k)
      *range = {lows[k] < range->low ? lows[k] : range->low, highs[k] > range->high ? highs[k] : range->high};
  }
  return outside;
}

template <Sink kSink, bool kScan>
OLAB_TARGET_AVX2 Index round_row2(const float* x, const Rounding* grids, Index groups, Index size, void* out,
                                  const float* next, Range* next_ranges) {
  Index outside = 0;
  for (Index i = 0; i < groups; ++i) {
    const Rounding& g = grids[i];
    const float* const from = x + i * size;
    const float* const scan = kScan ? next + i * size : nullptr;
    Range* const range = kScan ? next_ranges + i : nullptr;
    using Out = std::conditional_t<kSink == Sink::codes, std::uint8_t, float>;
    Out* const to = static_cast<Out*>(out) + i * size;
    if (g.kind == Kind::inside) {
      outside += round_fast2<kSink, false, kScan>(from, size, g, to, scan, range);
    } else if (g.kind == Kind::clamp) {
      outside += round_fast2<kSink, true, kScan>(from, size, g, to, scan, range);
    } else {
      if (g.kind == Kind::keep) {
        keep_values(from, size, to);
      } else {
        outside += round_exact2<kSink>(from, size, g, to);
      }
      if constexpr (kScan) *range = value_range(scan, size, CpuLevel::avx2);
    }
  }
  return outside;
}

template <Sink kSink>
Index round_row_avx2(const float* x, const Rounding* grids, Index groups, Index size, void* out,
                     const float* next, Range* next_ranges) {
  return next == nullptr ? round_row2<kSink, false>(x, grids, groups, size, out, next, next_ranges)
                         : round_row2<kSink, true>(x, grids, groups, size, out, next, next_ranges);
}

template <Sink kSink>
OLAB_TARGET_AVX2 Index round_columns_avx2(const float* x, const ColumnGrids& g, Index begin, Index end,
                                          float* out, const float* ahead) {
  const float* const steps = g.step.data();
  const float* const zeros = g.zero.data();
  const float* const inverses = g.inverse.data();
  const float* const bases = g.base.data();
  const float* const limits = g.limit.data();
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  const __m256 floor = _mm256_set1_ps(kMagic);
  const __m256 ceiling = _mm256_set1_ps(kMagic + g.last);
  Index outside = 0;
  Index j = begin;
  for (; j + 8 <= end; j += 8) {
    _mm_prefetch(reinterpret_cast<const char*>(ahead + j), _MM_HINT_T0);
    const __m256 v = _mm256_loadu_ps(x + j);
    const __m256 step = _mm256_loadu_ps(steps + j);
    const __m256 inverse = _mm256_loadu_ps(inverses + j);
    const __m256 base = _mm256_loadu_ps(bases + j);
    const __m256 t = _mm256_fmadd_ps(v, inverse, base);
    const __m256 d = _mm256_fmsub_ps(v, inverse, _mm256_sub_ps(t, base));
    const __m256 far = _mm256_cmp_ps(_mm256_and_ps(d, magnitude), _mm256_loadu_ps(limits + j), _CMP_GT_OQ);
    if (OLAB_RARE(_mm256_movemask_ps(far) != 0)) {
      const Exact2 e{step, _mm256_loadu_ps(zeros + j), _mm256_set1_ps(g.last), g.through_half};
      put2<kSink>(out, j, exact_codes2(v, e, outside), e.zero, e.step);
      continue;
    }
    const __m256 clamped = _mm256_min_ps(_mm256_max_ps(t, floor), ceiling);
    const int beyond = _mm256_movemask_ps(_mm256_cmp_ps(t, clamped, _CMP_NEQ_OQ));
    outside += __builtin_popcount(static_cast<unsigned>(beyond));
    put2<kSink>(out, j, clamped, base, step);
  }
  return outside + round_columns_portable(x, g, j, end, out, ahead);
}

constexpr Kernels kAvx2{round_row_avx2<Sink::cached>, round_row_avx2<Sink::streaming>,
                        round_row_avx2<Sink::codes>, round_columns_avx2<Sink::cached>,
                        round_columns_avx2<Sink::streaming>};

// ---- AVX-512: chunks of 4 registers

constexpr Index kChunk5 = 64;

struct Exact5 {
  __m512 step, zero, last;
  bool through_half;
};

OLAB_TARGET_AVX512 inline Exact5 exact_of5(const Rounding& g) {
  return {_mm512_set1_ps(g.step), _mm512_set1_ps(g.zero), _mm512_set1_ps(g.last), g.through_half};
}

OLAB_TARGET_AVX512 inline __mmask16 first_lanes(Index n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffffU : (1U << static_cast<unsigned>(n)) - 1);
}

/// Codes of 16 values by the true division, clamped; lanes outside of `mask` count nothing.
OLAB_TARGET_AVX512 inline __m512 exact_codes5(__m512 v, const Exact5& g, __mmask16 mask, Index& outside) {
  __m512 n = _mm512_roundscale_ps(_mm512_div_ps(v, g.step), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  if (g.through_half) n = _mm512_cvtph_ps(_mm512_cvtps_ph(n, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  const __m512 code = _mm512_add_ps(n, g.zero);
  const __m512 clamped = _mm512_min_ps(_mm512_max_ps(code, _mm512_setzero_ps()), g.last);
  outside += __builtin_popcount(_mm512_mask_cmp_ps_mask(mask, code, clamped, _CMP_NEQ_OQ));
  return clamped;
}

template <Sink kSink>
OLAB_TARGET_AVX512 inline void put5(void* out, Index j, __m512 v) {
  float* const to = static_cast<float*>(out) + j;
  if constexpr (kSink == Sink::streaming) {
    _mm512_stream_ps(to, v);
  } else {
    _mm512_storeu_ps(to, v);
  }
}

template <Sink kSink>
OLAB_TARGET_AVX512 Index round_exact5(const float* x, Index n, const Rounding& g, void* out) {
  const Exact5 e = exact_of5(g);
  Index outside = 0;
  for (Index j = 0; j < n; j += 16) {
    const __mmask16 mask = first_lanes(n - j);
    const __m512 code = exact_codes5(_mm512_maskz_loadu_ps(mask, x + j), e, mask, outside);
    if constexpr (kSink == Sink::codes) {
      _mm512_mask_cvtepi32_storeu_epi8(static_cast<std::uint8_t*>(out) + j, mask, _mm512_cvtps_epi32(code));
    } else {
      const __m512 v = _mm512_mul_ps(_mm512_sub_ps(code, e.zero), e.step);
      if (mask == 0xffffU) {
        put5<kSink>(out, j, v);
      } else {
        _mm512_mask_storeu_ps(static_cast<float*>(out) + j, mask, v);
      }
    }
  }
  return outside;
}

template <Sink kSink, bool kClamp, bool kScan>
OLAB_TARGET_AVX512 Index round_fast5(const float* x, Index size, const Rounding& g, void* out,
                                     const float* next, Range* range) {
  constexpr int kLargerMagnitude = 0b1011;  // of VRANGEPS: larger magnitude, sign cleared
  using Out = std::conditional_t<kSink == Sink::codes, std::uint8_t, float>;
  Out* const to = static_cast<Out*>(out);
  const __m512 step = _mm512_set1_ps(g.step);
  const __m512 inverse = _mm512_set1_ps(g.inverse);
  const __m512 base = _mm512_set1_ps(g.base);
  const __m512 limit = _mm512_set1_ps(g.limit);
  // Floats in [2^23, 2^24) sort as integers, and integer instructions have more ports.
  const __m512i floor = _mm512_castps_si512(_mm512_set1_ps(kMagic));
  const __m512i ceiling = _mm512_castps_si512(_mm512_set1_ps(kMagic + g.last));
  const float* const soon = (kScan ? next : x) + kPrefetchAhead;
  __m512 low = _mm512_set1_ps(std::numeric_limits<float>::infinity());
  __m512 high = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  Index outside = 0;
  Index j = 0;
  for (; j + kChunk5 <= size; j += kChunk5) {
    __m512 t[4];  // NOLINT(*-avoid-c-arrays): registers
    __m512 worst = _mm512_setzero_ps();
    for (Index k = 0; k < 4; ++k) {
      _mm_prefetch(reinterpret_cast<const char*>(soon + j + 16 * k), _MM_HINT_T0);
      if constexpr (kScan) {
        const __m512 u = _mm512_loadu_ps(next + j + 16 * k);
        low = _mm512_min_ps(u, low);
        high = _mm512_max_ps(u, high);
      }
      const __m512 v = _mm512_loadu_ps(x + j + 16 * k);
      t[k] = _mm512_fmadd_ps(v, inverse, base);
      const __m512 d = _mm512_fmsub_ps(v, inverse, _mm512_sub_ps(t[k], base));
      worst = _mm512_range_ps(worst, d, kLargerMagnitude);
    }
    if (OLAB_RARE(_mm512_cmp_ps_mask(worst, limit, _CMP_GT_OQ) != 0)) {
      outside += round_exact5<kSink>(x + j, kChunk5, g, to + j);
      continue;
    }
    if constexpr (kClamp) {
      for (__m512& v : t) {
        const __m512i code = _mm512_castps_si512(v);
        const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(code, floor), ceiling);
        outside += __builtin_popcount(_mm512_cmpneq_epi32_mask(code, clamped));
        v = _mm512_castsi512_ps(clamped);
      }
    }
    for (Index k = 0; k < 4; ++k) {
      if constexpr (kSink == Sink::codes) {
        // The low byte of t is the code.
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + j + 16 * k),
                         _mm512_cvtepi32_epi8(_mm512_castps_si512(t[k])));
      } else {
        put5<kSink>(out, j + 16 * k, _mm512_mul_ps(_mm512_sub_ps(t[k], base), step));
      }
    }
  }
  if (j < size) {
    if constexpr (kScan) {
      const Range rest = value_range(next + j, size - j, CpuLevel::avx512);
      low = _mm512_min_ps(low, _mm512_set1_ps(rest.low));
      high = _mm512_max_ps(high, _mm512_set1_ps(rest.high));
    }
    outside += round_exact5<kSink>(x + j, size - j, g, to + j);
  }
  if constexpr (kScan) *range = {_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high)};
  return outside;
}

template <Sink kSink, bool kScan>
OLAB_TARGET_AVX512 Index round_row5(const float* x, const Rounding* grids, Index groups, Index size,
                                    void* out, const float* next, Range* next_ranges) {
  using Out = std::conditional_t<kSink == Sink::codes, std::uint8_t, float>;
  Index outside = 0;
  for (Index i = 0; i < groups; ++i) {
    const Rounding& g = grids[i];
    const float* const from = x + i * size;
    const float* const scan = kScan ? next + i * size : nullptr;
    Range* const range = kScan ? next_ranges + i : nullptr;
    Out* const to = static_cast<Out*>(out) + i * size;
    if (g.kind == Kind::inside) {
      outside += round_fast5<kSink, false, kScan>(from, size, g, to, scan, range);
    } else if (g.kind == Kind::clamp) {
      outside += round_fast5<kSink, true, kScan>(from, size, g, to, scan, range);
    } else {
      if (g.kind == Kind::keep) {
        keep_values(from, size, to);
      } else {
        outside += round_exact5<kSink>(from, size, g, to);
      }
      if constexpr (kScan) *range = value_range(scan, size, CpuLevel::avx512);
    }
  }
  return outside;
}

template <Sink kSink>
Index round_row_avx512(const float* x, const Rounding* grids, Index groups, Index size, void* out,
                       const float* next, Range* next_ranges) {
  return next == nullptr ? round_row5<kSink, false>(x, grids, groups, size, out, next, next_ranges)
                         : round_row5<kSink, true>(x, grids, groups, size, out, next, next_ranges);
}

template <Sink kSink>
OLAB_TARGET_AVX512 Index round_columns_avx512(const float* x, const ColumnGrids& g, Index begin, Index end,
                                              float* out, const float* ahead) {
  const float* const steps = g.step.data();
  const float* const zeros = g.zero.data();
  const float* const inverses = g.inverse.data();
  const float* const bases = g.base.data();
  const float* const limits = g.limit.data();
  const __m512i floor = _mm512_castps_si512(_mm512_set1_ps(kMagic));
  const __m512i ceiling = _mm512_castps_si512(_mm512_set1_ps(kMagic + g.last));
  Index outside = 0;
  Index j = begin;
  for (; j + 16 <= end; j += 16) {
    _mm_prefetch(reinterpret_cast<const char*>(ahead + j), _MM_HINT_T0);
    const __m512 v = _mm512_loadu_ps(x + j);
    const __m512 step = _mm512_loadu_ps(steps + j);
    const __m512 inverse = _mm512_loadu_ps(inverses + j);
    const __m512 base = _mm512_loadu_ps(bases + j);
    const __m512 t = _mm512_fmadd_ps(v, inverse, base);
    const __m512 d = _mm512_fmsub_ps(v, inverse, _mm512_sub_ps(t, base));
    if (OLAB_RARE(_mm512_cmp_ps_mask(_mm512_abs_ps(d), _mm512_loadu_ps(limits + j), _CMP_GT_OQ) != 0)) {
      const Exact5 e{step, _mm512_loadu_ps(zeros + j), _mm512_set1_ps(g.last), g.through_half};
      const __m512 code = exact_codes5(v, e, 0xffffU, outside);
      put5<kSink>(out, j, _mm512_mul_ps(_mm512_sub_ps(code, e.zero), step));
      continue;
    }
    const __m512i code = _mm512_castps_si512(t);
    const __m512i clamped = _mm512_min_epi32(_mm512_max_epi32(code, floor), ceiling);
    outside += __builtin_popcount(_mm512_cmpneq_epi32_mask(code, clamped));
    put5<kSink>(out, j, _mm512_mul_ps(_mm512_sub_ps(_mm512_castsi512_ps(clamped), base), step));
  }
  return outside + round_columns_portable(x, g, j, end, out, ahead);
}

constexpr Kernels kAvx512{round_row_avx512<Sink::cached>, round_row_avx512<Sink::streaming>,
                          round_row_avx512<Sink::codes>, round_columns_avx512<Sink::cached>,
                          round_columns_avx512<Sink::streaming>};

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

// ---- Over matrices

constexpr Index kValuesPerTask = Index{1} << 18;
constexpr Index kColumnsPerTask = 2048;
constexpr Index kPanelColumns = 1024;
constexpr Index kRowsAhead = 2;
constexpr Index kStreamedBytes = Index{8} << 20;
constexpr Index kLineBytes = 64;
constexpr Index kLineFloats = kLineBytes / static_cast<Index>(sizeof(float));

bool streams(const ConstMatrixRef& in, const MatrixRef& out, Index size, Store store) {
  if (store == Store::cached) return false;
  const bool aligned = reinterpret_cast<std::uintptr_t>(out.data()) % kLineBytes == 0 &&
                       size % kLineFloats == 0 && (out.rows() == 1 || out.outerStride() % kLineFloats == 0);
  if (!aligned || store == Store::streaming) return aligned;
  return out.data() != in.data() && out.size() * static_cast<Index>(sizeof(float)) >= kStreamedBytes;
}

/// Streaming stores are weakly ordered: other threads must not see a result before them.
void finish_stores(bool streaming) {
#if OLAB_X86_KERNELS
  if (streaming) _mm_sfence();
#else
  (void)streaming;
#endif
}

/// Sum of body(begin, end) over ranges of rows, in parallel.
template <class Body>
Index sum_over_rows(Index rows, Index columns, const Body& body) {
  const Index grain = std::max<Index>(1, kValuesPerTask / std::max<Index>(1, columns));
  std::vector<Index> counts(static_cast<std::size_t>((rows + grain - 1) / grain), 0);
  parallel_for(rows, grain, [&](Index begin, Index end) {
    counts[static_cast<std::size_t>(begin / grain)] = body(begin, end);
  });
  return std::accumulate(counts.begin(), counts.end(), Index{0});
}

Range matrix_range(const ConstMatrixRef& in, CpuLevel level) {
  std::vector<Range> rows(static_cast<std::size_t>(in.rows()));
  parallel_for(in.rows(), std::max<Index>(1, kValuesPerTask / in.cols()), [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t)
      rows[static_cast<std::size_t>(t)] = value_range(in.row(t).data(), in.cols(), level);
  });
  Range out = rows.front();
  for (const Range& r : rows) out = {std::min(out.low, r.low), std::max(out.high, r.high)};
  return out;
}

bool fits_codes(const IntegerGrid& grid) {
  return grid.constant || std::abs(grid.zero) <= IntegerMatrix::kLargestZero;
}

void shape_codes(IntegerMatrix& out, Index rows, Index columns) {
  out.resize(rows, columns);
  out.step.assign(static_cast<std::size_t>(rows), 1.0F);
  out.zero.assign(static_cast<std::size_t>(rows), 0.0F);
}

/// Step and zero point of a row of codes: equal values v that are kept are (1 - 0) v.
void name_codes(const IntegerGrid& grid, Range range, float& step, float& zero) {
  step = grid.constant ? range.low : grid.step;
  zero = grid.constant ? 0.0F : grid.zero + 0.0F;  // + 0: no negative zero
}

}  // namespace

IntegerGrid integer_grid(const IntegerRule& rule, Range range) {
  constexpr float kLeastStep = 1e-5F;
  constexpr float kLargestStep = 1e4F;
  constexpr float kLargestReleasedZero = 1e4F;
  IntegerGrid grid;
  grid.last = static_cast<float>((1 << rule.bits) - 1);
  grid.through_half = rule.released;
  grid.constant = !rule.released && range.low == range.high;
  const float low = range.low * rule.clip;
  const float high = range.high * rule.clip;
  if (rule.symmetric) {
    const auto largest = static_cast<float>((1 << (rule.bits - 1)) - 1);
    grid.step = std::clamp(std::max(std::abs(low), std::abs(high)) / largest, kLeastStep, kLargestStep);
    grid.zero = largest;
    return grid;
  }
  grid.step = std::clamp((high - low) / grid.last, kLeastStep, kLargestStep);
  const float zero = -low / grid.step;
  grid.zero =
      std::nearbyint(rule.released ? std::clamp(zero, -kLargestReleasedZero, kLargestReleasedZero) : zero);
  return grid;
}

Index round_groups(const ConstMatrixRef& in, Index size, const IntegerRule& rule, MatrixRef out, Store store,
                   CpuLevel level) {
  assert(in.rows() == out.rows() && in.cols() == out.cols());
  if (in.size() == 0) return 0;
  assert(size > 0 && in.cols() % size == 0);
  const bool streaming = streams(in, out, size, store);
  const RoundRow round = streaming ? kernels(level).streaming : kernels(level).cached;
  const Index groups = in.cols() / size;
  return sum_over_rows(in.rows(), in.cols(), [&](Index begin, Index end) {
    std::vector<Range> ranges(static_cast<std::size_t>(groups));
    std::vector<Rounding> grids(ranges.size());
    for (Index g = 0; g < groups; ++g)
      ranges[static_cast<std::size_t>(g)] = value_range(in.row(begin).data() + g * size, size, level);
    Index outside = 0;
    for (Index t = begin; t < end; ++t) {
      for (std::size_t g = 0; g < grids.size(); ++g)
        grids[g] = prepare(integer_grid(rule, ranges[g]), ranges[g]);
      outside += round(in.row(t).data(), grids.data(), groups, size, out.row(t).data(),
                       t + 1 < end ? in.row(t + 1).data() : nullptr, ranges.data());
    }
    finish_stores(streaming);
    return outside;
  });
}

Index round_matrix(const ConstMatrixRef& in, const IntegerRule& rule, MatrixRef out, Store store,
                   CpuLevel level) {
  assert(in.rows() == out.rows() && in.cols() == out.cols());
  if (in.size() == 0) return 0;
  const bool streaming = streams(in, out, in.cols(), store);
  const RoundRow round = streaming ? kernels(level).streaming : kernels(level).cached;
  const Range range = matrix_range(in, level);
  const Rounding grid = prepare(integer_grid(rule, range), range);
  return sum_over_rows(in.rows(), in.cols(), [&](Index begin, Index end) {
    Index outside = 0;
    for (Index t = begin; t < end; ++t)
      outside += round(in.row(t).data(), &grid, 1, in.cols(), out.row(t).data(), nullptr, nullptr);
    finish_stores(streaming);
    return outside;
  });
}

Index round_columns(const ConstMatrixRef& in, const IntegerRule& rule, MatrixRef out, Store store,
                    CpuLevel level) {
  assert(in.rows() == out.rows() && in.cols() == out.cols());
  if (in.size() == 0) return 0;
  const bool streaming = streams(in, out, kLineFloats, store);
  const RoundColumns round = streaming ? kernels(level).columns_streaming : kernels(level).columns_cached;

  std::vector<float> low(static_cast<std::size_t>(in.cols()));
  std::vector<float> high(low.size());
  parallel_for(in.cols(), kColumnsPerTask, [&](Index begin, Index end) {
    column_ranges(in.middleCols(begin, end - begin), low.data() + begin, high.data() + begin, level);
  });

  ColumnGrids grids(in.cols());
  std::vector<Index> constant;
  for (std::size_t j = 0; j < low.size(); ++j) {
    const Range range{low[j], high[j]};
    const IntegerGrid grid = integer_grid(rule, range);
    grids.last = grid.last;
    grids.through_half = grid.through_half;
    if (grid.constant) {
      // Code 0 whatever the value, so that it is not counted; the value is put back afterwards.
      grids.step[j] = std::numeric_limits<float>::infinity();
      grids.base[j] = kMagic;
      grids.limit[j] = 0.5F;
      constant.push_back(static_cast<Index>(j));
      continue;
    }
    const Rounding prepared = prepare(grid, range);
    grids.step[j] = prepared.step;
    grids.zero[j] = prepared.zero;
    grids.inverse[j] = prepared.inverse;
    grids.base[j] = prepared.base;
    grids.limit[j] = prepared.kind == Kind::exact ? -1.0F : prepared.limit;
  }
  return sum_over_rows(in.rows(), in.cols(), [&](Index begin, Index end) {
    Index outside = 0;
    // A panel of columns at a time, so that its grids stay in cache from row to row.
    for (Index from = 0; from < in.cols(); from += kPanelColumns) {
      const Index to = std::min(in.cols(), from + kPanelColumns);
      for (Index t = begin; t < end; ++t) {
        const float* const ahead = in.row(std::min(t + kRowsAhead, end - 1)).data();
        outside += round(in.row(t).data(), grids, from, to, out.row(t).data(), ahead);
      }
    }
    for (const Index j : constant)
      for (Index t = begin; t < end; ++t) out(t, j) = low[static_cast<std::size_t>(j)];
    finish_stores(streaming);
    return outside;
  });
}

bool rows_to_codes(const ConstMatrixRef& in, const IntegerRule& rule, IntegerMatrix& out, Index& clipped,
                   CpuLevel level) {
  shape_codes(out, in.rows(), in.cols());
  clipped = 0;
  if (in.size() == 0) return true;
  const RoundRow round = kernels(level).codes;
  std::vector<std::uint8_t> fits(static_cast<std::size_t>(in.rows()), 0);
  clipped = sum_over_rows(in.rows(), in.cols(), [&](Index begin, Index end) {
    Range range = value_range(in.row(begin).data(), in.cols(), level);
    Index outside = 0;
    for (Index t = begin; t < end; ++t) {
      const auto i = static_cast<std::size_t>(t);
      const IntegerGrid grid = integer_grid(rule, range);
      const Rounding prepared = prepare(grid, range);
      fits[i] = static_cast<std::uint8_t>(fits_codes(grid));
      name_codes(grid, range, out.step[i], out.zero[i]);
      outside += round(in.row(t).data(), &prepared, 1, in.cols(), out.row(t),
                       t + 1 < end ? in.row(t + 1).data() : nullptr, &range);
    }
    return outside;
  });
  return std::find(fits.begin(), fits.end(), std::uint8_t{0}) == fits.end();
}

bool matrix_to_codes(const ConstMatrixRef& in, const IntegerRule& rule, IntegerMatrix& out, Index& clipped,
                     CpuLevel level) {
  shape_codes(out, in.rows(), in.cols());
  clipped = 0;
  if (in.size() == 0) return true;
  const Range range = matrix_range(in, level);
  const IntegerGrid grid = integer_grid(rule, range);
  if (!fits_codes(grid)) return false;
  const Rounding prepared = prepare(grid, range);
  const RoundRow round = kernels(level).codes;
  clipped = sum_over_rows(in.rows(), in.cols(), [&](Index begin, Index end) {
    Index outside = 0;
    for (Index t = begin; t < end; ++t) {
      const auto i = static_cast<std::size_t>(t);
      name_codes(grid, range, out.step[i], out.zero[i]);
      outside += round(in.row(t).data(), &prepared, 1, in.cols(), out.row(t), nullptr, nullptr);
    }
    return outside;
  });
  return true;
}

RowCodes row_to_codes(const float* x, Index n, const IntegerRule& rule, std::uint8_t* codes, CpuLevel level) {
  RowCodes out;
  if (n == 0) return out;
  const Range range = value_range(x, n, level);
  const IntegerGrid grid = integer_grid(rule, range);
  const Rounding prepared = prepare(grid, range);
  name_codes(grid, range, out.step, out.zero);
  out.clipped = kernels(level).codes(x, &prepared, 1, n, codes, nullptr, nullptr);
  return out;
}

}  // namespace olab

#include "core/online.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <numeric>
#include <utility>

#include "core/error.hpp"
#include "core/intrinsics.hpp"
#include "core/parallel.hpp"

// Offsets within one row or tile are small.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
namespace olab {
namespace {

/// Where row j of a panel lies: permutations change these numbers and move nothing.
using Slots = std::vector<std::int32_t>;

/// Channels whose codes are made together: a cache line of every token.
constexpr Index kCodesTogether = 64;
/// Panels a task works on with the same buffers.
constexpr Index kPanelsPerTask = 4;
constexpr Index kRowsPerTask = 64;

/// How the values of one token become codes.
struct Grid {
  float inverse = 0;  // of the step; 0 for a constant token
  float zero = 0;
};

struct OnlineKernels {
  // One token.
  void (*range)(const float* x, Index n, float* low, float* high) = nullptr;
  void (*codes)(const float* x, Index n, Grid grid, int last, std::uint8_t* out) = nullptr;
  void (*scale)(const float* x, const float* factors, Index n, bool divides, float* y) = nullptr;
  // A panel: rows of `width` tokens; row j at panel + slots[j] * width.
  Index width = 0;
  /// Rows at `slots` to rows one after the other, and back.
  void (*gather)(const float* panel, const std::int32_t* slots, Index n, float* out) = nullptr;
  void (*scatter)(const float* in, Index n, float* panel, const std::int32_t* slots) = nullptr;
  /// `take` stages of a Hadamard transform from distance h on, over n rows; signs (null: none) first, scale
  /// last. take <= 4.
  void (*butterflies)(float* panel, const std::int32_t* slots, Index n, Index h, int take, const float* signs,
                      float scale) = nullptr;
  void (*panel_range)(const float* panel, const std::int32_t* slots, Index n, float* low,
                      float* high) = nullptr;
  /// Codes of n channels, for `tokens` tokens, `stride` apart.
  void (*panel_codes)(const float* panel, const std::int32_t* slots, Index n, Index tokens,
                      const float* inverse, const float* zero, int last, std::uint8_t* out,
                      Index stride) = nullptr;
};

// ---- portable -------------------------------------------------------------------------------------------

void range_portable(const float* x, Index n, float* low, float* high) {
  for (Index i = 0; i < n; ++i) {
    *low = std::min(*low, x[i]);
    *high = std::max(*high, x[i]);
  }
}

void codes_portable(const float* x, Index n, Grid grid, int last, std::uint8_t* out) {
  const auto most = static_cast<float>(last);
  for (Index i = 0; i < n; ++i)
    out[i] =
        static_cast<std::uint8_t>(std::clamp(std::nearbyint(x[i] * grid.inverse) + grid.zero, 0.0F, most));
}

void scale_portable(const float* x, const float* factors, Index n, bool divides, float* y) {
  if (divides) {
    for (Index i = 0; i < n; ++i) y[i] = x[i] / factors[i];
  } else {
    for (Index i = 0; i < n; ++i) y[i] = x[i] * factors[i];
  }
}

template <Index Width>
void gather_plain(const float* panel, const std::int32_t* slots, Index n, float* out) {
  for (Index j = 0; j < n; ++j) std::copy_n(panel + slots[j] * Width, Width, out + j * Width);
}

template <Index Width>
void scatter_plain(const float* in, Index n, float* panel, const std::int32_t* slots) {
  for (Index j = 0; j < n; ++j) std::copy_n(in + j * Width, Width, panel + slots[j] * Width);
}

template <Index Width>
void butterflies_portable(float* panel, const std::int32_t* slots, Index n, Index h, int take,
                          const float* signs, float scale) {
  const auto row = [&](Index j) { return panel + slots[j] * Width; };
  if (signs != nullptr)
    for (Index j = 0; j < n; ++j)
      for (Index i = 0; i < Width; ++i) row(j)[i] *= signs[j];
  for (int stage = 0; stage < take; ++stage, h *= 2)
    for (Index j = 0; j < n; ++j) {
      if ((j & h) != 0) continue;
      float* const a = row(j);
      float* const b = row(j + h);
      for (Index i = 0; i < Width; ++i) {
        const float sum = a[i] + b[i];
        b[i] = a[i] - b[i];
        a[i] = sum;
      }
    }
  if (scale != 1.0F)
    for (Index j = 0; j < n; ++j)
      for (Index i = 0; i < Width; ++i) row(j)[i] *= scale;
}

template <Index Width>
void panel_range_portable(const float* panel, const std::int32_t* slots, Index n, float* low, float* high) {
  for (Index j = 0; j < n; ++j) {
    const float* const row = panel + slots[j] * Width;
    for (Index i = 0; i < Width; ++i) {
      low[i] = std::min(low[i], row[i]);
      high[i] = std::max(high[i], row[i]);
    }
  }
}

/// Rows of the panel back to tokens, `stride` apart, kCodesTogether channels at a time.
template <class Done>
void to_tokens(const float* panel, const std::int32_t* slots, Index n, Index tokens,
               const ProductKernels& products, const Done& done) {
  const Index width = products.tile_columns;
  std::array<float, static_cast<std::size_t>(kCodesTogether * kMostTileColumns)> rows{};
  std::array<float, static_cast<std::size_t>(kCodesTogether * kMostTileColumns)> values{};
  for (Index j = 0; j < n; j += kCodesTogether) {
    const Index count = std::min(kCodesTogether, n - j);
    for (Index c = 0; c < count; ++c)
      std::copy_n(panel + slots[j + c] * width, width, rows.data() + c * width);
    products.transpose(rows.data(), width, count, tokens, values.data(), kCodesTogether);
    done(values.data(), j, count);
  }
}

template <CpuLevel Level, void (*Codes)(const float*, Index, Grid, int, std::uint8_t*)>
void panel_codes_plain(const float* panel, const std::int32_t* slots, Index n, Index tokens,
                       const float* inverse, const float* zero, int last, std::uint8_t* out, Index stride) {
  to_tokens(panel, slots, n, tokens, product_kernels(Level), [&](const float* values, Index j, Index count) {
    for (Index t = 0; t < tokens; ++t)
      Codes(values + t * kCodesTogether, count, {inverse[t], zero[t]}, last, out + t * stride + j);
  });
}

#if OLAB_X86_KERNELS

// ---- AVX2 -----------------------------------------------------------------------------------------------

OLAB_TARGET_AVX2 void range_avx2(const float* x, Index n, float* low, float* high) {
  __m256 lo = _mm256_set1_ps(*low);
  __m256 hi = _mm256_set1_ps(*high);
  __m256 lo2 = lo;
  __m256 hi2 = hi;
  Index i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256 a = _mm256_loadu_ps(x + i);
    const __m256 b = _mm256_loadu_ps(x + i + 8);
    lo = _mm256_min_ps(lo, a);
    hi = _mm256_max_ps(hi, a);
    lo2 = _mm256_min_ps(lo2, b);
    hi2 = _mm256_max_ps(hi2, b);
  }
  alignas(32) std::array<float, 8> least{};
  alignas(32) std::array<float, 8> most{};
  _mm256_store_ps(least.data(), _mm256_min_ps(lo, lo2));
  _mm256_store_ps(most.data(), _mm256_max_ps(hi, hi2));
  for (int lane = 0; lane < 8; ++lane) {
    *low = least[static_cast<std::size_t>(lane)] < *low ? least[static_cast<std::size_t>(lane)] : *low;
    *high = most[static_cast<std::size_t>(lane)] > *high ? most[static_cast<std::size_t>(lane)] : *high;
  }
  range_portable(x + i, n - i, low, high);
}

/// 8 codes as 32-bit integers, not yet within their bounds.
OLAB_TARGET_AVX2 inline __m256i rounded_avx2(const float* x, __m256 inverse, __m256i zero) {
  return _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), inverse)), zero);
}

OLAB_TARGET_AVX2 void codes_avx2(const float* x, Index n, Grid grid, int last, std::uint8_t* out) {
  const __m256 inverse = _mm256_set1_ps(grid.inverse);
  const __m256i zero = _mm256_set1_epi32(static_cast<int>(grid.zero));
  const __m256i most = _mm256_set1_epi8(static_cast<char>(last));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  Index i = 0;
  for (; i + 32 <= n; i += 32) {
    // Saturating packs cut what lies below 0 or above 255.
    const __m256i low =
        _mm256_packs_epi32(rounded_avx2(x + i, inverse, zero), rounded_avx2(x + i + 8, inverse, zero));
    const __m256i high =
        _mm256_packs_epi32(rounded_avx2(x + i + 16, inverse, zero), rounded_avx2(x + i + 24, inverse, zero));
    const __m256i bytes = _mm256_min_epu8(_mm256_packus_epi16(low, high), most);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_permutevar8x32_epi32(bytes, order));
  }
  codes_portable(x + i, n - i, grid, last, out + i);
}

OLAB_TARGET_AVX2 void scale_avx2(const float* x, const float* factors, Index n, bool divides, float* y) {
  Index i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 a = _mm256_loadu_ps(x + i);
    const __m256 b = _mm256_loadu_ps(factors + i);
    _mm256_storeu_ps(y + i, divides ? _mm256_div_ps(a, b) : _mm256_mul_ps(a, b));
  }
  scale_portable(x + i, factors + i, n - i, divides, y + i);
}

constexpr Index kAvx2Width = 16;

template <int Take>
OLAB_TARGET_AVX2 void butterflies_avx2_of(float* panel, const std::int32_t* slots, Index n, Index h,
                                          const float* signs, float scale) {
  constexpr int kRows = 1 << Take;
  const __m256 by = _mm256_set1_ps(scale);
  for (Index from = 0; from < n; from += kRows * h)
    for (Index j = from; j < from + h; ++j)
      for (Index part = 0; part < kAvx2Width; part += 8) {
        __m256 v[kRows];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 8
        for (int q = 0; q < kRows; ++q) v[q] = _mm256_loadu_ps(panel + slots[j + q * h] * kAvx2Width + part);
        if (signs != nullptr) {
#pragma GCC unroll 8
          for (int q = 0; q < kRows; ++q) v[q] = _mm256_mul_ps(v[q], _mm256_set1_ps(signs[j + q * h]));
        }
#pragma GCC unroll 3
        for (int s = 1; s < kRows; s *= 2) {
#pragma GCC unroll 8
          for (int q = 0; q < kRows; ++q) {
            if ((q & s) != 0) continue;
            const __m256 a = v[q];
            const __m256 b = v[q + s];
            v[q] = _mm256_add_ps(a, b);
            v[q + s] = _mm256_sub_ps(a, b);
          }
        }
#pragma GCC unroll 8
        for (int q = 0; q < kRows; ++q)
          _mm256_storeu_ps(panel + slots[j + q * h] * kAvx2Width + part, _mm256_mul_ps(v[q], by));
      }
}

void butterflies_avx2(float* panel, const std::int32_t* slots, Index n, Index h, int take, const float* signs,
                      float scale) {
  if (take == 4) {  // sixteen rows and two temporaries are more than there are registers
    butterflies_avx2_of<2>(panel, slots, n, h, signs, 1.0F);
    butterflies_avx2_of<2>(panel, slots, n, 4 * h, nullptr, scale);
  } else if (take == 3) {
    butterflies_avx2_of<3>(panel, slots, n, h, signs, scale);
  } else if (take == 2) {
    butterflies_avx2_of<2>(panel, slots, n, h, signs, scale);
  } else {
    butterflies_avx2_of<1>(panel, slots, n, h, signs, scale);
  }
}

OLAB_TARGET_AVX2 void panel_range_avx2(const float* panel, const std::int32_t* slots, Index n, float* low,
                                       float* high) {
  for (Index part = 0; part < kAvx2Width; part += 8) {
    __m256 lo = _mm256_loadu_ps(low + part);
    __m256 hi = _mm256_loadu_ps(high + part);
    for (Index j = 0; j < n; ++j) {
      const __m256 v = _mm256_loadu_ps(panel + slots[j] * kAvx2Width + part);
      lo = _mm256_min_ps(lo, v);
      hi = _mm256_max_ps(hi, v);
    }
    _mm256_storeu_ps(low + part, lo);
    _mm256_storeu_ps(high + part, hi);
  }
}

// ---- AVX-512 --------------------------------------------------------------------------------------------

OLAB_TARGET_AVX512 void range_avx512(const float* x, Index n, float* low, float* high) {
  __m512 lo = _mm512_set1_ps(*low);
  __m512 hi = _mm512_set1_ps(*high);
  __m512 lo2 = lo;
  __m512 hi2 = hi;
  Index i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m512 a = _mm512_loadu_ps(x + i);
    const __m512 b = _mm512_loadu_ps(x + i + 16);
    lo = _mm512_min_ps(lo, a);
    hi = _mm512_max_ps(hi, a);
    lo2 = _mm512_min_ps(lo2, b);
    hi2 = _mm512_max_ps(hi2, b);
  }
  *low = _mm512_reduce_min_ps(_mm512_min_ps(lo, lo2));
  *high = _mm512_reduce_max_ps(_mm512_max_ps(hi, hi2));
  range_portable(x + i, n - i, low, high);
}

/// Four times 16 integers as 64 bytes within 0 … last: lane by lane 4 of each.
OLAB_TARGET_AVX512 inline __m512i bytes_avx512(__m512i a, __m512i b, __m512i c, __m512i d, __m512i most) {
  return _mm512_min_epu8(_mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)), most);
}

OLAB_TARGET_AVX512 inline __m512i rounded_avx512(const float* x, __m512 inverse, __m512i zero) {
  return _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), inverse)), zero);
}

OLAB_TARGET_AVX512 void codes_avx512(const float* x, Index n, Grid grid, int last, std::uint8_t* out) {
  const __m512 inverse = _mm512_set1_ps(grid.inverse);
  const __m512i zero = _mm512_set1_epi32(static_cast<int>(grid.zero));
  const __m512i most = _mm512_set1_epi8(static_cast<char>(last));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  Index i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m512i bytes = bytes_avx512(
        rounded_avx512(x + i, inverse, zero), rounded_avx512(x + i + 16, inverse, zero),
        rounded_avx512(x + i + 32, inverse, zero), rounded_avx512(x + i + 48, inverse, zero), most);
    _mm512_storeu_si512(out + i, _mm512_permutexvar_epi32(order, bytes));
  }
  codes_portable(x + i, n - i, grid, last, out + i);
}

OLAB_TARGET_AVX512 void scale_avx512(const float* x, const float* factors, Index n, bool divides, float* y) {
  Index i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m512 a = _mm512_loadu_ps(x + i);
    const __m512 b = _mm512_loadu_ps(factors + i);
    _mm512_storeu_ps(y + i, divides ? _mm512_div_ps(a, b) : _mm512_mul_ps(a, b));
  }
  scale_portable(x + i, factors + i, n - i, divides, y + i);
}

constexpr Index kAvx512Width = 32;

OLAB_TARGET_AVX512 void gather_avx512(const float* panel, const std::int32_t* slots, Index n, float* out) {
  for (Index j = 0; j < n; ++j) {
    const float* const row = panel + slots[j] * kAvx512Width;
    const __m512 a = _mm512_loadu_ps(row);
    const __m512 b = _mm512_loadu_ps(row + 16);
    _mm512_storeu_ps(out + j * kAvx512Width, a);
    _mm512_storeu_ps(out + j * kAvx512Width + 16, b);
  }
}

OLAB_TARGET_AVX512 void scatter_avx512(const float* in, Index n, float* panel, const std::int32_t* slots) {
  for (Index j = 0; j < n; ++j) {
    float* const row = panel + slots[j] * kAvx512Width;
    const __m512 a = _mm512_loadu_ps(in + j * kAvx512Width);
    const __m512 b = _mm512_loadu_ps(in + j * kAvx512Width + 16);
    _mm512_storeu_ps(row, a);
    _mm512_storeu_ps(row + 16, b);
  }
}

template <int Take, bool Signed>
OLAB_TARGET_AVX512 void butterflies_avx512_of(float* panel, const std::int32_t* slots, Index n, Index h,
                                              const float* signs, float scale) {
  constexpr int kRows = 1 << Take;
  const __m512 by = _mm512_set1_ps(scale);
  for (Index from = 0; from < n; from += kRows * h)
    for (Index j = from; j < from + h; ++j)
      for (Index part = 0; part < kAvx512Width; part += 16) {
        __m512 v[kRows];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 16
        for (int q = 0; q < kRows; ++q) {
          v[q] = _mm512_loadu_ps(panel + slots[j + q * h] * kAvx512Width + part);
          if (Signed) v[q] = _mm512_mul_ps(v[q], _mm512_set1_ps(signs[j + q * h]));
        }
#pragma GCC unroll 4
        for (int s = 1; s < kRows; s *= 2) {
#pragma GCC unroll 16
          for (int q = 0; q < kRows; ++q) {
            if ((q & s) != 0) continue;
            const __m512 a = v[q];
            const __m512 b = v[q + s];
            v[q] = _mm512_add_ps(a, b);
            v[q + s] = _mm512_sub_ps(a, b);
          }
        }
#pragma GCC unroll 16
        for (int q = 0; q < kRows; ++q)
          _mm512_storeu_ps(panel + slots[j + q * h] * kAvx512Width + part, _mm512_mul_ps(v[q], by));
      }
}

template <bool Signed>
void butterflies_avx512_signed(float* panel, const std::int32_t* slots, Index n, Index h, int take,
                               const float* signs, float scale) {
  if (take == 4) {
    butterflies_avx512_of<4, Signed>(panel, slots, n, h, signs, scale);
  } else if (take == 3) {
    butterflies_avx512_of<3, Signed>(panel, slots, n, h, signs, scale);
  } else if (take == 2) {
    butterflies_avx512_of<2, Signed>(panel, slots, n, h, signs, scale);
  } else {
    butterflies_avx512_of<1, Signed>(panel, slots, n, h, signs, scale);
  }
}

void butterflies_avx512(float* panel, const std::int32_t* slots, Index n, Index h, int take,
                        const float* signs, float scale) {
  if (signs == nullptr) {
    butterflies_avx512_signed<false>(panel, slots, n, h, take, signs, scale);
  } else {
    butterflies_avx512_signed<true>(panel, slots, n, h, take, signs, scale);
  }
}

OLAB_TARGET_AVX512 void panel_range_avx512(const float* panel, const std::int32_t* slots, Index n, float* low,
                                           float* high) {
  __m512 lo0 = _mm512_loadu_ps(low);
  __m512 lo1 = _mm512_loadu_ps(low + 16);
  __m512 hi0 = _mm512_loadu_ps(high);
  __m512 hi1 = _mm512_loadu_ps(high + 16);
  for (Index j = 0; j < n; ++j) {
    const float* const row = panel + slots[j] * kAvx512Width;
    const __m512 a = _mm512_loadu_ps(row);
    const __m512 b = _mm512_loadu_ps(row + 16);
    lo0 = _mm512_min_ps(lo0, a);
    hi0 = _mm512_max_ps(hi0, a);
    lo1 = _mm512_min_ps(lo1, b);
    hi1 = _mm512_max_ps(hi1, b);
  }
  _mm512_storeu_ps(low, lo0);
  _mm512_storeu_ps(low + 16, lo1);
  _mm512_storeu_ps(high, hi0);
  _mm512_storeu_ps(high + 16, hi1);
}

/// 16 tokens × 64 channels. Four channels become one register with a 32-bit word a token; sixteen such are
/// transposed as words, and every token gets its cache line.
OLAB_TARGET_AVX512 inline void codes_square_avx512(const float* panel, const std::int32_t* slots,
                                                   Index tokens, __m512 inverse, __m512i zero, __m512i most,
                                                   std::uint8_t* out, Index stride) {
  const __m512i words = _mm512_set4_epi32(0x0F0B0703, 0x0E0A0602, 0x0D090501, 0x0C080400);
  __m512i r[16];  // NOLINT(modernize-avoid-c-arrays): these are registers
  __m512i s[16];  // NOLINT(modernize-avoid-c-arrays)
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    r[i] = _mm512_shuffle_epi8(
        bytes_avx512(rounded_avx512(panel + slots[4 * i] * kAvx512Width, inverse, zero),
                     rounded_avx512(panel + slots[4 * i + 1] * kAvx512Width, inverse, zero),
                     rounded_avx512(panel + slots[4 * i + 2] * kAvx512Width, inverse, zero),
                     rounded_avx512(panel + slots[4 * i + 3] * kAvx512Width, inverse, zero), most),
        words);
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512i a = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    const __m512i b = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    const __m512i c = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]);
    const __m512i d = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
    s[i] = _mm512_unpacklo_epi64(a, c);
    s[i + 1] = _mm512_unpackhi_epi64(a, c);
    s[i + 2] = _mm512_unpacklo_epi64(b, d);
    s[i + 3] = _mm512_unpackhi_epi64(b, d);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i a = _mm512_shuffle_i32x4(s[i], s[i + 4], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(s[i], s[i + 4], 0xDD);
    const __m512i c = _mm512_shuffle_i32x4(s[i + 8], s[i + 12], 0x88);
    const __m512i d = _mm512_shuffle_i32x4(s[i + 8], s[i + 12], 0xDD);
    r[i] = _mm512_shuffle_i32x4(a, c, 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(a, c, 0xDD);
    r[i + 12] = _mm512_shuffle_i32x4(b, d, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i)
    if (i < tokens) _mm512_storeu_si512(out + i * stride, r[i]);
}

OLAB_TARGET_AVX512 void panel_codes_avx512(const float* panel, const std::int32_t* slots, Index n,
                                           Index tokens, const float* inverse, const float* zero, int last,
                                           std::uint8_t* out, Index stride) {
  const __m512i most = _mm512_set1_epi8(static_cast<char>(last));
  const Index whole = n / kCodesTogether * kCodesTogether;
  for (Index t = 0; t < tokens; t += 16)
    for (Index j = 0; j < whole; j += kCodesTogether) {
      if (j + kCodesTogether < whole)
        for (Index c = j + kCodesTogether; c < j + 2 * kCodesTogether; ++c)
          __builtin_prefetch(panel + slots[c] * kAvx512Width + t);
      codes_square_avx512(panel + t, slots + j, tokens - t, _mm512_loadu_ps(inverse + t),
                          _mm512_cvtps_epi32(_mm512_loadu_ps(zero + t)), most, out + t * stride + j, stride);
    }
  if (whole < n)
    panel_codes_plain<CpuLevel::avx512, codes_avx512>(panel, slots + whole, n - whole, tokens, inverse, zero,
                                                      last, out + whole, stride);
}

#endif

const OnlineKernels& online_kernels(CpuLevel level) {
  static constexpr OnlineKernels kPortable{range_portable,
                                           codes_portable,
                                           scale_portable,
                                           8,
                                           gather_plain<8>,
                                           scatter_plain<8>,
                                           butterflies_portable<8>,
                                           panel_range_portable<8>,
                                           panel_codes_plain<CpuLevel::portable, codes_portable>};
#if OLAB_X86_KERNELS
  static constexpr OnlineKernels kAvx2{range_avx2,
                                       codes_avx2,
                                       scale_avx2,
                                       kAvx2Width,
                                       gather_plain<kAvx2Width>,
                                       scatter_plain<kAvx2Width>,
                                       butterflies_avx2,
                                       panel_range_avx2,
                                       panel_codes_plain<CpuLevel::avx2, codes_avx2>};
  static constexpr OnlineKernels kAvx512{range_avx512,       codes_avx512,       scale_avx512,
                                         kAvx512Width,       gather_avx512,      scatter_avx512,
                                         butterflies_avx512, panel_range_avx512, panel_codes_avx512};
  if (level >= CpuLevel::avx512) return kAvx512;
  if (level == CpuLevel::avx2) return kAvx2;
#else
  (void)level;
#endif
  return kPortable;
}

// ---- bfloat16 -------------------------------------------------------------------------------------------

/// Two neighbouring steps of k as bfloat16, the lower one in the low half.
using Pair = std::uint32_t;
constexpr Index kPairDepth = kTileDepth / 2;
constexpr Index kPairStride = kPairDepth + 16;

/// To nearest, ties to even; for finite values.
std::uint32_t to_bfloat16(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U;
}

/// Rᵀ as left operand of bfloat16 tiles, as LeftOperand is of float ones.
struct PairOperand {
  explicit PairOperand(const ConstMatrixRef& r) : rows(r.cols()), pairs((r.rows() + 1) / 2) {
    const Index stretches = (pairs + kPairDepth - 1) / kPairDepth;
    values.assign(static_cast<std::size_t>(stretches * rows * kPairStride), 0);
    for (Index p = 0; p < r.rows(); ++p)
      for (Index j = 0; j < rows; ++j) {
        const Index pair = p / 2;
        const Index at = (pair / kPairDepth * rows + j) * kPairStride + pair % kPairDepth;
        values[static_cast<std::size_t>(at)] |= to_bfloat16(r(p, j)) << (p % 2 == 0 ? 0U : 16U);
      }
  }
  Index rows;
  Index pairs;
  std::vector<Pair> values;
};

#if OLAB_X86_KERNELS
#define OLAB_TARGET_BF16 \
  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16" OLAB_WIDE_VECTORS)))

/// 12 rows of a × a panel of pairs.
template <int Rows>
OLAB_TARGET_BF16 void bf16_tile(const Pair* a, const Pair* panel, Index pairs, float* y, Index ldy,
                                bool go_on) {
  __m512 acc[Rows][2];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    acc[r][0] = go_on ? _mm512_loadu_ps(y + r * ldy) : _mm512_setzero_ps();
    acc[r][1] = go_on ? _mm512_loadu_ps(y + r * ldy + 16) : _mm512_setzero_ps();
  }
  for (Index p = 0; p < pairs; ++p) {
    const auto b0 = (__m512bh)_mm512_loadu_si512(panel + p * kAvx512Width);
    const auto b1 = (__m512bh)_mm512_loadu_si512(panel + p * kAvx512Width + 16);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const auto v = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[r * kPairStride + p]));
      acc[r][0] = _mm512_dpbf16_ps(acc[r][0], v, b0);
      acc[r][1] = _mm512_dpbf16_ps(acc[r][1], v, b1);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    _mm512_storeu_ps(y + r * ldy, acc[r][0]);
    _mm512_storeu_ps(y + r * ldy + 16, acc[r][1]);
  }
}

using PairTile = void (*)(const Pair* a, const Pair* panel, Index pairs, float* y, Index ldy, bool go_on);

/// y (rows, `ldy` apart) = A · panel.
void multiply_pairs(const PairOperand& a, const Pair* panel, float* y, Index ldy) {
  static constexpr std::array<PairTile, 12> kTiles{bf16_tile<1>, bf16_tile<2>,  bf16_tile<3>,  bf16_tile<4>,
                                                   bf16_tile<5>, bf16_tile<6>,  bf16_tile<7>,  bf16_tile<8>,
                                                   bf16_tile<9>, bf16_tile<10>, bf16_tile<11>, bf16_tile<12>};
  for (Index p = 0; p < a.pairs; p += kPairDepth)
    for (Index i = 0; i < a.rows; i += 12)
      kTiles[static_cast<std::size_t>(std::min<Index>(12, a.rows - i) - 1)](
          a.values.data() + (p / kPairDepth * a.rows + i) * kPairStride, panel + p * kAvx512Width,
          std::min(kPairDepth, a.pairs - p), y + i * ldy, ldy, p > 0);
}

/// Rows 2p and 2p + 1 of the panel side by side, as pairs. A missing last row is 0.
OLAB_TARGET_BF16 void gather_pairs(const float* panel, const std::int32_t* slots, Index n, Pair* out) {
  alignas(64) std::array<std::uint16_t, 32> order{};
  for (std::size_t i = 0; i < 16; ++i) {
    order[2 * i] = static_cast<std::uint16_t>(i);
    order[2 * i + 1] = static_cast<std::uint16_t>(i + 16);
  }
  const __m512i interleave = _mm512_load_si512(order.data());
  for (Index p = 0; p < n; p += 2)
    for (Index part = 0; part < kAvx512Width; part += 16) {
      const __m512 low = _mm512_loadu_ps(panel + slots[p] * kAvx512Width + part);
      const __m512 high =
          p + 1 < n ? _mm512_loadu_ps(panel + slots[p + 1] * kAvx512Width + part) : _mm512_setzero_ps();
      const auto both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
      _mm512_storeu_si512(out + p / 2 * kAvx512Width + part, _mm512_permutexvar_epi16(interleave, both));
    }
}
#else
void multiply_pairs(const PairOperand& /*a*/, const Pair* /*panel*/, float* /*y*/, Index /*ldy*/) {}
void gather_pairs(const float* /*panel*/, const std::int32_t* /*slots*/, Index /*n*/, Pair* /*out*/) {}
#endif

}  // namespace

// ---- stages ---------------------------------------------------------------------------------------------

OnlineStage OnlineStage::divide(Vector factors) {
  OnlineStage out = multiply(std::move(factors));
  out.divides = true;
  return out;
}

OnlineStage OnlineStage::multiply(Vector factors) {
  OnlineStage out;
  out.kind = Kind::scale;
  out.factors = std::make_shared<const Vector>(std::move(factors));
  return out;
}

OnlineStage OnlineStage::rotate(const std::vector<Matrix>& rotations) {
  OnlineStage out;
  out.kind = Kind::block_rotation;
  out.rotations = std::make_shared<const std::vector<Matrix>>(rotations);
  std::vector<LeftOperand> transposed;
  for (const Matrix& r : rotations) {
    const Matrix t = r.transpose();
    transposed.emplace_back(t);
  }
  out.transposed = std::make_shared<const std::vector<LeftOperand>>(std::move(transposed));
  return out;
}

OnlineStage OnlineStage::transform(FastHadamard hadamard) {
  OnlineStage out;
  out.kind = Kind::hadamard;
  out.hadamard = std::make_shared<const FastHadamard>(std::move(hadamard));
  return out;
}

OnlineStage OnlineStage::permute(std::vector<Index> order) {
  OnlineStage out;
  out.kind = Kind::permutation;
  out.order = std::make_shared<const std::vector<Index>>(std::move(order));
  return out;
}

bool precision_available(Precision precision, CpuLevel level) {
  return precision != Precision::bf16 || (level >= CpuLevel::avx512 && cpu_has_bf16());
}

// ---- the program ----------------------------------------------------------------------------------------

struct OnlineTransform::Program {
  /// A stage and where its channels lie in the panel.
  struct Step {
    OnlineStage stage;
    Slots slots;
    bool in_order = true;            // no permutation came before: channel j lies in row j
    Index block = 0;                 // channels worked on before the next ones
    std::vector<PairOperand> pairs;  // of rotations in bfloat16
  };

  /// What a task needs. Kept between tasks and calls: the pages of fresh memory would cost more than they
  /// hold.
  struct Buffers {
    explicit Buffers(const Program& p)
        : panel(p.channels * (p.by_panels ? p.width : p.rows_together)),
          in((p.largest_block + 1) * p.width),
          out(p.largest_block * p.width),
          scratch(p.scratch_size) {}
    Vector panel;    // channels × width, or rows_together × channels
    Vector in;       // one block, gathered
    Vector out;      // one block, before it is put back
    Vector scratch;  // of odd factors
    std::array<float, kMostTileColumns> low{};
    std::array<float, kMostTileColumns> high{};
  };

  /// Lends buffers to a task.
  class Loan {
   public:
    explicit Loan(const Program& p) : program_(p) {
      const std::lock_guard lock(p.idle_lock);
      if (p.idle.empty()) {
        buffers_ = std::make_unique<Buffers>(p);
      } else {
        buffers_ = std::move(p.idle.back());
        p.idle.pop_back();
      }
    }
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    ~Loan() {
      const std::lock_guard lock(program_.idle_lock);
      program_.idle.push_back(std::move(buffers_));
    }
    Buffers& operator*() const { return *buffers_; }

   private:
    const Program& program_;
    std::unique_ptr<Buffers> buffers_;
  };

  Program(Index width_of_rows, std::vector<OnlineStage> given, Precision wanted, CpuLevel at)
      : channels(width_of_rows),
        stages(std::move(given)),
        precision(wanted),
        level(at),
        kernels(online_kernels(at)),
        products(product_kernels(at)),
        width(kernels.width) {
    Slots slots(static_cast<std::size_t>(channels));
    std::iota(slots.begin(), slots.end(), 0);
    for (const OnlineStage& stage : stages) add(stage, slots);
    last_slots = std::move(slots);
  }

  void add(const OnlineStage& stage, Slots& slots) {
    using Kind = OnlineStage::Kind;
    Step step;
    step.block = channels;
    step.in_order = in_order;
    switch (stage.kind) {
      case Kind::scale:
        assert(stage.factors->size() == channels);
        break;
      case Kind::permutation: {
        assert(static_cast<Index>(stage.order->size()) == channels);
        Slots renamed;
        renamed.reserve(slots.size());
        for (const Index from : *stage.order) renamed.push_back(slots[static_cast<std::size_t>(from)]);
        slots = std::move(renamed);
        by_panels = true;
        in_order = false;
        return;
      }
      case Kind::hadamard: {
        const FastHadamard& h = *stage.hadamard;
        assert(channels % h.block() == 0 && (h.signs().size() == 0 || h.signs().size() == channels));
        if (h.factor().order() > 1) {
          largest_block = std::max(largest_block, h.factor().order());
          scratch_size = std::max(scratch_size, h.factor().scratch_size());
        }
        step.block = h.block();
        if (!h.rows_apart(level)) rows_together = 8;
        break;
      }
      case Kind::block_rotation: {
        const std::vector<LeftOperand>& r = *stage.transposed;
        const Index b = r.front().rows();
        assert(channels % b == 0 && (r.size() == 1 || static_cast<Index>(r.size()) == channels / b));
        largest_block = std::max(largest_block, b);
        step.block = b;
        by_panels = true;
        if (precision == Precision::bf16)
          for (const Matrix& m : *stage.rotations) step.pairs.emplace_back(m);
        break;
      }
    }
    step.stage = stage;
    step.slots = slots;
    steps.push_back(std::move(step));
  }

  // -- tokens one by one --

  /// `count` rows of x through all stages into `rows`; without a stage the rows of x themselves.
  void transform_rows(const ConstMatrixRef& x, MatrixRef rows) const {
    bool first = true;
    for (const Step& step : steps) {
      const auto from = first ? x : ConstMatrixRef(rows);
      if (step.stage.kind == OnlineStage::Kind::hadamard) {
        step.stage.hadamard->apply(from, rows, level);
      } else {
        for (Index t = 0; t < rows.rows(); ++t)
          kernels.scale(from.row(t).data(), step.stage.factors->data(), channels, step.stage.divides,
                        rows.row(t).data());
      }
      first = false;
    }
  }

  // -- panels --

  /// Columns `from` … `from` + n of the tokens x as rows of a panel.
  void load(const ConstMatrixRef& x, Index from, Index n, float* rows) const {
    if (x.rows() < width) std::fill_n(rows, n * width, 0.0F);  // the tokens that are missing
    products.transpose(x.data() + from, x.outerStride(), x.rows(), n, rows, width);
  }

  /// Rows that are worked on next: scattered as they are, no CPU guesses them.
  void fetch(const float* panel, const Slots& slots, Index from, Index n) const {
    constexpr Index kLine = 16;
    for (Index j = from; j < std::min(from + n, channels); ++j)
      for (Index i = 0; i < width; i += kLine)
        __builtin_prefetch(panel + slots[static_cast<std::size_t>(j)] * width + i, 1, 2);
  }

  /// The tokens x through all stages into the panel, and the extremes of the results. Block by block, a block
  /// is loaded right before the first stage and looked at right after the last, while it is in L1.
  void transform_panel(const ConstMatrixRef& x, Buffers& b) const {
    b.low.fill(std::numeric_limits<float>::infinity());
    b.high.fill(-std::numeric_limits<float>::infinity());
    const bool load_first = steps.empty() || !steps.front().in_order;
    if (load_first) load(x, 0, channels, b.panel.data());
    for (std::size_t k = 0; k < steps.size(); ++k) {
      const Step& step = steps[k];
      for (Index from = 0; from < channels; from += step.block) {
        const std::int32_t* const slots = step.slots.data() + from;
        const bool loads = k == 0 && !load_first;
        if (!loads) fetch(b.panel.data(), step.slots, from + step.block, step.block);
        if (step.stage.kind == OnlineStage::Kind::block_rotation) {
          rotate_block(step, from, loads ? &x : nullptr, b);
        } else {
          if (loads) load(x, from, step.block, b.panel.data() + from * width);
          if (step.stage.kind == OnlineStage::Kind::hadamard) {
            hadamard_block(*step.stage.hadamard, from, slots, b);
          } else {
            scale_rows(step, b.panel.data());
          }
        }
        if (k + 1 == steps.size())
          kernels.panel_range(b.panel.data(), slots, step.block, b.low.data(), b.high.data());
      }
    }
    if (steps.empty())
      kernels.panel_range(b.panel.data(), last_slots.data(), channels, b.low.data(), b.high.data());
  }

  void scale_rows(const Step& step, float* panel) const {
    for (Index j = 0; j < channels; ++j) {
      float* const row = panel + step.slots[static_cast<std::size_t>(j)] * width;
      const float factor = (*step.stage.factors)[j];
      for (Index i = 0; i < width; ++i) row[i] = step.stage.divides ? row[i] / factor : row[i] * factor;
    }
  }

  /// x: the tokens, where the block is not in the panel yet.
  void rotate_block(const Step& step, Index from, const ConstMatrixRef* x, Buffers& b) const {
    const std::vector<LeftOperand>& rotations = *step.stage.transposed;
    const std::int32_t* const slots = step.slots.data() + from;
    const auto which = static_cast<std::size_t>(rotations.size() == 1 ? 0 : from / step.block);
    float* const out = step.in_order ? b.panel.data() + from * width : b.out.data();
    if (precision == Precision::bf16) {
      if (x != nullptr) load(*x, from, step.block, b.panel.data() + from * width);
      Pair* const pairs = reinterpret_cast<Pair*>(b.in.data());
      gather_pairs(b.panel.data(), slots, step.block, pairs);
      multiply_pairs(step.pairs[which], pairs, out, width);
    } else {
      if (x != nullptr) {
        load(*x, from, step.block, b.in.data());
      } else {
        kernels.gather(b.panel.data(), slots, step.block, b.in.data());
      }
      rotations[which].multiply(b.in.data(), products,
                                precision == Precision::stored ? products.tile : products.fused_tile, out,
                                width);
    }
    if (!step.in_order) kernels.scatter(b.out.data(), step.block, b.panel.data(), slots);
  }

  void hadamard_block(const FastHadamard& h, Index block_from, const std::int32_t* block_slots,
                      Buffers& b) const {
    const OddFactor& factor = h.factor();
    const Index m = factor.order();
    const Index inner = h.block() / m;
    int stages = 0;
    while (inner >> stages > 1) ++stages;
    // Sylvester's part on m groups of `inner` rows.
    for (Index from = 0; from < h.block(); from += inner) {
      const std::int32_t* const slots = block_slots + from;
      const float* signs = h.signs().size() > 0 ? h.signs().data() + block_from + from : nullptr;
      for (int stage = 0; stage < stages;) {
        const int take = std::min(stages - stage, 4);
        const bool last = stage + take == stages && m == 1;
        kernels.butterflies(b.panel.data(), slots, inner, Index{1} << stage, take, signs,
                            last ? h.scale() : 1.0F);
        signs = nullptr;
        stage += take;
      }
      if (stages == 0) {  // nothing but a sign, and the scale where there is no factor
        float* const row = b.panel.data() + slots[0] * width;
        const float sign = signs != nullptr ? signs[0] : 1.0F;
        for (Index i = 0; i < width; ++i) row[i] = m == 1 ? row[i] * sign * h.scale() : row[i] * sign;
      }
    }
    if (m == 1) return;
    Slots column(static_cast<std::size_t>(m));
    for (Index i = 0; i < inner; ++i) {
      for (Index r = 0; r < m; ++r) column[static_cast<std::size_t>(r)] = block_slots[r * inner + i];
      kernels.gather(b.panel.data(), column.data(), m, b.in.data());
      factor.mix(b.in.data(), width, h.scale(), b.scratch.data(), level);
      kernels.scatter(b.in.data(), m, b.panel.data(), column.data());
    }
  }

  // -- results --

  /// Step and zero of a token with these extremes, into `out`; how its values become codes.
  static Grid choose_grid(float low, float high, int last, IntegerMatrix& out, Index token) {
    constexpr float kLeastStep = 1e-5F;
    constexpr float kLargestStep = 1e4F;
    const auto t = static_cast<std::size_t>(token);
    if (low == high) {
      out.step[t] = low;
      out.zero[t] = 0;
      return {0, 1};
    }
    const float step = std::clamp((high - low) / static_cast<float>(last), kLeastStep, kLargestStep);
    const float zero =
        std::nearbyint(std::clamp(-low / step, -IntegerMatrix::kLargestZero, IntegerMatrix::kLargestZero));
    out.step[t] = step;
    out.zero[t] = zero;
    return {1.0F / step, zero};
  }

  void quantize_rows(const ConstMatrixRef& rows, int last, IntegerMatrix& out, Index first) const {
    for (Index t = 0; t < rows.rows(); ++t) {
      const float* const x = rows.row(t).data();
      float low = x[0];
      float high = x[0];
      kernels.range(x, channels, &low, &high);
      kernels.codes(x, channels, choose_grid(low, high, last, out, first + t), last, out.row(first + t));
    }
  }

  void quantize_panel(const Buffers& b, Index tokens, int last, IntegerMatrix& out, Index first) const {
    std::array<float, kMostTileColumns> inverse{};
    std::array<float, kMostTileColumns> zero{};
    for (Index t = 0; t < tokens; ++t) {
      const auto i = static_cast<std::size_t>(t);
      const Grid grid = choose_grid(b.low[i], b.high[i], last, out, first + t);
      inverse[i] = grid.inverse;
      zero[i] = grid.zero;
    }
    kernels.panel_codes(b.panel.data(), last_slots.data(), channels, tokens, inverse.data(), zero.data(),
                        last, out.row(first), out.cols);
  }

  void store(const Buffers& b, MatrixRef x) const {
    to_tokens(b.panel.data(), last_slots.data(), channels, x.rows(), products,
              [&](const float* values, Index j, Index count) {
                for (Index t = 0; t < x.rows(); ++t)
                  std::copy_n(values + t * kCodesTogether, count, x.row(t).data() + j);
              });
  }

  Index channels;
  std::vector<OnlineStage> stages;  // as they were given
  Precision precision;
  CpuLevel level;
  const OnlineKernels& kernels;
  const ProductKernels& products;
  Index width;              // of panels
  bool by_panels = false;   // else token by token
  bool in_order = true;     // no permutation so far
  Index rows_together = 1;  // tokens that the second way works on at a time
  Index largest_block = 1;
  Index scratch_size = 0;
  std::vector<Step> steps;
  Slots last_slots;
  mutable std::mutex idle_lock;
  mutable std::vector<std::unique_ptr<Buffers>> idle;
};

OnlineTransform::OnlineTransform(Index channels, std::vector<OnlineStage> stages, Precision precision,
                                 CpuLevel level) {
  if (!precision_available(precision, level))
    throw Error(fmt::format("precision bf16: the level {} of this CPU has no bfloat16 products; use fp32",
                            cpu_level_name(level)));
  program_ = std::make_unique<Program>(channels, std::move(stages), precision, level);
}

OnlineTransform::~OnlineTransform() = default;
OnlineTransform::OnlineTransform(OnlineTransform&&) noexcept = default;
OnlineTransform& OnlineTransform::operator=(OnlineTransform&&) noexcept = default;

Index OnlineTransform::channels() const {
  return program_->channels;
}

void OnlineTransform::run(const ConstMatrixRef& x, int bits, IntegerMatrix& out) const {
  const Program& p = *program_;
  assert(x.cols() == p.channels && bits >= 2 && bits <= 8);
  const int last = (1 << bits) - 1;
  out.rows = x.rows();
  out.cols = x.cols();
  out.codes.resize(static_cast<std::size_t>(x.size()));
  out.step.resize(static_cast<std::size_t>(x.rows()));
  out.zero.resize(static_cast<std::size_t>(x.rows()));
  if (x.size() == 0) return;
  if (p.by_panels) {
    parallel_for(x.rows(), kPanelsPerTask * p.width, [&](Index begin, Index end) {
      const Program::Loan loan(p);
      Program::Buffers& buffers = *loan;
      for (Index t = begin; t < end; t += p.width) {
        const Index tokens = std::min(p.width, end - t);
        p.transform_panel(x.middleRows(t, tokens), buffers);
        p.quantize_panel(buffers, tokens, last, out, t);
      }
    });
    return;
  }
  parallel_for(x.rows(), kRowsPerTask, [&](Index begin, Index end) {
    const Program::Loan loan(p);
    Eigen::Map<Matrix> rows((*loan).panel.data(), p.rows_together, p.channels);
    for (Index t = begin; t < end; t += p.rows_together) {
      const Index count = std::min(p.rows_together, end - t);
      if (p.steps.empty()) {
        p.quantize_rows(x.middleRows(t, count), last, out, t);
        continue;
      }
      p.transform_rows(x.middleRows(t, count), rows.topRows(count));
      p.quantize_rows(rows.topRows(count), last, out, t);
    }
  });
}

// Writable views go by value: a const reference would hide that they are written.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void OnlineTransform::apply(MatrixRef x) const {
  const Program& p = *program_;
  assert(x.cols() == p.channels);
  if (p.by_panels) {
    parallel_for(x.rows(), kPanelsPerTask * p.width, [&](Index begin, Index end) {
      const Program::Loan loan(p);
      Program::Buffers& buffers = *loan;
      for (Index t = begin; t < end; t += p.width) {
        const Index tokens = std::min(p.width, end - t);
        p.transform_panel(x.middleRows(t, tokens), buffers);
        p.store(buffers, x.middleRows(t, tokens));
      }
    });
    return;
  }
  parallel_for(x.rows(), kRowsPerTask, [&](Index begin, Index end) {
    for (Index t = begin; t < end; t += p.rows_together) {
      const Index count = std::min(p.rows_together, end - t);
      p.transform_rows(x.middleRows(t, count), x.middleRows(t, count));
    }
  });
}

double OnlineTransform::precision_error(const ConstMatrixRef& x) const {
  const OnlineTransform reference(channels(), program_->stages, Precision::stored, program_->level);
  Matrix want = x;
  Matrix got = x;
  reference.apply(want);
  apply(got);
  double error = 0;
  double power = 0;
  for (Index i = 0; i < want.size(); ++i) {
    const double w = want.data()[i];
    const double d = got.data()[i] - w;
    error += d * d;
    power += w * w;
  }
  return power > 0 ? error / power : 0.0;
}

}  // namespace olab
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#include "core/row_scores.hpp"

#include <algorithm>
#include <cassert>
#include <cfloat>
#include <cmath>
#include <limits>

#include "core/intrinsics.hpp"

// The kernels in float are written once, on vectors of the compiler, and compiled once a level: a level
// changes how many registers a vector takes, never a rounding. The integer filter is written a level each.
#define OLAB_INLINE inline __attribute__((always_inline))

// Arrays of registers stay in registers only as such; macro arguments are asm operands and statements.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result,modernize-avoid-c-arrays,modernize-loop-convert,bugprone-macro-parentheses)
namespace olab {
namespace {

using Floats4 = float __attribute__((vector_size(16)));
using Floats8 = float __attribute__((vector_size(32)));
using Floats16 = float __attribute__((vector_size(64)));
using Doubles8 = double __attribute__((vector_size(64)));
using Ints16 = std::int32_t __attribute__((vector_size(64)));
using Bytes16 = std::int8_t __attribute__((vector_size(16)));

constexpr Index kLanes = 16;
/// Added and taken away again, it rounds a float below 2^22 to an integer, half to even.
constexpr float kRound = 12582912.0F;
constexpr std::int32_t kRoundBits = 0x4B400000;

constexpr Index padded_size(Index size) {
  return (size + kLanes - 1) / kLanes * kLanes;
}

template <class V>
OLAB_INLINE void load(const void* from, V& v) {
  __builtin_memcpy(&v, from, sizeof v);
}
template <class V>
OLAB_INLINE void store(void* to, const V& v) {
  __builtin_memcpy(to, &v, sizeof v);
}

// ---- facts of rows

/// The largest and the smallest lane.
OLAB_INLINE float largest_lane(const Floats16& v) {
  const Floats8 a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const Floats8 b = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const Floats8 c = a > b ? a : b;
  const Floats4 d = __builtin_shufflevector(c, c, 0, 1, 2, 3);
  const Floats4 e = __builtin_shufflevector(c, c, 4, 5, 6, 7);
  const Floats4 f = d > e ? d : e;
  const float g = f[0] > f[1] ? f[0] : f[1];
  const float h = f[2] > f[3] ? f[2] : f[3];
  return g > h ? g : h;
}
OLAB_INLINE float smallest_lane(const Floats16& v) {
  const Floats16 negative = -v;
  return -largest_lane(negative);
}

OLAB_INLINE void measure_row(const float* x, Index size, RowFacts& out) {
  Doubles8 squares[4] = {};  // NOLINT(modernize-avoid-c-arrays): these are registers
  double sum = 0;
  float high = x[0];
  float low = x[0];
  Index k = 0;
  if (size >= kLanes) {
    Floats16 highs;
    load(x, highs);
    Floats16 lows = highs;
    for (; k + kLanes <= size; k += kLanes) {
      Floats16 v;
      load(x + k, v);
      highs = v > highs ? v : highs;
      lows = v < lows ? v : lows;
      Floats8 v0;
      Floats8 v1;
      load(x + k, v0);
      load(x + k + 8, v1);
      const Doubles8 d0 = __builtin_convertvector(v0, Doubles8);
      const Doubles8 d1 = __builtin_convertvector(v1, Doubles8);
      const Index pair = k / kLanes % 2 * 2;
      squares[pair] += d0 * d0;
      squares[pair + 1] += d1 * d1;
    }
    high = largest_lane(highs);
    low = smallest_lane(lows);
    const Doubles8 all = (squares[0] + squares[1]) + (squares[2] + squares[3]);
    sum = ((all[0] + all[1]) + (all[2] + all[3])) + ((all[4] + all[5]) + (all[6] + all[7]));
  }
  for (; k < size; ++k) {
    high = x[k] > high ? x[k] : high;
    low = x[k] < low ? x[k] : low;
    sum += static_cast<double>(x[k]) * static_cast<double>(x[k]);
  }
  out.square_sum = sum;
  out.low = low;
  out.high = high;
}

OLAB_INLINE void measure_all(const float* rows, Index stride, Index count, Index size, RowFacts* out) {
  for (Index i = 0; i < count; ++i) measure_row(rows + i * stride, size, out[i]);
}

// ---- exact scores

/// y (kRows × kVectors vectors, stored one after the other) = rows times kVectors vectors of columns.
template <class V, Index kRows, Index kVectors>
OLAB_INLINE void product_tile(const float* const* rows, const float* columns, Index stride, Index size,
                              float* y) {
  constexpr Index kWidth = sizeof(V) / sizeof(float);
  V acc[kRows][kVectors] = {};  // NOLINT(modernize-avoid-c-arrays): these are registers
  for (Index k = 0; k < size; ++k) {
    V r[kVectors];  // NOLINT(modernize-avoid-c-arrays)
    for (Index v = 0; v < kVectors; ++v) load(columns + k * stride + v * kWidth, r[v]);
    for (Index i = 0; i < kRows; ++i) {
      const float x = rows[i][k];
      for (Index v = 0; v < kVectors; ++v) acc[i][v] += x * r[v];
    }
  }
  for (Index i = 0; i < kRows; ++i)
    for (Index v = 0; v < kVectors; ++v) store(y + (i * kVectors + v) * kWidth, acc[i][v]);
}

/// Ranges of kRows rows.
template <class V, Index kRows, Index kVectors>
OLAB_INLINE void score_tile(const float* const* rows, const float* r, Index stride, Index size,
                            RowRange* out) {
  constexpr Index kWidth = sizeof(V) / sizeof(float);
  constexpr Index kColumns = kVectors * kWidth;
  alignas(64) float y[kRows * kColumns];  // NOLINT(modernize-avoid-c-arrays)
  V high[kRows];                          // NOLINT(modernize-avoid-c-arrays)
  V low[kRows];                           // NOLINT(modernize-avoid-c-arrays)
  for (Index i = 0; i < kRows; ++i) {
    high[i] = V{} - std::numeric_limits<float>::infinity();
    low[i] = V{} + std::numeric_limits<float>::infinity();
  }
  Index j = 0;
  const auto take = [&](Index vectors) __attribute__((always_inline)) {
    for (Index i = 0; i < kRows; ++i) {
      for (Index v = 0; v < vectors; ++v) {
        V part;
        load(y + (i * vectors + v) * kWidth, part);
        high[i] = part > high[i] ? part : high[i];
        low[i] = part < low[i] ? part : low[i];
      }
    }
  };
  for (; j + kColumns <= stride; j += kColumns) {
    product_tile<V, kRows, kVectors>(rows, r + j, stride, size, y);
    take(kVectors);
  }
  for (; j < stride; j += kWidth) {
    product_tile<V, kRows, 1>(rows, r + j, stride, size, y);
    take(1);
  }
  for (Index i = 0; i < kRows; ++i) {
    alignas(64) float h[kWidth];  // NOLINT(modernize-avoid-c-arrays)
    alignas(64) float l[kWidth];  // NOLINT(modernize-avoid-c-arrays)
    store(h, high[i]);
    store(l, low[i]);
    out[i] = {l[0], h[0]};
    for (Index v = 1; v < kWidth; ++v) {
      out[i].high = h[v] > out[i].high ? h[v] : out[i].high;
      out[i].low = l[v] < out[i].low ? l[v] : out[i].low;
    }
  }
}

constexpr Index kScoreRows = 4;

template <class V, Index kVectors>
OLAB_INLINE void score_all(const float* const* rows, Index count, const float* r, Index stride, Index size,
                           RowRange* out) {
  Index i = 0;
  for (; i + kScoreRows <= count; i += kScoreRows)
    score_tile<V, kScoreRows, kVectors>(rows + i, r, stride, size, out + i);
  for (; i < count; ++i) score_tile<V, 1, kVectors>(rows + i, r, stride, size, out + i);
}

template <class V>
OLAB_INLINE void product_row(const float* row, const float* r, Index stride, Index size, float* y) {
  constexpr Index kWidth = sizeof(V) / sizeof(float);
  for (Index j = 0; j < stride; j += kWidth) product_tile<V, 1, 1>(&row, r + j, stride, size, y + j);
}

// ---- codes

/// Bytes 64 + a of one row into `bytes` (padded with zeros to a multiple of 4), its step and ‖e‖.
OLAB_INLINE void encode_row(const float* x, Index size, std::uint8_t* bytes, float& step, float& residual) {
  float largest = 0;
  Index k = 0;
  if (size >= kLanes) {
    Floats16 most = {};
    for (; k + kLanes <= size; k += kLanes) {
      Floats16 v;
      load(x + k, v);
      const Floats16 a = v < -v ? -v : v;
      most = a > most ? a : most;
    }
    largest = largest_lane(most);
  }
  for (; k < size; ++k) {
    const float a = x[k] < -x[k] ? -x[k] : x[k];
    largest = a > largest ? a : largest;
  }
  constexpr float kCodes = 63.0F;
  step = largest / kCodes;
  if (!(step >= FLT_MIN)) step = 0;
  const float inverse = step > 0 ? 1.0F / step : 0.0F;

  Doubles8 first = {};
  Doubles8 second = {};
  double sum = 0;
  for (k = 0; k + kLanes <= size; k += kLanes) {
    Floats16 v;
    load(x + k, v);
    const Floats16 shifted = v * inverse + kRound;
    const Floats16 e = v - (shifted - kRound) * step;
    const Ints16 code = (Ints16)shifted - (kRoundBits - 64);  // NOLINT: a bit cast of vectors
    const Bytes16 narrow = __builtin_convertvector(code, Bytes16);
    store(bytes + k, narrow);
    const Floats8 e0 = __builtin_shufflevector(e, e, 0, 1, 2, 3, 4, 5, 6, 7);
    const Floats8 e1 = __builtin_shufflevector(e, e, 8, 9, 10, 11, 12, 13, 14, 15);
    const Doubles8 d0 = __builtin_convertvector(e0, Doubles8);
    const Doubles8 d1 = __builtin_convertvector(e1, Doubles8);
    first += d0 * d0;
    second += d1 * d1;
  }
  first += second;
  for (int i = 0; i < 8; ++i) sum += first[i];
  for (; k < size; ++k) {
    const float rounded = (x[k] * inverse + kRound) - kRound;
    const double e = static_cast<double>(x[k] - rounded * step);
    bytes[k] = static_cast<std::uint8_t>(64 + static_cast<int>(rounded));
    sum += e * e;
  }
  for (; k % 4 != 0; ++k) bytes[k] = 0;
  residual = static_cast<float>(__builtin_sqrt(sum));
}

/// Norms of the last groups of a row, rounded up.
OLAB_INLINE void measure_rest(const float* x, Index size, Index row,
                              std::array<std::array<float, kCodeRows>, kSkips>& rest) {
  const Index unit = skip_unit(size);
  rest[0][static_cast<std::size_t>(row)] = 0;
  if (unit == 0) return;
  double sum = 0;
  Index group = code_groups(size);
  for (Index s = 1; s < kSkips; ++s) {
    for (Index u = 0; u < unit; ++u) {
      --group;
      const float* const g = x + 4 * group;
      if (4 * group + 4 <= size) {
        const double a = g[0];
        const double b = g[1];
        const double c = g[2];
        const double d = g[3];
        sum += (a * a + b * b) + (c * c + d * d);
      } else {
        for (Index k = 4 * group; k < size; ++k) sum += static_cast<double>(x[k]) * static_cast<double>(x[k]);
      }
    }
    constexpr float kUp = 1.0F + 0x1.0p-20F;
    rest[static_cast<std::size_t>(s)][static_cast<std::size_t>(row)] =
        static_cast<float>(__builtin_sqrt(sum)) * kUp;
  }
}

OLAB_INLINE void encode_all(const float* const* rows, Index count, Index size, std::uint8_t* bytes,
                            CodedRows& out) {
  const Index groups = code_groups(size);
  for (Index i = 0; i < count; ++i) {
    // The rows lie anywhere, in an order that no prefetcher knows.
    if (i + 2 < count)
      for (Index k = 0; k < size; k += kLanes) __builtin_prefetch(rows[i + 2] + k);
    encode_row(rows[i], size, bytes, out.step[static_cast<std::size_t>(i)],
               out.residual[static_cast<std::size_t>(i)]);
    measure_rest(rows[i], size, i, out.rest);
    for (Index g = 0; g < groups; ++g)
      __builtin_memcpy(out.codes + (g * kCodeRows + i) * 4, bytes + g * 4, 4);
  }
}

/// Sums over k of one chunk of 16 columns.
struct ChunkSums {
  alignas(64) std::array<double, kLanes> norm;
  alignas(64) std::array<double, kLanes> residual;
  alignas(64) std::array<double, kLanes> rest;
};

OLAB_INLINE void add_squares(const Floats16& v, Doubles8& low, Doubles8& high) {
  const Floats8 v0 = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
  const Floats8 v1 = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const Doubles8 d0 = __builtin_convertvector(v0, Doubles8);
  const Doubles8 d1 = __builtin_convertvector(v1, Doubles8);
  low += d0 * d0;
  high += d1 * d1;
}

/// Codes of 16 columns (r: first entry) and their sums.
OLAB_INLINE void encode_chunk(const float* r, Index stride, const CodedMatrix& m, std::int8_t* codes,
                              std::int32_t* first_offset, std::int32_t* second_offset, ChunkSums& sums) {
  const float step = m.step;
  const float inverse = 1.0F / step;
  const Index head = m.groups - m.skip;
  Doubles8 norm[2] = {};      // NOLINT(modernize-avoid-c-arrays): these are registers
  Doubles8 residual[2] = {};  // NOLINT(modernize-avoid-c-arrays)
  Doubles8 rest[2] = {};      // NOLINT(modernize-avoid-c-arrays)
  Ints16 first = {};
  Ints16 second = {};
  for (Index g = 0; g < m.groups; ++g) {
    Ints16 packed = {};
    for (int i = 0; i < 4; ++i) {
      const Index k = 4 * g + i;
      if (k >= m.size) break;
      Floats16 v;
      load(r + k * stride, v);
      const Floats16 shifted = v * inverse + kRound;
      const Floats16 e = v - (shifted - kRound) * step;
      const Ints16 code = (Ints16)shifted - kRoundBits;  // NOLINT: a bit cast of vectors
      add_squares(v, norm[0], norm[1]);
      add_squares(e, residual[0], residual[1]);
      if (g >= head) {
        add_squares(v, rest[0], rest[1]);
        second += code;
      } else {
        first += code;
      }
      packed |= (code & 255) << (8 * i);
    }
    for (Index tile = 0; tile < 4; ++tile)
      __builtin_memcpy(codes + (tile * m.groups + g) * 16, reinterpret_cast<const char*>(&packed) + tile * 16,
                       16);
  }
  const Ints16 first_sum = first * -64;
  const Ints16 second_sum = second * -64;
  store(first_offset, first_sum);
  store(second_offset, second_sum);
  store(sums.norm.data(), norm);
  store(sums.residual.data(), residual);
  store(sums.rest.data(), rest);
}

OLAB_INLINE float largest_entry(const float* values, Index count) {
  Floats16 most = {};
  for (Index k = 0; k < count; k += kLanes) {
    Floats16 v;
    load(values + k, v);
    const Floats16 a = v < -v ? -v : v;
    most = a > most ? a : most;
  }
  return largest_lane(most);
}

/// The largest sum of squares of a column, in float.
OLAB_INLINE float largest_square_sum(const float* values, Index stride, Index size) {
  float largest = 0;
  for (Index j = 0; j < stride; j += kLanes) {
    Floats16 sums = {};
    for (Index k = 0; k < size; ++k) {
      Floats16 v;
      load(values + k * stride + j, v);
      sums += v * v;
    }
    const float here = largest_lane(sums);
    largest = here > largest ? here : largest;
  }
  return largest;
}

// ---- the filter

constexpr Index kTile = 4;

OLAB_INLINE void make_limits(const RowBounds& bounds, const float* rests, RowRange range, float norm,
                             float residual, float step_r, FilterLimits& out) {
  constexpr float kMost = 0x1.0p30F;
  const Floats16 most = Floats16{} + kMost;
  const float inverse_r = 1.0F / step_r;
  for (Index i = 0; i < kCodeRows; i += kLanes) {
    Floats16 error;
    Floats16 length;
    Floats16 inverse;
    Floats16 rest;
    load(bounds.error.data() + i, error);
    load(bounds.length.data() + i, length);
    load(bounds.inverse_step.data() + i, inverse);
    load(rests + i, rest);
    error = error * norm + length * residual;
    inverse *= inverse_r;
    // One more than the limits, because conversion cuts towards zero; NaN (an infinite error) becomes a limit
    // that every row reaches.
    Floats16 low = (range.low + error) * inverse + 1.0F;
    Floats16 high = (range.high - error) * inverse - 1.0F;
    low = low < most ? low : most;
    low = low > -most ? low : -most;
    high = high > -most ? high : -most;
    high = high < most ? high : most;
    rest = -rest * inverse;
    const Ints16 lows = __builtin_convertvector(low, Ints16);
    const Ints16 highs = __builtin_convertvector(high, Ints16);
    store(out.low.data() + i, lows);
    store(out.high.data() + i, highs);
    store(out.rest.data() + i, rest);
  }
}

std::uint64_t filter_portable(const FilterRows& rows, const CodedMatrix& m, Index& second) {
  std::uint64_t found = 0;
  const Index tiles = static_cast<Index>(m.rest.size());
  const Index head = m.groups - m.skip;
  for (Index t = 0; t < tiles; ++t) {
    std::int32_t sums[kCodeRows][kTile];  // NOLINT(modernize-avoid-c-arrays)
    const auto add = [&](Index from, Index to, const std::vector<std::int32_t>& offsets, bool fresh) {
      for (Index i = 0; i < kCodeRows; ++i)
        for (Index c = 0; c < kTile; ++c)
          sums[i][c] = (fresh ? 0 : sums[i][c]) + offsets[static_cast<std::size_t>(t * kTile + c)];
      for (Index g = from; g < to; ++g) {
        const std::int8_t* const r = m.codes.data() + (t * m.groups + g) * 16;
        const std::uint8_t* const x = rows.codes + g * kCodeRows * 4;
        for (Index i = 0; i < kCodeRows; ++i)
          for (Index c = 0; c < kTile; ++c)
            for (Index k = 0; k < 4; ++k) sums[i][c] += x[i * 4 + k] * r[c * 4 + k];
      }
    };
    const auto look = [&](bool first) {
      std::uint64_t mask = 0;
      for (Index i = 0; i < kCodeRows; ++i) {
        const auto& s = sums[i];
        const std::int32_t reach =
            std::max(std::max({s[0], s[1], s[2], s[3]}) - rows.limits->high[static_cast<std::size_t>(i)],
                     rows.limits->low[static_cast<std::size_t>(i)] - std::min({s[0], s[1], s[2], s[3]}));
        const bool reached =
            first ? static_cast<float>(reach) >=
                        rows.limits->rest[static_cast<std::size_t>(i)] * m.rest[static_cast<std::size_t>(t)]
                  : reach >= 0;
        mask |= static_cast<std::uint64_t>(reached) << static_cast<unsigned>(i);
      }
      return mask;
    };
    add(0, head, m.first_offset, true);
    std::uint64_t mask = ~std::uint64_t{0};
    if (m.skip > 0) {
      mask = look(true);
      if (mask == 0) continue;
      ++second;
      add(head, m.groups, m.second_offset, false);
    }
    found |= mask & look(false);
  }
  return found;
}

#if OLAB_X86_KERNELS

/// 16 rows × 4 columns in 8 registers; groups from … to.
OLAB_TARGET_AVX2 inline void add_avx2(const std::uint8_t* codes, const std::int8_t* tile, Index from,
                                      Index to, __m256i (&acc)[2][kTile]) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (Index g = from; g < to; ++g) {
    const auto* const x = reinterpret_cast<const __m256i*>(codes + g * kCodeRows * 4);
    const __m256i x0 = _mm256_loadu_si256(x);
    const __m256i x1 = _mm256_loadu_si256(x + 1);
    for (Index c = 0; c < kTile; ++c) {
      std::int32_t four = 0;
      __builtin_memcpy(&four, tile + g * 16 + c * 4, 4);
      const __m256i r = _mm256_set1_epi32(four);
      // 127 · 127 · 2 fits into 16 bits, so nothing saturates.
      acc[0][c] = _mm256_add_epi32(acc[0][c], _mm256_madd_epi16(_mm256_maddubs_epi16(x0, r), ones));
      acc[1][c] = _mm256_add_epi32(acc[1][c], _mm256_madd_epi16(_mm256_maddubs_epi16(x1, r), ones));
    }
  }
}

OLAB_TARGET_AVX2 inline __m256i reach_avx2(const __m256i (&acc)[kTile], const FilterRows& rows, Index i) {
  const __m256i high = _mm256_max_epi32(_mm256_max_epi32(acc[0], acc[1]), _mm256_max_epi32(acc[2], acc[3]));
  const __m256i low = _mm256_min_epi32(_mm256_min_epi32(acc[0], acc[1]), _mm256_min_epi32(acc[2], acc[3]));
  return _mm256_max_epi32(
      _mm256_sub_epi32(high,
                       _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows.limits->high.data() + i))),
      _mm256_sub_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows.limits->low.data() + i)),
                       low));
}

OLAB_TARGET_AVX2 inline std::uint64_t first_look_avx2(const __m256i (&acc)[kTile], const FilterRows& rows,
                                                      Index i, float rest_tile) {
  const __m256 reach = _mm256_cvtepi32_ps(reach_avx2(acc, rows, i));
  const __m256 least =
      _mm256_mul_ps(_mm256_loadu_ps(rows.limits->rest.data() + i), _mm256_set1_ps(rest_tile));
  return static_cast<std::uint64_t>(_mm256_movemask_ps(_mm256_cmp_ps(reach, least, _CMP_GE_OQ)));
}

OLAB_TARGET_AVX2 inline std::uint64_t last_look_avx2(const __m256i (&acc)[kTile], const FilterRows& rows,
                                                     Index i) {
  // The sign bit is clear where the reach is >= 0.
  const __m256 reach = _mm256_castsi256_ps(reach_avx2(acc, rows, i));
  return static_cast<std::uint64_t>(~_mm256_movemask_ps(reach) & 0xFF);
}

OLAB_TARGET_AVX2 std::uint64_t filter_avx2(const FilterRows& rows, const CodedMatrix& m, Index& second) {
  std::uint64_t found = 0;
  const Index tiles = static_cast<Index>(m.rest.size());
  const Index head = m.groups - m.skip;
  for (Index t = 0; t < tiles; ++t) {
    const std::int8_t* const tile = m.codes.data() + t * m.groups * 16;
    const float rest_tile = m.rest[static_cast<std::size_t>(t)];
    bool needed = false;
    for (Index i = 0; i < kCodeRows; i += 16) {
      const std::uint8_t* const codes = rows.codes + i * 4;
      __m256i acc[2][kTile];  // NOLINT(modernize-avoid-c-arrays): these are registers
      for (Index c = 0; c < kTile; ++c) {
        acc[0][c] = _mm256_set1_epi32(m.first_offset[static_cast<std::size_t>(t * kTile + c)]);
        acc[1][c] = acc[0][c];
      }
      add_avx2(codes, tile, 0, head, acc);
      std::uint64_t mask = 0xFFFF;
      if (m.skip > 0) {
        mask = first_look_avx2(acc[0], rows, i, rest_tile) | first_look_avx2(acc[1], rows, i + 8, rest_tile)
                                                                 << 8U;
        if (mask == 0) continue;
        needed = true;
        for (Index c = 0; c < kTile; ++c) {
          const __m256i more = _mm256_set1_epi32(m.second_offset[static_cast<std::size_t>(t * kTile + c)]);
          acc[0][c] = _mm256_add_epi32(acc[0][c], more);
          acc[1][c] = _mm256_add_epi32(acc[1][c], more);
        }
        add_avx2(codes, tile, head, m.groups, acc);
      }
      mask &= last_look_avx2(acc[0], rows, i) | last_look_avx2(acc[1], rows, i + 8) << 8U;
      found |= mask << static_cast<unsigned>(i);
    }
    if (needed) ++second;
  }
  return found;
}

// g++ 12 moves and spills registers round _mm512_dpbusd_epi32; as an asm operand the sum stays where it is.
#define OLAB_DOT_VNNI(acc, x, r) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(r))
#define OLAB_DOT_AVX512(acc, x, r) \
  acc = _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(x, r), _mm512_set1_epi16(1)))

#define OLAB_BROADCAST(r, c)                           \
  __m512i r;                                           \
  {                                                    \
    std::int32_t four = 0;                             \
    __builtin_memcpy(&four, tile + g * 16 + (c)*4, 4); \
    r = _mm512_set1_epi32(four);                       \
  }

/// Adds groups from … to of one tile to 64 rows × 4 columns in 16 registers.
#define OLAB_ADD_GROUPS(DOT, from, to)                            \
  for (Index g = from; g < (to); ++g) {                           \
    const std::uint8_t* const x = rows.codes + g * kCodeRows * 4; \
    const __m512i x0 = _mm512_loadu_si512(x);                     \
    const __m512i x1 = _mm512_loadu_si512(x + 64);                \
    const __m512i x2 = _mm512_loadu_si512(x + 128);               \
    const __m512i x3 = _mm512_loadu_si512(x + 192);               \
    OLAB_BROADCAST(r0, 0)                                         \
    DOT(a00, x0, r0);                                             \
    DOT(a10, x1, r0);                                             \
    DOT(a20, x2, r0);                                             \
    DOT(a30, x3, r0);                                             \
    OLAB_BROADCAST(r1, 1)                                         \
    DOT(a01, x0, r1);                                             \
    DOT(a11, x1, r1);                                             \
    DOT(a21, x2, r1);                                             \
    DOT(a31, x3, r1);                                             \
    OLAB_BROADCAST(r2, 2)                                         \
    DOT(a02, x0, r2);                                             \
    DOT(a12, x1, r2);                                             \
    DOT(a22, x2, r2);                                             \
    DOT(a32, x3, r2);                                             \
    OLAB_BROADCAST(r3, 3)                                         \
    DOT(a03, x0, r3);                                             \
    DOT(a13, x1, r3);                                             \
    DOT(a23, x2, r3);                                             \
    DOT(a33, x3, r3);                                             \
  }

#define OLAB_OFFSET(c, offsets) _mm512_set1_epi32(offsets[static_cast<std::size_t>(t * kTile + (c))])

/// What the 16 rows from i on reach.
#define OLAB_REACH(i, b0, b1, b2, b3)                                                \
  reach_avx512(_mm512_min_epi32(_mm512_min_epi32(b0, b1), _mm512_min_epi32(b2, b3)), \
               _mm512_max_epi32(_mm512_max_epi32(b0, b1), _mm512_max_epi32(b2, b3)), rows, i)

#define OLAB_FIRST_LOOK(i, b0, b1, b2, b3) \
  first_look_avx512(OLAB_REACH(i, b0, b1, b2, b3), rows, i, rest_tile)
#define OLAB_LAST_LOOK(i, b0, b1, b2, b3) last_look_avx512(OLAB_REACH(i, b0, b1, b2, b3))

#define OLAB_LOOK_ALL(LOOK)                                                                                  \
  (LOOK(0, a00, a01, a02, a03) | LOOK(16, a10, a11, a12, a13) << 16U | LOOK(32, a20, a21, a22, a23) << 32U | \
   LOOK(48, a30, a31, a32, a33) << 48U)

#define OLAB_FILTER(NAME, TARGET, DOT)                                                     \
  TARGET std::uint64_t NAME(const FilterRows& rows, const CodedMatrix& m, Index& second) { \
    std::uint64_t found = 0;                                                               \
    const Index tiles = static_cast<Index>(m.rest.size());                                 \
    const Index head = m.groups - m.skip;                                                  \
    const Index fetched = m.groups * kCodeRows * 4 / 64 / tiles;                           \
    for (Index t = 0; t < tiles; ++t) {                                                    \
      const std::int8_t* const tile = m.codes.data() + t * m.groups * 16;                  \
      for (Index line = t * fetched; line < t * fetched + fetched; ++line)                 \
        __builtin_prefetch(rows.next + line * 64);                                         \
      __m512i a00 = OLAB_OFFSET(0, m.first_offset);                                        \
      __m512i a01 = OLAB_OFFSET(1, m.first_offset);                                        \
      __m512i a02 = OLAB_OFFSET(2, m.first_offset);                                        \
      __m512i a03 = OLAB_OFFSET(3, m.first_offset);                                        \
      __m512i a10 = a00, a20 = a00, a30 = a00;                                             \
      __m512i a11 = a01, a21 = a01, a31 = a01;                                             \
      __m512i a12 = a02, a22 = a02, a32 = a02;                                             \
      __m512i a13 = a03, a23 = a03, a33 = a03;                                             \
      OLAB_ADD_GROUPS(DOT, 0, head)                                                        \
      std::uint64_t mask = ~std::uint64_t{0};                                              \
      if (m.skip > 0) {                                                                    \
        const __m512 rest_tile = _mm512_set1_ps(m.rest[static_cast<std::size_t>(t)]);      \
        mask = OLAB_LOOK_ALL(OLAB_FIRST_LOOK);                                             \
        if (mask == 0) continue;                                                           \
        ++second;                                                                          \
        const __m512i s0 = OLAB_OFFSET(0, m.second_offset);                                \
        const __m512i s1 = OLAB_OFFSET(1, m.second_offset);                                \
        const __m512i s2 = OLAB_OFFSET(2, m.second_offset);                                \
        const __m512i s3 = OLAB_OFFSET(3, m.second_offset);                                \
        a00 = _mm512_add_epi32(a00, s0);                                                   \
        a10 = _mm512_add_epi32(a10, s0);                                                   \
        a20 = _mm512_add_epi32(a20, s0);                                                   \
        a30 = _mm512_add_epi32(a30, s0);                                                   \
        a01 = _mm512_add_epi32(a01, s1);                                                   \
        a11 = _mm512_add_epi32(a11, s1);                                                   \
        a21 = _mm512_add_epi32(a21, s1);                                                   \
        a31 = _mm512_add_epi32(a31, s1);                                                   \
        a02 = _mm512_add_epi32(a02, s2);                                                   \
        a12 = _mm512_add_epi32(a12, s2);                                                   \
        a22 = _mm512_add_epi32(a22, s2);                                                   \
        a32 = _mm512_add_epi32(a32, s2);                                                   \
        a03 = _mm512_add_epi32(a03, s3);                                                   \
        a13 = _mm512_add_epi32(a13, s3);                                                   \
        a23 = _mm512_add_epi32(a23, s3);                                                   \
        a33 = _mm512_add_epi32(a33, s3);                                                   \
        OLAB_ADD_GROUPS(DOT, head, m.groups)                                               \
      }                                                                                    \
      found |= mask & OLAB_LOOK_ALL(OLAB_LAST_LOOK);                                       \
    }                                                                                      \
    return found;                                                                          \
  }

OLAB_TARGET_AVX512 OLAB_INLINE __m512i reach_avx512(__m512i low, __m512i high, const FilterRows& rows,
                                                    Index i) {
  return _mm512_max_epi32(_mm512_sub_epi32(high, _mm512_loadu_si512(rows.limits->high.data() + i)),
                          _mm512_sub_epi32(_mm512_loadu_si512(rows.limits->low.data() + i), low));
}

OLAB_TARGET_AVX512 OLAB_INLINE std::uint64_t first_look_avx512(__m512i reach, const FilterRows& rows, Index i,
                                                               __m512 rest_tile) {
  return _mm512_cmp_ps_mask(_mm512_cvtepi32_ps(reach),
                            _mm512_mul_ps(_mm512_loadu_ps(rows.limits->rest.data() + i), rest_tile),
                            _CMP_GE_OQ);
}

OLAB_TARGET_AVX512 OLAB_INLINE std::uint64_t last_look_avx512(__m512i reach) {
  return _mm512_cmpge_epi32_mask(reach, _mm512_setzero_si512());
}

OLAB_FILTER(filter_avx512, OLAB_TARGET_AVX512, OLAB_DOT_AVX512)
OLAB_FILTER(filter_vnni, OLAB_TARGET_VNNI, OLAB_DOT_VNNI)

#endif

// ---- one table a level

struct Kernels {
  void (*measure)(const float* rows, Index stride, Index count, Index size, RowFacts* out);
  void (*score)(const float* const* rows, Index count, const float* r, Index stride, Index size,
                RowRange* out);
  void (*product)(const float* row, const float* r, Index stride, Index size, float* y);
  void (*encode)(const float* const* rows, Index count, Index size, std::uint8_t* bytes, CodedRows& out);
  void (*chunk)(const float* r, Index stride, const CodedMatrix& m, std::int8_t* codes,
                std::int32_t* first_offset, std::int32_t* second_offset, ChunkSums& sums);
  float (*largest)(const float* values, Index count);
  float (*square_sum)(const float* values, Index stride, Index size);
  void (*limits)(const RowBounds& bounds, const float* rests, RowRange range, float norm, float residual,
                 float step_r, FilterLimits& out);
  std::uint64_t (*filter)(const FilterRows& rows, const CodedMatrix& m, Index& second);
};

#define OLAB_FLOAT_KERNELS(NAME, TARGET, V, VECTORS)                                                        \
  TARGET void measure_##NAME(const float* rows, Index stride, Index count, Index size, RowFacts* out) {     \
    measure_all(rows, stride, count, size, out);                                                            \
  }                                                                                                         \
  TARGET void score_##NAME(const float* const* rows, Index count, const float* r, Index stride, Index size, \
                           RowRange* out) {                                                                 \
    score_all<V, VECTORS>(rows, count, r, stride, size, out);                                               \
  }                                                                                                         \
  TARGET void product_##NAME(const float* row, const float* r, Index stride, Index size, float* y) {        \
    product_row<V>(row, r, stride, size, y);                                                                \
  }                                                                                                         \
  TARGET void encode_##NAME(const float* const* rows, Index count, Index size, std::uint8_t* bytes,         \
                            CodedRows& out) {                                                               \
    encode_all(rows, count, size, bytes, out);                                                              \
  }                                                                                                         \
  TARGET void chunk_##NAME(const float* r, Index stride, const CodedMatrix& m, std::int8_t* codes,          \
                           std::int32_t* first_offset, std::int32_t* second_offset, ChunkSums& sums) {      \
    encode_chunk(r, stride, m, codes, first_offset, second_offset, sums);                                   \
  }                                                                                                         \
  TARGET float largest_##NAME(const float* values, Index count) {                                           \
    return largest_entry(values, count);                                                                    \
  }                                                                                                         \
  TARGET float square_sum_##NAME(const float* values, Index stride, Index size) {                           \
    return largest_square_sum(values, stride, size);                                                        \
  }                                                                                                         \
  TARGET void limits_##NAME(const RowBounds& bounds, const float* rests, RowRange range, float norm,        \
                            float residual, float step_r, FilterLimits& out) {                              \
    make_limits(bounds, rests, range, norm, residual, step_r, out);                                         \
  }

#define OLAB_KERNEL_TABLE(NAME, FILTER)                                                        \
  {                                                                                            \
    measure_##NAME, score_##NAME, product_##NAME, encode_##NAME, chunk_##NAME, largest_##NAME, \
        square_sum_##NAME, limits_##NAME, FILTER                                               \
  }

OLAB_FLOAT_KERNELS(portable, , Floats4, 2)
#if OLAB_X86_KERNELS
OLAB_FLOAT_KERNELS(avx2, OLAB_TARGET_AVX2, Floats8, 2)
OLAB_FLOAT_KERNELS(avx512, OLAB_TARGET_AVX512, Floats16, 4)
#endif

const Kernels& kernels(CpuLevel level) {
  static constexpr Kernels kPortable = OLAB_KERNEL_TABLE(portable, filter_portable);
#if OLAB_X86_KERNELS
  static constexpr Kernels kAvx2 = OLAB_KERNEL_TABLE(avx2, filter_avx2);
  static constexpr Kernels kAvx512 = OLAB_KERNEL_TABLE(avx512, filter_avx512);
  static constexpr Kernels kVnni = OLAB_KERNEL_TABLE(avx512, filter_vnni);
  switch (level) {
    case CpuLevel::vnni:
      return kVnni;
    case CpuLevel::avx512:
      return kAvx512;
    case CpuLevel::avx2:
      return kAvx2;
    case CpuLevel::portable:
      break;
  }
#endif
  (void)level;
  return kPortable;
}

}  // namespace

void measure_rows(const float* rows, Index stride, Index count, Index size, RowFacts* out, CpuLevel level) {
  assert(size > 0);
  kernels(level).measure(rows, stride, count, size, out);
}

Matrix pad_columns(const ConstMatrixRef& square) {
  assert(square.rows() == square.cols() && square.rows() > 0);
  Matrix out(square.rows(), padded_size(square.cols()));
  for (Index i = 0; i < out.rows(); ++i) {
    std::copy_n(square.row(i).data(), square.cols(), out.row(i).data());
    std::fill_n(out.row(i).data() + square.cols(), out.cols() - square.cols(), square(i, 0));
  }
  return out;
}

void score_rows(const float* const* rows, Index count, const Matrix& padded, RowRange* out, CpuLevel level) {
  kernels(level).score(rows, count, padded.data(), padded.cols(), padded.rows(), out);
}

void row_product(const float* row, const Matrix& padded, float* y, CpuLevel level) {
  kernels(level).product(row, padded.data(), padded.cols(), padded.rows(), y);
}

void encode_rows(const float* const* rows, Index count, Index size, CodedRows& out, CpuLevel level) {
  assert(count > 0 && count <= kCodeRows);
  const Index groups = code_groups(size);
  if (count < kCodeRows) {
    std::fill_n(out.codes, groups * kCodeRows * 4, std::uint8_t{0});
    out.step.fill(0);
    out.residual.fill(0);
    for (auto& rest : out.rest) rest.fill(0);
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(padded_size(size)));
  kernels(level).encode(rows, count, size, bytes.data(), out);
}

double longest_column(const Matrix& padded, CpuLevel level) {
  const auto size = static_cast<double>(padded.rows());
  const double sum = kernels(level).square_sum(padded.data(), padded.cols(), padded.rows());
  // A float sum of positive terms, and squares that may have underflowed.
  return std::sqrt(sum * (1.0 + (size + 2) * 0x1.0p-23) + size * 0x1.0p-126);
}

void encode_matrix(const Matrix& padded, Index skip, CodedMatrix& out, CpuLevel level) {
  assert(skip >= 0 && skip < kSkips && padded.cols() % kLanes == 0);
  const Kernels& k = kernels(level);
  out.size = padded.rows();
  out.groups = code_groups(out.size);
  out.skip = skip * skip_unit(out.size);
  constexpr float kCodes = 127.0F;
  out.step = k.largest(padded.data(), padded.size()) / kCodes;
  if (!(out.step >= FLT_MIN)) out.step = 1;  // nothing but zeros, near enough: all codes are 0
  out.codes.resize(padded.cols() * out.groups * 4);
  out.first_offset.resize(static_cast<std::size_t>(padded.cols()));
  out.second_offset.resize(static_cast<std::size_t>(padded.cols()));
  out.rest.resize(static_cast<std::size_t>(padded.cols() / kTile));
  double norm = 0;
  double residual = 0;
  for (Index j = 0; j < padded.cols(); j += kLanes) {
    ChunkSums sums;
    k.chunk(padded.data() + j, padded.cols(), out, out.codes.data() + j * out.groups * 4,
            out.first_offset.data() + j, out.second_offset.data() + j, sums);
    for (std::size_t c = 0; c < static_cast<std::size_t>(kLanes); c += kTile) {
      double rest = 0;
      for (std::size_t i = c; i < c + kTile; ++i) {
        norm = std::max(norm, sums.norm[i]);
        residual = std::max(residual, sums.residual[i]);
        rest = std::max(rest, sums.rest[i]);
      }
      constexpr float kUp = 1.0F + 0x1.0p-20F;
      out.rest[(static_cast<std::size_t>(j) + c) / kTile] = static_cast<float>(std::sqrt(rest)) * kUp;
    }
  }
  out.norm = std::sqrt(norm);
  out.residual = std::sqrt(residual);
}

void set_limits(const RowBounds& bounds, const std::array<float, kCodeRows>& rest, RowRange range, float norm,
                float residual, float step_r, FilterLimits& out, CpuLevel level) {
  kernels(level).limits(bounds, rest.data(), range, norm, residual, step_r, out);
}

std::uint64_t filter_rows(const FilterRows& rows, const CodedMatrix& matrix, Index& second, CpuLevel level) {
  return kernels(level).filter(rows, matrix, second);
}

}  // namespace olab
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result,modernize-avoid-c-arrays,modernize-loop-convert,bugprone-macro-parentheses)

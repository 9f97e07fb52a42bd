#include "core/integer_product.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "core/parallel.hpp"

#if OLAB_X86_KERNELS
#include <immintrin.h>
#endif

// With w' = w − 128, which fits a signed byte (the instruction multiplies unsigned by signed bytes),
//
//   Σ (a − za)(w − zw) = Σ a w' + za (k zw − Σ w) + (128 − zw) Σ a
//
// so the kernels sum a w' alone and the rest is two products an entry. Both operands are cut into panels of
// as many rows as a tile has; a panel holds, for one word after another (four codes of 8 bits, or two widened
// to 16), that word of all its rows. Codes beyond the last are a = 0, w' = 0 and add nothing.
//
// |a w'| <= 255 · 128, so 32-bit sums hold 65,793 codes. A tile sums kBlockWords words (at most 8,192 codes)
// before it adds them to 64-bit sums: so much of a panel of Ŵ stays in the second-level cache.

namespace olab {
namespace {

constexpr Index kBlockWords = 2048;
constexpr Index kGroupPanels = 16;  ///< panels of Â that a block of a panel of Ŵ is used for
constexpr Index kTokenBlockBytes = Index{2} << 20;  ///< packed codes of Â at a time
constexpr Index kMaxTile = 6 * 64;

/// What the last step needs beside the sums.
struct TokenRows {
  const double* step;
  const std::int64_t* zero;
  const std::int64_t* sum;
};
struct WeightRows {
  const double* step;
  const std::int64_t* by_zero;
  const std::int64_t* by_sum;
};

struct ProductKernels {
  Index rows;     ///< of Â in a tile
  Index columns;  ///< rows of Ŵ in a tile
  Index codes;    ///< in a word: 4 of 8 bits or 2 of 16
  /// sums (rows × columns) += the products of `words` words of two panels; words <= kBlockWords.
  void (*tile)(const std::uint32_t* a, const std::uint32_t* w, Index words, std::int64_t* sums);
  /// The leading rows × columns of y (stride ldy) from the sums of a tile.
  void (*finish)(const std::int64_t* sums, const TokenRows& a, const WeightRows& w, float* y, Index ldy,
                 Index rows, Index columns);
};

// ---- plain C++

std::int16_t low_code(std::uint32_t word) {
  return static_cast<std::int16_t>(word & 0xFFFFU);
}
std::int16_t high_code(std::uint32_t word) {
  return static_cast<std::int16_t>(word >> 16U);
}

/// One row by one row, so that a panel is a row and compilers see a plain scalar product of 16-bit integers.
void tile_portable(const std::uint32_t* a, const std::uint32_t* w, Index words, std::int64_t* sums) {
  std::int32_t sum = 0;
  for (Index i = 0; i < words; ++i)
    sum += low_code(a[i]) * low_code(w[i]) + high_code(a[i]) * high_code(w[i]);
  *sums += sum;
}

/// Unsigned, because za (k zw − Σ w) alone may pass 2^63 where the whole sum does not.
template <Index Columns>
void finish_portable(const std::int64_t* sums, const TokenRows& a, const WeightRows& w, float* y, Index ldy,
                     Index rows, Index columns) {
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j) {
      const auto sum = static_cast<std::int64_t>(
          static_cast<std::uint64_t>(sums[i * Columns + j]) +
          static_cast<std::uint64_t>(a.zero[i]) * static_cast<std::uint64_t>(w.by_zero[j]) +
          static_cast<std::uint64_t>(a.sum[i]) * static_cast<std::uint64_t>(w.by_sum[j]));
      y[i * ldy + j] = static_cast<float>(a.step[i] * w.step[j] * static_cast<double>(sum));
    }
}

#if OLAB_X86_KERNELS

// ---- AVX2: pairs of 16 bits. (The instruction for bytes saturates at 16 bits.)

OLAB_TARGET_AVX2 void tile_avx2(const std::uint32_t* a, const std::uint32_t* w, Index words,
                                std::int64_t* sums) {
  constexpr int kRows = 6;
  __m256i acc[kRows][2];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) acc[i][0] = acc[i][1] = _mm256_setzero_si256();
  for (Index p = 0; p < words; ++p) {
    const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + p * 16));
    const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + p * 16 + 8));
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m256i x = _mm256_set1_epi32(static_cast<int>(a[p * kRows + i]));
      acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(x, w0));
      acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(x, w1));
    }
  }
  for (int i = 0; i < kRows; ++i) {
    std::array<std::int32_t, 16> part{};
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(part.data()), acc[i][0]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(part.data() + 8), acc[i][1]);
    for (std::size_t j = 0; j < part.size(); ++j) sums[static_cast<std::size_t>(i) * 16 + j] += part[j];
  }
}

// ---- AVX-512: tiles of 6 × 64

/// acc += Σ a w over the pairs of 16 bits of every word.
OLAB_TARGET_AVX512 inline void add_pairs(__m512i& acc, __m512i a, __m512i w) {
  acc = _mm512_add_epi32(acc, _mm512_madd_epi16(a, w));
}

/// acc += Σ a w over the four bytes of every word, a unsigned, w signed. In assembly: round the intrinsic
/// g++ 12 moves every sum to another register and back.
OLAB_TARGET_VNNI inline void add_quads(__m512i& acc, __m512i a, __m512i w) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(w));
}

/// sums += 16 sums of 32 bits. Through memory: g++ 12 takes the intrinsics that widen for uninitialised
/// reads.
OLAB_TARGET_AVX512 inline void add_wide(__m512i part, std::int64_t* sums) {
  std::array<std::int32_t, 16> narrow{};
  _mm512_storeu_si512(narrow.data(), part);
  for (std::size_t j = 0; j < narrow.size(); ++j) sums[j] += narrow[j];
}

// One body for both; a macro, because what differs needs other instructions than a shared template may use.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage)
#define OLAB_TILE_512(add)                                                                           \
  constexpr int kRows = 6;                                                                           \
  __m512i acc[kRows][4]; /* NOLINT(modernize-avoid-c-arrays): registers */                           \
  _Pragma("GCC unroll 6") for (int i = 0; i < kRows; ++i) {                                          \
    acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = _mm512_setzero_si512();                          \
  }                                                                                                  \
  for (Index p = 0; p < words; ++p) {                                                                \
    const __m512i w0 = _mm512_loadu_si512(w + p * 64);                                               \
    const __m512i w1 = _mm512_loadu_si512(w + p * 64 + 16);                                          \
    const __m512i w2 = _mm512_loadu_si512(w + p * 64 + 32);                                          \
    const __m512i w3 = _mm512_loadu_si512(w + p * 64 + 48);                                          \
    _Pragma("GCC unroll 6") for (int i = 0; i < kRows; ++i) {                                        \
      const __m512i x = _mm512_set1_epi32(static_cast<int>(a[p * kRows + i]));                       \
      add(acc[i][0], x, w0);                                                                         \
      add(acc[i][1], x, w1);                                                                         \
      add(acc[i][2], x, w2);                                                                         \
      add(acc[i][3], x, w3);                                                                         \
    }                                                                                                \
  }                                                                                                  \
  _Pragma("GCC unroll 6") for (int i = 0; i < kRows; ++i) {                                          \
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; ++j) add_wide(acc[i][j], sums + i * 64 + j * 16); \
  }

OLAB_TARGET_AVX512 void tile_avx512(const std::uint32_t* a, const std::uint32_t* w, Index words,
                                    std::int64_t* sums){OLAB_TILE_512(add_pairs)}

OLAB_TARGET_VNNI void tile_vnni(const std::uint32_t* a, const std::uint32_t* w, Index words,
                                std::int64_t* sums){OLAB_TILE_512(add_quads)}
#undef OLAB_TILE_512

OLAB_TARGET_AVX512 void finish_avx512(const std::int64_t* sums, const TokenRows& a, const WeightRows& w,
                                      float* y, Index ldy, Index rows, Index columns) {
  for (Index i = 0; i < rows; ++i) {
    const __m512i zero = _mm512_set1_epi64(a.zero[i]);
    const __m512i sum_a = _mm512_set1_epi64(a.sum[i]);
    const __m512d step = _mm512_set1_pd(a.step[i]);
    for (Index j = 0; j < columns; j += 8) {
      __m512i sum = _mm512_loadu_si512(sums + i * 64 + j);
      sum = _mm512_add_epi64(sum, _mm512_mullo_epi64(zero, _mm512_loadu_si512(w.by_zero + j)));
      sum = _mm512_add_epi64(sum, _mm512_mullo_epi64(sum_a, _mm512_loadu_si512(w.by_sum + j)));
      const __m512d scale = _mm512_mul_pd(step, _mm512_loadu_pd(w.step + j));
      const auto valid = static_cast<__mmask8>(columns - j >= 8 ? 0xFF : (1 << (columns - j)) - 1);
      const __m256 out = _mm512_maskz_cvtpd_ps(valid, _mm512_mul_pd(scale, _mm512_cvtepi64_pd(sum)));
      _mm256_mask_storeu_ps(y + i * ldy + j, valid, out);
    }
  }
}

#endif  // OLAB_X86_KERNELS

const ProductKernels& product_kernels(CpuLevel level) {
  static constexpr ProductKernels kPortable{1, 1, 2, tile_portable, finish_portable<1>};
#if OLAB_X86_KERNELS
  static constexpr ProductKernels kAvx2{6, 16, 2, tile_avx2, finish_portable<16>};
  static constexpr ProductKernels kAvx512{6, 64, 2, tile_avx512, finish_avx512};
  static constexpr ProductKernels kVnni{6, 64, 4, tile_vnni, finish_avx512};
  switch (level) {
    case CpuLevel::portable:
      return kPortable;
    case CpuLevel::avx2:
      return kAvx2;
    case CpuLevel::avx512:
      return kAvx512;
    case CpuLevel::vnni:
      return kVnni;
  }
#endif
  (void)level;
  return kPortable;
}

// ---- packing

Index rounded_up(Index value, Index unit) {
  return (value + unit - 1) / unit * unit;
}

/// Up to four codes of one row as a word: c − offset in `codes` fields; the first `count` codes are real.
std::uint32_t last_word(const std::uint8_t* codes, Index count, Index fields, std::int32_t offset) {
  const Index bits = 32 / fields;
  std::uint32_t word = 0;
  for (Index c = 0; c < count; ++c) {
    const auto value = static_cast<std::uint32_t>(codes[c] - offset) & (bits == 8 ? 0xFFU : 0xFFFFU);
    word |= value << static_cast<std::uint32_t>(c * bits);
  }
  return word;
}

/// Whole words `begin` … `end` − 1 of one row into a panel of `height` rows; returns the sum of their codes.
/// `offset` is 0 or 128, and c − 128 is c with its top bit flipped, then read as signed.
std::int64_t pack_quads(const std::uint8_t* codes, Index begin, Index end, Index height, std::uint32_t offset,
                        std::uint32_t* panel) {
  const std::uint32_t flip = offset * 0x01010101U;
  std::uint32_t even = 0;  // two sums of 16 bits: pieces are at most 64 words
  std::uint32_t odd = 0;
  for (Index i = begin; i < end; ++i) {
    std::uint32_t word = 0;
    std::memcpy(&word, codes + i * 4, sizeof word);
    even += word & 0x00FF00FFU;
    odd += word >> 8U & 0x00FF00FFU;
    panel[i * height] = word ^ flip;
  }
  return (even & 0xFFFFU) + (even >> 16U) + (odd & 0xFFFFU) + (odd >> 16U);
}

std::int64_t pack_pairs(const std::uint8_t* codes, Index begin, Index end, Index height, std::uint32_t offset,
                        std::uint32_t* panel) {
  std::uint32_t sum = 0;
  for (Index i = begin; i < end; ++i) {
    const std::uint32_t first = codes[2 * i];
    const std::uint32_t second = codes[2 * i + 1];
    sum += first + second;
    panel[i * height] = ((first - offset) & 0xFFFFU) | (second - offset) << 16U;
  }
  return sum;
}

/// One panel of `height` rows, of which the first `valid` exist, with the sum of every row's codes.
void pack_panel(const IntegerMatrix& m, Index first, Index valid, Index height, Index fields,
                std::uint32_t offset, std::uint32_t* panel, std::int64_t* row_sums) {
  constexpr Index kPiece = 16;  // words of a row in turn: the panel's part stays in the first-level cache
  const Index whole = m.cols / fields;
  const Index words = rounded_up(m.cols, fields) / fields;
  std::fill_n(row_sums, height, 0);
  for (Index begin = 0; begin < whole; begin += kPiece) {
    const Index end = std::min(whole, begin + kPiece);
    for (Index r = 0; r < valid; ++r)
      row_sums[r] += fields == 4 ? pack_quads(m.row(first + r), begin, end, height, offset, panel + r)
                                 : pack_pairs(m.row(first + r), begin, end, height, offset, panel + r);
  }
  for (Index r = 0; r < valid && words > whole; ++r) {
    const std::uint8_t* rest = m.row(first + r) + whole * fields;
    const Index count = m.cols - whole * fields;
    panel[whole * height + r] = last_word(rest, count, fields, static_cast<std::int32_t>(offset));
    for (Index c = 0; c < count; ++c) row_sums[r] += rest[c];
  }
  for (Index r = valid; r < height; ++r)
    for (Index i = 0; i < words; ++i) panel[i * height + r] = 0;
}

std::int64_t integer_zero(const IntegerMatrix& m, Index row) {
  const float zero = m.zero[static_cast<std::size_t>(row)];
  assert(std::abs(zero) <= IntegerMatrix::kLargestZero);
  return static_cast<std::int64_t>(zero);
}

}  // namespace

PackedCodes::PackedCodes(const IntegerMatrix& w, CpuLevel level)
    : rows_(w.rows), cols_(w.cols), level_(level) {
  const ProductKernels& kernels = product_kernels(level);
  const Index height = kernels.columns;
  const Index padded = rounded_up(rows_, height);
  const Index words = rounded_up(cols_, kernels.codes) / kernels.codes;
  words_.resize(padded * words);
  step_.resize(static_cast<std::size_t>(padded));
  by_zero_.resize(static_cast<std::size_t>(padded));
  by_sum_.resize(static_cast<std::size_t>(padded));
  parallel_for(padded / height, 1, [&](Index begin, Index end) {
    std::vector<std::int64_t> sums(static_cast<std::size_t>(height));
    for (Index p = begin; p < end; ++p) {
      const Index first = p * height;
      const Index valid = std::min(height, rows_ - first);
      pack_panel(w, first, valid, height, kernels.codes, 128, words_.data() + first * words, sums.data());
      for (Index r = 0; r < valid; ++r) {
        const auto at = static_cast<std::size_t>(first + r);
        const std::int64_t zero = integer_zero(w, first + r);
        step_[at] = w.step[at];
        by_zero_[at] = cols_ * zero - sums[static_cast<std::size_t>(r)];
        by_sum_[at] = 128 - zero;
      }
    }
  });
}

std::size_t PackedCodes::bytes() const {
  return static_cast<std::size_t>(words_.size()) * sizeof(std::uint32_t) +
         step_.size() * (sizeof(double) + 2 * sizeof(std::int64_t));
}

void multiply_codes(const IntegerMatrix& a, Index first, const PackedCodes& w, MatrixRef y) {
  assert(a.cols == w.cols_ && y.cols() == w.rows_ && first >= 0 && first + y.rows() <= a.rows);
  const ProductKernels& kernels = product_kernels(w.level_);
  const Index height = kernels.rows;
  const Index width = kernels.columns;
  const Index words = rounded_up(a.cols, kernels.codes) / kernels.codes;
  const Index group = height * kGroupPanels;
  const Index most = std::max(group, kTokenBlockBytes / (4 * std::max<Index>(1, words)) / group * group);
  const Index block = std::min(rounded_up(y.rows(), height), most);

  PackedCodes::Words packed(block * words);
  std::vector<double> step(static_cast<std::size_t>(block));
  std::vector<std::int64_t> zero(static_cast<std::size_t>(block));
  std::vector<std::int64_t> sum(static_cast<std::size_t>(block));

  for (Index top = 0; top < y.rows(); top += block) {
    const Index tokens = std::min(block, y.rows() - top);
    const Index panels = rounded_up(tokens, height) / height;
    parallel_for(panels, 4, [&](Index begin, Index end) {
      for (Index p = begin; p < end; ++p) {
        const Index row = p * height;
        const Index valid = std::min(height, tokens - row);
        pack_panel(a, first + top + row, valid, height, kernels.codes, 0, packed.data() + row * words,
                   sum.data() + row);
        for (Index r = row; r < row + valid; ++r) {
          step[static_cast<std::size_t>(r)] = a.step[static_cast<std::size_t>(first + top + r)];
          zero[static_cast<std::size_t>(r)] = integer_zero(a, first + top + r);
        }
      }
    });

    // Pieces with the same panel of Ŵ follow one another.
    const Index groups = (panels + kGroupPanels - 1) / kGroupPanels;
    const Index columns = rounded_up(w.rows_, width) / width;
    const Index grain = 1 + 1024 / std::max<Index>(1, words);
    parallel_for(groups * columns, grain, [&](Index begin, Index end) {
      alignas(64) std::array<std::int64_t, kGroupPanels * kMaxTile> sums;
      for (Index piece = begin; piece < end; ++piece) {
        const Index column = piece / groups * width;
        const Index from = piece % groups * kGroupPanels;
        const Index to = std::min(panels, from + kGroupPanels);
        const std::uint32_t* right = w.words_.data() + column * words;
        std::fill_n(sums.begin(), (to - from) * height * width, 0);
        for (Index k = 0; k < words; k += kBlockWords)
          for (Index p = from; p < to; ++p)
            kernels.tile(packed.data() + p * height * words + k * height, right + k * width,
                         std::min(kBlockWords, words - k), sums.data() + (p - from) * height * width);
        for (Index p = from; p < to; ++p) {
          const Index row = p * height;
          kernels.finish(sums.data() + (p - from) * height * width,
                         {step.data() + row, zero.data() + row, sum.data() + row},
                         {w.step_.data() + column, w.by_zero_.data() + column, w.by_sum_.data() + column},
                         y.data() + (top + row) * y.outerStride() + column, y.outerStride(),
                         std::min(height, tokens - row), std::min(width, w.rows_ - column));
        }
      }
    });
  }
}

void multiply_codes(const IntegerMatrix& a, const IntegerMatrix& w, MatrixRef y, CpuLevel level) {
  assert(a.cols == w.cols && y.rows() == a.rows);
  multiply_codes(a, 0, PackedCodes(w, level), y);
}

}  // namespace olab

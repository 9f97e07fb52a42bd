#include "core/integer_product.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

#include "core/intrinsics.hpp"
#include "core/memory.hpp"
#include "core/parallel.hpp"

// With w' = w − 128, which fits a signed byte (the instruction multiplies unsigned by signed bytes),
//
//   Σ (a − za)(w − zw) = Σ a w' + za (k zw − Σ w) + (128 − zw) Σ a
//
// so the kernels sum a w' alone and the rest is two products an entry. Codes are handled by words: four codes
// of 8 bits, or two widened to 16. Both operands are cut into panels of as many rows as a tile has, and
// panels into pieces of kPieceWords words: a panel of Â holds a piece of its first row, of its second row …,
// a panel of Ŵ the first word of all rows, the second word of all rows …. Codes beyond the last have a = 0.
//
// |a w'| <= 255 · 128, so 32-bit sums hold 65,793 codes. A tile sums kBlockWords words (at most 16,384 codes)
// before it adds them to 64-bit sums: so much of a panel of Ŵ stays in the second-level cache.

namespace olab {
namespace {

constexpr Index kPieceWords = 16;
constexpr Index kBlockWords = 4096;
constexpr Index kGroupPanels = 8;                   ///< panels of Â that a piece of the work has
constexpr Index kTokenBlockBytes = Index{4} << 20;  ///< packed codes of Â at a time
constexpr Index kMaxTile = Index{12} * 32;

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
  /// sums (rows × columns) ← or, where `add`, += the products of `words` words of two panels; words is
  /// a multiple of kPieceWords, at most kBlockWords.
  void (*tile)(const std::uint32_t* a, const std::uint32_t* w, Index words, bool add, std::int64_t* sums);
  /// The leading rows × columns of y (stride ldy) from the sums of a tile.
  void (*finish)(const std::int64_t* sums, const TokenRows& a, const WeightRows& w, float* y, Index ldy,
                 Index rows, Index columns);
};

// ---- plain C++

std::int16_t wide_code(const std::uint32_t* words, Index c) {
  std::int16_t code = 0;
  std::memcpy(&code, reinterpret_cast<const char*>(words) + c * 2, sizeof code);
  return code;
}

/// One row by one row, so that panels are rows and compilers see a plain scalar product of 16-bit integers.
void tile_portable(const std::uint32_t* a, const std::uint32_t* w, Index words, bool add,
                   std::int64_t* sums) {
  std::int32_t sum = 0;
  for (Index c = 0; c < words * 2; ++c) sum += wide_code(a, c) * wide_code(w, c);
  *sums = (add ? *sums : 0) + sum;
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

// The innermost step is assembly at every level: from intrinsics g++ 12 makes loops that keep sums in memory.

/// 16 sums of 32 bits, stored or added.
OLAB_TARGET_AVX2 inline void put_sums(const std::array<std::int32_t, 16>& part, bool add,
                                      std::int64_t* sums) {
  for (std::size_t j = 0; j < part.size(); ++j) sums[j] = (add ? sums[j] : 0) + part[j];
}

// ---- AVX2: pairs of 16 bits. (The instruction for bytes saturates at 16 bits.)

OLAB_TARGET_AVX2 inline void add_pairs(__m256i& acc, __m256i a, __m256i w) {
  __m256i product;
  __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(acc), "=&x"(product) : "x"(a), "x"(w));
}

OLAB_TARGET_AVX2 void tile_avx2(const std::uint32_t* a, const std::uint32_t* w, Index words, bool add,
                                std::int64_t* sums) {
  constexpr Index kRows = 6;
  __m256i acc[kRows][2] = {};  // NOLINT(modernize-avoid-c-arrays): these are registers
  for (Index piece = 0; piece < words; piece += kPieceWords, a += kRows * kPieceWords)
    for (Index p = 0; p < kPieceWords; ++p, w += 16) {
      const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
      const __m256i w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 8));
#pragma GCC unroll 6
      for (Index i = 0; i < kRows; ++i) {
        const __m256i x = _mm256_set1_epi32(static_cast<int>(a[i * kPieceWords + p]));
        add_pairs(acc[i][0], x, w0);
        add_pairs(acc[i][1], x, w1);
      }
    }
#pragma GCC unroll 6
  for (Index i = 0; i < kRows; ++i) {
    std::array<std::int32_t, 16> part{};
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(part.data()), acc[i][0]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(part.data() + 8), acc[i][1]);
    put_sums(part, add, sums + i * 16);
  }
}

// ---- AVX-512: tiles of 12 × 32

/// acc += Σ a w over the pairs of 16 bits of every word.
OLAB_TARGET_AVX512 inline void add_pairs(__m512i& acc, __m512i a, __m512i w) {
  __m512i product;
  __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(acc), "=&v"(product) : "v"(a), "v"(w));
}

/// acc += Σ a w over the four bytes of every word, a unsigned, w signed.
OLAB_TARGET_VNNI inline void add_quads(__m512i& acc, __m512i a, __m512i w) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(w));
}

/// Through memory: g++ 12 takes the intrinsics that widen for uninitialised reads.
OLAB_TARGET_AVX512 inline void put_sums(__m512i part, bool add, std::int64_t* sums) {
  std::array<std::int32_t, 16> narrow{};
  _mm512_storeu_si512(narrow.data(), part);
  for (std::size_t j = 0; j < narrow.size(); ++j) sums[j] = (add ? sums[j] : 0) + narrow[j];
}

// One body for both; a macro, because what differs needs other instructions than a shared template may use.
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage)
#define OLAB_TILE_512(add_products)                                                    \
  constexpr Index kRows = 12;                                                          \
  __m512i acc[kRows][2] = {}; /* NOLINT(modernize-avoid-c-arrays): registers */        \
  for (Index piece = 0; piece < words; piece += kPieceWords, a += kRows * kPieceWords) \
    for (Index p = 0; p < kPieceWords; ++p, w += 32) {                                 \
      const __m512i w0 = _mm512_loadu_si512(w);                                        \
      const __m512i w1 = _mm512_loadu_si512(w + 16);                                   \
      _Pragma("GCC unroll 12") for (Index i = 0; i < kRows; ++i) {                     \
        const __m512i x = _mm512_set1_epi32(static_cast<int>(a[i * kPieceWords + p])); \
        add_products(acc[i][0], x, w0);                                                \
        add_products(acc[i][1], x, w1);                                                \
      }                                                                                \
    }                                                                                  \
  _Pragma("GCC unroll 12") for (Index i = 0; i < kRows; ++i) {                         \
    put_sums(acc[i][0], add, sums + i * 32);                                           \
    put_sums(acc[i][1], add, sums + i * 32 + 16);                                      \
  }

OLAB_TARGET_AVX512 void tile_avx512(const std::uint32_t* a, const std::uint32_t* w, Index words, bool add,
                                    std::int64_t* sums){OLAB_TILE_512(add_pairs)}

OLAB_TARGET_VNNI void tile_vnni(const std::uint32_t* a, const std::uint32_t* w, Index words, bool add,
                                std::int64_t* sums){OLAB_TILE_512(add_quads)}
#undef OLAB_TILE_512

OLAB_TARGET_AVX512 void finish_avx512(const std::int64_t* sums, const TokenRows& a, const WeightRows& w,
                                      float* y, Index ldy, Index rows, Index columns) {
  const double* const step_w = w.step;  // y could be any of these, for all that the compiler knows
  const std::int64_t* const by_zero = w.by_zero;
  const std::int64_t* const by_sum = w.by_sum;
  for (Index i = 0; i < rows; ++i, sums += 32, y += ldy) {
    const __m512i zero = _mm512_set1_epi64(a.zero[i]);
    const __m512i sum_a = _mm512_set1_epi64(a.sum[i]);
    const __m512d step = _mm512_set1_pd(a.step[i]);
    for (Index j = 0; j < columns; j += 8) {
      const __m512i from_zero = _mm512_mullo_epi64(zero, _mm512_loadu_si512(by_zero + j));
      const __m512i from_sum = _mm512_mullo_epi64(sum_a, _mm512_loadu_si512(by_sum + j));
      const __m512i sum =
          _mm512_add_epi64(_mm512_add_epi64(_mm512_loadu_si512(sums + j), from_zero), from_sum);
      const __m512d scale = _mm512_mul_pd(step, _mm512_loadu_pd(step_w + j));
      const auto valid = static_cast<__mmask8>(columns - j >= 8 ? 0xFF : (1 << (columns - j)) - 1);
      const __m256 out = _mm512_maskz_cvtpd_ps(valid, _mm512_mul_pd(scale, _mm512_cvtepi64_pd(sum)));
      _mm256_mask_storeu_ps(y + j, valid, out);
    }
  }
}

#endif  // OLAB_X86_KERNELS

const ProductKernels& product_kernels(CpuLevel level) {
  static constexpr ProductKernels kPortable{1, 1, 2, tile_portable, finish_portable<1>};
#if OLAB_X86_KERNELS
  static constexpr ProductKernels kAvx2{6, 16, 2, tile_avx2, finish_portable<16>};
  static constexpr ProductKernels kAvx512{12, 32, 2, tile_avx512, finish_avx512};
  static constexpr ProductKernels kVnni{12, 32, 4, tile_vnni, finish_avx512};
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

/// `count` codes of a row, at most a piece of them, less `offset` (0, or 128), zeros behind; returns their
/// sum. Four in a word: c − 128 as a signed byte is c with its top bit flipped.
std::uint32_t pack_piece(const std::uint8_t* codes, Index count, Index fields, std::uint32_t offset,
                         std::uint32_t* out) {
  std::array<std::uint8_t, kPieceWords * 4> line{};
  if (count == static_cast<Index>(line.size()))
    std::memcpy(line.data(), codes, line.size());  // of a size that the compiler knows
  else
    std::memcpy(line.data(), codes, static_cast<std::size_t>(count));
  std::uint32_t sum = 0;
  for (const std::uint8_t code : line) sum += code;
  if (fields == 4) {
    for (std::uint8_t& code : line) code = static_cast<std::uint8_t>(code ^ offset);
    std::memcpy(out, line.data(), line.size());
  } else {
    std::array<std::uint16_t, kPieceWords * 2> wide{};
    for (std::size_t c = 0; c < wide.size(); ++c) wide[c] = static_cast<std::uint16_t>(line[c] - offset);
    std::memcpy(out, wide.data(), sizeof wide);
  }
  return sum;
}

/// Rows first … first + valid − 1 as a panel of `height` rows, for the left or the right of the product, with
/// the sum of every row's codes. Rows beyond are zero on the left and left as they are on the right.
void pack_left(const IntegerMatrix& m, Index first, Index valid, Index height, Index fields,
               std::uint32_t* panel, std::int64_t* sums) {
  std::fill_n(sums, height, 0);
  const Index piece = kPieceWords * fields;
  for (Index from = 0; from < m.cols; from += piece)
    for (Index r = 0; r < height; ++r, panel += kPieceWords)
      if (r < valid)
        sums[r] += pack_piece(m.row(first + r) + from, std::min(piece, m.cols - from), fields, 0, panel);
      else
        std::fill_n(panel, kPieceWords, 0U);
}

void pack_right(const IntegerMatrix& m, Index first, Index valid, Index height, Index fields,
                std::uint32_t* panel, std::int64_t* sums) {
  std::fill_n(sums, height, 0);
  const Index piece = kPieceWords * fields;
  std::array<std::uint32_t, kPieceWords> line{};
  for (Index from = 0; from < m.cols; from += piece, panel += kPieceWords * height)
    for (Index r = 0; r < valid; ++r) {
      sums[r] +=
          pack_piece(m.row(first + r) + from, std::min(piece, m.cols - from), fields, 128, line.data());
      for (Index i = 0; i < kPieceWords; ++i) panel[i * height + r] = line[static_cast<std::size_t>(i)];
    }
}

/// Of a row of `cols` codes, filled up to whole pieces.
Index words_of(Index cols, Index fields) {
  return rounded_up(cols, kPieceWords * fields) / fields;
}

/// What the sums of a tile will be written to, on its way while they are summed.
void fetch_for_writing(float* y, Index count) {
  for (Index j = 0; j < count; j += 16) __builtin_prefetch(y + j, 1);
  __builtin_prefetch(y + count - 1, 1);
}

std::int64_t integer_zero(const IntegerMatrix& m, Index row) {
  const float zero = m.zero[static_cast<std::size_t>(row)];
  assert(std::abs(zero) <= IntegerMatrix::kLargestZero);
  return static_cast<std::int64_t>(zero);
}

}  // namespace

void PackedCodes::pack(const IntegerMatrix& w, CpuLevel level) {
  rows_ = w.rows;
  cols_ = w.cols;
  level_ = level;
  const ProductKernels& kernels = product_kernels(level);
  const Index height = kernels.columns;
  const Index padded = rounded_up(rows_, height);
  const Index words = words_of(cols_, kernels.codes);
  if (words_.size() < padded * words) {
    words_.resize(padded * words);
    advise_huge_pages(words_.data(), static_cast<std::size_t>(words_.size()) * sizeof(std::uint32_t));
  }
  step_.resize(static_cast<std::size_t>(padded));
  by_zero_.resize(static_cast<std::size_t>(padded));
  by_sum_.resize(static_cast<std::size_t>(padded));
  parallel_for(padded / height, 1, [&](Index begin, Index end) {
    std::vector<std::int64_t> sums(static_cast<std::size_t>(height));
    for (Index p = begin; p < end; ++p) {
      const Index first = p * height;
      const Index valid = std::min(height, rows_ - first);
      pack_right(w, first, valid, height, kernels.codes, words_.data() + first * words, sums.data());
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
  const Index words = words_of(a.cols, kernels.codes);
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
        pack_left(a, first + top + row, valid, height, kernels.codes, packed.data() + row * words,
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
        const Index valid = std::min(width, w.rows_ - column);
        const Index from = piece % groups * kGroupPanels;
        const Index to = std::min(panels, from + kGroupPanels);
        const std::uint32_t* right = w.words_.data() + column * words;
        for (Index k = 0; k < words || k == 0; k += kBlockWords)
          for (Index p = from; p < to; ++p) {
            const Index row = p * height;
            const Index rows = std::min(height, tokens - row);
            const bool last = k + kBlockWords >= words;
            float* const out = y.data() + (top + row) * y.outerStride() + column;
            for (Index r = 0; r < rows && last; ++r) fetch_for_writing(out + r * y.outerStride(), valid);
            std::int64_t* const tile_sums = sums.data() + (p - from) * height * width;
            kernels.tile(packed.data() + row * words + k * height, right + k * width,
                         std::min(kBlockWords, words - k), k > 0, tile_sums);
            if (last)
              kernels.finish(tile_sums, {step.data() + row, zero.data() + row, sum.data() + row},
                             {w.step_.data() + column, w.by_zero_.data() + column, w.by_sum_.data() + column},
                             out, y.outerStride(), rows, valid);
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

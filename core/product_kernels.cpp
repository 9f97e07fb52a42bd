#include "core/product_kernels.hpp"

#include <algorithm>
#include <array>
#include <cassert>

#include "core/intrinsics.hpp"

namespace olab {
namespace {

using FullTile = void (*)(const float* a, const float* panel, Index k, float* y, Index ldy, bool go_on);

/// A tile of any size by the table of full-width tiles of 1 … Rows rows: one that is narrower than a panel
/// goes through a buffer.
template <Index Rows, Index Columns>
void run_tile(const std::array<FullTile, Rows>& tiles, const float* a, const float* panel, Index k, float* y,
              Index ldy, Index rows, Index columns, bool go_on) {
  assert(rows >= 1 && rows <= Rows && columns >= 1 && columns <= Columns && k <= kTileDepth);
  const FullTile tile = tiles[static_cast<std::size_t>(rows - 1)];
  if (columns == Columns) {
    tile(a, panel, k, y, ldy, go_on);
    return;
  }
  std::array<float, static_cast<std::size_t>(Rows * Columns)> buffer{};
  if (go_on)
    for (Index i = 0; i < rows; ++i) std::copy_n(y + i * ldy, columns, buffer.data() + i * Columns);
  tile(a, panel, k, buffer.data(), Columns, go_on);
  for (Index i = 0; i < rows; ++i) std::copy_n(buffer.data() + i * Columns, columns, y + i * ldy);
}

// ---- portable -------------------------------------------------------------------------------------------

// Four floats that every compiler here maps to what the machine has.
using Four = float __attribute__((vector_size(16)));
constexpr Index kPortableRows = 4;
constexpr Index kPortableColumns = 8;

template <int Rows>
void portable_tile(const float* a, const float* panel, Index k, float* y, Index ldy, bool go_on) {
  Four acc[Rows][2] = {};  // NOLINT(modernize-avoid-c-arrays): these are registers
  if (go_on)
    for (int r = 0; r < Rows; ++r) __builtin_memcpy(&acc[r][0], y + r * ldy, 2 * sizeof(Four));
  for (Index p = 0; p < k; ++p) {
    Four b0;
    Four b1;
    __builtin_memcpy(&b0, panel + p * kPortableColumns, sizeof b0);
    __builtin_memcpy(&b1, panel + p * kPortableColumns + 4, sizeof b1);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const float v = a[r * kTileStride + p];
      acc[r][0] += v * b0;
      acc[r][1] += v * b1;
    }
  }
  for (int r = 0; r < Rows; ++r) __builtin_memcpy(y + r * ldy, &acc[r][0], 2 * sizeof(Four));
}

void tile_portable(const float* a, const float* panel, Index k, float* y, Index ldy, Index rows,
                   Index columns, bool go_on) {
  static constexpr std::array<FullTile, kPortableRows> kTiles{portable_tile<1>, portable_tile<2>,
                                                              portable_tile<3>, portable_tile<4>};
  run_tile<kPortableRows, kPortableColumns>(kTiles, a, panel, k, y, ldy, rows, columns, go_on);
}

/// Squares of 8 keep both sides within a few cache lines.
void transpose_portable(const float* in, Index in_stride, Index rows, Index columns, float* out,
                        Index out_stride) {
  constexpr Index kSquare = 8;
  for (Index i0 = 0; i0 < rows; i0 += kSquare)
    for (Index j0 = 0; j0 < columns; j0 += kSquare)
      for (Index j = j0; j < std::min(columns, j0 + kSquare); ++j)
        for (Index i = i0; i < std::min(rows, i0 + kSquare); ++i)
          out[j * out_stride + i] = in[i * in_stride + j];
}

#if OLAB_X86_KERNELS

// ---- AVX2 -----------------------------------------------------------------------------------------------

constexpr Index kAvx2Rows = 6;
constexpr Index kAvx2Columns = 16;

template <int Rows, bool Fused>
OLAB_TARGET_AVX2 void avx2_tile(const float* a, const float* panel, Index k, float* y, Index ldy,
                                bool go_on) {
  __m256 acc[Rows][2];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r) {
    acc[r][0] = go_on ? _mm256_loadu_ps(y + r * ldy) : _mm256_setzero_ps();
    acc[r][1] = go_on ? _mm256_loadu_ps(y + r * ldy + 8) : _mm256_setzero_ps();
  }
  for (Index p = 0; p < k; ++p) {
    const __m256 b0 = _mm256_loadu_ps(panel + p * kAvx2Columns);
    const __m256 b1 = _mm256_loadu_ps(panel + p * kAvx2Columns + 8);
#pragma GCC unroll 6
    for (int r = 0; r < Rows; ++r) {
      const __m256 v = _mm256_set1_ps(a[r * kTileStride + p]);
      if (Fused) {
        acc[r][0] = _mm256_fmadd_ps(v, b0, acc[r][0]);
        acc[r][1] = _mm256_fmadd_ps(v, b1, acc[r][1]);
      } else {
        acc[r][0] = _mm256_add_ps(acc[r][0], _mm256_mul_ps(v, b0));
        acc[r][1] = _mm256_add_ps(acc[r][1], _mm256_mul_ps(v, b1));
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < Rows; ++r) {
    _mm256_storeu_ps(y + r * ldy, acc[r][0]);
    _mm256_storeu_ps(y + r * ldy + 8, acc[r][1]);
  }
}

template <bool Fused>
void tile_avx2(const float* a, const float* panel, Index k, float* y, Index ldy, Index rows, Index columns,
               bool go_on) {
  static constexpr std::array<FullTile, kAvx2Rows> kTiles{avx2_tile<1, Fused>, avx2_tile<2, Fused>,
                                                          avx2_tile<3, Fused>, avx2_tile<4, Fused>,
                                                          avx2_tile<5, Fused>, avx2_tile<6, Fused>};
  run_tile<kAvx2Rows, kAvx2Columns>(kTiles, a, panel, k, y, ldy, rows, columns, go_on);
}

/// 8 × 8.
OLAB_TARGET_AVX2 inline void transpose_square_avx2(const float* in, Index in_stride, float* out,
                                                   Index out_stride) {
  __m256 r[8];  // NOLINT(modernize-avoid-c-arrays): these are registers
  __m256 s[8];  // NOLINT(modernize-avoid-c-arrays)
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(in + i * in_stride);
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    const __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]);
    const __m256 b = _mm256_unpackhi_ps(r[i], r[i + 1]);
    const __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
    const __m256 d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
    s[i] = _mm256_shuffle_ps(a, c, 0x44);
    s[i + 1] = _mm256_shuffle_ps(a, c, 0xEE);
    s[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    s[i + 3] = _mm256_shuffle_ps(b, d, 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(out + i * out_stride, _mm256_permute2f128_ps(s[i], s[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * out_stride, _mm256_permute2f128_ps(s[i], s[i + 4], 0x31));
  }
}

void transpose_avx2(const float* in, Index in_stride, Index rows, Index columns, float* out,
                    Index out_stride) {
  const Index whole_rows = rows / 8 * 8;
  const Index whole_columns = columns / 8 * 8;
  for (Index i = 0; i < whole_rows; i += 8)
    for (Index j = 0; j < whole_columns; j += 8)
      transpose_square_avx2(in + i * in_stride + j, in_stride, out + j * out_stride + i, out_stride);
  if (whole_columns < columns)
    transpose_portable(in + whole_columns, in_stride, whole_rows, columns - whole_columns,
                       out + whole_columns * out_stride, out_stride);
  if (whole_rows < rows)
    transpose_portable(in + whole_rows * in_stride, in_stride, rows - whole_rows, columns, out + whole_rows,
                       out_stride);
}

// ---- AVX-512 --------------------------------------------------------------------------------------------

constexpr Index kAvx512Rows = 12;
constexpr Index kAvx512Columns = 32;

/// 24 sums, two of the panel and one of a: all registers. On CPUs with adders beside the multipliers (Zen 5)
/// separate multiply and add is as fast as fused.
template <int Rows, bool Fused>
OLAB_TARGET_AVX512 void avx512_tile(const float* a, const float* panel, Index k, float* y, Index ldy,
                                    bool go_on) {
  __m512 acc[Rows][2];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    acc[r][0] = go_on ? _mm512_loadu_ps(y + r * ldy) : _mm512_setzero_ps();
    acc[r][1] = go_on ? _mm512_loadu_ps(y + r * ldy + 16) : _mm512_setzero_ps();
  }
  for (Index p = 0; p < k; ++p) {
    const __m512 b0 = _mm512_loadu_ps(panel + p * kAvx512Columns);
    const __m512 b1 = _mm512_loadu_ps(panel + p * kAvx512Columns + 16);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const __m512 v = _mm512_set1_ps(a[r * kTileStride + p]);
      if (Fused) {
        acc[r][0] = _mm512_fmadd_ps(v, b0, acc[r][0]);
        acc[r][1] = _mm512_fmadd_ps(v, b1, acc[r][1]);
      } else {
        acc[r][0] = _mm512_add_ps(acc[r][0], _mm512_mul_ps(v, b0));
        acc[r][1] = _mm512_add_ps(acc[r][1], _mm512_mul_ps(v, b1));
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    _mm512_storeu_ps(y + r * ldy, acc[r][0]);
    _mm512_storeu_ps(y + r * ldy + 16, acc[r][1]);
  }
}

template <bool Fused>
void tile_avx512(const float* a, const float* panel, Index k, float* y, Index ldy, Index rows, Index columns,
                 bool go_on) {
  static constexpr std::array<FullTile, kAvx512Rows> kTiles{
      avx512_tile<1, Fused>, avx512_tile<2, Fused>,  avx512_tile<3, Fused>,  avx512_tile<4, Fused>,
      avx512_tile<5, Fused>, avx512_tile<6, Fused>,  avx512_tile<7, Fused>,  avx512_tile<8, Fused>,
      avx512_tile<9, Fused>, avx512_tile<10, Fused>, avx512_tile<11, Fused>, avx512_tile<12, Fused>};
  run_tile<kAvx512Rows, kAvx512Columns>(kTiles, a, panel, k, y, ldy, rows, columns, go_on);
}

/// 16 × 16 by four rounds of shuffles: within pairs, within quarters, between quarters, between halves.
/// OutStride 0: dynamic. Two times sixteen strides that are not constants are more than there are registers.
template <Index OutStride>
OLAB_TARGET_AVX512 inline void transpose_square_avx512(const float* in, Index in_stride, float* out,
                                                       Index dynamic_stride) {
  const Index out_stride = OutStride > 0 ? OutStride : dynamic_stride;
  __m512 r[16];  // NOLINT(modernize-avoid-c-arrays): these are registers
  __m512 s[16];  // NOLINT(modernize-avoid-c-arrays)
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(in + i * in_stride);
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512 a = _mm512_unpacklo_ps(r[i], r[i + 1]);
    const __m512 b = _mm512_unpackhi_ps(r[i], r[i + 1]);
    const __m512 c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]);
    const __m512 d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
    s[i] = _mm512_shuffle_ps(a, c, 0x44);
    s[i + 1] = _mm512_shuffle_ps(a, c, 0xEE);
    s[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
    s[i + 3] = _mm512_shuffle_ps(b, d, 0xEE);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 a = _mm512_shuffle_f32x4(s[i], s[i + 4], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(s[i], s[i + 4], 0xDD);
    const __m512 c = _mm512_shuffle_f32x4(s[i + 8], s[i + 12], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(s[i + 8], s[i + 12], 0xDD);
    _mm512_storeu_ps(out + i * out_stride, _mm512_shuffle_f32x4(a, c, 0x88));
    _mm512_storeu_ps(out + (i + 4) * out_stride, _mm512_shuffle_f32x4(b, d, 0x88));
    _mm512_storeu_ps(out + (i + 8) * out_stride, _mm512_shuffle_f32x4(a, c, 0xDD));
    _mm512_storeu_ps(out + (i + 12) * out_stride, _mm512_shuffle_f32x4(b, d, 0xDD));
  }
}

template <Index OutStride>
OLAB_TARGET_AVX512 void transpose_squares_avx512(const float* in, Index in_stride, Index rows, Index columns,
                                                 float* out, Index out_stride) {
  // What comes next is fetched, beyond `columns` as well: many rows are read side by side, more than the CPU
  // follows by itself.
  constexpr Index kAhead = 64;
  for (Index j = 0; j < columns; j += 16)
    for (Index i = 0; i < rows; i += 16) {
      const float* const square = in + i * in_stride + j;
      for (Index r = 0; r < 16; ++r) __builtin_prefetch(square + r * in_stride + kAhead);
      transpose_square_avx512<OutStride>(square, in_stride, out + j * out_stride + i, out_stride);
    }
}

OLAB_TARGET_AVX512 void transpose_avx512(const float* in, Index in_stride, Index rows, Index columns,
                                         float* out, Index out_stride) {
  const Index whole_rows = rows / 16 * 16;
  const Index whole_columns = columns / 16 * 16;
  if (out_stride == kAvx512Columns) {
    transpose_squares_avx512<kAvx512Columns>(in, in_stride, whole_rows, whole_columns, out, out_stride);
  } else {
    transpose_squares_avx512<0>(in, in_stride, whole_rows, whole_columns, out, out_stride);
  }
  if (whole_columns < columns)
    transpose_portable(in + whole_columns, in_stride, whole_rows, columns - whole_columns,
                       out + whole_columns * out_stride, out_stride);
  if (whole_rows < rows)
    transpose_portable(in + whole_rows * in_stride, in_stride, rows - whole_rows, columns, out + whole_rows,
                       out_stride);
}

#endif

}  // namespace

const ProductKernels& product_kernels(CpuLevel level) {
  static constexpr ProductKernels kPortable{kPortableRows, kPortableColumns, tile_portable, tile_portable,
                                            transpose_portable};
#if OLAB_X86_KERNELS
  static constexpr ProductKernels kAvx2{kAvx2Rows, kAvx2Columns, tile_avx2<false>, tile_avx2<true>,
                                        transpose_avx2};
  static constexpr ProductKernels kAvx512{kAvx512Rows, kAvx512Columns, tile_avx512<false>, tile_avx512<true>,
                                          transpose_avx512};
  static_assert(kAvx512Rows <= kMostTileRows && kAvx512Columns <= kMostTileColumns);
  if (level >= CpuLevel::avx512) return kAvx512;
  if (level == CpuLevel::avx2) return kAvx2;
#else
  (void)level;
#endif
  return kPortable;
}

LeftOperand::LeftOperand(const ConstMatrixRef& a) : rows_(a.rows()), cols_(a.cols()) {
  const Index stretches = (cols_ + kTileDepth - 1) / kTileDepth;
  values_.assign(static_cast<std::size_t>(stretches * rows_ * kTileStride), 0.0F);
  for (Index s = 0; s < stretches; ++s)
    for (Index i = 0; i < rows_; ++i)
      std::copy_n(a.row(i).data() + s * kTileDepth, std::min(kTileDepth, cols_ - s * kTileDepth),
                  values_.data() + (s * rows_ + i) * kTileStride);
}

void LeftOperand::multiply(const float* panel, const ProductKernels& kernels, ProductKernels::Tile tile,
                           float* y, Index ldy) const {
  const Index width = kernels.tile_columns;
  for (Index p = 0; p < cols_; p += kTileDepth)
    for (Index i = 0; i < rows_; i += kernels.tile_rows)
      tile(values_.data() + (p / kTileDepth * rows_ + i) * kTileStride, panel + p * width,
           std::min(kTileDepth, cols_ - p), y + i * ldy, ldy, std::min(kernels.tile_rows, rows_ - i), width,
           p > 0);
}

}  // namespace olab

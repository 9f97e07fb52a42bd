#include "core/hadamard.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/intrinsics.hpp"
#include "core/product_kernels.hpp"

// Offsets within one row or tile are small.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
namespace olab {
namespace {

/// One row of the transform by Sylvester's matrix of order n = 2^stages, in groups of n, without its scale.
struct Row {
  const float* from;  ///< may be `to`
  float* to;
  Index length;        ///< a multiple of n
  int stages;          ///< log2 n
  const float* signs;  ///< by which the values are multiplied first; null: none
  float scale;         ///< by which the results are multiplied; 1: not at all
  Index ahead;         ///< distance to values that come next, to be fetched; 0: none
};

/// The first stages of a run of values, in registers.
using Chunks = void (*)(const float* from, float* to, Index length, const float* signs, float scale,
                        Index ahead);
/// Further stages, from distance h on.
using Radix = void (*)(float* x, Index length, Index h, float scale);

struct HadamardKernels {
  void (*sylvester)(const Row& row) = nullptr;
  // For slabs of `tile_columns` values a row, see OddFactor::mix.
  /// even (1 + half rows): x_0, x_j + x_(m-j); odd (half rows): x_j - x_(m-j).
  void (*fold)(const float* x, Index stride, Index half, float* even, float* odd) = nullptr;
  /// y_0 = c_0 scale, y_k = (c_k + s_k) scale, y_(m-k) = (c_k - s_k) scale.
  void (*unfold)(const float* c, const float* s, Index half, float scale, float* y, Index stride) = nullptr;
  /// Rows of y = rows of x times scale.
  void (*copy)(const float* x, Index x_stride, Index rows, float scale, float* y, Index y_stride) = nullptr;
};

// ---- portable -------------------------------------------------------------------------------------------

void sylvester_portable(const Row& row) {
  float* const x = row.to;
  if (row.from != x) std::copy_n(row.from, row.length, x);
  if (row.signs != nullptr)
    for (Index i = 0; i < row.length; ++i) x[i] *= row.signs[i];
  const Index n = Index{1} << row.stages;
  for (Index half = 1; half < n; half *= 2)
    for (Index from = 0; from < row.length; from += 2 * half) {
      float* const a = x + from;
      float* const b = a + half;
      for (Index i = 0; i < half; ++i) {
        const float sum = a[i] + b[i];
        b[i] = a[i] - b[i];
        a[i] = sum;
      }
    }
  if (row.scale != 1.0F)
    for (Index i = 0; i < row.length; ++i) x[i] *= row.scale;
}

template <Index Width>
void fold_plain(const float* x, Index stride, Index half, float* even, float* odd) {
  std::copy_n(x, Width, even);
  for (Index j = 1; j <= half; ++j) {
    const float* const a = x + j * stride;
    const float* const b = x + (2 * half + 1 - j) * stride;
    for (Index i = 0; i < Width; ++i) even[j * Width + i] = a[i] + b[i];
    for (Index i = 0; i < Width; ++i) odd[(j - 1) * Width + i] = a[i] - b[i];
  }
}

template <Index Width>
void unfold_plain(const float* c, const float* s, Index half, float scale, float* y, Index stride) {
  for (Index i = 0; i < Width; ++i) y[i] = c[i] * scale;
  for (Index k = 1; k <= half; ++k) {
    float* const a = y + k * stride;
    float* const b = y + (2 * half + 1 - k) * stride;
    for (Index i = 0; i < Width; ++i) a[i] = (c[k * Width + i] + s[(k - 1) * Width + i]) * scale;
    for (Index i = 0; i < Width; ++i) b[i] = (c[k * Width + i] - s[(k - 1) * Width + i]) * scale;
  }
}

template <Index Width>
void copy_plain(const float* x, Index x_stride, Index rows, float scale, float* y, Index y_stride) {
  for (Index k = 0; k < rows; ++k)
    for (Index i = 0; i < Width; ++i) y[k * y_stride + i] = x[k * x_stride + i] * scale;
}

#if OLAB_X86_KERNELS

// ---- AVX2 -----------------------------------------------------------------------------------------------
// Within a vector, a stage is one shuffle that brings every value its partner, and one fused multiply-add
// with ±1: a product by ±1 has no rounding, so the sum is that of the plain butterfly, to the bit.

/// The first `Stages` stages of vectors of 8; those up to distance 4 within each, the others between them.
/// Which of them there are is known to the compiler: only then do the values stay in registers.
template <int V, int Stages>
OLAB_TARGET_AVX2 inline void stages_avx2(__m256 (&v)[V]) {  // NOLINT(modernize-avoid-c-arrays): registers
  const __m256 one = _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1);
  const __m256 two = _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1);
  const __m256 four = _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1);
#pragma GCC unroll 8
  for (int i = 0; i < V; ++i) {
    if (Stages > 0) v[i] = _mm256_fmadd_ps(v[i], one, _mm256_permute_ps(v[i], 0xB1));
    if (Stages > 1) v[i] = _mm256_fmadd_ps(v[i], two, _mm256_permute_ps(v[i], 0x4E));
    if (Stages > 2) v[i] = _mm256_fmadd_ps(v[i], four, _mm256_permute2f128_ps(v[i], v[i], 1));
  }
  if constexpr (V > 1) {
#pragma GCC unroll 3
    for (int s = 1; s < V; s *= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < V; ++i) {
        if (8 * s >= 1 << Stages || (i & s) != 0) continue;
        const __m256 a = v[i];
        const __m256 b = v[i + s];
        v[i] = _mm256_add_ps(a, b);
        v[i + s] = _mm256_sub_ps(a, b);
      }
    }
  }
}

/// Runs of V vectors.
template <int V, int Stages, bool Signed, bool Scaled>
OLAB_TARGET_AVX2 void chunks_avx2(const float* x, float* to, Index length, const float* signs, float scale,
                                  Index /*ahead*/) {
  for (Index from = 0; from < length; from += 8 * V) {
    __m256 v[V];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) {
      v[i] = _mm256_loadu_ps(x + from + 8 * i);
      if (Signed) v[i] = _mm256_mul_ps(v[i], _mm256_loadu_ps(signs + from + 8 * i));
    }
    stages_avx2<V, Stages>(v);
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i)
      _mm256_storeu_ps(to + from + 8 * i, Scaled ? _mm256_mul_ps(v[i], _mm256_set1_ps(scale)) : v[i]);
  }
}

/// log2 Q stages from distance h on.
template <int Q, bool Scaled>
OLAB_TARGET_AVX2 void radix_avx2(float* x, Index length, Index h, float scale) {
  for (Index from = 0; from < length; from += Q * h)
    for (Index i = from; i < from + h; i += 8) {
      __m256 v[Q];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q) v[q] = _mm256_loadu_ps(x + i + q * h);
#pragma GCC unroll 3
      for (int s = 1; s < Q; s *= 2) {
#pragma GCC unroll 8
        for (int q = 0; q < Q; ++q) {
          if ((q & s) != 0) continue;
          const __m256 a = v[q];
          const __m256 b = v[q + s];
          v[q] = _mm256_add_ps(a, b);
          v[q + s] = _mm256_sub_ps(a, b);
        }
      }
#pragma GCC unroll 8
      for (int q = 0; q < Q; ++q)
        _mm256_storeu_ps(x + i + q * h, Scaled ? _mm256_mul_ps(v[q], _mm256_set1_ps(scale)) : v[q]);
    }
}

struct Avx2 {
  static constexpr int kVectorStages = 3;
  static constexpr int kChunkStages = 6;
  static constexpr int kMostRadixStages = 3;
  static constexpr Index kNearRadix = 1 << 20;

  template <int Stages, bool Signed, bool Scaled>
  static constexpr Chunks chunks() {
    return chunks_avx2<8, Stages, Signed, Scaled>;
  }
  template <int Stages, bool Signed, bool Scaled>
  static constexpr Chunks vectors() {
    return chunks_avx2<1, Stages, Signed, Scaled>;
  }
  template <int Stages, bool Scaled>
  static constexpr Radix radix() {
    return radix_avx2<1 << Stages, Scaled>;
  }
};

// ---- AVX-512 --------------------------------------------------------------------------------------------

template <int V, int Stages>
OLAB_TARGET_AVX512 inline void stages_avx512(__m512 (&v)[V]) {  // NOLINT(modernize-avoid-c-arrays): registers
  // Each stage for all vectors at once: they hide one another's latency.
  if (Stages > 0) {
    const __m512 one = _mm512_setr_ps(1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1);
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) v[i] = _mm512_fmadd_ps(v[i], one, _mm512_permute_ps(v[i], 0xB1));
  }
  if (Stages > 1) {
    const __m512 two = _mm512_setr_ps(1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1);
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) v[i] = _mm512_fmadd_ps(v[i], two, _mm512_permute_ps(v[i], 0x4E));
  }
  if (Stages > 2) {
    const __m512 four = _mm512_setr_ps(1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1);
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) v[i] = _mm512_fmadd_ps(v[i], four, _mm512_shuffle_f32x4(v[i], v[i], 0xB1));
  }
  if (Stages > 3) {
    const __m512 eight = _mm512_setr_ps(1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1);
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) v[i] = _mm512_fmadd_ps(v[i], eight, _mm512_shuffle_f32x4(v[i], v[i], 0x4E));
  }
  if constexpr (V > 1) {
#pragma GCC unroll 4
    for (int s = 1; s < V; s *= 2) {
#pragma GCC unroll 16
      for (int i = 0; i < V; ++i) {
        if (16 * s >= 1 << Stages || (i & s) != 0) continue;
        const __m512 a = v[i];
        const __m512 b = v[i + s];
        v[i] = _mm512_add_ps(a, b);
        v[i + s] = _mm512_sub_ps(a, b);
      }
    }
  }
}

template <int V, int Stages, bool Signed, bool Scaled>
OLAB_TARGET_AVX512 void chunks_avx512(const float* x, float* to, Index length, const float* signs,
                                      float scale, Index ahead) {
  const __m512 by = _mm512_set1_ps(scale);
  for (Index from = 0; from < length; from += 16 * V) {
    if (ahead != 0) {
#pragma GCC unroll 16
      for (int i = 0; i < V; ++i) __builtin_prefetch(x + from + ahead + 16 * i);
    }
    __m512 v[V];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) {
      v[i] = _mm512_loadu_ps(x + from + 16 * i);
      if (Signed) v[i] = _mm512_mul_ps(v[i], _mm512_loadu_ps(signs + from + 16 * i));
    }
    stages_avx512<V, Stages>(v);
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) _mm512_storeu_ps(to + from + 16 * i, Scaled ? _mm512_mul_ps(v[i], by) : v[i]);
  }
}

template <int Q, bool Scaled>
OLAB_TARGET_AVX512 void radix_avx512(float* x, Index length, Index h, float scale) {
  const __m512 by = _mm512_set1_ps(scale);
  for (Index from = 0; from < length; from += Q * h)
    for (Index i = from; i < from + h; i += 16) {
      __m512 v[Q];  // NOLINT(modernize-avoid-c-arrays): these are registers
#pragma GCC unroll 16
      for (int q = 0; q < Q; ++q) v[q] = _mm512_loadu_ps(x + i + q * h);
#pragma GCC unroll 4
      for (int s = 1; s < Q; s *= 2) {
#pragma GCC unroll 16
        for (int q = 0; q < Q; ++q) {
          if ((q & s) != 0) continue;
          const __m512 a = v[q];
          const __m512 b = v[q + s];
          v[q] = _mm512_add_ps(a, b);
          v[q + s] = _mm512_sub_ps(a, b);
        }
      }
#pragma GCC unroll 16
      for (int q = 0; q < Q; ++q) _mm512_storeu_ps(x + i + q * h, Scaled ? _mm512_mul_ps(v[q], by) : v[q]);
    }
}

struct Avx512 {
  static constexpr int kVectorStages = 4;
  static constexpr int kChunkStages = 8;
  static constexpr int kMostRadixStages = 4;
  // Sixteen rows a power of two apart share few cache sets: no more than eight where they are far apart.
  static constexpr Index kNearRadix = 256;

  template <int Stages, bool Signed, bool Scaled>
  static constexpr Chunks chunks() {
    return chunks_avx512<16, Stages, Signed, Scaled>;
  }
  template <int Stages, bool Signed, bool Scaled>
  static constexpr Chunks vectors() {
    return chunks_avx512<1, Stages, Signed, Scaled>;
  }
  template <int Stages, bool Scaled>
  static constexpr Radix radix() {
    return radix_avx512<1 << Stages, Scaled>;
  }
};

// ---- both -----------------------------------------------------------------------------------------------

template <class Level, bool Signed, bool Scaled>
Chunks chunks_of(int stages) {
  constexpr std::array<Chunks, 9> kChunks{
      Level::template chunks<0, Signed, Scaled>(),
      Level::template chunks<1, Signed, Scaled>(),
      Level::template chunks<2, Signed, Scaled>(),
      Level::template chunks<3, Signed, Scaled>(),
      Level::template chunks<4, Signed, Scaled>(),
      Level::template chunks<5, Signed, Scaled>(),
      Level::template chunks<6, Signed, Scaled>(),
      Level::template chunks<std::min(7, Level::kChunkStages), Signed, Scaled>(),
      Level::template chunks<std::min(8, Level::kChunkStages), Signed, Scaled>()};
  return kChunks[static_cast<std::size_t>(stages)];
}

template <class Level, bool Signed, bool Scaled>
Chunks vectors_of(int stages) {
  constexpr std::array<Chunks, 5> kVectors{
      Level::template vectors<0, Signed, Scaled>(), Level::template vectors<1, Signed, Scaled>(),
      Level::template vectors<2, Signed, Scaled>(), Level::template vectors<3, Signed, Scaled>(),
      Level::template vectors<std::min(4, Level::kVectorStages), Signed, Scaled>()};
  return kVectors[static_cast<std::size_t>(stages)];
}

template <class Level, bool Scaled>
Radix radix_of(int stages) {
  constexpr std::array<Radix, 4> kRadix{
      Level::template radix<1, Scaled>(), Level::template radix<2, Scaled>(),
      Level::template radix<3, Scaled>(),
      Level::template radix<std::min(4, Level::kMostRadixStages), Scaled>()};
  return kRadix[static_cast<std::size_t>(stages - 1)];
}

/// The stages first … row.stages - 1 between vectors, the last ones with the scale.
template <class Level>
void far_stages(float* x, Index length, int first, int stages, float scale) {
  while (first < stages) {
    const Index h = Index{1} << first;
    const int left = stages - first;
    const int most = h <= Level::kNearRadix ? Level::kMostRadixStages : 3;
    const int take = left > most && left < 2 * most ? (left + 1) / 2 : std::min(left, most);
    first += take;
    if (first == stages && scale != 1.0F) {
      radix_of<Level, true>(take)(x, length, h, scale);
    } else {
      radix_of<Level, false>(take)(x, length, h, 1.0F);
    }
  }
}

/// The first stages by `kernel`s of vectors or chunks, the others between vectors.
template <class Level, bool Signed>
void run_stages(bool whole_chunks, const Row& row) {
  const int first = std::min(row.stages, whole_chunks ? Level::kChunkStages : Level::kVectorStages);
  const bool scaled = first == row.stages && row.scale != 1.0F;
  if (whole_chunks) {
    (scaled ? chunks_of<Level, Signed, true>(first) : chunks_of<Level, Signed, false>(first))(
        row.from, row.to, row.length, row.signs, row.scale, row.ahead);
  } else {
    (scaled ? vectors_of<Level, Signed, true>(first) : vectors_of<Level, Signed, false>(first))(
        row.from, row.to, row.length, row.signs, row.scale, 0);
  }
  far_stages<Level>(row.to, row.length, first, row.stages, row.scale);
}

/// A row is cut into whole chunks, whole vectors, and a rest of less than a vector. A group never crosses a
/// cut: it is a power of two, and where it is longer than a chunk, rows are whole chunks.
template <class Level>
void sylvester(const Row& row) {
  Index from = 0;
  for (const int part : {Level::kChunkStages, Level::kVectorStages, 0}) {
    const Index length = (row.length - from) >> part << part;
    if (length == 0) continue;
    Row piece = row;
    piece.from += from;
    piece.to += from;
    piece.length = length;
    if (row.signs != nullptr) piece.signs += from;
    from += length;
    if (part == 0) {
      sylvester_portable(piece);
    } else if (row.signs != nullptr) {
      run_stages<Level, true>(part == Level::kChunkStages, piece);
    } else {
      run_stages<Level, false>(part == Level::kChunkStages, piece);
    }
  }
}

constexpr Index kAvx512Width = 32;

OLAB_TARGET_AVX512 void fold_avx512(const float* x, Index stride, Index half, float* even, float* odd) {
  _mm512_storeu_ps(even, _mm512_loadu_ps(x));
  _mm512_storeu_ps(even + 16, _mm512_loadu_ps(x + 16));
  for (Index j = 1; j <= half; ++j)
    for (Index i = 0; i < kAvx512Width; i += 16) {
      const __m512 a = _mm512_loadu_ps(x + j * stride + i);
      const __m512 b = _mm512_loadu_ps(x + (2 * half + 1 - j) * stride + i);
      _mm512_storeu_ps(even + j * kAvx512Width + i, _mm512_add_ps(a, b));
      _mm512_storeu_ps(odd + (j - 1) * kAvx512Width + i, _mm512_sub_ps(a, b));
    }
}

OLAB_TARGET_AVX512 void unfold_avx512(const float* c, const float* s, Index half, float scale, float* y,
                                      Index stride) {
  const __m512 by = _mm512_set1_ps(scale);
  _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_loadu_ps(c), by));
  _mm512_storeu_ps(y + 16, _mm512_mul_ps(_mm512_loadu_ps(c + 16), by));
  for (Index k = 1; k <= half; ++k)
    for (Index i = 0; i < kAvx512Width; i += 16) {
      const __m512 a = _mm512_loadu_ps(c + k * kAvx512Width + i);
      const __m512 b = _mm512_loadu_ps(s + (k - 1) * kAvx512Width + i);
      _mm512_storeu_ps(y + k * stride + i, _mm512_mul_ps(_mm512_add_ps(a, b), by));
      _mm512_storeu_ps(y + (2 * half + 1 - k) * stride + i, _mm512_mul_ps(_mm512_sub_ps(a, b), by));
    }
}

OLAB_TARGET_AVX512 void copy_avx512(const float* x, Index x_stride, Index rows, float scale, float* y,
                                    Index y_stride) {
  const __m512 by = _mm512_set1_ps(scale);
  for (Index k = 0; k < rows; ++k)
    for (Index i = 0; i < kAvx512Width; i += 16)
      _mm512_storeu_ps(y + k * y_stride + i, _mm512_mul_ps(_mm512_loadu_ps(x + k * x_stride + i), by));
}

#endif

const HadamardKernels& hadamard_kernels(CpuLevel level) {
  static constexpr HadamardKernels kPortable{sylvester_portable, fold_plain<8>, unfold_plain<8>,
                                             copy_plain<8>};
#if OLAB_X86_KERNELS
  static constexpr HadamardKernels kAvx2{sylvester<Avx2>, fold_plain<16>, unfold_plain<16>, copy_plain<16>};
  static constexpr HadamardKernels kAvx512{sylvester<Avx512>, fold_avx512, unfold_avx512, copy_avx512};
  if (level >= CpuLevel::avx512) return kAvx512;
  if (level == CpuLevel::avx2) return kAvx2;
#else
  (void)level;
#endif
  return kPortable;
}

}  // namespace

OddFactor OddFactor::signs(Matrix core) {
  assert(core.rows() == core.cols() && core.rows() >= 1);
  OddFactor out;
  out.order_ = core.rows();
  if (out.order_ == 1) return out;
  const Matrix transposed = core.transpose();
  out.even_ = LeftOperand(transposed);
  out.core_ = std::move(core);
  return out;
}

OddFactor OddFactor::hartley(Index m) {
  assert(m >= 3 && m % 2 == 1);
  const Index half = (m - 1) / 2;
  const double turn = 2 * std::numbers::pi / static_cast<double>(m);
  Matrix cosines(half + 1, half + 1);
  Matrix sines(half, half);
  for (Index k = 0; k <= half; ++k)
    for (Index j = 0; j <= half; ++j) {
      // Reduced first: the angle stays small, and with it its rounding.
      const double angle = turn * static_cast<double>(j * k % m);
      cosines(k, j) = static_cast<float>(std::cos(angle));
      if (k > 0 && j > 0) sines(k - 1, j - 1) = static_cast<float>(std::sin(angle));
    }
  OddFactor out;
  out.order_ = m;
  out.hartley_ = true;
  out.even_ = LeftOperand(cosines);
  out.odd_ = LeftOperand(sines);
  return out;
}

Matrix OddFactor::matrix() const {
  if (order_ == 1) return Matrix::Ones(1, 1);
  if (!hartley_) return core_;
  Matrix out(order_, order_);
  const double turn = 2 * std::numbers::pi / static_cast<double>(order_);
  for (Index j = 0; j < order_; ++j)
    for (Index k = 0; k < order_; ++k) {
      const double angle = turn * static_cast<double>(j * k % order_);
      out(j, k) = static_cast<float>(std::cos(angle) + std::sin(angle));
    }
  return out;
}

Index OddFactor::scratch_size() const {
  return 2 * (order_ + 1) * kMostTileColumns;
}

void OddFactor::mix(float* x, Index stride, float scale, float* scratch, CpuLevel level) const {
  const HadamardKernels& kernels = hadamard_kernels(level);
  const ProductKernels& products = product_kernels(level);
  const Index width = products.tile_columns;
  float* const in = scratch;
  float* const out = scratch + (order_ + 1) * width;
  if (!hartley_) {
    kernels.copy(x, stride, order_, 1.0F, in, width);
    // Products by ±1 have no rounding, so fused ones have the same bits.
    even_.multiply(in, products, products.fused_tile, out, width);
    kernels.copy(out, width, order_, scale, x, stride);
    return;
  }
  const Index half = (order_ - 1) / 2;
  const Index odd = (half + 1) * width;
  kernels.fold(x, stride, half, in, in + odd);
  even_.multiply(in, products, products.tile, out, width);
  odd_.multiply(in + odd, products, products.tile, out + odd, width);
  kernels.unfold(out, out + odd, half, scale, x, stride);
}

FastHadamard::FastHadamard(Index block, OddFactor factor, Vector signs)
    : block_(block),
      inner_(block / factor.order()),
      scale_(static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)))),
      factor_(std::move(factor)),
      signs_(std::move(signs)) {
  assert(inner_ >= 1 && inner_ * factor_.order() == block_ && (inner_ & (inner_ - 1)) == 0);
}

bool FastHadamard::rows_apart(CpuLevel level) const {
  return factor_.order() == 1 || inner_ >= product_kernels(level).tile_columns;
}

void FastHadamard::apply(const ConstMatrixRef& from, MatrixRef to, CpuLevel level) const {
  assert(from.rows() == to.rows() && from.cols() == to.cols());
  assert(to.cols() % block_ == 0 && (signs_.size() == 0 || signs_.size() == to.cols()));
  const HadamardKernels& kernels = hadamard_kernels(level);
  const Index width = product_kernels(level).tile_columns;
  const bool mixed = factor_.order() > 1;
  Vector scratch(mixed ? factor_.scratch_size() : 0);
  Row row{};
  row.length = to.cols();
  for (Index n = inner_; n > 1; n /= 2) ++row.stages;
  row.signs = signs_.size() > 0 ? signs_.data() : nullptr;
  row.scale = mixed ? 1.0F : scale_;
  row.ahead = from.outerStride();
  for (Index t = 0; t < to.rows(); ++t) {
    row.from = from.data() + t * from.outerStride();
    row.to = to.data() + t * to.outerStride();
    kernels.sylvester(row);
    if (!mixed || inner_ < width) continue;
    // The factor mixes the rows of an order × inner_ matrix, a slab of columns at a time.
    for (Index j = 0; j < to.cols(); j += block_)
      for (Index i = 0; i < inner_; i += width)
        factor_.mix(row.to + j + i, inner_, scale_, scratch.data(), level);
  }
  if (!rows_apart(level)) mix_narrow_blocks(to, level);
}

/// Blocks that have fewer columns than a slab are put side by side.
void FastHadamard::mix_narrow_blocks(MatrixRef& x, CpuLevel level) const {
  const Index width = product_kernels(level).tile_columns;
  const Index m = factor_.order();
  const Index blocks = x.cols() / block_;
  const Index together = width / inner_;
  const Index all = x.rows() * blocks;
  Vector scratch(factor_.scratch_size());
  Vector slab = Vector::Zero(m * width);
  for (Index first = 0; first < all; first += together) {
    const Index count = std::min(together, all - first);
    const auto block_of = [&](Index b) {
      return x.row((first + b) / blocks).data() + (first + b) % blocks * block_;
    };
    for (Index b = 0; b < count; ++b)
      for (Index r = 0; r < m; ++r)
        std::copy_n(block_of(b) + r * inner_, inner_, slab.data() + r * width + b * inner_);
    factor_.mix(slab.data(), width, scale_, scratch.data(), level);
    for (Index b = 0; b < count; ++b)
      for (Index r = 0; r < m; ++r)
        std::copy_n(slab.data() + r * width + b * inner_, inner_, block_of(b) + r * inner_);
  }
}

}  // namespace olab
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

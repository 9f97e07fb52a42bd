#include "core/widen.hpp"

#include <array>
#include <cstdint>
#include <cstring>

#include "core/intrinsics.hpp"

namespace olab {
namespace {

using Widen = void (*)(const std::byte*, Index, float*);

std::uint16_t word(const std::byte* from, Index i) {
  std::uint16_t out = 0;
  std::memcpy(&out, from + 2 * i, sizeof out);
  return out;
}

void f16_portable(const std::byte* from, Index count, float* to) {
  for (Index i = 0; i < count; ++i) {
    Eigen::half value;
    value.x = word(from, i);
    to[i] = static_cast<float>(value);
  }
}

void bf16_portable(const std::byte* from, Index count, float* to) {
  for (Index i = 0; i < count; ++i) {
    const std::uint32_t bits = static_cast<std::uint32_t>(word(from, i)) << 16U;
    std::memcpy(to + i, &bits, sizeof bits);
  }
}

#if OLAB_X86_KERNELS

OLAB_TARGET_AVX2 void f16_avx2(const std::byte* from, Index count, float* to) {
  Index i = 0;
  for (; i + 8 <= count; i += 8) {
    __m128i half;
    __builtin_memcpy(&half, from + 2 * i, sizeof half);
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(half));
  }
  f16_portable(from + 2 * i, count - i, to + i);
}

OLAB_TARGET_AVX2 void bf16_avx2(const std::byte* from, Index count, float* to) {
  Index i = 0;
  for (; i + 8 <= count; i += 8) {
    __m128i half;
    __builtin_memcpy(&half, from + 2 * i, sizeof half);
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
    _mm256_storeu_ps(to + i, _mm256_castsi256_ps(wide));
  }
  bf16_portable(from + 2 * i, count - i, to + i);
}

OLAB_TARGET_AVX512 void f16_avx512(const std::byte* from, Index count, float* to) {
  Index i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i half;
    __builtin_memcpy(&half, from + 2 * i, sizeof half);
    _mm512_storeu_ps(to + i, _mm512_cvtph_ps(half));
  }
  f16_portable(from + 2 * i, count - i, to + i);
}

OLAB_TARGET_AVX512 void bf16_avx512(const std::byte* from, Index count, float* to) {
  Index i = 0;
  for (; i + 16 <= count; i += 16) {
    __m256i half;
    __builtin_memcpy(&half, from + 2 * i, sizeof half);
    const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
    _mm512_storeu_ps(to + i, _mm512_castsi512_ps(wide));
  }
  bf16_portable(from + 2 * i, count - i, to + i);
}

constexpr std::array<Widen, 4> kF16{f16_portable, f16_avx2, f16_avx512, f16_avx512};
constexpr std::array<Widen, 4> kBf16{bf16_portable, bf16_avx2, bf16_avx512, bf16_avx512};

#else

constexpr std::array<Widen, 4> kF16{f16_portable, f16_portable, f16_portable, f16_portable};
constexpr std::array<Widen, 4> kBf16{bf16_portable, bf16_portable, bf16_portable, bf16_portable};

#endif

}  // namespace

void widen_f16(const std::byte* from, Index count, float* to, CpuLevel level) {
  kF16[static_cast<std::size_t>(level)](from, count, to);
}

void widen_bf16(const std::byte* from, Index count, float* to, CpuLevel level) {
  kBf16[static_cast<std::size_t>(level)](from, count, to);
}

}  // namespace olab

#include "core/widen.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace olab {
namespace {

/// All 65536 patterns from an odd address, and every length that leaves a tail.
std::vector<std::byte> all_patterns() {
  std::vector<std::byte> out(1 + 2 * 65536);
  for (std::uint32_t i = 0; i < 65536; ++i) {
    const auto pattern = static_cast<std::uint16_t>(i);
    std::memcpy(out.data() + 1 + 2 * i, &pattern, sizeof pattern);
  }
  return out;
}

/// The value of a number with `exponent_bits` and 15 − exponent_bits bits behind them, by its definition.
double by_definition(std::uint32_t pattern, int exponent_bits) {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (pattern >> 15U) != 0 ? -1.0 : 1.0;
  const int exponent =
      static_cast<int>(pattern >> static_cast<unsigned>(mantissa_bits)) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(pattern) & ((1 << mantissa_bits) - 1);
  if (exponent == (1 << exponent_bits) - 1) return mantissa == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

TEST(Widen, GivesTheValueOfEveryPatternAtEveryLevel) {
  const std::vector<std::byte> bytes = all_patterns();
  for (const CpuLevel level : runnable_levels()) {
    std::vector<float> f16(65536);
    std::vector<float> bf16(65536);
    widen_f16(bytes.data() + 1, 65536, f16.data(), level);
    widen_bf16(bytes.data() + 1, 65536, bf16.data(), level);
    for (std::uint32_t i = 0; i < 65536; ++i) {
      const double want_f16 = by_definition(i, 5);
      const double want_bf16 = by_definition(i, 8);
      ASSERT_TRUE(std::isnan(want_f16) ? std::isnan(f16[i]) : f16[i] == want_f16)
          << i << cpu_level_name(level);
      ASSERT_TRUE(std::isnan(want_bf16) ? std::isnan(bf16[i]) : bf16[i] == want_bf16)
          << i << cpu_level_name(level);
    }
  }
}

TEST(Widen, WritesNothingBehindItsEnd) {
  const std::vector<std::byte> bytes = all_patterns();
  for (const CpuLevel level : runnable_levels()) {
    for (Index count = 0; count < 40; ++count) {
      std::vector<float> out(64, -7.0F);
      widen_bf16(bytes.data() + 1 + 2 * 16000, count, out.data(), level);
      for (std::size_t i = 0; i < out.size(); ++i)
        EXPECT_EQ(out[i] == -7.0F, static_cast<Index>(i) >= count) << count << cpu_level_name(level);
    }
  }
}

}  // namespace
}  // namespace olab

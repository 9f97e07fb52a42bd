#include "core/cpu.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>

#include "core/error.hpp"

namespace olab {
namespace {

constexpr std::array<std::string_view, 4> kNames{"portable", "avx2", "avx512", "vnni"};

CpuLevel chosen_level() {
  const char* const wanted = std::getenv("OLAB_CPU_LEVEL");  // NOLINT(concurrency-mt-unsafe): read once
  const CpuLevel have = detected_level();
  if (wanted == nullptr || *wanted == '\0') return have;
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] != wanted) continue;
    const auto level = static_cast<CpuLevel>(i);
    if (level > have)
      throw Error(fmt::format("OLAB_CPU_LEVEL={}: this CPU has only {}; unset the variable", wanted,
                              cpu_level_name(have)));
    return level;
  }
  throw Error(fmt::format("OLAB_CPU_LEVEL={}: unknown level; write portable, avx2, avx512 or vnni", wanted));
}

}  // namespace

std::string_view cpu_level_name(CpuLevel level) {
  return kNames[static_cast<std::size_t>(level)];
}

CpuLevel detected_level() {
#if OLAB_X86_KERNELS
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::portable;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return CpuLevel::avx2;
  return __builtin_cpu_supports("avx512vnni") ? CpuLevel::vnni : CpuLevel::avx512;
#else
  return CpuLevel::portable;
#endif
}

CpuLevel cpu_level() {
  static const CpuLevel level = chosen_level();
  return level;
}

std::vector<CpuLevel> runnable_levels() {
  std::vector<CpuLevel> out;
  for (int i = 0; i <= static_cast<int>(detected_level()); ++i) out.push_back(static_cast<CpuLevel>(i));
  return out;
}

bool cpu_has_bf16() {
#if OLAB_X86_KERNELS
  return detected_level() >= CpuLevel::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

bool cpu_has_fp16() {
#if OLAB_X86_KERNELS
  // Neither compiler of Debian 12 knows the feature by name: CPUID leaf 7, EDX bit 23.
  if (detected_level() < CpuLevel::avx512) return false;
  unsigned eax = 7;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (edx >> 23U & 1U) != 0;
#else
  return false;
#endif
}

}  // namespace olab

#include "core/cpu.hpp"

#include <gtest/gtest.h>

namespace olab {
namespace {

TEST(CpuLevels, RiseFromPortableToWhatThisMachineHas) {
  const std::vector<CpuLevel> levels = runnable_levels();
  ASSERT_FALSE(levels.empty());
  EXPECT_EQ(levels.front(), CpuLevel::portable);
  EXPECT_EQ(levels.back(), detected_level());
  for (std::size_t i = 1; i < levels.size(); ++i) EXPECT_LT(levels[i - 1], levels[i]);
  EXPECT_LE(cpu_level(), detected_level());
}

TEST(CpuLevels, HaveNamesThatTheEnvironmentVariableTakes) {
  EXPECT_EQ(cpu_level_name(CpuLevel::portable), "portable");
  EXPECT_EQ(cpu_level_name(CpuLevel::avx2), "avx2");
  EXPECT_EQ(cpu_level_name(CpuLevel::avx512), "avx512");
  EXPECT_EQ(cpu_level_name(CpuLevel::vnni), "vnni");
}

}  // namespace
}  // namespace olab

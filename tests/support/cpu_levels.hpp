// Test suites that run once for each instruction level of this machine.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/cpu.hpp"

namespace olab::test {

/// For INSTANTIATE_TEST_SUITE_P over runnable_levels(): the level's name.
inline std::string level_label(const testing::TestParamInfo<CpuLevel>& info) {
  return std::string(cpu_level_name(info.param));
}

}  // namespace olab::test

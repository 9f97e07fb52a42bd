// What errors say.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "core/error.hpp"

namespace olab::test {

/// The message of the Error that `action` throws; "" where it throws none.
template <class F>
std::string error_of(const F& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_TRUE(contains(text, part)) << "'" << part << "' is not in:\n" << text;
}

}  // namespace olab::test

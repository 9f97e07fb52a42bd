#include "core/utf8.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace {

constexpr std::size_t kNone = std::string_view::npos;

TEST(Utf8, EveryCharacterIsVisitedWithItsOffset) {
  std::vector<std::pair<std::size_t, std::uint32_t>> seen;
  const auto visit = [&](std::size_t offset, std::uint32_t code) { seen.emplace_back(offset, code); };
  EXPECT_EQ(olab::scan_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", visit), kNone);
  const std::vector<std::pair<std::size_t, std::uint32_t>> wanted{
      {0, 'a'}, {1, 0xE9}, {3, 0x20AC}, {6, 0x1F600}, {10, 'z'}};
  EXPECT_EQ(seen, wanted);
}

TEST(Utf8, TheFirstBadByteIsTold) {
  EXPECT_EQ(olab::scan_utf8("", {}), kNone);
  EXPECT_EQ(olab::scan_utf8("abc\xe9 d", {}), 3U);
  EXPECT_EQ(olab::scan_utf8("ab\xe2\x82", {}), 2U);        // cut short
  EXPECT_EQ(olab::scan_utf8("a\xc0\x80", {}), 1U);         // too long a form
  EXPECT_EQ(olab::scan_utf8("\xed\xa0\x80", {}), 0U);      // half of a pair
  EXPECT_EQ(olab::scan_utf8("\xf5\x80\x80\x80", {}), 0U);  // beyond Unicode
}

}  // namespace

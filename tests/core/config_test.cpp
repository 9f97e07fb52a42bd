#include "core/config.hpp"

#include <gtest/gtest.h>

#include <string>

#include "core/error.hpp"

namespace olab {
namespace {

std::string why(const std::string& text) {
  try {
    (void)parse_yaml(text, "f.yaml");
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Config, KnowsWhereEveryEntryStands) {
  const ConfigNode root = parse_yaml("a: 1\nb:\n  c: [x, y]\n", "f.yaml");
  EXPECT_EQ(root.at("a").where, "f.yaml:1:1");
  EXPECT_EQ(root.at("b").at("c").where, "f.yaml:3:3");
  EXPECT_EQ(root.at("b").at("c").items[1].where, "f.yaml:3:10");
}
TEST(Config, AccessorsNamePlaceAndKey) {
  const ConfigNode root = parse_yaml("a: x\nb: 5\n", "f.yaml");
  const auto message = [](auto&& body) {
    try {
      body();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message([&] { (void)root.at("a").integer("'a'", 0, 9); }),
            "f.yaml:1:1: 'a' must be a whole number, not 'x'");
  EXPECT_EQ(message([&] { (void)root.at("b").integer("'b'", 0, 4); }),
            "f.yaml:2:1: 'b' is 5; it must be from 0 to 4");
  EXPECT_EQ(message([&] { (void)root.at("a").boolean("'a'"); }),
            "f.yaml:1:1: 'a' must be true or false, not 'x'");
  EXPECT_EQ(message([&] {
              root.require_map("a study", {"a", "bb"});
            }),
            "f.yaml:2:1: a study has no key 'b'; did you mean 'a'? Known: a, bb");
  EXPECT_EQ(message([&] { (void)root.at("c"); }), "f.yaml:1:1: the key 'c' is missing");
  EXPECT_EQ(message([&] { (void)root.at("a").number("'a'", 0, 1); }),
            "f.yaml:1:1: 'a' must be a number, not 'x'");
}
TEST(Config, RefusesBadYaml) {
  EXPECT_EQ(why("a: 1\na: 2\n"), "f.yaml:2:1: the key 'a' stands twice in one map; keep one");
  EXPECT_EQ(why("a: [1, 2\n").substr(0, 27), "f.yaml:2:1: not valid YAML:");
  EXPECT_EQ(why("? [a]\n: 1\n"), "f.yaml:1:1: a key must be a plain text");
}
TEST(Config, RefusesWhatItCouldNotWriteBack) {
  EXPECT_EQ(why("a: \xff\n"), "f.yaml: byte 3 is not UTF-8; save the file as UTF-8");
  EXPECT_EQ(why("a: \x03\n"), "f.yaml: control character 0x03 at byte 3; remove it");
  EXPECT_EQ(why(std::string("a: \0b", 5)), "f.yaml: control character 0x00 at byte 3; remove it");
  EXPECT_NE(why("a: 1\nq: \"\\N\"\n"), "accepted");
  EXPECT_EQ(why("a: \"\xc3\xa4\"\n"), "accepted");
}
TEST(Config, RefusesAliasBombs) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string n = std::to_string(i);
    const std::string p = "*a" + std::to_string(i - 1);
    text += "a" + n + ": &a" + n + " [" + p;
    for (int k = 0; k < 9; ++k) text += ", " + p;
    text += "]\n";
  }
  EXPECT_NE(why(text).find("more than 1000000 values"), std::string::npos);
}
TEST(Config, WritesWhatItReads) {
  const std::string text = "a: 1\nb:\n  - rtn\n  - duquant:\n      alpha: [0.5, 0.6]\nc: \"true\"\nd: ~\n";
  const ConfigNode once = parse_yaml(text, "f");
  const std::string written = to_yaml(once);
  EXPECT_EQ(to_yaml(parse_yaml(written, "f")), written);
  EXPECT_NE(written.find("c: \"true\""), std::string::npos);
}
TEST(Config, AMissingFileIsAnError) {
  try {
    (void)load_yaml("/nonexistent/x.yaml");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), "config file /nonexistent/x.yaml: it cannot be read; does it exist?");
  }
}

}  // namespace
}  // namespace olab

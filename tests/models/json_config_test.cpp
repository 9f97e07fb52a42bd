#include "models/json_config.hpp"

#include <gtest/gtest.h>

#include "messages.hpp"
#include "temp_dir.hpp"

namespace {

using olab::ConfigNode;
using olab::parse_json;
using olab::test::contains;
using olab::test::error_of;
using olab::test::expect_contains;

std::string json_error(const std::string& text) {
  return error_of([&] { parse_json(text, "config.json"); });
}

TEST(JsonConfig, EveryKindOfValueIsRead) {
  const ConfigNode root = parse_json(
      R"({"n": -3, "big": 12345678901234567890, "x": 1e-05, "t": "a\u00e9\n", "b": true, "none": null, )"
      R"("list": [1, {"k": "v"}], "empty": {}})",
      "config.json");
  EXPECT_EQ(root.at("n").integer("it", -10, 10), -3);
  EXPECT_EQ(root.at("big").scalar, "12345678901234567890");
  EXPECT_EQ(root.at("x").number("it", 0, 1), 1e-5);
  EXPECT_EQ(root.at("t").scalar, "a\xc3\xa9\n");
  EXPECT_TRUE(root.at("t").quoted);
  EXPECT_FALSE(root.at("n").quoted);
  EXPECT_TRUE(root.at("b").boolean("it"));
  EXPECT_TRUE(root.at("none").is_null());
  EXPECT_EQ(root.at("list").items.at(1).at("k").scalar, "v");
  EXPECT_TRUE(root.at("empty").is_map());
  EXPECT_EQ(olab::find_value(root, "none"), nullptr);
  EXPECT_EQ(olab::find_value(root, "missing"), nullptr);
  EXPECT_NE(olab::find_value(root, "b"), nullptr);
}

TEST(JsonConfig, EveryValueKnowsItsPlace) {
  const ConfigNode root = parse_json(R"({"a": {"b": [0, {"c": 1}]}, "d": [[7]]})", "m/config.json");
  EXPECT_EQ(root.where, "m/config.json");
  EXPECT_EQ(root.at("a").where, "m/config.json: a");
  EXPECT_EQ(root.at("a").at("b").items.at(1).at("c").where, "m/config.json: a.b[1].c");
  EXPECT_EQ(root.at("d").items.at(0).items.at(0).where, "m/config.json: d[0][0]");
  EXPECT_EQ(parse_json("[5]", "x").items.at(0).where, "x: [0]");
  EXPECT_EQ(error_of([&] { root.at("a").at("z"); }), "m/config.json: a: the key 'z' is missing");
  EXPECT_EQ(error_of([&] { root.at("d").integer("it", 0, 1); }),
            "m/config.json: d: it must be a single text");
}

TEST(JsonConfig, WhatIsNoJsonIsRefusedWithTheByte) {
  expect_contains(json_error("{\"a\": 1,}"), "config.json: byte 8: this is no valid JSON");
  for (const char* text : {"", "{", "{\"a\": NaN}", "{} {}", "{\"a\": 1} // b", "[1 2]", "{'a': 1}",
                           "\"\xff\"", "{\"a\": 1e999}", "nul"})
    expect_contains(json_error(text), "this is no valid JSON");
  expect_contains(json_error(std::string("{}\0", 3)), "config.json: byte 2: a NUL stands in the text");
}

TEST(JsonConfig, AKeyThatStandsTwiceIsRefused) {
  EXPECT_EQ(json_error(R"({"a": {"b": 1, "c": 2, "b": 3}})"),
            "config.json: a: the key 'b' stands twice; keep one");
}

TEST(JsonConfig, DeepAndLargeTreesAreRefused) {
  expect_contains(json_error(std::string(33, '[') + std::string(33, ']')), "nested more than 32 deep");
  EXPECT_EQ(json_error(std::string(32, '[') + std::string(32, ']')), "");
  std::string many = "[0";
  for (int i = 0; i < 1'000'000; ++i) many += ",0";
  expect_contains(json_error(many + "]"), "there are more than 1000000 values");
}

TEST(JsonConfig, ALongKeyIsNotWrittenOutForEveryValueBelowIt) {
  const ConfigNode root = parse_json("{\"" + std::string(5000, 'k') + "\": {\"a\": [1, 2]}}", "x");
  EXPECT_EQ(root.entries.at(0).second.where, "x");
  EXPECT_LT(root.entries.at(0).second.at("a").items.at(1).where.size(), 20U);
}

TEST(JsonConfig, AFileThatIsMissingOrHugeIsRefused) {
  const olab::test::TempDir dir;
  expect_contains(error_of([&] { olab::load_json(dir / "a.json", "index"); }),
                  "a.json: this index does not exist");
  olab::test::write_file(dir / "huge.json", "{}");
  std::filesystem::resize_file(dir / "huge.json", (std::uintmax_t{64} << 20U) + 1);
  expect_contains(error_of([&] { olab::load_json(dir / "huge.json", "index"); }),
                  "the largest that is read has 67108864");
}

}  // namespace

#include "core/text.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace olab {
namespace {

TEST(Text, GlobsMatchWholeNames) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("*.q_proj", "model.layers.0.self_attn.q_proj"));
  EXPECT_FALSE(glob_match("*.q_proj", "model.layers.0.self_attn.q_proj2"));
  EXPECT_TRUE(glob_match("model.layers.{0,1,31}.*", "model.layers.31.mlp.down_proj"));
  EXPECT_FALSE(glob_match("model.layers.{0,1,31}.*", "model.layers.3.mlp.down_proj"));
  EXPECT_TRUE(glob_match("{a,b}{1,2}", "b2"));
  EXPECT_TRUE(glob_match("?_proj", "k_proj"));
  EXPECT_TRUE(glob_match("a*b*c", "aXbbYc"));
  EXPECT_FALSE(glob_match("", "x"));
}
TEST(Text, NearestNeedsSomeLikeness) {
  const std::vector<std::string> known{"duquant", "hadamard", "rtn"};
  EXPECT_EQ(nearest("duqant", known), "duquant");
  EXPECT_EQ(nearest("hadamrd", known), "hadamard");
  EXPECT_EQ(nearest("zzzzzzzz", known), "");
  EXPECT_EQ(suggestion("duqant", known), "; did you mean 'duquant'? Known: duquant, hadamard, rtn");
  EXPECT_EQ(suggestion("x", {}), "; there are none");
}
TEST(Text, SplitsOnlyOutsideOfBrackets) {
  EXPECT_EQ(split_top_level("a, b(c, d), [e, f]", ','), (std::vector<std::string>{"a", "b(c, d)", "[e, f]"}));
  EXPECT_EQ(split_top_level("'a,b', c", ','), (std::vector<std::string>{"'a,b'", "c"}));
  EXPECT_THROW(split_top_level("a(b", ','), Error);
  EXPECT_THROW(split_top_level("a)b", ','), Error);
  EXPECT_THROW(split_top_level("'a", ','), Error);
}
TEST(Text, NumbersRoundTrip) {
  for (const double v : {0.1, 1.0 / 3.0, 1e300, -2.5e-310, 123456789.0}) {
    double back = 0;
    ASSERT_TRUE(parse_double(to_text(v), back)) << v;
    EXPECT_EQ(back, v);
  }
  EXPECT_EQ(to_text(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(to_text(-std::numeric_limits<double>::infinity()), "-inf");
  double d = 0;
  EXPECT_TRUE(parse_double("nan", d));
  EXPECT_TRUE(std::isnan(d));
  EXPECT_FALSE(parse_double("1.5x", d));
  EXPECT_FALSE(parse_double("", d));
  std::int64_t i = 0;
  EXPECT_FALSE(parse_integer("1.0", i));
  EXPECT_FALSE(parse_integer("99999999999999999999", i));
}
TEST(Text, HumanUnits) {
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_seconds(0.0142), "14 ms");
  EXPECT_EQ(human_seconds(125), "2 min 05 s");
  EXPECT_EQ(human_seconds(3720), "1 h 02 min");
  EXPECT_EQ(human_seconds(-1), "?");
}

}  // namespace
}  // namespace olab

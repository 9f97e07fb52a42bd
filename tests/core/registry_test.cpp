#include "core/registry.hpp"

#include <gtest/gtest.h>

#include <string>

#include "core/registries.hpp"
#include "core/text.hpp"

namespace olab {

// Core only knows the name; any class will do.
class Reader {
 public:
  virtual ~Reader() = default;
};

namespace {

struct Sample final : Reader {
  std::string strategy = "zigzag";
  std::int64_t block = 128;
  double alpha = 0.5;
  bool signs = false;
  std::string mode = "paper";
};

Schema<Sample> schema() {
  return Schema<Sample>("sample", "A sample", "nowhere")
      .param("strategy", &Sample::strategy, "a text")
      .param("block", &Sample::block, "a size", 2, 1024)
      .also("full", 0)
      .param("alpha", &Sample::alpha, "a number", 0, 1)
      .param("signs", &Sample::signs, "a flag")
      .choice("mode", &Sample::mode, "one of two", {"paper", "code"});
}
Registries sample_registries() {
  Registries r;
  r.readers.add(schema());
  r.readers.alias("smp", "sample");
  return r;
}
std::string why(const std::string& spec) {
  const Registries r = sample_registries();
  try {
    return "accepted: " + r.readers.canonical(spec, r);
  } catch (const Error& e) {
    return e.what();
  }
}

TEST(Registry, CanonicalTextHasEveryParameterAndIsAFixedPoint) {
  const std::string all = "sample(strategy=zigzag,block=128,alpha=0.5,signs=false,mode=paper)";
  EXPECT_EQ(why("sample"), "accepted: " + all);
  EXPECT_EQ(why(all), "accepted: " + all);
  EXPECT_EQ(why("smp()"), "accepted: " + all) << "an alias has the canonical name";
  EXPECT_EQ(why("sample(block=full)"),
            "accepted: sample(strategy=zigzag,block=full,alpha=0.5,signs=false,mode=paper)");
  EXPECT_EQ(why("sample(random, alpha=1)"),
            "accepted: sample(strategy=random,block=128,alpha=1,signs=false,mode=paper)");
}
TEST(Registry, TextsWithSpecialCharactersRoundTrip) {
  const std::string canonical = why("sample([a(b=1) | c])").substr(10);
  EXPECT_EQ(canonical, "sample(strategy=[a(b=1) | c],block=128,alpha=0.5,signs=false,mode=paper)");
  EXPECT_EQ(why(canonical), "accepted: " + canonical);
}
TEST(Registry, ErrorsNameTheCulprit) {
  EXPECT_EQ(why("sampel"), "no reader is called 'sampel'; did you mean 'sample'? Known: sample");
  EXPECT_EQ(
      why("sample(alpa=1)"),
      "sample has no parameter 'alpa'; did you mean 'alpha'? Known: strategy, block, alpha, signs, mode");
  EXPECT_EQ(why("sample(alpha=2)"), "sample.alpha: 2 is outside 0 to 1");
  EXPECT_EQ(why("sample(alpha=nan)"), "sample.alpha: nan is outside 0 to 1");
  EXPECT_EQ(why("sample(block=4.5)"), "sample.block: '4.5' is not a whole number or 'full'");
  EXPECT_EQ(why("sample(block=1)"), "sample.block: 1 is outside 2 to 1024 or 'full'");
  EXPECT_EQ(why("sample(signs=yes)"), "sample.signs: 'yes' is neither true nor false");
  EXPECT_EQ(why("sample(mode=cod)"),
            "sample.mode: 'cod' is no choice; did you mean 'code'? Known: paper, code");
  EXPECT_EQ(why("sample(block=4,block=8)"), "sample.block: given twice");
  EXPECT_EQ(why("sample(block=4"), "'sample(block=4': the closing ')' is missing");
  EXPECT_EQ(why(""), "'': a name is missing; write name or name(key=value, ...)");
}
TEST(Registry, ASpecErrorKnowsItsKey) {
  const Registries r = sample_registries();
  try {
    (void)r.readers.canonical("sample(alpha=2)", r);
    FAIL();
  } catch (const SpecError& e) {
    EXPECT_EQ(e.key(), "alpha");
  }
}
TEST(Registry, ValuesReachTheObject) {
  const Registries r = sample_registries();
  const std::unique_ptr<Reader> made = r.readers.make("sample(block=64,signs=true,alpha=0.25)", r);
  const auto& s = dynamic_cast<const Sample&>(*made);
  EXPECT_EQ(s.block, 64);
  EXPECT_TRUE(s.signs);
  EXPECT_EQ(s.alpha, 0.25);
  EXPECT_EQ(s.mode, "paper");
}
TEST(Registry, TwoOfOneNameAreRefused) {
  Registries r = sample_registries();
  EXPECT_THROW(r.readers.add(schema()), Error);
  EXPECT_THROW(r.readers.alias("smp", "sample"), Error);
  EXPECT_EQ(r.readers.names(), std::vector<std::string>{"sample"});
}
TEST(Registry, ShortTextHasOnlyWhatDiffers) {
  const Registries r = sample_registries();
  const Info& info = r.readers.info("sample");
  EXPECT_EQ(short_text(info, r.readers.resolve(parse_spec("sample"), r)), "sample");
  EXPECT_EQ(short_text(info, r.readers.resolve(parse_spec("sample(alpha=0.5,block=full)"), r)),
            "sample(block=full)");
}

TEST(Registry, APresetStandsForValuesAndGivesWayToThoseGivenByName) {
  Registries r;
  r.readers.add(schema()
                    .preset("style", "old", "as it was", {{"alpha", "0.25"}, {"block", "full"}})
                    .preset("style", "new", "as it is", {{"signs", "true"}}));
  const auto canonical = [&](const std::string& spec) { return r.readers.canonical(spec, r); };
  const std::string old = "sample(strategy=zigzag,block=full,alpha=0.25,signs=false,mode=paper)";
  EXPECT_EQ(canonical("sample(style=old)"), old);
  EXPECT_EQ(canonical(old), old) << "the identity holds values, not words";
  EXPECT_EQ(canonical("sample(alpha=1, style=old)"),
            "sample(strategy=zigzag,block=full,alpha=1,signs=false,mode=paper)");
  EXPECT_EQ(canonical("sample(style=new)"),
            "sample(strategy=zigzag,block=128,alpha=0.5,signs=true,mode=paper)");
  const auto refused = [&](const std::string& spec) -> std::string {
    try {
      return "accepted: " + canonical(spec);
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_EQ(refused("sample(style=odd)"),
            "sample.style: 'odd' is no choice; did you mean 'old'? Known: old, new");
  EXPECT_EQ(refused("sample(style=old, style=new)"), "sample.style: given twice");
  EXPECT_NE(refused("sample(stile=old)").find("did you mean 'style'?"), std::string::npos);
}

}  // namespace
}  // namespace olab

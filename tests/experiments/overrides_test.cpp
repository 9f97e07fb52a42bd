#include "experiments/overrides.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.hpp"

namespace olab {
namespace {

constexpr const char* kStudy = R"(
seed: 0
data: {layers: ["*"], tokens: 8}
methods:
  - rtn
  - duquant: {alpha: 0.6}
)";

std::string apply(const std::vector<std::string>& overrides) {
  ConfigNode root = parse_yaml(kStudy, "s.yaml");
  apply_overrides(root, overrides);
  return to_yaml(root);
}
std::string why(const std::string& text) {
  try {
    return "accepted: " + apply({text});
  } catch (const Error& e) {
    return e.what();
  }
}

TEST(Overrides, SetAScalarThatExists) {
  EXPECT_EQ(apply({"seed=7"}).substr(0, 7), "seed: 7");
}
TEST(Overrides, CommasMakeAnAxis) {
  EXPECT_NE(apply({"seed=0,1,2"}).find("seed: [0, 1, 2]"), std::string::npos);
}
TEST(Overrides, RangeExcludesItsEnd) {
  EXPECT_NE(apply({"seed=range(1,10,3)"}).find("seed: [1, 4, 7]"), std::string::npos);
  EXPECT_NE(apply({"seed=range(3)"}).find("seed: [0, 1, 2]"), std::string::npos);
}
TEST(Overrides, ChoiceIsAList) {
  EXPECT_NE(apply({"seed=choice(4)"}).find("seed: [4]"), std::string::npos);
}
TEST(Overrides, GlobsNeedNoQuotes) {
  ConfigNode root = parse_yaml(kStudy, "s.yaml");
  apply_overrides(root, std::vector<std::string>{"data.layers=*.q_proj,model.layers.{0,1}.mlp.*"});
  const ConfigNode& layers = root.at("data").at("layers");
  ASSERT_EQ(layers.items.size(), 2U);
  EXPECT_EQ(layers.items[0].scalar, "*.q_proj");
  EXPECT_EQ(layers.items[1].scalar, "model.layers.{0,1}.mlp.*");
}
TEST(Overrides, ReachIntoAListByName) {
  EXPECT_NE(apply({"methods.duquant.alpha=0.5"}).find("alpha: 0.5"), std::string::npos);
  EXPECT_NE(apply({"methods.rtn.label=plain"}).find("label: plain"), std::string::npos);
  EXPECT_NE(apply({"methods.1.duquant.alpha=0.7"}).find("alpha: 0.7"), std::string::npos);
}
TEST(Overrides, FlowYamlIsUnderstood) {
  EXPECT_NE(apply({"data={profile: gaussian}"}).find("profile: gaussian"), std::string::npos);
  EXPECT_NE(apply({"methods=[rtn, hadamard]"}).find("methods: [rtn, hadamard]"), std::string::npos);
}
TEST(Overrides, DeleteAndForce) {
  EXPECT_EQ(apply({"~data"}).find("data"), std::string::npos);
  EXPECT_EQ(apply({"~methods.duquant"}).find("duquant"), std::string::npos);
  EXPECT_NE(apply({"~seed=5"}).find("seed: 0"), std::string::npos) << "another value must stay";
  EXPECT_NE(apply({"++data.seed=3"}).find("seed: 3"), std::string::npos);
  EXPECT_NE(apply({"+methods.hadamard.block_size=32"}).find("block_size: 32"), std::string::npos);
}
TEST(Overrides, ErrorsNameTheOverride) {
  EXPECT_EQ(why("seed"), "override 'seed': expected key=value (+key=value adds, ~key deletes)");
  EXPECT_EQ(why("+seed=1"), "override '+seed=1': 'seed' exists already; write key=value to change it");
  EXPECT_EQ(why("~sed"),
            "override '~sed': there is no 'sed' to delete; did you mean 'seed'? Known: seed, data, methods");
  EXPECT_EQ(why("methods.duqant.alpha=1"),
            "override 'methods.duqant.alpha=1': there is no 'duqant' here; did you mean 'duquant'? Known: "
            "rtn, duquant");
  EXPECT_EQ(why("seed.x=1"), "override 'seed.x=1': 'seed' is no map, so it has no 'x'");
  EXPECT_EQ(why("seed=range(1,2,0)"), "override 'seed=range(1,2,0)': range(): the step must not be 0");
  EXPECT_EQ(why(".a=1"), "override '.a=1': an empty name in the key");
}

}  // namespace
}  // namespace olab

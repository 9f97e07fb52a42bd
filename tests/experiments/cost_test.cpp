#include "experiments/cost.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "experiments/builtins.hpp"

namespace olab {
namespace {

const Registries& all() {
  static const Registries r = make_registries();
  return r;
}

std::string error_of(const CostOptions& options) {
  try {
    (void)measure_costs(options, all());
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

CostOptions options_of(std::vector<std::string> methods, const std::string& shapes) {
  CostOptions out;
  out.methods = std::move(methods);
  out.shapes = parse_shapes(shapes);
  out.measure.tokens = 16;
  out.measure.repeats = 2;
  return out;
}

TEST(Cost, ShapesAreReadAndRefused) {
  const auto shapes = parse_shapes("4096:11008,8:2");
  ASSERT_EQ(shapes.size(), 2U);
  EXPECT_EQ(shapes[0].in_features, 4096);
  EXPECT_EQ(shapes[0].out_features, 11008);
  EXPECT_TRUE(parse_shapes("").empty());
  for (const char* bad : {"4096", "4096:", "0:8", "a:b", "8:8:8"})
    EXPECT_THROW((void)parse_shapes(bad), Error) << bad;
}

TEST(Cost, LayersOfOneInputCountOnce) {
  CostOptions options = options_of({"rtn"}, "");
  options.measure.tokens = 1;
  options.measure.repeats = 1;
  const CostReport report = measure_costs(options, all());
  ASSERT_EQ(report.options.shapes.size(), 4U);
  EXPECT_EQ(report.options.shapes[0].name, "q_proj+k_proj+v_proj");
  EXPECT_EQ(report.options.shapes[0].out_features, 3 * 4096);
  EXPECT_EQ(report.options.shapes[2].name, "gate_proj+up_proj");
  EXPECT_EQ(report.options.shapes[3].in_features, 11008);
}

TEST(Cost, TablesHoldEveryMethodAndJsonEveryTime) {
  const CostReport report = measure_costs(
      options_of({"rtn", "duquant(block_size=16,search=exact,max_rotation_step=2)"}, "64:32"), all());
  ASSERT_EQ(report.costs.size(), 2U);
  EXPECT_EQ(report.costs[0].seconds.overhead.median, 0);
  // Smoothing folds into the layer in front; two rotations of 16 multiply-adds a channel are left.
  EXPECT_EQ(report.costs[1].analytic.multiply_adds, 2 * 64 * 16);
  const std::string text = render_costs(report, Format::text);
  EXPECT_NE(text.find("duquant(block_size=16"), std::string::npos);
  EXPECT_NE(text.find("all layers"), std::string::npos);
  const auto json = nlohmann::json::parse(render_costs(report, Format::json));
  EXPECT_EQ(json.at("costs").size(), 2U);
  EXPECT_EQ(json.at("all_layers").at(0).at("overhead"), 0);
  EXPECT_GT(json.at("costs").at(1).at("product").at("median"), 0);
  EXPECT_NE(render_costs(report, Format::csv).find("precision_nmse"), std::string::npos);
  EXPECT_THROW((void)render_costs(report, Format::latex), Error);
}

TEST(Cost, NamesWhatIsWrongBeforeItMeasures) {
  EXPECT_NE(error_of(options_of({"duqant"}, "64:32")).find("did you mean 'duquant'?"), std::string::npos);
  EXPECT_NE(error_of(options_of({"rtn", "hadamard(block_size=48)"}, "64:32")).find("48"), std::string::npos);
  CostOptions like = options_of({"rtn"}, "");
  like.like = "llama2-7";
  EXPECT_NE(error_of(like).find("did you mean 'llama2-7b'?"), std::string::npos);
}

}  // namespace
}  // namespace olab

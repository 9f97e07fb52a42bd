#include "experiments/study.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "experiments/builtins.hpp"

namespace olab {
namespace {

const Registries& all() {
  static const Registries r = make_registries();
  return r;
}

Study parse(const std::string& methods, const std::string& more = "",
            const std::vector<std::string>& overrides = {}) {
  return parse_study("study: t\ndata: {profile: gaussian}\nmethods:\n" + methods + more, "t.yaml", overrides,
                     all());
}
std::string why(const std::string& methods, const std::string& more = "") {
  try {
    (void)parse(methods, more);
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}
std::vector<std::string> labels(const Study& s) {
  std::vector<std::string> out;
  for (const StudyMethod& m : s.methods) out.push_back(m.label);
  return out;
}

TEST(Study, AListIsAnAxisAndThePlanIsTheirProduct) {
  const Study s = parse("  - rtn\n  - hadamard: {block_size: [16, full], signs: [true, false]}\n");
  EXPECT_EQ(labels(s), (std::vector<std::string>{
                           "rtn", "hadamard(block_size=16,signs=true)", "hadamard(block_size=16,signs=false)",
                           "hadamard(block_size=full,signs=true)", "hadamard(block_size=full,signs=false)"}));
}
TEST(Study, LabelsStayUnique) {
  const Study s = parse("  - duquant: {alpha: 0.5}\n  - duquant: {alpha: 0.7}\n  - duquant\n");
  std::vector<std::string> l = labels(s);
  EXPECT_EQ(l[0], "duquant(alpha=0.5)");
  std::sort(l.begin(), l.end());
  EXPECT_EQ(std::unique(l.begin(), l.end()), l.end());
}
TEST(Study, TwoEntriesWithOneMeaningAreOneMethod) {
  EXPECT_EQ(parse("  - hadamard: {block_size: 64}\n  - hadamard(block_size=64)\n").methods.size(), 1U);
}
TEST(Study, AGivenLabelNamesTheAxis) {
  const Study s = parse("  - duquant: {label: code, pivot: row, alpha: [0.5, 0.6]}\n");
  EXPECT_EQ(labels(s), (std::vector<std::string>{"code(alpha=0.5)", "code(alpha=0.6)"}));
}
TEST(Study, APipelineIsALineOfTextOrAListOfSteps) {
  const Study line = parse("  - permute(zigzag) | hadamard(block_size=64)\n");
  const Study list = parse("  - pipeline: {steps: [permute(zigzag), hadamard(block_size=64)]}\n");
  ASSERT_EQ(line.methods.size(), 1U);
  ASSERT_EQ(list.methods.size(), 1U);
  EXPECT_EQ(all().methods.canonical(line.methods[0].spec, all()),
            all().methods.canonical(list.methods[0].spec, all()));
  EXPECT_EQ(line.methods[0].label, "permute(zigzag) | hadamard(block_size=64)");
  EXPECT_EQ(parse("  - pipeline: {steps: [\"rtn | rtn\", hadamard]}\n").methods.size(), 2U)
      << "an axis of pipelines";
}
TEST(Study, GlobsStandForRegisteredNames) {
  const Study s = parse("  - glob(had*)\n", "metrics: [glob(*mse)]\n");
  EXPECT_EQ(labels(s), std::vector<std::string>{"hadamard"});
  EXPECT_EQ(s.metrics, (std::vector<std::string>{"mse", "nmse"}));
}
TEST(Study, RepeatsCountUpFromTheSeed) {
  const auto seeds = [](const std::string& text) { return parse("  - rtn\n", text).seeds; };
  EXPECT_EQ(seeds(""), std::vector<std::uint64_t>{0});
  EXPECT_EQ(seeds("seed: 5\nrepeats: 3\n"), (std::vector<std::uint64_t>{5, 6, 7}));
  EXPECT_EQ(seeds("seed: [9, 2]\n"), (std::vector<std::uint64_t>{9, 2}));
  EXPECT_EQ(why("  - rtn\n", "seed: [1, 2]\nrepeats: 2\n"),
            "t.yaml:6:1: give either a list of seeds or 'repeats', not both");
  EXPECT_EQ(why("  - rtn\n", "seed: [1, 1]\n"), "t.yaml:5:1: the seed 1 stands twice");
}
TEST(Study, QuantizerAxesAreNamed) {
  const Study s =
      parse("  - rtn\n", "quantizer: {activation: {bits: [4, 8], clip: 0.9}, weight: {bits: 4}}\n");
  EXPECT_EQ(s.activations.size(), 2U);
  EXPECT_EQ(s.weights.size(), 1U);
  EXPECT_EQ(s.quantizer_axes, std::vector<std::string>{"activation.bits"});
  const Study none = parse("  - rtn\n");
  EXPECT_NE(all().quantizers.canonical(none.weights[0], all()).find("bits=16"), std::string::npos)
      << "without a quantizer nothing is quantized";
}
TEST(Study, ErrorsNameLineAndNearestName) {
  EXPECT_EQ(why("  - duqant\n").substr(0, 72),
            "t.yaml:4:5: no method is called 'duqant'; did you mean 'duquant'? Known:");
  EXPECT_EQ(why("  - smoothquant: {alpha: [0.5, 7]}\n"),
            "t.yaml:4:19: smoothquant.alpha: 7 is outside 0 to 1");
  EXPECT_EQ(why("  - smoothquant: {alpha: []}\n"),
            "t.yaml:4:19: 'alpha' is an empty list; give at least one value");
  EXPECT_EQ(why("  - smoothquant: {alpha: [0.5, 0.5]}\n"), "t.yaml:4:32: 'alpha' lists '0.5' twice");
  EXPECT_EQ(why("  - rtn\n", "mehtods: 1\n").substr(0, 65),
            "t.yaml:5:1: a study has no key 'mehtods'; did you mean 'methods'?");
  EXPECT_EQ(why("  - rtn\n", "quantizer: {weight: {bit: 4}}\n").substr(0, 52),
            "t.yaml:5:22: integer has no parameter 'bit'; did you");
  EXPECT_EQ(why("  - rtn\n", "views: [{table: {row: x}}]\n"),
            "t.yaml:5:18: a table has no key 'row'; did you mean 'rows'? Known: rows, columns, value, title");
  EXPECT_EQ(why("  - {rtn: {}, hadamard: {}}\n"),
            "t.yaml:4:5: a method is a name, or one name with its parameters: '- duquant: {block_size: [64, "
            "128]}'");
}
TEST(Study, NamesMakeFileNames) {
  for (const char* name : {"a/b", "..", "a b"}) {
    EXPECT_THROW(parse_study(std::string("study: ") + name + "\ndata: {profile: gaussian}\nmethods: rtn\n",
                             "t", {}, all()),
                 Error)
        << name;
  }
}
TEST(Study, OverridesChangeTheStoredText) {
  const Study s = parse("  - rtn\n", "", {"methods=rtn,hadamard", "+seed=4"});
  EXPECT_EQ(labels(s), (std::vector<std::string>{"rtn", "hadamard"}));
  const Study again = parse_study(s.text, "again", {}, all());
  EXPECT_EQ(again.seeds, s.seeds);
  EXPECT_EQ(labels(again), labels(s));
}
TEST(Study, EveryShippedStudyParses) {
  ASSERT_GE(study_names().size(), 6U);
  for (const std::string& name : study_names()) {
    std::vector<std::string> overrides;
    if (shipped_study(name).find("recording: null") != std::string::npos)
      overrides.emplace_back("data.recording=somewhere");
    const Study s = load_study(name, overrides, all());
    EXPECT_EQ(s.name, name);
    EXPECT_FALSE(s.description.empty());
  }
}

}  // namespace
}  // namespace olab

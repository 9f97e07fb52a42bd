#include "experiments/compare.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "experiments/builtins.hpp"
#include "experiments/study.hpp"
#include "messages.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::error_of;
using test::expect_contains;

const Registries& all() {
  static const Registries r = make_registries();
  return r;
}

/// A method as a study would call it, and its error relative to that of the layer.
struct Entry {
  std::string label;
  std::string spec;
  double error;
};

void put(Store& store, const std::string& study, const std::vector<Entry>& methods, int layers = 7) {
  const std::int64_t id = store.put_study(study, "study: " + study);
  std::int64_t position = 0;
  for (int layer = 0; layer < layers; ++layer)
    for (const Entry& entry : methods) {
      const Spec spec = parse_method(entry.spec);
      RunRecord run;
      run.key = fmt::format("{} {} {}", study, layer, entry.spec);
      run.recording = "profile";
      run.layer = fmt::format("layers.{}.down_proj", layer);
      run.layer_kind = "down_proj";
      run.method = spec.name;
      run.method_text = all().methods.canonical(spec, all());
      run.label = entry.label;
      const std::int64_t row = store.begin(run);
      store.link(id, row, position++, entry.label);
      const double error = entry.error * (layer + 1) * (1 + 0.01 * layer);
      store.finish(row, {{"output.nmse", error}, {"output.sqnr", 20 - error}}, {}, {});
    }
}

class Compare : public ::testing::Test {
 protected:
  Compare() : store_(folder_.path() / "a.db") {
    put(store_, "old", {{"rtn", "rtn", 0.4}, {"hadamard", "hadamard", 0.2}, {"duquant", "duquant", 0.05}});
    put(store_, "new",
        {{"rtn", "rtn", 0.4},
         {"small", "hadamard(block_size=32)", 0.3},
         {"hadamard(block_size=64)", "hadamard(block_size=64)", 0.2}});
  }
  std::string compare(const std::string& a, const std::string& b, const std::string& study = "",
                      const std::string& value = "output.nmse") {
    CompareOptions options;
    options.a = a;
    options.b = b;
    options.study = study;
    options.value = value;
    return compare_methods(store_, options, all(), Format::text);
  }

  const test::TempDir folder_;
  Store store_;
};

TEST_F(Compare, TakesTheNewestStudyThatHoldsBoth) {
  expect_contains(compare("rtn", "small"), "output.nmse of study new, lower is better; A = rtn, B = small");
  expect_contains(compare("rtn", "duquant"), "of study old");
  expect_contains(compare("rtn", "hadamard", "old"), "of study old");
  expect_contains(compare("rtn", "hadamard", "studies/old.yaml"), "of study old");
}

TEST_F(Compare, AMethodIsALabelASpecificationOrAName) {
  const std::string expected = compare("rtn", "small", "new");
  EXPECT_EQ(compare("rtn", "hadamard(block_size=32)", "new"), expected);
  EXPECT_EQ(compare("rtn", "hadamard( 32 )", "new"), expected);
  EXPECT_EQ(compare("rtn", all().methods.canonical(parse_method("hadamard(block_size=32)"), all()), "new"),
            expected);
  expect_contains(compare("rtn", "duquant(block_size=128)"), "B = duquant\n");
  expect_contains(
      error_of([&] { (void)compare("rtn", "hadamard", "new"); }),
      "study new: 'hadamard' may be any of 2 methods; give one of: small; hadamard(block_size=64)");
}

TEST_F(Compare, TheVerdictFollowsTheDirectionOfTheValue) {
  expect_contains(compare("rtn", "duquant"),
                  "\nduquant is better than rtn: ratio 0.125 [0.125, 0.125], p = 0.016");
  expect_contains(compare("duquant", "rtn"), "\nduquant is better than rtn: ratio 8 [8, 8], p = 0.016");
  const std::string decibel = compare("rtn", "duquant", "", "output.sqnr");
  expect_contains(decibel, "higher is better");
  expect_contains(decibel, "B - A [95 %]");
  expect_contains(decibel, "\nduquant is better than rtn: difference ");
}

TEST_F(Compare, ComparesEveryPairOnce) {
  CompareOptions options;
  options.all = true;
  const auto json = nlohmann::json::parse(compare_methods(store_, options, all(), Format::json));
  ASSERT_EQ(json.size(), 3U);
  EXPECT_EQ(json.at(0).at("a"), "rtn");
  EXPECT_EQ(json.at(0).at("b"), "small");
  EXPECT_EQ(json.at(2).at("a"), "small");
  EXPECT_DOUBLE_EQ(json.at(0).at("p_holm").get<double>(), 3 * json.at(0).at("p_wilcoxon").get<double>());
  options.study = "old";
  expect_contains(compare_methods(store_, options, all(), Format::text), "output.nmse of study old");
}

TEST_F(Compare, SaysWhatIsWrong) {
  expect_contains(error_of([&] { (void)compare("rtx", "small"); }),
                  "no stored study has a method 'rtx'; did you mean 'rtn'?");
  expect_contains(error_of([&] { (void)compare("rtn", "smal", "new"); }),
                  "study new: it has no method 'smal'; did you mean 'small'?");
  expect_contains(error_of([&] { (void)compare("small", "duquant"); }),
                  "no stored study has both: 'small' is in new, 'duquant' in old");
  expect_contains(error_of([&] { (void)compare("rtn", "small", "nwe"); }),
                  "no study called 'nwe'; did you mean 'new'?");
  expect_contains(error_of([&] { (void)compare("rtn", "small", "new", "output.nms"); }),
                  "no finished run has the value 'output.nms'; did you mean 'output.nmse'?");
  put(store_, "lonely", {{"rtn", "rtn", 1}});
  CompareOptions options;
  options.all = true;
  expect_contains(error_of([&] { (void)compare_methods(store_, options, all(), Format::text); }),
                  "study lonely: there is nothing to compare; it has 1 of at least 2 methods");
}

TEST_F(Compare, RefusesMethodsWithoutACommonRun) {
  const std::int64_t id = store_.put_study("apart", "study: apart");
  std::int64_t position = 0;
  for (const char* label : {"rtn", "duquant"}) {
    RunRecord run;
    run.key = run.layer = run.method = run.method_text = label;
    const std::int64_t row = store_.begin(run);
    store_.link(id, row, position++, label);
    store_.finish(row, {{"output.nmse", 1}}, {}, {});
  }
  expect_contains(
      error_of([&] { (void)compare("rtn", "duquant"); }),
      "study apart: rtn and duquant have no pair of runs: 1 × duquant was not run; 1 × rtn was not run");
}

}  // namespace
}  // namespace olab

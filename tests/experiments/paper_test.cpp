#include "experiments/paper.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "datasets/profile.hpp"
#include "experiments/builtins.hpp"
#include "experiments/plan.hpp"
#include "experiments/runner.hpp"
#include "messages.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::contains;
using test::error_of;

const Registries& all() {
  static const Registries r = make_registries();
  return r;
}

/// Twelve layers around `centre`, each a little different.
OrderRow row(const std::string& label, double published, double centre) {
  OrderRow out{label, published, {}};
  for (int i = 0; i < 12; ++i) out.units["layer " + std::to_string(i)] = centre * (1 + 0.01 * i);
  return out;
}

TEST(JudgeOrder, TheSameOrderAgrees) {
  const std::vector<OrderRow> rows{row("a", 6.28, 0.01), row("b", 7.92, 0.02), row("c", 18.69, 0.04)};
  const OrderVerdict v = judge_order(rows, 0.1, false, false);
  EXPECT_EQ(v.text, "agrees in order");
  EXPECT_EQ(v.rows, 3U);
  EXPECT_EQ(v.pairs, 3U);
  EXPECT_EQ(v.told, 3U);
  EXPECT_EQ(v.agreeing, 3U);
  EXPECT_DOUBLE_EQ(v.tau, 1);
  EXPECT_NEAR(v.p, 1.0 / 3, 1e-12) << "2 of 3! orders are as extreme";
}

TEST(JudgeOrder, BreakingTheOrderOnPurposeChangesTheVerdict) {
  std::vector<OrderRow> rows{row("a", 6.28, 0.01), row("b", 7.92, 0.02), row("c", 18.69, 0.04)};
  std::swap(rows[0].units, rows[1].units);
  const OrderVerdict v = judge_order(rows, 0.1, false, false);
  EXPECT_EQ(v.text, "disagrees");
  EXPECT_EQ(v.told, 3U);
  EXPECT_EQ(v.agreeing, 2U);
  EXPECT_EQ(v.reversed, std::vector<std::string>{"a before b"});
  EXPECT_NEAR(v.tau, 1.0 / 3, 1e-12);
}

TEST(JudgeOrder, WhatNoiseHidesCannotBeTold) {
  std::vector<OrderRow> rows{row("a", 6.28, 0.01), row("b", 6.31, 0.02)};
  EXPECT_EQ(judge_order(rows, 0.1, false, false).text, "cannot be told at this noise")
      << "the published numbers are one";
  EXPECT_EQ(judge_order(rows, 0.01, false, false).text, "agrees in order");
  // The layers say one thing and the other in turn.
  int i = 0;
  for (auto& [layer, value] : rows[1].units) value = rows[0].units.at(layer) * (i++ % 2 == 0 ? 1.1 : 1 / 1.1);
  const OrderVerdict v = judge_order(rows, 0.01, false, false);
  EXPECT_EQ(v.text, "cannot be told at this noise");
  EXPECT_EQ(v.told, 0U);
}

TEST(JudgeOrder, DivergedIsTheWorstAndDirectionsCount) {
  const double diverged = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(
      judge_order(std::vector<OrderRow>{row("nan", diverged, 0.9), row("b", 7, 0.1)}, 0.1, false, false).text,
      "agrees in order");
  EXPECT_EQ(
      judge_order(std::vector<OrderRow>{row("nan", diverged, 0.1), row("b", 7, 0.9)}, 0.1, false, false).text,
      "disagrees");
  // A speed-up that is higher and an overhead that is lower say the same.
  EXPECT_EQ(
      judge_order(std::vector<OrderRow>{row("fast", 2.1, 0.1), row("slow", 1.8, 0.9)}, 0.01, true, false)
          .text,
      "agrees in order");
  EXPECT_EQ(
      judge_order(std::vector<OrderRow>{row("fast", 2.1, 0.1), row("slow", 1.8, 0.9)}, 0.01, true, true).text,
      "disagrees");
}

TEST(JudgeOrder, NothingIsToldWhereRanksAndMeanPointToDifferentSides) {
  // Better in print, and a little worse on every layer but one, where it is far better.
  std::vector<OrderRow> rows{row("a", 1, 0.0103), row("b", 2, 0.01)};
  EXPECT_EQ(judge_order(rows, 0.1, false, false).text, "disagrees");
  rows[0].units["layer 11"] /= 1000;
  EXPECT_EQ(judge_order(rows, 0.1, false, false).text, "cannot be told at this noise");
}

TEST(JudgeOrder, RowsWithoutRunsDoNotCount) {
  const std::vector<OrderRow> rows{row("a", 1, 0.1), {"b", 2, {}}};
  const OrderVerdict v = judge_order(rows, 0, false, false);
  EXPECT_EQ(v.rows, 1U);
  EXPECT_TRUE(std::isnan(v.tau));
  EXPECT_EQ(v.text, "cannot be told at this noise");
}

TEST(Paper, EveryShippedTableParsesAndItsStudyCanBePlanned) {
  ASSERT_GE(paper_names().size(), 14U);
  std::set<std::string> studies;
  for (const std::string& name : paper_names()) {
    SCOPED_TRACE(name);
    const bool of_models = paper_needs_model(name);
    PaperData data;
    if (of_models) data = {.models = {"a folder"}, .texts = {"a text"}};
    const PaperTable table = load_paper(name, data, {}, all());
    EXPECT_EQ(table.name, name);
    EXPECT_EQ(table.title, paper_title(name));
    EXPECT_TRUE(studies.insert(table.study.name).second);
    EXPECT_FALSE(table.rows.empty() && table.questions.empty());
    if (of_models) {
      EXPECT_FALSE(table.study.evaluations.empty());
      EXPECT_NE(error_of([&] { (void)load_paper(name, {}, {}, all()); }).find("data.model"),
                std::string::npos);
      continue;
    }
    // Narrow, so that generating costs nothing; a table with sizes of its own does not fit that.
    const Plan plan = make_plan(table.study, all(), nullptr, {});
    EXPECT_TRUE(plan.problems.empty()) << plan.problems.front();
    EXPECT_GE(plan.layers.size(), 2U);
  }
}

constexpr const char* kTable = R"yaml(
paper: toy
title: A toy table
source: nowhere
published:
  noise: 0.1
  columns: [ppl]
  rows:
    - {name: none, run: rtn, values: [9]}
    - {name: rotated, run: hadamard, values: [6]}
    - {name: mixed, run: {"*down_proj": rtn, "*": hadamard}}
questions:
  - {ask: "Is rotating better?", a: rtn, b: hadamard}
  - {ask: "What predicts it?", predict: output.nmse, from: [transformed.kurtosis]}
study:
  data: {profile: llama2-7b, layers: "model.layers.{0,1}.*", calibration_tokens: 24, evaluation_tokens: 16, in_features: 64, out_features: 24}
  quantizer: {activation: {bits: 4}, weight: {bits: 8}}
  methods: [rtn, "hadamard(block_size=16)"]
  metrics: [nmse, kurtosis]
  repeats: 2
)yaml";

TEST(Paper, ThePageIsComputedFromTheRuns) {
  const test::TempDir dir;
  test::write_file(dir / "toy.yaml", kTable);
  const PaperTable table = load_paper((dir / "toy.yaml").string(), {}, {}, all());
  EXPECT_EQ(table.study.name, "paper-toy");
  Store store(dir / "a.db");
  RunOptions options;
  options.progress = false;
  ASSERT_EQ(execute(make_plan(table.study, all(), &store, {}), all(), store, options).failed, 0U);
  const auto runs = store.runs({.study = "paper-toy", .status = {}, .method = {}, .layer = {}});
  const PaperPage computed = paper_page(table, runs, {}, all());
  const std::string page = render_sections({computed.section}, Format::markdown);
  EXPECT_TRUE(contains(page, "## A toy table")) << page;
  EXPECT_TRUE(contains(page, "14 layers, 2 seeds, 56 runs of ")) << page;
  EXPECT_TRUE(contains(page, "is a proxy for perplexity")) << page;
  EXPECT_TRUE(contains(page, "agrees in order")) << page;
  EXPECT_TRUE(contains(page, "Is rotating better? Yes: ")) << page;
  EXPECT_TRUE(contains(page, "Best of those asked, over all layers: transformed.kurtosis")) << page;
  // The mixed row: down_proj as without rotation, the others as with it.
  const Grid& grid = computed.section.grids.front();
  ASSERT_EQ(grid.rows.size(), 3U);
  const auto column = [&](const std::string& name) {
    return static_cast<std::size_t>(std::ranges::find(grid.header, name) - grid.header.begin());
  };
  EXPECT_EQ(grid.rows[2][column("down_proj")].text, grid.rows[0][column("down_proj")].text);
  EXPECT_EQ(grid.rows[2][column("q_proj")].text, grid.rows[1][column("q_proj")].text);
  EXPECT_NE(grid.rows[2][column("q_proj")].text, grid.rows[0][column("q_proj")].text);
  EXPECT_EQ(grid.rows[2][column("ppl (published)")].text, "–");
  // Other published numbers, another verdict.
  PaperTable turned = table;
  std::swap(turned.rows[0].values, turned.rows[1].values);
  const PaperPage other = paper_page(turned, runs, {}, all());
  EXPECT_TRUE(contains(render_sections({other.section}, Format::markdown), "disagrees"));
  ASSERT_EQ(other.findings.size(), 3U);
  EXPECT_EQ(other.findings[0].about, "ppl: order of output.nmse");
  EXPECT_EQ(other.findings[0].text, "disagrees (0 of 1 pairs)");
  EXPECT_TRUE(contains(other.findings[1].text, "yes: 0."));
  PaperPage elsewhere = other;
  elsewhere.data = "another model";
  const ReportSection glance = summary_of({computed, elsewhere});
  EXPECT_EQ(glance.grids.front().header,
            (std::vector<std::string>{"table", "finding", "profile llama2-7b", "another model"}));
  ASSERT_EQ(glance.grids.front().rows.size(), 3U);
  EXPECT_EQ(glance.grids.front().rows[0][2].text, "agrees in order (1 of 1 pairs)");
  EXPECT_EQ(glance.grids.front().rows[0][3].text, "disagrees (0 of 1 pairs)");
}

TEST(Paper, DataFromElsewhereMakesAStudyOfItsOwn) {
  const test::TempDir dir;
  test::write_file(dir / "toy.yaml", kTable);
  const std::string file = (dir / "toy.yaml").string();
  const PaperTable other = load_paper(file, {.recording = {}, .profile = "gaussian"}, {}, all());
  EXPECT_EQ(other.study.name, "paper-toy-gaussian");
  EXPECT_EQ(other.study.data.profile, "gaussian");
  const PaperTable real = load_paper(file, {.recording = "some/my model", .profile = {}}, {}, all());
  EXPECT_EQ(real.study.name, "paper-toy-my-model");
  EXPECT_EQ(real.study.data.recording, "some/my model");
  EXPECT_TRUE(real.study.data.calibration_tokens.empty());
  EXPECT_EQ(real.study.data.layers, std::vector<std::string>{"*"});
}

TEST(Paper, ErrorsNameThePlaceAndTheNearestName) {
  const test::TempDir dir;
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string text = kTable;
    text.replace(text.find(from), from.size(), to);
    test::write_file(dir / "bad.yaml", text);
    return error_of([&] { load_paper((dir / "bad.yaml").string(), {}, {}, all()); });
  };
  EXPECT_TRUE(contains(refused("a: rtn", "a: rtm"), "names the method 'rtm', which the study does not have"));
  EXPECT_TRUE(contains(refused("values: [9]", "values: [9, 8]"), "has 2 values for 1 columns"));
  EXPECT_TRUE(contains(refused("values: [9]", "values: [much]"), "numbers, nan or null"));
  EXPECT_TRUE(contains(refused("predict: output.nmse, from: [transformed.kurtosis]", "value: x"),
                       "either a and b, or sequence, or predict"));
  EXPECT_TRUE(contains(refused("noise: 0.1", "nois: 0.1"), "noise"));
  EXPECT_TRUE(contains(error_of([] { load_paper("table-66", {}, {}, all()); }), "did you mean 'table-6'?"));
}

// ---- what methods are calibrated on

constexpr const char* kSources = R"yaml(
study: sources
data: {profile: llama2-7b, layers: "model.layers.1.*_proj", calibrate_on: [own, gaussian, channel-gaussian], calibration_tokens: 32, evaluation_tokens: 16, in_features: 64, out_features: 24}
methods: ["smoothquant(alpha=0.5)"]
metrics: [nmse]
quantizer: {activation: {bits: 4}, weight: {bits: 4}}
)yaml";

TEST(CalibrateOn, IsAnAxisWithKeysAndNumbersOfItsOwn) {
  const test::TempDir dir;
  Store store(dir / "a.db");
  const Study study = parse_study(kSources, "s", {}, all());
  const Plan plan = make_plan(study, all(), &store, {});
  EXPECT_EQ(plan.total, plan.layers.size() * 3);
  RunOptions options;
  options.progress = false;
  ASSERT_EQ(execute(plan, all(), store, options).failed, 0U);
  std::map<std::string, std::set<double>> numbers;  // layer → its errors
  std::set<std::string> sources;
  for (const RunRecord& run : store.runs({})) {
    numbers[run.layer].insert(run.values.at("output.nmse"));
    sources.insert(run_field(run, "calibrate_on"));
  }
  EXPECT_EQ(sources, (std::set<std::string>{"own", "gaussian", "channel-gaussian"}));
  for (const auto& [layer, errors] : numbers) EXPECT_EQ(errors.size(), 3U) << layer;
  // Its own tokens are what a study without the key calibrates on.
  const std::vector<std::string> without{"~data.calibrate_on"};
  const Plan plain = make_plan(parse_study(kSources, "s", without, all()), all(), &store, {});
  EXPECT_EQ(plain.stored, plain.total);
}

TEST(CalibrateOn, NoiseHasTheSizesItKnows) {
  Matrix own(4000, 3);
  for (Index t = 0; t < own.rows(); ++t) own.row(t) << (t % 2 == 0 ? 10.0F : -10.0F), 1.0F, 0.0F;
  CalibrationSource source;
  source.text = "channel-gaussian";
  const Matrix each = calibration_tokens(source, "x", own, RandomStream(3));
  EXPECT_NEAR(std::sqrt(each.col(0).squaredNorm() / 4000), 10, 0.5);
  EXPECT_NEAR(std::sqrt(each.col(1).squaredNorm() / 4000), 1, 0.05);
  EXPECT_EQ(each.col(2).cwiseAbs().maxCoeff(), 0);
  source.text = "gaussian";
  const Matrix one = calibration_tokens(source, "x", own, RandomStream(3));
  const double size = std::sqrt(101.0 / 3);
  for (Index j = 0; j < 3; ++j) EXPECT_NEAR(std::sqrt(one.col(j).squaredNorm() / 4000), size, 0.3);
}

TEST(CalibrateOn, AnotherRecordingIsReadByTheLayersName) {
  const test::TempDir dir;
  GenerateOptions options{
      .seed = 5, .tokens = 48, .in_features = 64, .out_features = 24, .sequence_length = 0};
  const auto generated = open_profile("llama2-7b", options);
  RecordingWriter writer(dir / "other", "F32", generated->facts());
  writer.add(generated->load(0, 0));
  writer.finish();
  const std::vector<std::string> overrides{"data.calibrate_on=[own, " + (dir / "other").string() + "]",
                                           "data.layers=model.layers.0.self_attn.q_proj"};
  const Plan plan = make_plan(parse_study(kSources, "s", overrides, all()), all(), nullptr, {});
  ASSERT_EQ(plan.total, 2U);
  const auto& runs = plan.layers.front().runs;
  EXPECT_NE(runs[0].key, runs[1].key);
  const Measured a = compute_run(plan, plan.layers.front(), runs[0], all());
  const Measured b = compute_run(plan, plan.layers.front(), runs[1], all());
  EXPECT_NE(a.values.at("output.nmse"), b.values.at("output.nmse"));

  const auto refused = [&](const std::vector<std::string>& o) {
    return error_of([&] { make_plan(parse_study(kSources, "s", o, all()), all(), nullptr, {}); });
  };
  EXPECT_TRUE(contains(refused({overrides[0], "data.layers=model.layers.1.self_attn.q_proj"}),
                       "has no layer 'model.layers.1.self_attn.q_proj'"));
  EXPECT_TRUE(contains(refused({overrides[0], overrides[1], "data.calibration_tokens=49"}), "has 48 tokens"));
  EXPECT_TRUE(contains(refused({overrides[0], overrides[1], "data.in_features=32"}), "has 64 channels"));
  EXPECT_TRUE(contains(refused({"data.calibrate_on=gausian"}), "did you mean 'gaussian'?"));
}

}  // namespace
}  // namespace olab

// Studies of whole models: grammar, windows, what each toggle does, and that numbers depend on nothing else.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/config.hpp"
#include "core/random.hpp"
#include "datasets/npy.hpp"
#include "datasets/safetensors.hpp"
#include "datasets/tensor.hpp"
#include "experiments/builtins.hpp"
#include "experiments/compare.hpp"
#include "experiments/model_runner.hpp"
#include "experiments/model_windows.hpp"
#include "experiments/paper.hpp"
#include "experiments/perplexity_study.hpp"
#include "experiments/runner.hpp"
#include "experiments/stored_run.hpp"
#include "experiments/verify.hpp"
#include "experiments/views.hpp"
#include "messages.hpp"
#include "models/generate.hpp"
#include "models/record.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::error_of;
using test::expect_contains;

const Registries& all() {
  static const Registries r = make_registries();
  return r;
}

/// A small model with outlier channels, and ids for it.
class PerplexityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ModelShape shape = model_shape("tiny");
    shape.kv_heads = 4;  // without grouped queries, so that smoothing can be folded into values
    generate_model(folder / "model", shape, "F32", 7, 4, nullptr);
    write_ids("ids.npy", 32 * 9 + 5);
  }

  void write_ids(const std::string& name, Index count) {
    RandomStream random(3);
    std::vector<std::int64_t> ids;
    for (Index i = 0; i < count; ++i) ids.push_back(random.below(256));
    const std::vector<Index> shape{count};
    write_npy(folder / name, {"ids", DType::i64, shape, std::as_bytes(std::span(ids))});
  }

  std::string text(const std::string& settings = {}, const std::string& quantizer = {},
                   const std::string& methods = {}) const {
    return "study: p\nevaluate: {perplexity: {context: 32" + (settings.empty() ? "" : ", " + settings) +
           "}}\ndata: {model: " + (folder / "model").string() + ", text: " + (folder / "ids.npy").string() +
           "}\nquantizer: " +
           (quantizer.empty()
                ? "{activation: {bits: 4, clip: 0.9}, weight: {bits: 4, clip: 0.8}, query: {bits: 4}, "
                  "key: {bits: 4}, value: {bits: 4}}"
                : quantizer) +
           "\nmethods: " +
           (methods.empty() ? "[rtn, 'duquant(block_size=16,max_rotation_step=4)']" : methods) +
           "\nmetrics: [nmse, kurtosis]\n";
  }
  Study study(const std::string& yaml, const std::vector<std::string>& overrides = {}) const {
    return parse_study(yaml, "p.yaml", overrides, all());
  }
  ModelPlan plan(const std::string& yaml, const Store* store = nullptr, PlanOptions options = {}) const {
    return make_model_plan(study(yaml), all(), store, options);
  }
  Measured first_run(const std::string& yaml) const {
    const ModelPlan p = plan(yaml);
    return compute_model_run(p, p.runs.front(), all(), nullptr);
  }
  static RunReport run(const ModelPlan& p, Store& store, const StopFlag* stop = nullptr) {
    RunOptions options;
    options.progress = false;
    options.stop = stop;
    return execute_models(p, all(), store, options, false);
  }
  /// Every number that must not depend on time, by key.
  static std::map<std::string, std::map<std::string, std::uint64_t>> bits_of(const Store& store) {
    std::map<std::string, std::map<std::string, std::uint64_t>> out;
    for (const RunRecord& r : store.runs({}))
      for (const auto& [name, value] : r.values)
        if (!is_timing(name, all())) out[r.key][name] = std::bit_cast<std::uint64_t>(value);
    return out;
  }

  test::TempDir folder;
};

TEST_F(PerplexityTest, AStudySaysWhatIsWrongAndWhere) {
  const auto refused = [&](const std::string& yaml, const std::vector<std::string>& parts) {
    const std::string message = error_of([&] { (void)study(yaml); });
    for (const std::string& part : parts) expect_contains(message, part);
  };
  refused("study: p\nevaluate: perplexty\ndata: {}\nmethods: rtn\n",
          {"p.yaml:2:", "no evaluation 'perplexty'", "did you mean 'perplexity'?"});
  refused("study: p\nevaluate: {perplexity: {contxt: 3}}\ndata: {}\nmethods: rtn\n",
          {"p.yaml:2", "contxt", "did you mean 'context'?"});
  refused("study: p\nevaluate: {layers: {context: 3}}\ndata: {}\nmethods: rtn\n",
          {"'layers' has no parameters"});
  refused("study: p\nevaluate: perplexity\ndata: {profile: gaussian}\nmethods: rtn\n",
          {"'profile' is for studies of layers", "data.model"});
  refused("study: p\nevaluate: perplexity\ndata: {text: x}\nmethods: rtn\n",
          {"no data.model", "Hugging Face"});
  refused("study: p\ndata: {profile: gaussian, model: x}\nmethods: rtn\n",
          {"'model' is for studies of models"});
  refused("study: p\ndata: {profile: gaussian}\nquantizer: {query: {bits: 4}}\nmethods: rtn\n",
          {"'query' is for attention"});
  refused(text("attention_hadamard: keys"), {"attention_hadamard", "query-key"});
}

TEST_F(PerplexityTest, QuantizersMayBeAListOfCombinations) {
  const Study s =
      study(text({},
                 "[{activation: {bits: 4}, weight: {bits: 4}}, {weight: {bits: 4}}, "
                 "{activation: {bits: 6}, weight: {bits: 6}, key: {bits: 6}, value: {bits: 6}}]"));
  ASSERT_EQ(s.quantizers.size(), 3U);
  EXPECT_EQ(quantizer_name(s, s.quantizers[0], all()), "W4A4");
  EXPECT_EQ(quantizer_name(s, s.quantizers[1], all()), "W4A16");
  EXPECT_EQ(quantizer_name(s, s.quantizers[2], all()), "W6A6KV6");
  EXPECT_EQ(s.quantizer_axes, std::vector<std::string>{"quantizer"});
  const Study product = study(text({}, "{activation: {bits: [4, 8], clip: [1, 0.9]}, weight: {bits: 4}}"));
  EXPECT_EQ(product.quantizers.size(), 4U);
  EXPECT_EQ(product.quantizer_axes, (std::vector<std::string>{"quantizer", "activation.clip"}));
}

TEST_F(PerplexityTest, OptionsMakeTheStudyThatTheyMean) {
  PerplexityStudy options;
  options.models = {(folder / "model").string()};
  options.texts = {(folder / "ids.npy").string()};
  options.bits = {"W4A16", "WA6QKV8"};
  options.settings = {"context=32", "calibrate_inputs=quantized,original"};
  const Study s = study(perplexity_study(options));
  EXPECT_EQ(s.evaluations.size(), 2U);
  ASSERT_EQ(s.quantizers.size(), 2U);
  EXPECT_EQ(quantizer_name(s, s.quantizers[0], all()), "W4A16");
  EXPECT_EQ(quantizer_name(s, s.quantizers[1], all()), "W6A6QKV8");
  for (const char* bits : {"", "W4", "A4", "W4A4A4", "W9A4", "W4A1", "w4a4", "W4A4KV", "W4A4 "}) {
    options.bits = {bits};
    expect_contains(error_of([&] { (void)perplexity_study(options); }), std::string("--bits ") + bits);
  }
  options.bits = {"W4A4"};
  options.settings = {"context"};
  expect_contains(error_of([&] { (void)perplexity_study(options); }), "key=value");
}

TEST_F(PerplexityTest, WindowsFollowTheCalibrationAndDropWhatIsLeft) {
  const ModelPlan p = plan(text("calibration_windows: 2"));
  ASSERT_EQ(p.inputs.size(), 1U);
  EXPECT_EQ(p.inputs[0].calibration.size(), 2U);
  EXPECT_EQ(p.inputs[0].windows.size(), 7U);  // 9 · 32 + 5 tokens
  EXPECT_EQ(p.inputs[0].context, 32);
  EXPECT_EQ(p.total, 2U);
  for (const ModelWindow& w : p.inputs[0].windows) EXPECT_EQ(w.first, 0);
  EXPECT_EQ(plan(text("windows: 3")).inputs[0].windows.size(), 3U);
  // Tokens 32 to 292 in steps of 8: all but the first window score what the one before did not see.
  const ModelPlan overlapping = plan(text("stride: 8"));
  EXPECT_EQ(overlapping.inputs[0].windows.size(), (293U - 32U - 32U) / 8U + 1U);
  EXPECT_EQ(overlapping.inputs[0].windows[0].first, 0);
  EXPECT_EQ(overlapping.inputs[0].windows[1].first, 32 - 8 - 1);
  const Measured m = compute_model_run(overlapping, overlapping.runs.front(), all(), nullptr);
  EXPECT_EQ(m.values.at("model.predictions"),
            31 + 8.0 * static_cast<double>(overlapping.inputs[0].windows.size() - 1));
}

TEST_F(PerplexityTest, TooLittleTextIsOneClearError) {
  const auto refused = [&](const std::string& yaml, const std::vector<std::string>& parts) {
    const std::string message = error_of([&] { (void)plan(yaml); });
    for (const std::string& part : parts) expect_contains(message, part);
  };
  refused(text("calibration_windows: 9"),
          {"ids.npy", "5 tokens are left behind 288 for calibration", "window of 32"});
  refused(text("calibration_windows: 12"), {"293 tokens", "need 384"});
  refused(text("windows: 100"), {"8 windows of 32 tokens fit, but 100 are asked for"});
  refused(text("stride: 40"), {"stride of 40", "windows of 32"});
  std::string longer = text();
  longer.replace(longer.find("context: 32"), 11, "context: 9999");
  refused(longer, {"context of 9999", "positions for 256"});
}

TEST_F(PerplexityTest, WhatIsEvaluatedIsNeverCalibratedOn) {
  const std::string ids = (folder / "ids.npy").string();
  std::string yaml = text();
  yaml.replace(yaml.find("text: /"), 6, "calibration_text: " + (folder / "./ids.npy").string() + ", text: ");
  const ModelPlan same = plan(yaml);  // the same file by another name
  EXPECT_EQ(same.inputs[0].windows.size(), 8U);
  EXPECT_EQ(same.inputs[0].windows_hash, plan(text()).inputs[0].windows_hash);
  write_ids("other.npy", 64);
  yaml = text();
  yaml.replace(yaml.find("text: /"), 6, "calibration_text: " + (folder / "other.npy").string() + ", text: ");
  const ModelPlan other = plan(yaml);
  EXPECT_EQ(other.inputs[0].windows.size(), 9U);
  EXPECT_EQ(model_run_record(other, other.runs[0], {}, all()).params.at("calibration_text"),
            (folder / "other.npy").string());
}

TEST_F(PerplexityTest, RunsOfOtherTextsAndModelsAreNeverOneColumn) {
  std::filesystem::create_directories(folder / "a");
  write_ids("a/ids.npy", 32 * 5);
  std::string both = text();
  both.replace(both.find("text: /"), 6, "text: [" + (folder / "a/ids.npy").string() + ", ");
  both.insert(both.find("ids.npy}") + 7, "]");
  const ModelPlan two = plan(both);
  ASSERT_EQ(two.inputs.size(), 2U);
  EXPECT_NE(two.inputs[0].name, two.inputs[1].name);
  EXPECT_EQ(plan(text()).inputs[0].name, "model on ids") << "the same in every study that has it alone";
  std::string twice = text();
  twice.replace(twice.find("text: /"), 6, "text: [" + (folder / "./ids.npy").string() + ", ");
  twice.insert(twice.find("ids.npy}") + 7, "]");
  expect_contains(error_of([&] { (void)study(twice); }), "twice");
}

TEST_F(PerplexityTest, WhatCannotBeKeptIsRefusedBeforeAnythingRuns) {
  std::string yaml = text();
  yaml.replace(yaml.find("[nmse, kurtosis]"), 16, "[nmse, histogram]");
  expect_contains(error_of([&] { (void)study(yaml); }), "'histogram' gives series of one layer");
  expect_contains(error_of([&] { (void)plan(text() + "views: [{chart: {kind: surface}}]\n"); }),
                  "the chart 'surface' shows the series of one layer");
  // A chart brings its metrics.
  const ModelPlan p = plan(text() + "views: [{chart: {kind: layers, value: output.sqnr}}]\n");
  EXPECT_TRUE(std::ranges::any_of(p.metrics, [](const ResolvedSpec& m) { return m.spec.name == "sqnr"; }));
  // The same number formats twice are one run.
  EXPECT_EQ(plan(text({}, "[{weight: {bits: 4}}, {weight: {bits: 4, clip: 1}}]")).total, 2U);
  // Heads without a Hadamard matrix are told by the plan.
  ModelShape shape = model_shape("tiny");
  shape.hidden_size = 176;
  shape.heads = 8;
  shape.kv_heads = 8;
  generate_model(folder / "odd", shape, "F32", 7, 0, nullptr);
  std::string odd = text();
  odd.replace(odd.find("/model,"), 7, "/odd,");
  const ModelPlan planned = plan(odd);
  ASSERT_FALSE(planned.problems.empty());
  expect_contains(planned.problems.back(), "attention_hadamard: none");
}

TEST_F(PerplexityTest, WithoutQuantizationItIsTheOriginalModel) {
  const std::string off = "{activation: {bits: 16}}";
  const Measured rtn = first_run(text({}, off, "[rtn]"));
  EXPECT_EQ(rtn.values.at("model.perplexity"), rtn.values.at("model.original_perplexity"));
  EXPECT_EQ(rtn.values.at("model.kl"), 0);
  EXPECT_EQ(rtn.values.at("model.agreement"), 1);
  EXPECT_EQ(rtn.values.at("model.hidden_nmse"), 0);
  // Any equivalent transform alone changes only roundings.
  for (const char* method :
       {"['hadamard(block_size=full)']", "['duquant(block_size=16,max_rotation_step=4)']",
        "['permute(zigzag,block_size=16) | hadamard(block_size=16)']"}) {
    SCOPED_TRACE(method);
    const Measured m = first_run(text({}, off, method));
    EXPECT_NEAR(m.values.at("model.perplexity_ratio"), 1, 1e-4);
    EXPECT_LT(m.values.at("model.kl"), 1e-6);
    EXPECT_GT(m.values.at("model.kl"), -1e-9);
    EXPECT_LT(m.values.at("model.hidden_nmse"), 1e-8);
    EXPECT_LT(m.values.at("output.nmse"), 1e-9);
  }
}

TEST_F(PerplexityTest, FewerBitsAreWorse) {
  double before = 0;
  for (const int bits : {8, 6, 4, 3}) {
    const std::string b = std::to_string(bits);
    const Measured m =
        first_run(text({}, "{activation: {bits: " + b + "}, weight: {bits: " + b + "}}", "[rtn]"));
    EXPECT_GT(m.values.at("model.kl"), before) << bits << " bits";
    before = m.values.at("model.kl");
    EXPECT_EQ(m.values.at("bits.activation") > bits, true);
  }
}

TEST_F(PerplexityTest, EveryToggleChangesWhatItSays) {
  const auto kl = [&](const std::string& settings, const std::string& quantizer = {}) {
    return first_run(text(settings, quantizer, "['duquant(block_size=16,max_rotation_step=4)']"))
        .values.at("model.kl");
  };
  const double base = kl("");
  EXPECT_NE(kl("calibrate_inputs: original"), base);
  EXPECT_NE(kl("share_inputs: false"), base);
  EXPECT_NE(kl("fold_smoothing: false"), base);
  EXPECT_NE(kl("attention_hadamard: none"), base);
  EXPECT_NE(kl("attention_hadamard: query-key-value"), base);
  EXPECT_NE(kl("calibration_windows: 2"), base);
  EXPECT_EQ(kl("average_windows: true"), base) << "the mean of one window is the window";
  EXPECT_NE(kl("average_windows: true, calibration_windows: 2"), kl("calibration_windows: 2"));
  // Where values are not quantized, neither folding nor rotating them changes anything.
  const std::string linear = "{activation: {bits: 4}, weight: {bits: 4}}";
  const double plain = kl("", linear);
  EXPECT_EQ(kl("fold_smoothing: false", linear), plain);
  EXPECT_EQ(kl("attention_hadamard: none", linear), plain);
}

TEST_F(PerplexityTest, GroupedQueriesAreNotFolded) {
  ModelShape shape = model_shape("tiny");
  generate_model(folder / "grouped", shape, "F32", 7, 4, nullptr);
  const auto kl = [&](const std::string& fold) {
    std::string yaml = text("fold_smoothing: " + fold, {}, "['duquant(block_size=16,max_rotation_step=4)']");
    yaml.replace(yaml.find("/model,"), 7, "/grouped,");
    return first_run(yaml).values.at("model.kl");
  };
  EXPECT_EQ(kl("true"), kl("false"));
}

TEST_F(PerplexityTest, NumbersDependOnNeitherThreadsNorInterruptions) {
  const std::string yaml = text();
  Store whole(folder / "whole.db");
  PlanOptions one;
  one.threads = 1;
  ASSERT_EQ(run(plan(yaml, &whole, one), whole).failed, 0U);
  Store two(folder / "two.db");
  PlanOptions both;
  both.threads = 2;
  ASSERT_EQ(run(plan(yaml, &two, both), two).failed, 0U);
  EXPECT_EQ(bits_of(whole), bits_of(two));

  // Little memory: one window at a time, weights prepared again for each.
  Store tight(folder / "tight.db");
  PlanOptions little;
  little.threads = 1;
  little.memory_limit = 1.2 * plan(yaml).peak_bytes;
  const ModelPlan narrow = plan(yaml, &tight, little);
  const ModelMemory memory = model_memory(narrow.inputs[0], narrow.memory_limit, 1);
  ASSERT_EQ(run(narrow, tight).failed, 0U);
  EXPECT_EQ(bits_of(whole), bits_of(tight)) << memory.batch;

  Store broken(folder / "broken.db");
  const ModelPlan planned = plan(yaml, &broken, one);
  // Some windows of the first run are there, as after an interruption.
  const std::int64_t id = broken.begin(model_run_record(planned, planned.runs[0], {}, all()));
  const auto parts = whole.parts(planned.runs[0].key);
  ASSERT_EQ(parts.size(), planned.inputs[0].windows.size());
  for (const std::int64_t w : {0, 3, 5}) broken.put_part(id, w, parts.at(w));
  broken.interrupt(id);
  const ModelPlan again = plan(yaml, &broken, one);
  EXPECT_EQ(again.runs[0].windows_stored, 3U);
  ASSERT_EQ(run(again, broken).computed, 2U);
  EXPECT_EQ(bits_of(whole), bits_of(broken));

  StopFlag stop;
  stop.request();
  Store stopped(folder / "stopped.db");
  const RunReport report = run(plan(yaml, &stopped, one), stopped, &stop);
  EXPECT_TRUE(report.interrupted);
  EXPECT_EQ(report.computed, 0U);
  EXPECT_EQ(plan(yaml, &whole).stored, 2U) << "what is stored is not computed again";
}

TEST_F(PerplexityTest, AStoredRunIsVerifiedToTheBit) {
  Store store(folder / "olab.db");
  const ModelPlan p = plan(text(), &store);
  ASSERT_EQ(run(p, store).computed, 2U);
  const RunRecord one = store.run(p.runs[1].key);
  EXPECT_EQ(one.layer, "model on ids");
  EXPECT_EQ(one.layer_kind, kModelKind);
  EXPECT_EQ(one.params.at("quantizer"), "W4A4QKV4");
  EXPECT_EQ(one.params.at("evaluate.context"), "32");
  const VerifyReport report = verify_run(store, one, all());
  EXPECT_GT(report.compared, 15U);
  EXPECT_TRUE(report.differences.empty()) << report.differences.front();
  // A series a window and a series a layer.
  const auto nll = store.series(one.id, "windows.nll");
  ASSERT_TRUE(nll.has_value());
  double sum = 0;
  for (const double v : nll->values) sum += v;
  EXPECT_NEAR(std::exp(sum / static_cast<double>(nll->columns)) / one.values.at("model.perplexity"), 1,
              1e-12);
  const auto layers = store.series(one.id, "layers.output.nmse");
  ASSERT_TRUE(layers.has_value());
  EXPECT_EQ(layers->rows, 2);
  EXPECT_EQ(layers->columns, 7);
  sum = 0;
  for (const double v : layers->values) sum += v;
  EXPECT_NEAR(sum / 14, one.values.at("output.nmse"), 1e-12);
  expect_contains(error_of([&] { (void)find_run(store, one, all()); }), "whole model");
}

TEST_F(PerplexityTest, MethodsAreComparedWindowByWindow) {
  Store store(folder / "olab.db");
  const ModelPlan p = plan(text(), &store);
  ASSERT_EQ(run(p, store).computed, 2U);
  CompareOptions options;
  options.a = "rtn";
  options.b = "duquant";
  options.value = "model.perplexity";
  const std::string said = compare_methods(store, options, all(), Format::text);
  expect_contains(said, "windows");
  expect_contains(said, "n = 8 windows");
  options.value = "output.nmse";  // no window has it
  expect_contains(compare_methods(store, options, all(), Format::text), "1 layer");
}

constexpr const char* kTable = R"yaml(
paper: toy
title: A toy table
published:
  columns: [ppl]
  rows:
    - {name: original, run: rtn, values: [5], instead: {model.perplexity: model.original_perplexity}}
    - {name: plain, run: rtn, values: [9]}
    - {name: rotated, run: hadamard, values: [6]}
measures:
  - {value: model.perplexity, where: {quantizer: W4A4}, against: [ppl]}
  - {value: output.nmse, where: {quantizer: W8A8}, against: []}
questions:
  - {ask: "Is rotating better?", value: model.perplexity, where: {quantizer: W4A4}, a: rtn, b: hadamard}
  - {ask: "What predicts it?", predict: model.perplexity, from: [output.nmse, model.kl]}
study:
  evaluate: {perplexity: {context: 32}}
  data: {model: null, text: null}
  quantizer: [{activation: {bits: 4}, weight: {bits: 4}}, {activation: {bits: 8}, weight: {bits: 8}}]
  methods: [rtn, "hadamard(block_size=16)"]
  metrics: [nmse]
)yaml";

TEST_F(PerplexityTest, ATableOfPerplexitiesHasModelsForColumnsAndWindowsForObservations) {
  test::write_file(folder / "toy.yaml", kTable);
  const std::string file = (folder / "toy.yaml").string();
  EXPECT_TRUE(paper_needs_model(file));
  EXPECT_FALSE(paper_needs_model("table-6"));
  const PaperTable table = load_paper(
      file, {.models = {(folder / "model").string()}, .texts = {(folder / "ids.npy").string()}}, {}, all());
  EXPECT_EQ(table.study.name, "paper-toy-model");
  Store store(folder / "olab.db");
  ASSERT_EQ(run(make_model_plan(table.study, all(), &store, {}), store).computed, 4U);
  const auto runs = store.runs({.study = table.study.name, .status = {}, .method = {}, .layer = {}});
  const PaperPage computed = paper_page(table, runs, window_values(store, runs), all());
  const std::string page = render_sections({computed.section}, Format::markdown);
  expect_contains(page, "1 models, 1 seeds, 4 runs");
  expect_contains(page, "model.perplexity measured here, quantizer = W4A4");
  expect_contains(page, "over 8 windows");
  expect_contains(page, "over the runs of a model");
  // The original's row: its own value, in this measure alone, and no part of the verdict.
  const Grid& grid = computed.section.grids.front();
  ASSERT_EQ(grid.rows.size(), 3U);
  EXPECT_EQ(grid.rows[0][0].text, "original");
  EXPECT_EQ(grid.header[1], "model on ids");
  for (const RunRecord& one : runs)
    if (one.label == "rtn" && one.params.at("quantizer") == "W4A4") {
      EXPECT_EQ(grid.rows[0][1].text,
                cell_text(make_cell(std::vector{one}, "model.original_perplexity"), Format::text));
      EXPECT_EQ(grid.rows[1][1].text,
                cell_text(make_cell(std::vector{one}, "model.perplexity"), Format::text));
    }
  EXPECT_EQ(computed.section.grids[1].rows[0][1].text, "2") << "two rows are judged";
  EXPECT_EQ(computed.section.grids[2].rows.size(), 2U);
}

/// The layers of a perplexity run are measured as a study of these layers measures them.
TEST_F(PerplexityTest, LayerErrorsAreThoseOfAStudyOnTheRecording) {
  write_ids("two.npy", 64);  // one window to calibrate on, one to evaluate
  RecordOptions options;
  options.model = folder / "model";
  options.text = folder / "two.npy";
  options.out = folder / "recording";
  options.tokens = 64;
  options.context = 32;
  options.dtype = DType::f32;
  record_model(
      options, all(), [](const RecordProgress&) {}, nullptr);
  const std::string quantizer = "{activation: {bits: 4, clip: 0.9}, weight: {bits: 4, clip: 0.8}}";
  std::string yaml = text("calibrate_inputs: original", quantizer, "['smoothquant(alpha=0.6)']");
  yaml.replace(yaml.find("ids.npy"), 7, "two.npy");
  const ModelPlan of_model = plan(yaml);
  ASSERT_EQ(of_model.inputs[0].windows.size(), 1U);
  Store store(folder / "olab.db");
  ASSERT_EQ(run(of_model, store).computed, 1U);
  const auto series = store.series(1, "layers.output.nmse");
  ASSERT_TRUE(series.has_value());
  const Study layers = study("study: l\ndata: {recording: " + (folder / "recording").string() +
                             ", calibration_tokens: 32, share_inputs: true}\nquantizer: " + quantizer +
                             "\nmethods: ['smoothquant(alpha=0.6)']\nmetrics: [nmse]\n");
  const Plan of_layers = make_plan(layers, all(), nullptr, {});
  ASSERT_EQ(of_layers.layers.size(), series->values.size());
  for (std::size_t i = 0; i < of_layers.layers.size(); ++i) {
    const PlannedLayer& layer = of_layers.layers[i];
    const Measured m = compute_run(of_layers, layer, layer.runs.front(), all());
    // Roundings of the two products decide some codes.
    EXPECT_NEAR(series->values[i] / m.values.at("output.nmse"), 1, 0.02) << layer.info.name;
  }
}

TEST_F(PerplexityTest, ALayerThatOverflowsIsNamed) {
  ModelShape shape = model_shape("tiny");
  generate_model(folder / "model2", shape, "F32", 7, 4, nullptr);
  // The gain of block 1's second norm so large that the MLP overflows.
  const auto file = open_safetensors(folder / "model2/model-00002-of-00003.safetensors");
  std::vector<Matrix> kept;
  std::vector<TensorView> views;
  kept.reserve(file->tensors().size());
  for (const TensorInfo& info : file->tensors()) {
    kept.push_back(file->read_matrix(info.name));
    if (info.name.ends_with("post_attention_layernorm.weight")) kept.back().setConstant(1e30F);
    views.push_back(
        {info.name, DType::f32, info.shape,
         std::as_bytes(std::span(kept.back().data(), static_cast<std::size_t>(kept.back().size())))});
  }
  write_safetensors(folder / "model2/model-00002-of-00003.safetensors", views, {});
  std::string yaml = text({}, {}, "[rtn]");
  yaml.replace(yaml.find("/model,"), 7, "/model2,");
  Store store(folder / "olab.db");
  const RunReport report = run(plan(yaml, &store), store);
  EXPECT_EQ(report.failed, 1U);
  ASSERT_EQ(report.errors.size(), 1U);
  expect_contains(report.errors.front(), "model.layers.1.mlp.down_proj");
  expect_contains(report.errors.front(), "NaN or infinity");
}

TEST_F(PerplexityTest, ABlockSizeThatDoesNotFitIsToldBeforeAnythingRuns) {
  const ModelPlan p = plan(text({}, {}, "['hadamard(block_size=48)', rtn]"));
  ASSERT_FALSE(p.problems.empty());
  expect_contains(p.problems.front(), "48");
  expect_contains(describe_model_plan(p, all(), 0), "combinations will fail");
  Store store(folder / "olab.db");
  const RunReport report = run(p, store);
  EXPECT_EQ(report.failed, 1U);
  EXPECT_EQ(report.computed, 1U);
}

}  // namespace
}  // namespace olab

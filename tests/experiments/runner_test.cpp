// Plan and runner together: keys, sharing, memory, reproducibility.
#include "experiments/runner.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "datasets/profile.hpp"
#include "experiments/builtins.hpp"
#include "experiments/inspect.hpp"
#include "experiments/verify.hpp"
#include "experiments/views.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

const Registries& all() {
  static const Registries r = make_registries();
  return r;
}

constexpr const char* kStudy = R"yaml(
study: small
data: {profile: gaussian, layers: "*.0.*", calibration_tokens: 24, evaluation_tokens: 16, in_features: 64, out_features: 24}
quantizer: {activation: {bits: 4, clip: 0.9}, weight: {bits: [4, 8]}}
methods: [rtn, "hadamard(block_size=16,signs=true)", "duquant(block_size=16,search=exact,max_rotation_step=4)"]
repeats: 2
)yaml";

Plan plan_of(const std::vector<std::string>& overrides = {}, const Store* store = nullptr,
             PlanOptions options = {}) {
  return make_plan(parse_study(kStudy, "small", overrides, all()), all(), store, options);
}
RunReport run(const Plan& plan, Store& store) {
  RunOptions options;
  options.progress = false;
  return execute(plan, all(), store, options);
}
std::set<std::string> keys(const Plan& plan) {
  std::set<std::string> out;
  for (const PlannedLayer& l : plan.layers)
    for (const PlannedRun& r : l.runs) out.insert(r.key);
  return out;
}
/// Every number that must not depend on time, by key.
std::map<std::string, std::map<std::string, std::uint64_t>> bits_of(const Store& store) {
  std::map<std::string, std::map<std::string, std::uint64_t>> out;
  for (const RunRecord& r : store.runs({}))
    for (const auto& [name, value] : r.values)
      if (!name.starts_with("time.")) out[r.key][name] = std::bit_cast<std::uint64_t>(value);
  return out;
}

TEST(Plan, CountsTheProductOfTheAxes) {
  const Plan plan = plan_of();
  EXPECT_EQ(plan.total, plan.layers.size() * 3 * 2 * 2);
  EXPECT_EQ(keys(plan).size(), plan.total) << "every run has a key of its own";
  EXPECT_EQ(plan.stored, 0U);
  EXPECT_GT(plan.seconds, 0);
  EXPECT_GT(plan.peak_bytes, 0);
}
TEST(Plan, AKeyChangesWithEverythingThatChangesNumbers) {
  const std::set<std::string> base = keys(plan_of());
  for (const char* change : {"seed=7", "quantizer.activation.clip=1", "quantizer.weight.bits=3,5",
                             "data.seed=1", "data.calibration_tokens=23", "data.evaluation_tokens=15",
                             "data.out_features=23", "methods=smoothquant"}) {
    for (const std::string& key : keys(plan_of({change}))) EXPECT_FALSE(base.contains(key)) << change;
  }
  EXPECT_EQ(keys(plan_of({"study=renamed", "metrics=mse"})), base)
      << "names and metrics are not part of a run";
}
TEST(Plan, ShardsCoverEveryRunOnce) {
  std::multiset<std::string> seen;
  for (std::size_t i = 0; i < 3; ++i)
    for (const std::string& key : keys(plan_of({}, nullptr, {.shard = i, .shards = 3}))) seen.insert(key);
  const std::set<std::string> base = keys(plan_of());
  EXPECT_EQ(seen, std::multiset<std::string>(base.begin(), base.end()));
}
TEST(Plan, LimitsConcurrentRunsByMemory) {
  const Plan free = plan_of({}, nullptr, {.threads = 8});
  EXPECT_EQ(free.jobs, 8);
  const WorkingSet set = working_set(free, free.inputs.front());
  const Plan tight = plan_of({}, nullptr, {.threads = 8, .memory_limit = set.fixed + 2.5 * set.each});
  EXPECT_EQ(tight.jobs, 2);
  EXPECT_THROW(plan_of({}, nullptr, {.threads = 8, .memory_limit = 10}), Error);
}
TEST(Plan, TellsWhatCannotWork) {
  const Plan plan = plan_of({"methods=[\"hadamard(block_size=32)\", \"hadamard(block_size=48)\"]"});
  ASSERT_FALSE(plan.problems.empty());
  EXPECT_NE(plan.problems[0].find("48"), std::string::npos);
}
TEST(Runner, StoresOnceAndResumes) {
  const test::TempDir folder;
  Store store(folder.path() / "a.db");
  const Plan plan = plan_of({}, &store);
  EXPECT_EQ(run(plan, store).computed, plan.total);
  const Plan again = plan_of({}, &store);
  EXPECT_EQ(again.stored, plan.total);
  EXPECT_EQ(run(again, store).computed, 0U);
  const Plan more = plan_of({"repeats=3"}, &store);
  EXPECT_EQ(more.stored, plan.total);
  EXPECT_EQ(run(more, store).computed, more.total - plan.total);
}
TEST(Runner, AMetricThatIsNotStoredIsComputedAndNothingIsLost) {
  const test::TempDir folder;
  Store store(folder.path() / "a.db");
  (void)run(plan_of({"metrics=mse"}, &store), store);
  const Plan wider = plan_of({"metrics=nmse"}, &store);
  EXPECT_EQ(wider.stored, 0U);
  (void)run(wider, store);
  const RunRecord r = store.runs({}).front();
  EXPECT_TRUE(r.values.contains("output.mse"));
  EXPECT_TRUE(r.values.contains("output.nmse"));
  EXPECT_EQ(plan_of({"metrics=mse,nmse"}, &store).stored, wider.total);
}
TEST(Runner, ThreadsAndOrderDoNotChangeABit) {
  const test::TempDir folder;
  Store one(folder.path() / "1.db");
  Store four(folder.path() / "4.db");
  Store backwards(folder.path() / "b.db");
  (void)run(plan_of({}, &one, {.threads = 1}), one);
  (void)run(plan_of({}, &four, {.threads = 4}), four);
  for (std::size_t i = 3; i-- > 0;) (void)run(plan_of({}, &backwards, {.shard = i, .shards = 3}), backwards);
  EXPECT_EQ(bits_of(one), bits_of(four));
  EXPECT_EQ(bits_of(one), bits_of(backwards));
  EXPECT_FALSE(bits_of(one).empty());
}
/// Methods that begin alike, and quantizers that reuse what the others made.
const std::vector<std::string> kAlike{
    "methods=[rtn, smoothquant(alpha=0.6), "
    "\"duquant(block_size=16,search=exact,max_rotation_step=4,permutation=none)\", "
    "\"duquant(block_size=16,search=exact,max_rotation_step=4)\", "
    "\"duquant(block_size=16,search=exact,max_rotation_step=4,smooth=false)\", "
    "\"pipeline(smooth(alpha=0.6) | rotate(block_size=16,steps=4) | permute(random,block_size=16))\"]",
    "quantizer.activation.bits=4,8", "data.layers=*.0.*,*.1.*", "data.profile=llama2-7b"};
std::vector<std::string> with(std::vector<std::string> overrides, const std::vector<std::string>& more) {
  overrides.insert(overrides.end(), more.begin(), more.end());
  return overrides;
}
TEST(Runner, SharingChangesNoBit) {
  for (const char* inputs : {"data.share_inputs=false", "data.share_inputs=true"}) {
    const test::TempDir folder;
    Store shared(folder.path() / "s.db");
    Store alone(folder.path() / "a.db");
    const auto overrides = with(kAlike, {inputs});
    const Plan plan = plan_of(overrides, &shared, {.threads = 2});
    EXPECT_EQ(run(plan, shared).failed, 0U);
    (void)run(plan_of(overrides, &alone, {.threads = 1, .sharing = false}), alone);
    EXPECT_EQ(bits_of(shared), bits_of(alone)) << inputs;
    EXPECT_EQ(bits_of(shared).size(), plan.total);
  }
}
TEST(Plan, TellsWhatRunsShare) {
  const Plan plan = plan_of(with(kAlike, {"data.share_inputs=true"}));
  const std::string text = describe_plan(plan);
  std::size_t three = 0;
  for (const PlannedInput& input : plan.inputs) three += input.count == 3 ? 1 : 0;
  EXPECT_EQ(three, 2U) << "q, k and v of two blocks";
  EXPECT_NE(text.find("4 methods: smooth(0.6)\n"), std::string::npos) << text;
  EXPECT_NE(text.find("3 methods: smooth(0.6) | rotation 1(block_size=16, steps=4"), std::string::npos)
      << text;
  EXPECT_NE(text.find("inputs, each with one transform for its"), std::string::npos) << text;
  const Plan alone = plan_of(with(kAlike, {}), nullptr, {.sharing = false});
  EXPECT_NE(describe_plan(alone).find("shared: nothing (--no-sharing)"), std::string::npos);
}
TEST(Plan, SharedInputsHaveKeysOfTheirOwn) {
  const Plan alone = plan_of({"data.profile=llama2-7b"});
  const Plan together = plan_of({"data.profile=llama2-7b", "data.share_inputs=true"});
  const Plan fewer =
      plan_of({"data.profile=llama2-7b", "data.layers=*.0.*.q_proj,*.0.*.k_proj", "data.share_inputs=true"});
  ASSERT_EQ(alone.layers.size(), together.layers.size());
  for (std::size_t i = 0; i < alone.layers.size(); ++i) {
    const bool shares = !together.layers[i].shared_hash.empty();
    EXPECT_EQ(alone.layers[i].runs.front().key == together.layers[i].runs.front().key, !shares)
        << alone.layers[i].info.name;
  }
  EXPECT_NE(fewer.layers.front().runs.front().key, together.layers.front().runs.front().key)
      << "a transform that has seen other weights is another one";
}
TEST(Runner, LayersOfOneInputGetOneTransform) {
  const Plan plan = plan_of({"data.profile=llama2-7b", "data.share_inputs=true", "repeats=1",
                             "quantizer.weight.bits=4", "methods=smoothquant"});
  const auto input = std::ranges::find_if(plan.inputs, [](const PlannedInput& i) { return i.count == 3; });
  ASSERT_NE(input, plan.inputs.end());
  std::vector<double> values;
  for (std::size_t i = 0; i < 3; ++i) {
    const PlannedLayer& layer = plan.layers[input->first + i];
    values.push_back(compute_run(plan, layer, layer.runs.front(), all()).values.at("transformed.kurtosis"));
  }
  EXPECT_EQ(values[0], values[1]);
  EXPECT_EQ(values[0], values[2]);
}
TEST(Runner, AMethodKnowsWhoseWeightsShareTheInput) {
  // The scales of q_proj alone are other ones than those of q, k and v.
  const std::vector<std::string> base{"data.profile=llama2-7b", "repeats=1", "quantizer.weight.bits=4"};
  const auto kurtosis = [&](const std::string& share, const std::string& weights) {
    const Plan plan =
        plan_of(with(base, {"data.share_inputs=" + share, "methods=smoothquant(weights=" + weights + ")"}));
    const auto layer = std::ranges::find_if(
        plan.layers, [](const PlannedLayer& l) { return l.info.name.ends_with("q_proj"); });
    return compute_run(plan, *layer, layer->runs.front(), all()).values.at("transformed.kurtosis");
  };
  EXPECT_NE(kurtosis("true", "all-layers"), kurtosis("true", "one-layer"));
  EXPECT_EQ(kurtosis("true", "one-layer"), kurtosis("false", "all-layers")) << "q_proj alone, both";
  EXPECT_EQ(kurtosis("false", "one-layer"), kurtosis("false", "all-layers"));
}
TEST(Runner, AnOutputInTilesHasTheErrorOfTheWhole) {
  // 300 tokens are more than one tile; kurtosis wants to see the whole output, nmse does not.
  const std::vector<std::string> base{"methods=rtn", "repeats=1", "data.evaluation_tokens=300"};
  const Plan tiled = plan_of(with(base, {"metrics=nmse"}));
  const Plan whole = plan_of(with(base, {"metrics=nmse,kurtosis"}));
  for (std::size_t i = 0; i < tiled.layers.front().runs.size(); ++i) {
    const Measured a = compute_run(tiled, tiled.layers.front(), tiled.layers.front().runs[i], all());
    const Measured b = compute_run(whole, whole.layers.front(), whole.layers.front().runs[i], all());
    EXPECT_EQ(std::bit_cast<std::uint64_t>(a.values.at("output.nmse")),
              std::bit_cast<std::uint64_t>(b.values.at("output.nmse")));
    EXPECT_FALSE(a.values.contains("output.kurtosis"));
  }
}
TEST(Runner, OutputErrorIsWhatAPlainComputationGives) {
  const Plan plan = plan_of({"methods=rtn", "repeats=1", "quantizer.weight.bits=4"});
  const PlannedLayer& layer = plan.layers.front();
  const Measured m = compute_run(plan, layer, layer.runs.front(), all());
  const Layer data = plan.recording->load(layer.index, 40);
  const Matrix x = data.x.bottomRows(16);
  Matrix x_hat(x.rows(), x.cols());
  Matrix w_hat(data.w.rows(), data.w.cols());
  (void)all().quantizers.make("integer(bits=4,clip=0.9)", all())->quantize(Role::activation, x, x_hat);
  (void)all().quantizers.make("integer(bits=4)", all())->quantize(Role::weight, data.w, w_hat);
  const Eigen::MatrixXd y = x.cast<double>() * data.w.cast<double>().transpose();
  const Eigen::MatrixXd y_hat = x_hat.cast<double>() * w_hat.cast<double>().transpose();
  const double nmse = (y - y_hat).squaredNorm() / y.squaredNorm();
  EXPECT_NEAR(m.values.at("output.nmse"), nmse, 1e-5 * nmse);
  EXPECT_NEAR(m.values.at("output.sqnr"), -10 * std::log10(nmse), 1e-4);
  EXPECT_EQ(m.values.at("online.multiply_adds"), 0);
}
TEST(Runner, WithoutQuantizersNothingIsLost) {
  const Plan plan = plan_of({"~quantizer", "repeats=1"});
  for (const PlannedRun& r : plan.layers.front().runs) {
    const Measured m = compute_run(plan, plan.layers.front(), r, all());
    EXPECT_EQ(m.values.at("quantized.mse"), 0);
    EXPECT_LT(m.values.at("output.nmse"), 1e-10) << plan.methods[r.method].label << ": the product is kept";
    EXPECT_EQ(m.values.at("bits.activation"), 16);
  }
}
TEST(Runner, AFailedRunIsARowAndTheOthersGoOn) {
  const test::TempDir folder;
  Store store(folder.path() / "a.db");
  const std::vector<std::string> overrides{"methods=[rtn, \"hadamard(block_size=48)\"]", "repeats=1",
                                           "quantizer.weight.bits=4"};
  const RunReport report = run(plan_of(overrides, &store), store);
  EXPECT_EQ(report.computed, report.failed);
  ASSERT_EQ(report.errors.size(), 1U) << "equal errors are told once";
  const std::vector<RunRecord> failed =
      store.runs({.study = {}, .status = "failed", .method = {}, .layer = {}});
  ASSERT_EQ(failed.size(), report.failed);
  EXPECT_NE(failed[0].error.find("48"), std::string::npos);
  EXPECT_EQ(plan_of(overrides, &store).stored, report.computed) << "a failed run is not stored";
}
TEST(Runner, AStopLeavesNoRunOpen) {
  const test::TempDir folder;
  Store store(folder.path() / "a.db");
  const Plan plan = plan_of({}, &store);
  StopFlag stop;
  stop.request();
  RunOptions options;
  options.progress = false;
  options.stop = &stop;
  const RunReport report = execute(plan, all(), store, options);
  EXPECT_TRUE(report.interrupted);
  EXPECT_TRUE(store.runs({.study = {}, .status = "running", .method = {}, .layer = {}}).empty());
}
TEST(Runner, MethodsSeeCalibrationTokensOnly) {
  // The same layer with other evaluation tokens must give the same transform: the transformed weights tell.
  const Plan a = plan_of({"methods=duquant(block_size=16,search=exact,max_rotation_step=4)", "repeats=1",
                          "quantizer.weight.bits=4"});
  const Plan b = plan_of({"methods=duquant(block_size=16,search=exact,max_rotation_step=4)", "repeats=1",
                          "quantizer.weight.bits=4", "data.evaluation_tokens=8", "data.tokens=40"});
  const Measured ma = compute_run(a, a.layers[0], a.layers[0].runs[0], all());
  const Measured mb = compute_run(b, b.layers[0], b.layers[0].runs[0], all());
  EXPECT_EQ(ma.values.at("weight_transformed.absmax"), mb.values.at("weight_transformed.absmax"));
  EXPECT_NE(ma.values.at("output.mse"), mb.values.at("output.mse"));
}
TEST(Runner, PeakMemoryStaysWithinThePlan) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's own memory would be counted";
#endif
  const test::TempDir folder;
  Store store(folder.path() / "a.db");
  const std::vector<std::string> big{"data.in_features=2048",       "data.out_features=1024",
                                     "data.calibration_tokens=512", "data.evaluation_tokens=512",
                                     "methods=rtn,smoothquant",     "repeats=1",
                                     "data.layers=*.0.*q_proj"};
  rusage before{};
  getrusage(RUSAGE_SELF, &before);
  const Plan plan = plan_of(big, &store, {.threads = 2});
  EXPECT_EQ(run(plan, store).failed, 0U);
  rusage after{};
  getrusage(RUSAGE_SELF, &after);
  const double grown = 1024.0 * static_cast<double>(after.ru_maxrss - before.ru_maxrss);
  EXPECT_LT(grown, plan.peak_bytes) << "before: " << before.ru_maxrss << " KiB";
}
TEST(Verify, FindsTheSameBitsAndTellsOfOthers) {
  const test::TempDir folder;
  Store store(folder.path() / "a.db");
  (void)run(plan_of({}, &store), store);
  RunRecord one = store.runs({}).back();
  const VerifyReport good = verify_run(store, one, all());
  EXPECT_GT(good.compared, 20U);
  EXPECT_TRUE(good.differences.empty());
  one.values["output.nmse"] += 1e-9;
  const VerifyReport bad = verify_run(store, one, all());
  ASSERT_EQ(bad.differences.size(), 1U);
  EXPECT_EQ(bad.differences[0].substr(0, 20), "output.nmse: stored ");
  one.key = "gone";
  EXPECT_THROW(verify_run(store, one, all()), Error);
}
TEST(Views, ACellNeverMixesQuantizers) {
  const test::TempDir folder;
  Store store(folder.path() / "a.db");
  const Plan plan = plan_of({}, &store);
  (void)run(plan, store);
  const std::vector<RunRecord> runs = store.runs({.study = "small", .status = {}, .method = {}, .layer = {}});
  const Table table = study_table(runs, {}, plan.study.quantizer_axes);
  EXPECT_EQ(table.column_names.size() % 2, 0U);
  EXPECT_NE(table.column_names.front().find("4"), std::string::npos);
  const Table by_bits =
      study_table(runs, {.rows = "method", .columns = "weight.bits", .value = "output.nmse", .title = {}},
                  plan.study.quantizer_axes);
  EXPECT_EQ(by_bits.column_names, (std::vector<std::string>{"4", "8"}));
}
TEST(Views, EveryDefaultValueHasADefinitionAndADirection) {
  const Plan plan = plan_of({"repeats=1"});
  const Measured m = compute_run(plan, plan.layers[0], plan.layers[0].runs[0], all());
  for (const auto& [name, value] : m.values)
    EXPECT_FALSE(value_facts(name, all()).definition.empty()) << name;
  EXPECT_EQ(value_facts("output.nmse", all()).better, "lower");
  EXPECT_EQ(value_facts("output.sqnr", all()).better, "higher");
}
TEST(Inspect, TellsWhatAProfileHolds) {
  GenerateOptions options;
  options.tokens = 64;
  const auto recording = open_profile("gaussian", options);
  InspectOptions inspect;
  inspect.layers = {"*.0.*"};
  const std::string text = inspect_recording(*recording, "gaussian", inspect);
  EXPECT_NE(text.find("no outliers"), std::string::npos);
  EXPECT_NE(text.find("kurtosis: Pearson's, population, over all entries (Gaussian = 3)"), std::string::npos);
  EXPECT_NE(text.find("massive outlier: |x| > 100 and |x| > 1000 · median |x|"), std::string::npos);
  inspect.layers = {"*.99.*"};
  EXPECT_THROW((void)inspect_recording(*recording, "gaussian", inspect), Error);
}

}  // namespace
}  // namespace olab

#include "experiments/transform_export.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/recording.hpp"
#include "datasets/safetensors.hpp"
#include "experiments/builtins.hpp"
#include "experiments/plan.hpp"
#include "experiments/runner.hpp"
#include "experiments/verify.hpp"
#include "methods/common/method.hpp"
#include "methods/common/transform_file.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;

const Registries& all() {
  static const Registries r = make_registries();
  return r;
}

constexpr const char* kStudy = R"yaml(
study: small
data: {profile: llama2-7b, layers: "*.0.*q_proj", calibration_tokens: 24, evaluation_tokens: 20, in_features: 48, out_features: 12}
quantizer: {activation: {bits: 4, clip: 0.9}, weight: {bits: 4}}
methods:
  - rtn
  - smoothquant
  - hadamard(block_size=16)
  - hadamard(block_size=full)
  - hadamard(block_size=6,odd_part=hartley)
  - permute(random,block_size=16)
  - rotate(block_size=8,steps=3,share_rotation=false)
  - duquant(block_size=16,search=exact,max_rotation_step=4,permutation_times=2)
  - smooth | permute(zigzag,block_size=8) | hadamard(block_size=24)
seed: 5
)yaml";

/// A store with the runs of kStudy.
class TransformExportTest : public testing::Test {
 protected:
  void run(const std::vector<std::string>& overrides = {}) {
    const Plan plan = make_plan(parse_study(kStudy, "small", overrides, all()), all(), &store, {});
    RunOptions options;
    options.progress = false;
    report = execute(plan, all(), store, options);
  }
  RunRecord run_of(const std::string& method) const {
    for (const RunRecord& r : store.runs({}))
      if (r.method == method || r.label == method) return r;
    throw Error("no run of " + method);
  }
  TransformExport write(const RunRecord& one, const fs::path& file, bool force = false) const {
    ExportOptions options;
    options.force = force;
    return export_transform(store, one, file, all(), options);
  }
  std::string error_of(const RunRecord& one, const fs::path& file) const {
    try {
      (void)write(one, file);
    } catch (const Error& e) {
      return e.what();
    }
    return {};
  }

  test::TempDir folder;
  Store store{folder / "olab.db"};
  RunReport report;
};

TEST_F(TransformExportTest, EveryMethodComesBackAsAMethodWithTheSameNumbers) {
  run();
  ASSERT_EQ(report.failed, 0U);
  const std::vector<RunRecord> runs = store.runs({});
  ASSERT_GE(runs.size(), 9U);
  for (const RunRecord& one : runs) {
    const fs::path file = folder / (std::to_string(one.id) + ".safetensors");
    const TransformExport done = write(one, file);
    EXPECT_LT(done.equivalence_error, 2e-6) << one.label;
    EXPECT_EQ(done.equivalence_error == 0, one.method == "rtn") << one.label;
    EXPECT_EQ(done.tokens, 20);
    const std::string block = done.block_size > 0 ? ",block_size=" + std::to_string(done.block_size) : "";
    run({"methods=[\"from_file(path=" + file.string() + block + ")\"]",
         "study=again" + std::to_string(one.id)});
    ASSERT_EQ(report.failed, 0U) << one.label << ": " << (report.errors.empty() ? "" : report.errors[0]);
    ASSERT_EQ(report.computed, 1U) << one.label;
    const RunRecord again = store.runs({}).back();
    ASSERT_EQ(again.method, "from_file");
    EXPECT_NE(again.key, one.key);
    std::size_t compared = 0;
    for (const auto& [name, value] : one.values) {
      if (name.starts_with("time.") || name.find("latency") != std::string::npos) continue;
      ASSERT_TRUE(again.values.contains(name)) << one.label << " " << name;
      EXPECT_EQ(std::bit_cast<std::uint64_t>(value), std::bit_cast<std::uint64_t>(again.values.at(name)))
          << one.label << " " << name << ": " << value << " and " << again.values.at(name);
      ++compared;
    }
    EXPECT_GT(compared, 40U);
  }
}

TEST_F(TransformExportTest, TheFileTellsWhatItIs) {
  run();
  const RunRecord one = run_of("duquant");
  const TransformExport done = write(one, folder / "t.safetensors");
  EXPECT_EQ(done.kinds, (std::vector<std::string>{"channel_scale", "block_rotation", "permutation",
                                                  "block_rotation", "permutation", "block_rotation"}));
  EXPECT_EQ(done.block_size, 16);
  const auto file = open_safetensors(folder / "t.safetensors");
  const auto& facts = file->metadata();
  EXPECT_EQ(facts.at("format"), "outlierlab-transform");
  EXPECT_EQ(facts.at("format_version"), "1");
  EXPECT_EQ(facts.at("method"), one.method_text);
  EXPECT_EQ(facts.at("recording"), "profile llama2-7b");
  EXPECT_EQ(facts.at("layer"), one.layer);
  EXPECT_EQ(facts.at("channels"), "48");
  EXPECT_EQ(facts.at("seed"), "5");
  EXPECT_EQ(facts.at("calibration_tokens"), "24");
  EXPECT_EQ(facts.at("calibrate_on"), "own");
  EXPECT_EQ(facts.at("key"), one.key);
  EXPECT_NE(facts.at("program_version").find("OutlierLab"), std::string::npos);
  const auto stages = nlohmann::json::parse(facts.at("stages"));
  ASSERT_EQ(stages.size(), 6U);
  EXPECT_EQ(stages[2].at("kind"), "permutation");
  EXPECT_EQ(stages[2].at("tensors").at("order"), "2.permutation.order");
  EXPECT_EQ(file->indices("2.permutation.order").size(), 48U);
  const std::string text = describe_export(done, one);
  EXPECT_NE(text.find("T = channel_scale · block_rotation · permutation"), std::string::npos) << text;
  EXPECT_NE(text.find("from_file(path=" + (folder / "t.safetensors").string() + ",block_size=16)"),
            std::string::npos)
      << text;
}

TEST_F(TransformExportTest, TheErrorIsWhatAPlainComputationGives) {
  run();
  const RunRecord one = run_of("smoothquant");
  const double told = write(one, folder / "t.safetensors").equivalence_error;
  const Plan plan = make_plan(parse_study(kStudy, "small", {}, all()), all(), nullptr, {});
  const Layer data = plan.recording->load(plan.layers.front().index, 44);
  Matrix x = data.x.bottomRows(20);
  Matrix w = data.w;
  const Eigen::MatrixXd before = x.cast<double>() * w.cast<double>().transpose();
  const Chain chain = read_transform(*open_safetensors(folder / "t.safetensors"));
  chain.apply_to_activations(x);
  chain.apply_to_weights(w);
  // In double only the roundings of X T and W T⁻ᵀ are left: no more than what float products add to them.
  const Eigen::MatrixXd after = x.cast<double>() * w.cast<double>().transpose();
  const double exact = (after - before).norm() / before.norm();
  EXPECT_GT(told, 0.3 * exact);
  EXPECT_LT(told, 10 * exact);
  EXPECT_LT(exact, 1e-6);
}

TEST_F(TransformExportTest, AnotherFileIsAnotherRun) {
  run({"methods=[smoothquant(alpha=0.5), smoothquant(alpha=0.7)]"});
  const std::vector<RunRecord> runs = store.runs({});
  const fs::path file = folder / "t.safetensors";
  const std::string method = "methods=[\"from_file(path=" + file.string() + ")\"]";
  (void)write(runs[0], file);
  run({method});
  EXPECT_EQ(report.computed, 1U);
  run({method});
  EXPECT_EQ(report.computed, 0U) << "the same file is stored already";
  (void)write(runs[1], file, true);
  run({method});
  EXPECT_EQ(report.computed, 1U) << "the file has changed";
  const std::vector<RunRecord> now = store.runs({});
  ASSERT_EQ(now.size(), 4U);
  EXPECT_NE(now[2].key, now[3].key);
  EXPECT_EQ(now[2].values.at("output.nmse"), runs[0].values.at("output.nmse"));
  EXPECT_EQ(now[3].values.at("output.nmse"), runs[1].values.at("output.nmse"));
  // The run of the old file can be computed no more, and says so instead of comparing with the new one.
  EXPECT_THROW((void)verify_run(store, now[2], all()), Error);
  EXPECT_TRUE(verify_run(store, now[3], all()).differences.empty());
}

TEST_F(TransformExportTest, LayersOfOneInputGetTheTransformThatSawAllOfThem) {
  const std::vector<std::string> overrides{"data.layers=*.0.*q_proj,*.0.*k_proj", "methods=smoothquant"};
  run(overrides);
  const RunRecord alone = run_of("smoothquant");
  run({overrides[0], overrides[1], "data.share_inputs=true"});
  const std::vector<RunRecord> runs = store.runs({});
  ASSERT_EQ(runs.size(), 4U);
  const auto scale = [&](const RunRecord& one) {
    (void)write(one, folder / "t.safetensors", true);
    return open_safetensors(folder / "t.safetensors")->read_matrix("0.channel_scale.scale");
  };
  EXPECT_EQ(scale(runs[2]), scale(runs[3]));
  EXPECT_NE(scale(alone), scale(runs[2]));
}

TEST_F(TransformExportTest, ARunThatWasCalibratedOnOtherTokensIsFoundAgain) {
  run({"methods=smoothquant"});
  run({"methods=smoothquant", "data.calibrate_on=gaussian"});
  const std::vector<RunRecord> runs = store.runs({});
  ASSERT_EQ(runs.size(), 2U);
  std::vector<Matrix> scales;
  for (const RunRecord& one : runs) {
    (void)write(one, folder / "t.safetensors", true);
    const auto file = open_safetensors(folder / "t.safetensors");
    EXPECT_EQ(file->metadata().at("calibrate_on"), scales.empty() ? "own" : "gaussian");
    scales.push_back(file->read_matrix("0.channel_scale.scale"));
    run({"methods=[\"from_file(path=" + (folder / "t.safetensors").string() + ")\"]"});
    EXPECT_EQ(store.runs({}).back().values.at("output.nmse"), one.values.at("output.nmse"));
  }
  EXPECT_NE(scales[0], scales[1]);
}

TEST_F(TransformExportTest, WorksWithoutWeights) {
  RecordingWriter writer(folder / "recording", "F32", {});
  Matrix x(44, 48);
  RandomStream(3).fill_normal(x);
  writer.add({"a.q_proj", x, Matrix(0, 48)});
  writer.finish();
  run({"~data.profile", "~data.in_features", "~data.out_features", "data.layers=*",
       "data.recording=" + (folder / "recording").string(),
       "methods=[\"smooth | hadamard(block_size=16)\"]"});
  ASSERT_EQ(report.failed, 0U);
  const TransformExport done = write(store.runs({}).back(), folder / "t.safetensors");
  EXPECT_FALSE(done.has_weights);
  EXPECT_GT(done.equivalence_error, 0);
  EXPECT_LT(done.equivalence_error, 1e-6);
  EXPECT_NE(describe_export(done, store.runs({}).back()).find("so W = I"), std::string::npos);
}

TEST_F(TransformExportTest, RefusesBadTargets) {
  run({"methods=rtn"});
  const RunRecord one = store.runs({}).back();
  const std::string file = (folder / "t.safetensors").string();
  EXPECT_EQ(error_of(one, file), "");
  EXPECT_EQ(error_of(one, file), file + ": it exists already; --force replaces it, or choose another name");
  EXPECT_EQ(write(one, file, true).channels, 48);
  EXPECT_NE(error_of(one, folder / "t.npz").find("transforms are written as .safetensors"),
            std::string::npos);
  EXPECT_NE(error_of(one, folder / "no/t.safetensors").find("there is no folder"), std::string::npos);
  fs::create_directory(folder / "d.safetensors");
  EXPECT_NE(error_of(one, folder / "d.safetensors").find("it is a folder"), std::string::npos);
}

TEST_F(TransformExportTest, RefusesRunsWithoutATransform) {
  run({"methods=[\"hadamard(block_size=32)\"]"});
  ASSERT_EQ(report.failed, 1U);
  const RunRecord failed = store.runs({}).back();
  EXPECT_EQ(error_of(failed, folder / "t.safetensors"),
            "run " + std::to_string(failed.id) +
                " is failed; only the transform of a finished run can be exported");
  run({"methods=rtn"});
  RunRecord gone = run_of("rtn");
  gone.key = "gone";
  EXPECT_NE(error_of(gone, folder / "t.safetensors").find("cannot be computed again: no stored study has it"),
            std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "t.safetensors"));
}

TEST_F(TransformExportTest, AFileForAnotherWidthFailsTheRunAndOneThatIsNoneRefusesTheStudy) {
  run({"methods=rtn"});
  const fs::path file = folder / "t.safetensors";
  (void)write(store.runs({}).back(), file);
  const std::string method = "methods=[\"from_file(path=" + file.string() + ")\"]";
  run({method, "data.in_features=64"});
  EXPECT_EQ(report.failed, 1U);
  ASSERT_EQ(report.errors.size(), 1U);
  EXPECT_NE(report.errors[0].find("the transform is for 48 channels, but the layer has 64"),
            std::string::npos);
  SafetensorsSink sink;
  sink.put("a", Matrix(Matrix::Ones(1, 48)));
  sink.write(file, {});
  try {
    run({method});
    FAIL() << "a file without a transform was taken";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("it holds no transform"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("override 'methods="), std::string::npos) << e.what();
  }
}

TEST(Studies, APatternNeverMeansAMethodThatNeedsAFile) {
  const Study study =
      parse_study("study: s\ndata: {profile: gaussian}\nmethods: [glob(*)]\n", "s", {}, all());
  for (const StudyMethod& method : study.methods) EXPECT_NE(method.spec.name, "from_file");
  EXPECT_GE(study.methods.size(), 6U);
  EXPECT_THROW(
      (void)parse_study("study: s\ndata: {profile: gaussian}\nmethods: [glob(from*)]\n", "s", {}, all()),
      Error);
}

}  // namespace
}  // namespace olab

#include "models/record.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <regex>
#include <set>

#include "datasets/npy.hpp"
#include "datasets/npz.hpp"
#include "datasets/recording.hpp"
#include "datasets/safetensors.hpp"
#include "messages.hpp"
#include "models/checkpoint.hpp"
#include "models/decoder.hpp"
#include "models/llama2c.hpp"
#include "toy_model.hpp"

namespace olab {
namespace {

using test::error_of;
using test::expect_contains;
using test::TempDir;
using test::toy_llama_config;
using test::toy_model;
using test::toy_opt_config;
using test::ToyModel;
namespace fs = std::filesystem;

Registries registries() {
  Registries r = test::model_registries();
  register_datasets(r);
  return r;
}

void write_ids(const fs::path& file, const std::vector<TokenId>& ids) {
  write_npy(file, {"ids", DType::i32, {static_cast<Index>(ids.size())}, std::as_bytes(std::span(ids))});
}

std::vector<TokenId> some_ids(std::size_t count, std::uint64_t seed = 3) {
  RandomStream random(seed);
  std::vector<TokenId> out(count);
  for (TokenId& id : out) id = static_cast<TokenId>(random.below(32));
  return out;
}

// By the layers' names.
struct Pass {
  std::map<std::string, Matrix> inputs;
  std::map<std::string, Matrix> weights;
};

// Collects the inputs of all linear layers of a forward pass.
class Capture final : public OriginalWork {
 public:
  void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
    for (const Linear& l : block.linears) {
      if (l.spec.site != site) continue;
      Matrix& all = pass.inputs[l.name];
      const Index before = all.rows();
      all.conservativeResize(before + x.rows(), x.cols());
      all.bottomRows(x.rows()) = x;
      pass.weights[l.name] = l.weight;
    }
    OriginalWork::linear(block, site, x, y);
  }
  Pass pass;
};

// A toy model, token ids for it, and options that record 21 tokens in windows of 8, 8 and 5.
struct Toy {
  explicit Toy(const ToyModel& model = toy_model(toy_llama_config())) {
    model.write(dir / "toy");
    write_ids(dir / "ids.npy", ids);
    options.model = dir / "toy";
    options.text = dir / "ids.npy";
    options.out = dir / "rec";
    options.tokens = 21;
    options.context = 8;
    options.dtype = DType::f32;
  }

  RecordReport record(const StopFlag* stop = nullptr) const { return record_model(options, r, {}, stop); }
  std::string error() const {
    return error_of([&] { record(); });
  }
  // Stops after `steps` steps.
  void interrupt(Index steps) const {
    StopFlag stop;
    EXPECT_THROW(record_model(
                     options, r,
                     [&](const RecordProgress& p) {
                       if (p.done >= steps) stop.request();
                     },
                     &stop),
                 Interrupted);
  }
  fs::path waiting() const { return dir / ".rec.recording"; }

  // Every file's bytes; the time of recording left out.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> out;
    for (const fs::directory_entry& entry : fs::directory_iterator(options.out))
      out[entry.path().filename().string()] = std::regex_replace(
          test::read_file(entry.path()), std::regex(R"("recorded": "[-0-9T:Z]*")"), R"("recorded": "")");
    return out;
  }

  Pass forward() const {
    const Decoder decoder(std::make_shared<Checkpoint>(options.model, r));
    Capture work;
    std::vector<std::vector<TokenId>> windows;
    for (Index at = 0; at < options.tokens; at += options.context)
      windows.emplace_back(ids.begin() + at, ids.begin() + std::min(at + options.context, options.tokens));
    std::vector<Matrix> hidden = decoder.embed(windows);
    for (Index b = 0; b < decoder.spec().layers; ++b) {
      const Block block = decoder.load_block(b);
      for (Matrix& h : hidden) decoder.run_block(block, h, work);
    }
    return work.pass;
  }

  TempDir dir;
  Registries r = registries();
  std::vector<TokenId> ids = some_ids(40);
  RecordOptions options;
};

Matrix rounded(const Matrix& m, DType dtype) {
  Matrix out = m;
  for (Index i = 0; i < m.size(); ++i)
    out.data()[i] = dtype == DType::f16 ? static_cast<float>(Eigen::half(m.data()[i]))
                                        : static_cast<float>(Eigen::bfloat16(m.data()[i]));
  return out;
}

TEST(Record, XIsWhatADirectForwardPassGivesToEachLayer) {
  for (const nlohmann::json& config : {toy_llama_config(), toy_opt_config()}) {
    const Toy toy(toy_model(config));
    const RecordReport report = toy.record();
    const auto recording = open_recording(toy.options.out, toy.r);
    const Pass wanted = toy.forward();
    ASSERT_EQ(recording->layers().size(), wanted.inputs.size());
    EXPECT_EQ(report.layers, wanted.inputs.size());
    EXPECT_EQ(report.inputs, 8);
    EXPECT_EQ(report.steps, 6);
    for (std::size_t i = 0; i < recording->layers().size(); ++i) {
      const Layer layer = recording->load(i, 0);
      SCOPED_TRACE(layer.name);
      EXPECT_EQ(layer.x, wanted.inputs.at(layer.name));
      EXPECT_EQ(layer.w, wanted.weights.at(layer.name));
    }
    EXPECT_FALSE(fs::exists(toy.waiting()));
  }
}

TEST(Record, NarrowDTypesRoundTheSameValues) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    Toy toy;
    toy.options.dtype = dtype;
    toy.record();
    const auto recording = open_recording(toy.options.out, toy.r);
    const Pass wanted = toy.forward();
    for (std::size_t i = 0; i < recording->layers().size(); ++i) {
      const Layer layer = recording->load(i, 0);
      EXPECT_EQ(recording->layers()[i].x_dtype, dtype_name(dtype));
      EXPECT_EQ(layer.x, rounded(wanted.inputs.at(layer.name), dtype)) << layer.name;
      EXPECT_EQ(layer.w, rounded(wanted.weights.at(layer.name), dtype)) << layer.name;
    }
  }
}

TEST(Record, FilesAndManifestAreThoseOfThePythonRecorder) {
  Toy toy;
  toy.options.layers = {"*.{q,k}_proj", "*.mlp.*", "!model.layers.0.*", "!*.gate_proj"};
  toy.record();
  std::set<std::string> names;
  for (const auto& [name, bytes] : toy.files()) names.insert(name);
  EXPECT_EQ(names,
            (std::set<std::string>{"000.safetensors", "000.weight.safetensors", "001.weight.safetensors",
                                   "002.safetensors", "002.weight.safetensors", "003.safetensors",
                                   "003.weight.safetensors", "manifest.json"}));
  const nlohmann::json manifest = nlohmann::json::parse(test::read_file(toy.options.out / "manifest.json"));
  EXPECT_EQ(manifest["format"], "outlierlab-recording");
  EXPECT_EQ(manifest["version"], 1);
  EXPECT_EQ(manifest["model"], "toy");
  EXPECT_EQ(manifest["source"], "ids.npy, sequences of 8 tokens");
  EXPECT_EQ(manifest["tokens"], 21);
  EXPECT_EQ(manifest["layers"][1], nlohmann::json::parse(R"({
    "name": "model.layers.1.self_attn.k_proj", "tokens": 21, "in_features": 16, "out_features": 8,
    "x": {"file": "000.safetensors", "tensor": "x"},
    "weight": {"file": "001.weight.safetensors", "tensor": "weight"}})"));
  EXPECT_EQ(manifest["layers"][2]["x"]["file"], "002.safetensors");
  const nlohmann::json& facts = manifest["provenance"];
  EXPECT_EQ(facts["recorder"], "olab record");
  EXPECT_EQ(facts["stored_as"], "fp32");
  EXPECT_EQ(facts["model_dtype"], "float32");
  EXPECT_EQ(facts["device"], "cpu");
  EXPECT_EQ(facts["input"], "ids.npy");
  EXPECT_EQ(facts["sequence_length"], "8");
  EXPECT_EQ(facts["skipped_tokens"], "0");
  for (const char* key : {"recorded", "olab", "products", "token_ids_xxh3"})
    EXPECT_TRUE(facts.contains(key) && !facts[key].get<std::string>().empty()) << key;
}

TEST(Record, WithoutWeightsOnlyXIsThere) {
  Toy toy;
  toy.options.weights = false;
  toy.record();
  for (const auto& [name, bytes] : toy.files()) EXPECT_FALSE(test::contains(name, "weight")) << name;
  const auto recording = open_recording(toy.options.out, toy.r);
  EXPECT_EQ(recording->layers().front().out_features, 0);
  EXPECT_EQ(recording->load_input(0, 0), toy.forward().inputs.at("model.layers.0.self_attn.q_proj"));
}

TEST(Record, OnlyBlocksUpToTheLastChosenLayerAreRun) {
  Toy toy;
  const Pass wanted = toy.forward();
  for (const char* kind : {"self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"}) {
    const std::string name = std::string("model.layers.0.") + kind;
    toy.options.layers = {name};
    toy.options.out = toy.dir / kind;
    EXPECT_EQ(toy.record().steps, 3);
    EXPECT_EQ(open_recording(toy.options.out, toy.r)->load_input(0, 0), wanted.inputs.at(name));
  }
}

TEST(Record, AStopAfterAnyStepIsGoneOnWithToTheSameBytes) {
  Toy whole;
  whole.options.dtype = DType::bf16;
  whole.record();
  for (Index steps = 0; steps < 6; ++steps) {
    Toy toy;
    toy.options.dtype = DType::bf16;
    toy.interrupt(steps);
    EXPECT_TRUE(fs::exists(toy.waiting()));
    EXPECT_FALSE(fs::exists(toy.options.out));
    // A process that is killed within a step leaves rows behind that do not count yet.
    for (const fs::directory_entry& entry : fs::directory_iterator(toy.waiting() / "recording"))
      if (fs::file_size(entry) < fs::file_size(whole.options.out / entry.path().filename()))
        test::write_file(entry.path(), test::read_file(entry.path()) + "half a row");
    const RecordReport report = toy.record();
    EXPECT_EQ(report.resumed_steps, steps);
    EXPECT_EQ(toy.files(), whole.files()) << steps;
    EXPECT_FALSE(fs::exists(toy.waiting()));
  }
}

TEST(Record, AStopAfterEveryStepEndsWithTheSameBytesToo) {
  const Toy whole;
  whole.record();
  const Toy toy;
  for (Index steps = 0; steps < 6; ++steps) toy.interrupt(steps);
  toy.record();
  EXPECT_EQ(toy.files(), whole.files());
}

TEST(Record, ProgressCountsWindowsAndBlocks) {
  const Toy toy;
  toy.interrupt(2);
  std::vector<std::string> told;
  record_model(
      toy.options, toy.r,
      [&](const RecordProgress& p) {
        told.push_back(std::to_string(p.done) + "/" + std::to_string(p.total) + " " + p.now);
      },
      nullptr);
  EXPECT_EQ(told, (std::vector<std::string>{
                      "2/6 ", "3/6 model.layers.0, window 3 of 3", "4/6 model.layers.1, window 1 of 3",
                      "5/6 model.layers.1, window 2 of 3", "6/6 model.layers.1, window 3 of 3"}));
}

TEST(Record, AnUnfinishedRecordingWithOtherSettingsIsRefusedAndKept) {
  const auto refused = [](const std::function<void(Toy&)>& change) {
    Toy toy;
    toy.interrupt(2);
    const RecordOptions before = toy.options;
    change(toy);
    std::string error = toy.error();
    expect_contains(error,
                    toy.waiting().string() + ": an unfinished recording with other settings waits here");
    expect_contains(error, "give it the same to go on, or --restart to begin anew");
    EXPECT_FALSE(fs::exists(toy.options.out));
    EXPECT_TRUE(fs::exists(toy.waiting() / "settings.json"));
    toy.options.restart = true;
    EXPECT_EQ(toy.record().resumed_steps, 0);
    return error;
  };
  expect_contains(refused([](Toy& t) { t.options.dtype = DType::bf16; }), "(dtype: bf16 now, fp32 then)");
  expect_contains(refused([](Toy& t) { t.options.context = 7; }), "(context: 7 now, 8 then)");
  expect_contains(refused([](Toy& t) { t.options.weights = false; }), "(weights: no now, yes then)");
  const std::string tokens = refused([](Toy& t) { t.options.tokens = 20; });
  expect_contains(tokens, "tokens: 20 now, 21 then");
  expect_contains(tokens, "token ids: ");
  expect_contains(refused([](Toy& t) { t.options.layers = {"*.mlp.*"}; }),
                  "(layers: 6 from model.layers.0.mlp.gate_proj to model.layers.1.mlp.down_proj (");
  expect_contains(refused([](Toy& t) { write_ids(t.options.text, some_ids(40, 8)); }), "(token ids: ");
  expect_contains(
      refused([](Toy& t) { toy_model(toy_llama_config(), 5).write(t.options.model, DType::bf16); }),
      "(model files (names, sizes, times): ");
  expect_contains(refused([](Toy& t) {
                    toy_model(toy_llama_config()).write(t.dir / "other");
                    t.options.model = t.dir / "other";
                  }),
                  "model: other now, toy then");
}

TEST(Record, ARestartGivesTheSameBytes) {
  const Toy whole;
  whole.record();
  Toy toy;
  toy.interrupt(4);
  toy.options.restart = true;
  EXPECT_EQ(toy.record().resumed_steps, 0);
  EXPECT_EQ(toy.files(), whole.files());
}

TEST(Record, WhatIsNotOursInTheHiddenFolderIsLeftAlone) {
  Toy toy;
  fs::create_directories(toy.waiting());
  test::write_file(toy.waiting() / "diary.txt", "mine");
  for (const bool restart : {false, true}) {
    toy.options.restart = restart;
    expect_contains(toy.error(), toy.waiting().string() + ": 'diary.txt' lies here, and no settings.json");
    EXPECT_EQ(test::read_file(toy.waiting() / "diary.txt"), "mine");
  }
}

TEST(Record, TwoProcessesDoNotMakeOneRecording) {
  const Toy toy;
  toy.interrupt(2);
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> other(std::fopen((toy.waiting() / "lock").c_str(), "a"),
                                                        std::fclose);
  ASSERT_EQ(::flock(::fileno(other.get()), LOCK_EX), 0);
  expect_contains(toy.error(), toy.waiting().string() + ": another process is making this recording");
  other.reset();
  EXPECT_EQ(toy.record().resumed_steps, 2);
}

TEST(Record, DamageOfWhatWaitsIsSeen) {
  const auto damaged = [](Index steps, const std::function<void(const fs::path&)>& change) {
    Toy toy;
    toy.interrupt(steps);
    change(toy.waiting());
    std::string error = toy.error();
    EXPECT_FALSE(fs::exists(toy.options.out));
    toy.options.restart = true;
    toy.record();
    return error;
  };
  const auto cut = [](const fs::path& file) { fs::resize_file(file, fs::file_size(file) - 1); };
  expect_contains(damaged(2, [&](const fs::path& p) { cut(p / "hidden" / "000001.safetensors"); }),
                  "000001.safetensors: tensor 'hidden' ends");
  expect_contains(damaged(2, [&](const fs::path& p) { fs::remove(p / "hidden" / "000000.safetensors"); }),
                  "the hidden states of its windows do not belong together; --restart begins anew");
  expect_contains(damaged(2,
                          [&](const fs::path& p) {
                            fs::copy_file(p / "hidden" / "000002.safetensors",
                                          p / "hidden" / "000001.safetensors",
                                          fs::copy_options::overwrite_existing);
                          }),
                  "000001.safetensors is damaged; --restart begins anew");
  expect_contains(
      damaged(2, [&](const fs::path& p) { fs::resize_file(p / "recording" / "000.safetensors", 200); }),
      "000.safetensors: 16 rows were written, but its 200 bytes hold fewer");
  expect_contains(damaged(3, [&](const fs::path& p) { cut(p / "recording" / "000.safetensors"); }),
                  "000.safetensors: it is not what was written; --restart begins anew");
  expect_contains(damaged(2, [](const fs::path& p) { test::write_file(p / "settings.json", "{"); }),
                  "settings.json: it is damaged or was written by another version; --restart begins anew");
}

TEST(Record, ATargetInUseIsRefusedAndAnEmptyFolderIsTaken) {
  Toy toy;
  fs::create_directories(toy.options.out);
  toy.record();
  expect_contains(toy.error(), toy.options.out.string() + ": it exists and is not an empty folder");
  EXPECT_FALSE(fs::exists(toy.waiting()));
  toy.options.out = toy.dir / "ids.npy";
  expect_contains(toy.error(), "ids.npy: it exists and is not an empty folder");
  toy.options.out = toy.dir / "a" / "b" / "rec" / "";
  toy.record();
  EXPECT_TRUE(fs::exists(toy.dir / "a" / "b" / "rec" / "manifest.json"));
  toy.options.out = "/";
  EXPECT_NE(toy.error(), "");
  toy.options.out = "";
  expect_contains(toy.error(), "-o: the recording needs a folder");
}

TEST(Record, GlobsThatFitNothingAreErrorsWithNearNames) {
  Toy toy;
  const auto error = [&](std::vector<std::string> layers) {
    toy.options.layers = std::move(layers);
    std::string planned = error_of([&] { plan_recording(toy.options, toy.r); });
    EXPECT_EQ(planned, toy.error());
    EXPECT_FALSE(fs::exists(toy.waiting()));
    return planned;
  };
  expect_contains(error({"*", "*.down_prj"}),
                  "--layers *.down_prj: no linear layer of toy fits; did you mean '*.down_proj'?");
  expect_contains(error({"!*.dwn_proj"}),
                  "--layers !*.dwn_proj: no linear layer of toy fits; did you mean '*.down_proj'?");
  expect_contains(error({"model.layers.7.self_attn.q_proj"}),
                  "did you mean 'model.layers.0.self_attn.q_proj'?");
  expect_contains(
      error({"conv"}),
      "--layers conv: no linear layer of toy fits; the layers are model.layers.0.self_attn.q_proj to "
      "model.layers.1.mlp.down_proj, of the kinds down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, "
      "v_proj");
  expect_contains(error({"lm_head"}), "lm_head is no layer of a block and is not recorded");
  expect_contains(error({"*.mlp.*", "!*"}), "--layers *.mlp.*,!*: no layer is left");
}

TEST(Record, OptionsOutOfRangeAreErrors) {
  Toy toy;
  toy.options.tokens = 41;
  expect_contains(toy.error(),
                  "ids.npy: it has 40 tokens, but 41 are to be recorded; give a longer text, or --tokens 40");
  toy.options.tokens = 0;
  expect_contains(toy.error(), "--tokens 0: at least 1 was expected");
  toy.options.tokens = 4;
  toy.options.context = 65;
  expect_contains(toy.error(), "--context 65: toy has 64 positions");
  toy.options.context = 64;
  toy.options.dtype = DType::f64;
  expect_contains(toy.error(), "recording dtype F64: BF16, F16 or F32 was expected");
  toy.options.dtype = DType::f32;
  toy.options.text = toy.dir / "missing.npy";
  expect_contains(toy.error(), "missing.npy");
  toy.options.model = toy.dir / "tyo";
  expect_contains(toy.error(), "tyo: there is no such model; did you mean '");
  EXPECT_EQ(parse_record_dtype("fp16"), DType::f16);
  expect_contains(error_of([] { parse_record_dtype("fp61"); }),
                  "--dtype: there is no 'fp61'; did you mean 'fp16'?");
  EXPECT_FALSE(fs::exists(toy.waiting()));
}

TEST(Record, WithoutAContextAWindowIsAsLongAsTheModelAllows) {
  Toy toy;
  toy.options.context = 0;
  toy.options.tokens = 40;
  EXPECT_EQ(plan_recording(toy.options, toy.r).context, 64);
  nlohmann::json config = toy_llama_config();
  config["max_position_embeddings"] = 4096;
  const Toy longer(toy_model(config));
  RecordOptions options = longer.options;
  options.context = 0;
  EXPECT_EQ(plan_recording(options, longer.r).context, 2048);
}

TEST(Record, AnInputThatIsNotFiniteOrDoesNotFitIsNamedAndNothingIsKept) {
  ToyModel model = toy_model(toy_llama_config());
  model.tensors.at("model.layers.1.mlp.up_proj.weight").values *= 1e5F;
  model.tensors.at("model.layers.1.mlp.gate_proj.weight").values *= 1e3F;
  Toy toy(model);
  toy.options.layers = {"*.down_proj"};
  toy.options.dtype = DType::f16;
  const Matrix x = toy.forward().inputs.at("model.layers.1.mlp.down_proj");
  Index at = 0;
  while (std::abs(x.data()[at]) < 65520.0F) ++at;
  expect_contains(toy.error(),
                  fmt::format("layer 'model.layers.1.mlp.down_proj': the input of token {}, channel {}, "
                              "is {:g} and does not fit fp16; use --dtype bf16 or fp32",
                              at / x.cols(), at % x.cols(), x.data()[at]));
  EXPECT_FALSE(fs::exists(toy.waiting()));
  EXPECT_FALSE(fs::exists(toy.options.out));
  toy.options.dtype = DType::bf16;
  toy.record();

  model.tensors.at("model.layers.1.mlp.up_proj.weight").values *= 1e33F;
  Toy infinite(model);
  expect_contains(infinite.error(), "layer 'model.layers.1.mlp.down_proj': the input of token 0, channel ");
  expect_contains(infinite.error(), ", is infinite");
  EXPECT_FALSE(fs::exists(infinite.waiting()));
}

TEST(Record, AWeightThatDoesNotFitIsNamed) {
  ToyModel model = toy_model(toy_llama_config());
  model.tensors.at("model.layers.1.self_attn.o_proj.weight").values(0, 16 * 3 + 7) = 70000.0F;
  Toy toy(model);
  toy.options.dtype = DType::f16;
  expect_contains(
      toy.error(),
      "layer 'model.layers.1.self_attn.o_proj': the weight at row 3, column 7, is 70000 and does not fit "
      "fp16; use --dtype bf16 or fp32");
  EXPECT_FALSE(fs::exists(toy.waiting()));
}

TEST(Record, ValuesAtTheEdgeOfADTypeAreTakenAsEncodeTakesThem) {
  // 65519.996 rounds to the largest half, 65520 to infinity; likewise for bfloat16 at 0x7F7F8000.
  const auto edge = [](DType dtype, float value) {
    ToyModel model = toy_model(toy_llama_config());
    model.tensors.at("model.layers.1.mlp.down_proj.weight").values(0, 0) = value;
    Toy toy(model);
    toy.options.dtype = dtype;
    Matrix one(1, 1);
    one << value;
    EXPECT_EQ(toy.error().empty(), error_of([&] { encode(one, dtype); }).empty()) << value;
    return toy.error().empty() || fs::exists(toy.options.out);
  };
  const float brain = std::bit_cast<float>(0x7F7F8000U);
  EXPECT_TRUE(edge(DType::f16, std::nextafter(65520.0F, 0.0F)));
  EXPECT_FALSE(edge(DType::f16, -65520.0F));
  EXPECT_TRUE(edge(DType::bf16, std::nextafter(brain, 0.0F)));
  EXPECT_FALSE(edge(DType::bf16, brain));
}

TEST(Record, ThePlanSaysWhatIsThenWritten) {
  Toy toy;
  toy.options.dtype = DType::bf16;
  toy.options.layers = {"*.{q,k,down}_proj"};
  const RecordPlan plan = plan_recording(toy.options, toy.r);
  EXPECT_FALSE(fs::exists(toy.waiting()));
  const RecordReport report = toy.record();
  EXPECT_EQ(plan.recording_bytes,
            report.bytes - static_cast<double>(fs::file_size(toy.options.out / "manifest.json")));
  EXPECT_EQ(plan.layers.size(), report.layers);
  EXPECT_EQ(plan.inputs, report.inputs);
  EXPECT_EQ(plan.blocks * plan.windows, report.steps);
  EXPECT_EQ(plan.waiting_bytes, 21 * 16 * 4);
  // A token: 16·16·2 + 16·8·2 of attention and 3·16·24 of the MLP, where down is left out in the last block,
  // because nobody reads what it gives; and both products of attention.
  EXPECT_EQ(plan.multiply_adds, 21 * (2 * (768 + 1152) - 384) + 2 * 2 * 16 * (64 + 64 + 25));
  EXPECT_GT(plan.seconds, 0);
  EXPECT_GT(plan.memory_bytes, 0);
}

// ---- a trained model

// The token ids of a recorded first input: every row is a row of the embedding behind the norm.
std::vector<TokenId> ids_of(const Matrix& x, const Matrix& embedding, const Vector& gain) {
  Matrix normed = embedding;
  for (Index i = 0; i < normed.rows(); ++i) {
    double squares = 0;
    for (Index j = 0; j < normed.cols(); ++j) squares += static_cast<double>(normed(i, j)) * normed(i, j);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(normed.cols()) + 1e-5);
    for (Index j = 0; j < normed.cols(); ++j)
      normed(i, j) = static_cast<float>(normed(i, j) * scale * gain(j));
  }
  std::vector<TokenId> out;
  for (Index t = 0; t < x.rows(); ++t) {
    Index best = 0;
    float least = std::numeric_limits<float>::infinity();
    for (Index i = 0; i < normed.rows(); ++i) {
      const float distance = (normed.row(i) - x.row(t)).squaredNorm();
      if (distance < least) {
        least = distance;
        best = i;
      }
    }
    out.push_back(static_cast<TokenId>(best));
  }
  return out;
}

TEST(Record, OnATrainedModelXIsThatOfAnotherImplementation) {
  const fs::path data = fs::path(OLAB_SHARED_DATA) / "08_model_stories260K";
  if (!fs::exists(data / "stories260K.bin")) GTEST_SKIP() << "no shared data";
  const TempDir dir;
  import_llama2c(data / "stories260K.bin", {}, dir / "stories");
  const auto reference = open_npz(data / "recorded_activations.npz");
  const Registries r = registries();
  std::vector<TokenId> ids;
  {
    const Checkpoint model(dir / "stories", r);
    ids = ids_of(reference->read_matrix("layers.0.attn_in"), model.read("model.embed_tokens.weight"),
                 model.read("model.layers.0.input_layernorm.weight"));
  }
  // It was run on three stories, the last one not to its end.
  constexpr TokenId kBegin = 1;
  Index first = 0;
  double worst = 0;
  int stories = 0;
  while (first < static_cast<Index>(ids.size())) {
    ASSERT_EQ(ids[static_cast<std::size_t>(first)], kBegin);
    const auto end = std::find(ids.begin() + first + 1, ids.end(), kBegin);
    const std::vector<TokenId> story(ids.begin() + first, end);
    write_ids(dir / "ids.npy", story);
    RecordOptions options{
        .model = dir / "stories", .text = dir / "ids.npy", .out = dir / ("rec" + std::to_string(first))};
    options.tokens = static_cast<Index>(story.size());
    options.dtype = DType::f32;
    record_model(options, r, {}, nullptr);
    const auto recording = open_recording(options.out, r);
    ASSERT_EQ(recording->layers().size(), 35);
    for (std::size_t i = 0; i < 35; ++i) {
      const std::string& name = recording->layers()[i].name;
      const std::map<std::string, std::string> inputs{
          {"q_proj", "attn_in"},   {"k_proj", "attn_in"}, {"v_proj", "attn_in"},   {"o_proj", "o_in"},
          {"gate_proj", "ffn_in"}, {"up_proj", "ffn_in"}, {"down_proj", "down_in"}};
      const Matrix all =
          reference->read_matrix("layers." + std::to_string(i / 7) + "." + inputs.at(layer_kind(name)));
      const Matrix wanted = all.middleRows(first, options.tokens);
      const Matrix x = recording->load_input(i, 0);
      worst = std::max<double>(worst, (x - wanted).cwiseAbs().maxCoeff() / wanted.cwiseAbs().maxCoeff());
    }
    first += options.tokens;
    ++stories;
  }
  EXPECT_EQ(stories, 3);
  RecordProperty("worst", std::to_string(worst));
  EXPECT_LT(worst, 2e-5);
}

}  // namespace
}  // namespace olab

#include "datasets/recording.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "datasets/manifest.hpp"
#include "datasets/npy.hpp"
#include "datasets/safetensors.hpp"
#include "messages.hpp"
#include "raw_formats.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::contains;
using test::error_of;
using test::TempDir;
namespace fs = std::filesystem;

Registries all_readers() {
  Registries r;
  register_datasets(r);
  return r;
}

std::unique_ptr<Recording> open(const fs::path& path) {
  return open_recording(path, all_readers());
}

Layer small_layer(const std::string& name, float first) {
  Layer layer;
  layer.name = name;
  layer.x =
      Matrix::NullaryExpr(4, 3, [&](Index r, Index c) { return first + static_cast<float>(3 * r + c); });
  layer.w =
      Matrix::NullaryExpr(2, 3, [&](Index r, Index c) { return first - static_cast<float>(3 * r + c); });
  return layer;
}

void write_recording(const fs::path& folder, const std::string& dtype = "F32") {
  RecordingWriter writer(folder, dtype, {{"model", "tiny"}, {"source", "by hand"}, {"commit", "abc"}});
  writer.add(small_layer("model.layers.10.mlp.down_proj", 100));
  writer.add(small_layer("model.layers.2.self_attn.k_proj", 2));
  Layer bare = small_layer("model.layers.2.self_attn.q_proj", 1);
  bare.w = Matrix(0, 3);
  writer.add(bare);
  writer.finish();
}

// A manifest of one layer whose x entry and tensor are as given.
std::string manifest_with(const std::string& x_entry, const std::string& extra = "") {
  return R"({"format":"outlierlab-recording","version":1,"layers":[{"name":"a","tokens":1,"in_features":2,"x":)" +
         x_entry + extra + "}]}";
}

TEST(Recording, WhatTheWriterWroteTheReaderReads) {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    const TempDir dir;
    write_recording(dir / "rec", dtype);
    const auto recording = open(dir / "rec");
    ASSERT_EQ(recording->layers().size(), 3U);
    const LayerInfo& info = recording->layers()[1];
    EXPECT_EQ(info.name, "model.layers.2.self_attn.k_proj");
    EXPECT_EQ(info.tokens, 4);
    EXPECT_EQ(info.in_features, 3);
    EXPECT_EQ(info.out_features, 2);
    EXPECT_EQ(info.x_dtype, dtype);
    EXPECT_EQ(info.w_dtype, dtype);
    const Layer expected = small_layer(info.name, 2);
    const Layer layer = recording->load(1, 0);
    EXPECT_EQ(layer.name, info.name);
    EXPECT_EQ(layer.x, expected.x);
    EXPECT_EQ(layer.w, expected.w);
    EXPECT_EQ(recording->load(1, 3).x, expected.x.topRows(3));
  }
}

TEST(Recording, LayersComeInModelOrderAndFactsComeBack) {
  const TempDir dir;
  write_recording(dir / "rec");
  const auto recording = open(dir / "rec");
  EXPECT_EQ(recording->layers()[0].name, "model.layers.2.self_attn.q_proj");
  EXPECT_EQ(recording->layers()[1].name, "model.layers.2.self_attn.k_proj");
  EXPECT_EQ(recording->layers()[2].name, "model.layers.10.mlp.down_proj");
  EXPECT_EQ(recording->facts(), (std::map<std::string, std::string>{
                                    {"model", "tiny"}, {"source", "by hand"}, {"commit", "abc"}}));
}

TEST(Recording, ALayerWithoutWeightHasNoRowsOfW) {
  const TempDir dir;
  write_recording(dir / "rec");
  const auto recording = open(dir / "rec");
  EXPECT_EQ(recording->layers()[0].out_features, 0);
  EXPECT_EQ(recording->layers()[0].w_dtype, "");
  const Layer layer = recording->load(0, 0);
  EXPECT_EQ(layer.w.rows(), 0);
  EXPECT_EQ(layer.w.cols(), 3);
}

TEST(Recording, TheManifestItselfOpensTheRecordingToo) {
  const TempDir dir;
  write_recording(dir / "rec");
  EXPECT_EQ(open(dir / "rec/manifest.json")->layers().size(), 3U);
}

TEST(Recording, TheWrittenLayoutIsTheDocumentedOne) {
  const TempDir dir;
  RecordingWriter writer(dir / "rec", "F32", {{"model", "tiny"}, {"source", "by hand"}, {"commit", "abc"}});
  writer.add(small_layer("l", 1));
  EXPECT_FALSE(fs::exists(dir / "rec/manifest.json"));
  writer.finish();
  EXPECT_EQ(test::read_file(dir / "rec/manifest.json"), R"({
  "format": "outlierlab-recording",
  "version": 1,
  "model": "tiny",
  "source": "by hand",
  "tokens": 4,
  "provenance": {
    "commit": "abc"
  },
  "layers": [
    {
      "name": "l",
      "tokens": 4,
      "in_features": 3,
      "out_features": 2,
      "x": {
        "file": "000.safetensors",
        "tensor": "x"
      },
      "weight": {
        "file": "000.safetensors",
        "tensor": "weight"
      }
    }
  ]
}
)");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "rec"), fs::directory_iterator()), 2);
}

TEST(Recording, AnUnfinishedRecordingLeavesNothing) {
  const TempDir dir;
  {
    RecordingWriter writer(dir / "rec", "F32", {});
    writer.add(small_layer("l", 1));
    EXPECT_TRUE(fs::exists(dir / "rec/000.safetensors"));
  }
  EXPECT_FALSE(fs::exists(dir / "rec"));
}

TEST(Recording, TheWriterRefusesBadLayersAndFolders) {
  const TempDir dir;
  test::write_file(dir / "file", "x");
  EXPECT_TRUE(contains(error_of([&] { RecordingWriter(dir.path(), "F32", {}); }), "is not an empty folder"));
  EXPECT_TRUE(
      contains(error_of([&] { RecordingWriter(dir / "file", "F32", {}); }), "is not an empty folder"));
  EXPECT_TRUE(contains(error_of([&] { RecordingWriter(dir / "file/below", "F32", {}); }), "cannot be made"));
  EXPECT_EQ(error_of([&] { RecordingWriter(dir / "r", "F64", {}); }),
            "recording dtype 'F64': F32, F16 or BF16 was expected");

  RecordingWriter writer(dir / "r", "F16", {});
  EXPECT_TRUE(contains(error_of([&] { writer.finish(); }), "no layer was added"));
  writer.add(small_layer("a", 1));
  EXPECT_TRUE(contains(error_of([&] { writer.add(small_layer("a", 1)); }), "layer 'a': it was added before"));
  EXPECT_TRUE(contains(error_of([&] { writer.add(small_layer("", 1)); }), "it has no name"));
  Layer bad = small_layer("b", 1);
  bad.w = Matrix::Zero(3, 2);
  EXPECT_TRUE(contains(error_of([&] { writer.add(bad); }), "X has shape [4, 3] and W [3, 2]"));
  bad = small_layer("b", 1);
  bad.x(1, 2) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(contains(error_of([&] { writer.add(bad); }), "layer 'b', X: NaN at row 1, column 2"));
  bad = small_layer("b", 1);
  bad.w(0, 1) = 1e5F;
  EXPECT_TRUE(
      contains(error_of([&] { writer.add(bad); }), "layer 'b': 100000 at row 0, column 1 does not fit F16"));
  bad = small_layer("b", 1);
  bad.x.resize(0, 3);
  EXPECT_TRUE(contains(error_of([&] { writer.add(bad); }), "X has no tokens"));
  writer.finish();
  EXPECT_EQ(open(dir / "r")->layers().size(), 1U);
}

TEST(Recording, AskingForMoreTokensThanThereAreIsAnError) {
  const TempDir dir;
  write_recording(dir / "rec");
  const std::string error = error_of([&] { open(dir / "rec")->load(0, 5); });
  EXPECT_TRUE(
      contains(error, "layer 'model.layers.2.self_attn.q_proj': 5 tokens were asked for, but X has 4"))
      << error;
}

TEST(Recording, TheHashFollowsTheTensorsAndNothingElse) {
  const TempDir dir;
  const auto hash = [&](const Layer& layer, const std::string& folder, const std::string& dtype) {
    RecordingWriter writer(dir / folder, dtype, {{"model", folder}});
    writer.add(layer);
    writer.finish();
    return open(dir / folder)->content_hash(0);
  };
  Layer layer = small_layer("a", 1);
  const std::string base = hash(layer, "1", "F32");
  EXPECT_EQ(base.size(), 32U);
  layer.name = "b";
  EXPECT_EQ(hash(layer, "2", "F32"), base);
  EXPECT_NE(hash(layer, "3", "F16"), base);
  layer.x(3, 2) += 1;
  EXPECT_NE(hash(layer, "4", "F32"), base);
  layer = small_layer("a", 1);
  layer.w(1, 2) += 1;
  EXPECT_NE(hash(layer, "5", "F32"), base);
  layer.w = Matrix(0, 3);
  EXPECT_NE(hash(layer, "6", "F32"), base);
  // The same bytes, divided otherwise among X and W.
  layer.x = Matrix::Zero(2, 2);
  layer.w = Matrix::Zero(1, 2);
  const std::string two_one = hash(layer, "7", "F32");
  layer.x = Matrix::Zero(1, 2);
  layer.w = Matrix::Zero(2, 2);
  EXPECT_NE(hash(layer, "8", "F32"), two_one);
}

TEST(Recording, SeveralLayersMayShareOneX) {
  const TempDir dir;
  const Matrix x = small_layer("", 1).x;
  write_npy(dir / "shared.npy", {"x", DType::f32, {4, 3}, encode(x, DType::f32)});
  test::write_file(dir / "manifest.json",
                   R"({"format":"outlierlab-recording","version":1,"model":null,"layers":[
    {"name":"a.v_proj","tokens":4,"in_features":3,"x":{"file":"shared.npy","tensor":"shared"},"weight":null},
    {"name":"a.q_proj","tokens":4,"in_features":3,"x":{"file":"shared.npy","tensor":"shared"}}]})");
  const auto recording = open(dir.path());
  EXPECT_EQ(recording->layers()[0].name, "a.q_proj");
  EXPECT_EQ(recording->load(0, 0).x, x);
  EXPECT_EQ(recording->load(1, 0).x, x);
  EXPECT_EQ(recording->content_hash(0), recording->content_hash(1));
}

TEST(Recording, BadTensorsAreNamedWithFileAndIndex) {
  const TempDir dir;
  const auto load_error = [&](const std::string& tensors, const std::string& data) {
    test::write_file(dir / "a.safetensors", test::raw_safetensors(tensors, data));
    return error_of([&] { open(dir / "a.safetensors")->load(0, 0); });
  };
  const std::string path = (dir / "a.safetensors").string();
  const std::string x = R"({"l.x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";
  EXPECT_TRUE(load_error(x, test::floats(1, 2, std::nanf(""), 4))
                  .starts_with(path + ": tensor 'l.x': NaN at row 1, column 0"));
  EXPECT_TRUE(load_error(x, test::floats(1, 2, 3, -INFINITY))
                  .starts_with(path + ": tensor 'l.x': infinity at row 1, column 1"));
  EXPECT_EQ(load_error(R"({"l.x":{"dtype":"F32","shape":[0,2],"data_offsets":[0,0]}})", ""),
            path + ": layer 'l': X has shape [0, 2], so there are no tokens in it; record it again");
  EXPECT_TRUE(contains(load_error(R"({"l.x":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]}})", ""),
                       "there are no channels in it"));
  const std::string both = R"({"l.x":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]},)"
                           R"("l.weight":{"dtype":"F32","shape":[3,2],"data_offsets":[12,36]}})";
  EXPECT_EQ(load_error(both, std::string(36, '\0')),
            path +
                ": layer 'l': X has shape [1, 3] and W [3, 2]; W must be [out_features, 3], so it may be "
                "transposed");
  EXPECT_TRUE(contains(load_error(R"({"l.x":{"dtype":"U8","shape":[1,3],"data_offsets":[0,3]}})", "abc"),
                       "dtype U8 is not supported"));
  EXPECT_TRUE(contains(load_error(R"({"l.x":{"dtype":"I8","shape":[1,1,3],"data_offsets":[0,3]}})", "abc"),
                       "has shape [1, 1, 3]; a matrix [rows, columns] was expected"));
  // NaN beyond the tokens that are asked for is not looked at.
  test::write_file(dir / "a.safetensors", test::raw_safetensors(x, test::floats(1, 2, std::nanf(""), 4)));
  EXPECT_EQ(open(dir / "a.safetensors")->load(0, 1).x, (Matrix(1, 2) << 1, 2).finished());
}

TEST(Recording, AFileThatChangedSinceOpeningIsNoticed) {
  const TempDir dir;
  write_recording(dir / "rec");
  const auto recording = open(dir / "rec");
  const auto bytes = encode(Matrix::Zero(5, 3), DType::f32);
  write_safetensors(dir / "rec/002.safetensors", {{"x", DType::f32, {5, 3}, bytes}}, {});
  EXPECT_TRUE(contains(error_of([&] { recording->load(0, 0); }),
                       "it was F32 [4, 3] when the recording was opened and is F32 [5, 3] now"));
}

TEST(Recording, LayersLoadFromSeveralThreads) {
  const TempDir dir;
  write_recording(dir / "rec");
  const auto recording = open(dir / "rec");
  std::vector<Matrix> x(8);
  {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < x.size(); ++i)
      threads.emplace_back([&recording, &x, i] { x[i] = recording->load(i % 3, 0).x; });
    for (std::thread& thread : threads) thread.join();
  }
  for (std::size_t i = 3; i < x.size(); ++i) EXPECT_EQ(x[i], x[i % 3]);
}

TEST(Recording, AManifestThatLiesAboutShapesIsRefused) {
  const TempDir dir;
  write_recording(dir / "rec");
  std::string text = test::read_file(dir / "rec/manifest.json");
  text.replace(text.find(R"("tokens": 4,
      "in_features")"),
               11, R"("tokens": 5)");
  test::write_file(dir / "rec/manifest.json", text);
  const std::string error = error_of([&] { open(dir / "rec"); });
  EXPECT_TRUE(
      contains(error, "layer 'model.layers.10.mlp.down_proj': the manifest says [5, 3], but tensor 'x' of"))
      << error;
  EXPECT_TRUE(contains(error, "is [4, 3]")) << error;
}

TEST(Recording, MissingFilesAndTensorsOfAManifestAreNamed) {
  const TempDir dir;
  write_recording(dir / "rec");
  fs::remove(dir / "rec/001.safetensors");
  EXPECT_TRUE(contains(error_of([&] { open(dir / "rec"); }),
                       "001.safetensors: this safetensors file does not exist"));
  const auto bytes = encode(Matrix::Zero(4, 3), DType::f32);
  write_safetensors(dir / "rec/001.safetensors", {{"X", DType::f32, {4, 3}, bytes}}, {});
  EXPECT_TRUE(contains(error_of([&] { open(dir / "rec"); }), "there is no tensor 'x'; did you mean 'X'?"));
}

TEST(Manifest, EveryFaultIsNamedWithItsPlace) {
  const std::string good = manifest_with(R"({"file":"a.npy","tensor":"a"})");
  ASSERT_NO_THROW(parse_manifest(good, "m"));
  const std::string x = R"({"file":"a.npy","tensor":"a"})";
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "m: this is no valid JSON"},
      {"[]", "m: top level: an object {…} was expected, not array"},
      {"{}", R"(top level: "format" is not "outlierlab-recording")"},
      {good + std::string("\0{}", 3), "a NUL stands in the manifest"},
      {good + "x", "this is no valid JSON"},
      {R"({"format":"outlierlab-recording"})", "key 'version' is missing"},
      {R"({"format":"outlierlab-recording","version":2})",
       "version: version 2 is not known; this program reads version 1"},
      {R"({"format":"outlierlab-recording","version":"1"})", "version 1 is not known"},
      {R"({"format":"outlierlab-recording","version":1})", "key 'layers' is missing"},
      {R"({"format":"outlierlab-recording","version":1,"layers":{}})",
       "layers: a list […] was expected, not object"},
      {R"({"format":"outlierlab-recording","version":1,"layers":[]})", "there are no layers"},
      {R"({"format":"outlierlab-recording","version":1,"layers":[3]})",
       "layers[0]: an object {…} was expected, not number"},
      {R"({"format":"outlierlab-recording","version":1,"tokens":-1,"layers":[]})",
       "tokens: a whole number, 0 or more"},
      {R"({"format":"outlierlab-recording","format":"x"})", "key 'format' stands twice in one object"},
      {manifest_with(R"({"file":"a.npy"})"), "layers[0].x: key 'tensor' is missing"},
      {manifest_with(R"({"file":"../a.npy","tensor":"a"})"),
       "layers[0].x.file: '../a.npy' lies outside of the recording's folder"},
      {manifest_with(R"({"file":"b/../../a.npy","tensor":"a"})"), "lies outside"},
      {manifest_with(R"({"file":"/etc/passwd","tensor":"a"})"), "lies outside"},
      {manifest_with(R"({"file":"","tensor":"a"})"), "layers[0].x.file: the text is empty"},
      {manifest_with(R"({"file":"a\u0000","tensor":"a"})"), "the text holds a NUL"},
      {manifest_with(R"({"file":3,"tensor":"a"})"), "layers[0].x.file: a text was expected, not number"},
      {manifest_with(R"({"file":"a.npy","tensor":"a","tensr":"b"})"),
       "layers[0].x: key 'tensr' is not known; did you mean 'tensor'?"},
      {manifest_with(x, R"(,"wieght":{})"), "layers[0]: key 'wieght' is not known; did you mean 'weight'?"},
      {manifest_with(x, R"(,"weight":)" + x), "there is a weight, so out_features must be 1 or more"},
      {manifest_with(x, R"(,"tokens":1)"), "key 'tokens' stands twice"},
      {R"({"format":"outlierlab-recording","version":1,"layers":[{"name":"a","tokens":1.5}]})",
       "layers[0].tokens: a whole number"},
      {R"({"format":"outlierlab-recording","version":1,"layers":[{"name":"a","tokens":9223372036854775808}]})",
       "a whole number"},
  };
  for (const auto& [text, message] : cases) {
    const std::string& input = text;  // clang 14 cannot capture a structured binding
    const std::string error = error_of([&] { parse_manifest(input, "m"); });
    EXPECT_TRUE(contains(error, message)) << text << "\n  gave: " << error;
  }
  const std::string layer = R"({"name":"a","tokens":1,"in_features":2,"x":)" + x + "}";
  EXPECT_TRUE(contains(error_of([&] {
                         parse_manifest(R"({"format":"outlierlab-recording","version":1,"layers":[)" + layer +
                                            "," + layer + "]}",
                                        "m");
                       }),
                       "layers[1]: a layer 'a' stands before it already"));
}

TEST(Manifest, OutFeaturesMayBeKnownWithoutAWeight) {
  const TempDir dir;
  write_npy(dir / "a.npy", {"a", DType::f32, {1, 2}, encode(Matrix::Ones(1, 2), DType::f32)});
  test::write_file(dir / "manifest.json",
                   manifest_with(R"({"file":"a.npy","tensor":"a"})", R"(,"out_features":3)"));
  const auto recording = open(dir.path());
  EXPECT_EQ(recording->layers()[0].out_features, 0);  // the recording has no W
  EXPECT_EQ(recording->load(0, 0).w.rows(), 0);
}

TEST(Manifest, DeepNestingIsRefused) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  const std::string error = error_of(
      [&] { parse_manifest(R"({"format":"outlierlab-recording","provenance":)" + deep + "}", "m"); });
  EXPECT_EQ(error, "m: values are nested more than 32 deep");
}

TEST(Manifest, FactsKeepEverythingThatIsFree) {
  const Manifest m = parse_manifest(R"({"format":"outlierlab-recording","version":1,"model":"m","created":3,
    "provenance":{"model":"other","versions":{"torch":"2.1"},"seed":0},
    "layers":[{"name":"a","tokens":1,"in_features":2,"x":{"file":"a.npy","tensor":"a"}}]})",
                                    "m");
  const std::map<std::string, std::string> expected{{"model", "m"},
                                                    {"created", "3"},
                                                    {"provenance.model", "other"},
                                                    {"versions", R"({"torch":"2.1"})"},
                                                    {"seed", "0"}};
  EXPECT_EQ(m.facts, expected);
  EXPECT_EQ(parse_manifest(manifest_text(m), "again").facts, expected);
}

TEST(Manifest, TextsThatAreNotUtf8CannotBeWritten) {
  Manifest m;
  m.layers.push_back({"\xC3", 1, 1, 0, {"a.npy", "a"}, std::nullopt});
  EXPECT_TRUE(contains(error_of([&] { manifest_text(m); }), "not valid UTF-8"));
}

TEST(ModelOrder, NumbersAndKindsDecide) {
  const std::vector<std::string> ordered{"embed.k_proj",
                                         "model.layers.2.self_attn.q_proj",
                                         "model.layers.2.self_attn.k_proj",
                                         "model.layers.2.self_attn.v_proj",
                                         "model.layers.2.self_attn.o_proj",
                                         "model.layers.2.mlp.gate_proj",
                                         "model.layers.2.mlp.up_proj",
                                         "model.layers.2.mlp.down_proj",
                                         "model.layers.2.mlp.a_name",
                                         "model.layers.2.mlp.experts.1.up_proj",
                                         "model.layers.2.mlp.experts.10.up_proj",
                                         "model.layers.10.self_attn.q_proj",
                                         "model.layers.10.self_attn.out_proj",
                                         "model.layers.10.fc1",
                                         "model.layers.10.fc2",
                                         "lm_head"};
  for (std::size_t i = 0; i < ordered.size(); ++i)
    for (std::size_t j = 0; j < ordered.size(); ++j)
      EXPECT_EQ(in_model_order(ordered[i], ordered[j]), i < j) << ordered[i] << " " << ordered[j];
  EXPECT_TRUE(in_model_order("a.01.b", "a.1.b"));  // equal numbers: by name
  EXPECT_FALSE(in_model_order("", ""));
}

TEST(LayerKind, IsTheLastPartOfTheName) {
  EXPECT_EQ(layer_kind("model.layers.1.mlp.down_proj"), "down_proj");
  EXPECT_EQ(layer_kind("lm_head"), "lm_head");
  EXPECT_EQ(layer_kind(""), "");
}

TEST(OpenRecording, AMissingPathIsAnsweredWithTheNearestName) {
  const TempDir dir;
  write_recording(dir / "llama");
  const std::string error = error_of([&] { open(dir / "lama"); });
  EXPECT_EQ(error, (dir / "lama").string() + ": there is no such recording; did you mean '" +
                       (dir / "llama").string() + "'?");
  EXPECT_TRUE(contains(error_of([&] { open("/no/such/folder/at/all"); }),
                       "there is no such recording; check the path"));
}

TEST(OpenRecording, AnUnknownPathIsAnsweredWithWhatTheReadersKnow) {
  const TempDir dir;
  test::write_file(dir / "a.pt", "x");
  const std::string error = error_of([&] { open(dir / "a.pt"); });
  EXPECT_TRUE(contains(error, "a.pt: no reader knows this file; the readers are\n  activation_dump: "))
      << error;
  EXPECT_TRUE(contains(error, "\n  recording: A folder with manifest.json")) << error;
  EXPECT_TRUE(contains(error_of([&] { open(dir.path()); }), "no reader knows this folder"));
  EXPECT_TRUE(
      contains(error_of([&] { open_recording(dir / "a.pt", Registries{}); }), "the readers are none"));
}

struct Greedy final : Reader {
  bool recognises(const fs::path&) const override { return true; }
  std::unique_ptr<Recording> open(const fs::path&) const override { throw Error("never"); }
};

TEST(OpenRecording, TwoReadersThatClaimAPathAreAnError) {
  const TempDir dir;
  test::write_file(dir / "a.npy", "x");
  Registries r = all_readers();
  r.readers.add(Schema<Greedy>("greedy", "Takes everything"));
  EXPECT_TRUE(
      contains(error_of([&] { open_recording(dir / "a.npy", r); }), "the readers greedy, npy all claim it"));
}

}  // namespace
}  // namespace olab

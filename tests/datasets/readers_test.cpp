// The readers on files made here and on the real recordings, where these are present.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "datasets/npy.hpp"
#include "datasets/npz.hpp"
#include "datasets/recording.hpp"
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

// Names of the readers that claim a path.
std::vector<std::string> claims(const fs::path& path) {
  const Registries r = all_readers();
  std::vector<std::string> out;
  for (const std::string& name : r.readers.names())
    if (r.readers.make(Spec{name, {}}, r)->recognises(path)) out.push_back(name);
  return out;
}

// Tensors that own their bytes, filled with first, first + 1, …
class Tensors {
 public:
  void add(const std::string& name, std::vector<Index> shape, DType dtype = DType::f32, float first = 0,
           Index period = 100) {
    Index count = 1;
    for (const Index extent : shape) count *= extent;
    Matrix m(1, count);
    for (Index i = 0; i < count; ++i) m(0, i) = first + static_cast<float>(i % period);
    bytes_.push_back(encode(m, dtype));
    views_.push_back({name, dtype, std::move(shape), {}});
  }
  std::vector<TensorView> views() const {
    std::vector<TensorView> out = views_;
    for (std::size_t i = 0; i < out.size(); ++i) out[i].bytes = bytes_[i];
    return out;
  }

 private:
  std::vector<TensorView> views_;
  std::vector<std::vector<std::byte>> bytes_;
};

Matrix counting(Index rows, Index columns, float first) {
  Matrix m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = first + static_cast<float>(i);
  return m;
}

// Two layers of two channels: attention inputs of both, everything of layer 1.
Tensors small_activations() {
  Tensors t;
  t.add("layers.0.attn_in", {3, 2});
  t.add("layers.1.attn_in", {3, 2}, DType::f32, 10);
  t.add("layers.1.o_in", {3, 2}, DType::f32, 20);
  t.add("layers.1.ffn_in", {3, 2}, DType::f32, 30);
  t.add("layers.1.down_in", {3, 4}, DType::f32, 40);
  t.add("layers.1.resid", {3, 2});
  t.add("head_in", {3, 2});
  return t;
}

Tensors small_weights(bool ternary) {
  Tensors t;
  const std::vector<std::pair<std::string, std::vector<Index>>> shapes{
      {"wq", {2, 2, 2}}, {"wk", {2, 1, 2}}, {"wv", {2, 1, 2}}, {"wo", {2, 2, 2}},
      {"w1", {2, 4, 2}}, {"w2", {2, 2, 4}}, {"w3", {2, 4, 2}}};
  for (const auto& [name, shape] : shapes) {
    if (!ternary) {
      t.add(name, shape);
      continue;
    }
    t.add(name + "_ternary", shape, DType::i8, -1, 3);
    t.add(name + "_scale", {2}, DType::f32, 0.25F);
  }
  return t;
}

TEST(Readers, BareFilesOfEveryFormatHoldTheSameLayers) {
  const TempDir dir;
  Tensors t;
  t.add("model.layers.0.fc1.x", {4, 2});
  t.add("model.layers.0.fc1.weight", {3, 2}, DType::f16, 7);
  t.add("model.layers.0.norm.weight", {2});
  t.add("model.layers.0.fc2.x", {4, 3});
  write_safetensors(dir / "a.safetensors", t.views(), {{"model", "m"}});
  write_npz(dir / "a.npz", t.views(), Compression::deflated);
  std::vector<std::string> hashes;
  for (const char* name : {"a.safetensors", "a.npz"}) {
    const auto recording = open(dir / name);
    ASSERT_EQ(recording->layers().size(), 2U) << name;
    EXPECT_EQ(recording->layers()[0].name, "model.layers.0.fc1");
    EXPECT_EQ(recording->layers()[0].w_dtype, "F16");
    EXPECT_EQ(recording->layers()[1].out_features, 0);
    const Layer layer = recording->load(0, 2);
    EXPECT_EQ(layer.x, counting(2, 2, 0));
    EXPECT_EQ(layer.w, counting(3, 2, 7));
    hashes.push_back(recording->content_hash(0));
  }
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_EQ(open(dir / "a.safetensors")->facts().at("model"), "m");
}

TEST(Readers, ANpyFileIsOneLayerNamedAfterItself) {
  const TempDir dir;
  Tensors t;
  t.add("any", {4, 2});
  write_npy(dir / "model.layers.3.mlp.down_proj.npy", t.views()[0]);
  const auto recording = open(dir / "model.layers.3.mlp.down_proj.npy");
  ASSERT_EQ(recording->layers().size(), 1U);
  EXPECT_EQ(recording->layers()[0].name, "model.layers.3.mlp.down_proj");
  EXPECT_EQ(recording->load(0, 0).x, counting(4, 2, 0));
}

TEST(Readers, AFileWithoutActivationsSaysWhatIsExpected) {
  const TempDir dir;
  Tensors t;
  t.add("wq", {2, 2});
  write_npz(dir / "a.npz", t.views(), Compression::stored);
  write_safetensors(dir / "a.safetensors", t.views(), {});
  for (const char* name : {"a.npz", "a.safetensors"})
    EXPECT_TRUE(contains(error_of([&] { open(dir / name); }), "none of its 1 tensors is named '<layer>.x'"))
        << name;
}

TEST(Readers, EveryPathHasAtMostOneReader) {
  const TempDir dir;
  Tensors dump;
  dump.add("layers.0.self_attn.q_proj.input", {1, 2});
  write_npz(dir / "dump.npz", dump.views(), Compression::stored);
  EXPECT_EQ(claims(dir / "dump.npz"), std::vector<std::string>{"activation_dump"});
  Tensors both;
  both.add("layers.0.self_attn.q_proj.input", {1, 2});
  both.add("a.x", {1, 2});
  write_npz(dir / "both.npz", both.views(), Compression::stored);
  EXPECT_EQ(claims(dir / "both.npz"), std::vector<std::string>{"npz"});
  // Damaged files are claimed by their extension, so that the parser can say what is wrong.
  for (const char* extension : {"npz", "npy", "safetensors"}) {
    const fs::path file = dir / (std::string("damaged.") + extension);
    test::write_file(file, "PK damaged");
    EXPECT_EQ(claims(file), std::vector<std::string>{extension});
    EXPECT_FALSE(error_of([&] { open(file); }).empty());
  }
  EXPECT_TRUE(claims(dir.path()).empty());
  EXPECT_TRUE(claims(dir / "nothing").empty());
  fs::create_directory(dir / "folder.npz");
  EXPECT_TRUE(claims(dir / "folder.npz").empty());
  write_npz(dir / "recorded_activations.npz", small_activations().views(), Compression::stored);
  EXPECT_EQ(claims(dir.path()), std::vector<std::string>{"llama2c"});
  test::write_file(dir / "manifest.json", "{}");
  EXPECT_EQ(claims(dir.path()), std::vector<std::string>{"recording"});
}

TEST(ActivationDump, KeepsTheInputsOfLinearLayersAlone) {
  const TempDir dir;
  Tensors t;
  t.add("embed_tokens.input", {1, 1}, DType::i64);
  t.add("layers.1.mlp.down_proj.input", {2, 3});
  t.add("layers.1.mlp.down_proj.output", {2, 2});
  t.add("layers.1.mlp.act_fn.input", {2, 3});
  t.add("layers.1.self_attn.rotary_emb.input", {2, 3});
  t.add("layers.1.self_attn.q_proj.input", {2, 2}, DType::f16, 5);
  t.add("layers.1.self_attn.k_proj.input", {2, 2}, DType::i32);
  t.add("lm_head.input", {2, 2});
  t.add("decoder.fc1.input", {2, 2});
  write_npz(dir / "t.npz", t.views(), Compression::deflated);
  const auto recording = open(dir / "t.npz");
  std::vector<std::string> names;
  for (const LayerInfo& info : recording->layers()) names.push_back(info.name);
  EXPECT_EQ(names, (std::vector<std::string>{"decoder.fc1", "model.layers.1.self_attn.q_proj",
                                             "model.layers.1.mlp.down_proj", "lm_head"}));
  EXPECT_EQ(recording->load(1, 0).x, counting(2, 2, 5));
  EXPECT_EQ(recording->layers()[1].out_features, 0);
}

TEST(Llama2c, GivesEveryLinearItsInputAndItsSliceOfTheWeights) {
  const TempDir dir;
  write_npz(dir / "recorded_activations.npz", small_activations().views(), Compression::deflated);
  write_npz(dir / "tiny_weights.npz", small_weights(false).views(), Compression::deflated);
  const auto recording = open(dir.path());
  std::vector<std::string> names;
  for (const LayerInfo& info : recording->layers()) names.push_back(info.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
                                      "model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.q_proj",
                                      "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.v_proj",
                                      "model.layers.1.self_attn.o_proj", "model.layers.1.mlp.gate_proj",
                                      "model.layers.1.mlp.up_proj", "model.layers.1.mlp.down_proj"}));
  const Layer q = recording->load(3, 0);
  EXPECT_EQ(q.x, counting(3, 2, 10));
  EXPECT_EQ(q.w, counting(2, 2, 4));  // the second 2 × 2 of wq
  const Layer down = recording->load(9, 1);
  EXPECT_EQ(down.x, counting(1, 4, 40));
  EXPECT_EQ(down.w, counting(2, 4, 8));
  EXPECT_EQ(recording->layers()[9].out_features, 2);
  EXPECT_EQ(recording->facts().at("model"), "tiny");
}

TEST(Llama2c, TernaryWeightsAreMultipliedByTheirScale) {
  const TempDir dir;
  write_npz(dir / "recorded_activations.npz", small_activations().views(), Compression::deflated);
  write_npz(dir / "bit_weights.npz", small_weights(true).views(), Compression::deflated);
  const auto recording = open(dir.path());
  EXPECT_EQ(recording->layers()[0].w_dtype, "I8");
  // wq_ternary counts -1, 0, 1, -1, | 0, 1, -1, 0; the scales are 0.25 and 1.25.
  EXPECT_EQ(recording->load(0, 0).w, (Matrix(2, 2) << -0.25F, 0, 0.25F, -0.25F).finished());
  EXPECT_EQ(recording->load(3, 0).w, (Matrix(2, 2) << 0, 1.25F, -1.25F, 0).finished());
}

TEST(Llama2c, TheHashFollowsTheScale) {
  const TempDir dir;
  const auto hash = [&](float scale) {
    Tensors t;
    t.add("wo_ternary", {1, 2, 2}, DType::i8, -1, 3);
    t.add("wo_scale", {1}, DType::f32, scale);
    Tensors x;
    x.add("layers.0.o_in", {3, 2});
    write_npz(dir / "recorded_activations.npz", x.views(), Compression::stored);
    write_npz(dir / "m_weights.npz", t.views(), Compression::stored);
    return open(dir.path())->content_hash(0);
  };
  EXPECT_NE(hash(0.5F), hash(0.25F));
  EXPECT_EQ(hash(0.5F), hash(0.5F));
}

TEST(Llama2c, SeveralActivationFilesAreUnitedAndTheFittingWeightsTaken) {
  const TempDir dir;
  Tensors second;
  second.add("layers.0.o_in", {3, 2}, DType::f32, 50);
  write_npz(dir / "recorded_activations_a.npz", small_activations().views(), Compression::stored);
  write_npz(dir / "recorded_activations_b.npz", second.views(), Compression::stored);
  Tensors wide;
  wide.add("wq", {2, 2, 3});
  write_npz(dir / "a_weights.npz", wide.views(), Compression::stored);
  EXPECT_TRUE(
      contains(error_of([&] { open(dir.path()); }),
               "no '*_weights.npz' fits the recorded activations; a_weights.npz: 'wq' is [2, 2, 3], but "
               "'layers.0.attn_in' is [3, 2]"));
  write_npz(dir / "b_weights.npz", small_weights(false).views(), Compression::stored);
  const auto recording = open(dir.path());
  EXPECT_EQ(recording->layers().size(), 11U);
  EXPECT_EQ(recording->facts().at("model"), "b");
  EXPECT_EQ(recording->load(3, 0).x, counting(3, 2, 50));
  write_npz(dir / "c_weights.npz", small_weights(true).views(), Compression::stored);
  EXPECT_TRUE(contains(error_of([&] { open(dir.path()); }),
                       "several weights fit the recorded activations (b_weights.npz, c_weights.npz)"));
}

TEST(Llama2c, MissingAndContradictoryFilesAreNamed) {
  const TempDir dir;
  write_npz(dir / "recorded_activations.npz", small_activations().views(), Compression::stored);
  EXPECT_TRUE(contains(error_of([&] { open(dir.path()); }),
                       "fits the recorded activations; there is none in the folder"));
  Tensors few;
  few.add("wq", {1, 2, 2});
  few.add("wk", {1, 2, 2});
  few.add("wv_ternary", {1, 2, 2}, DType::i8, -1, 3);
  write_npz(dir / "a_weights.npz", few.views(), Compression::stored);
  EXPECT_TRUE(contains(error_of([&] { open(dir.path()); }),
                       "a_weights.npz: it has no 'wv_scale' with one factor for each of 1 layers"));
  write_npz(dir / "recorded_activations_2.npz", small_activations().views(), Compression::stored);
  EXPECT_TRUE(contains(error_of([&] { open(dir.path()); }), "'layers.0.attn_in' stands in"));
  const TempDir empty;
  Tensors other;
  other.add("layers.x.attn_in", {1, 1});
  other.add("layers.0.resid", {1, 1});
  write_npz(empty / "recorded_activations.npz", other.views(), Compression::stored);
  EXPECT_TRUE(
      contains(error_of([&] { open(empty.path()); }), "recorded_activations.npz hold no 'layers.N.attn_in'"));
}

struct RealModel {
  const char* folder;
  Index blocks;
  Index tokens;
  Index channels;
  Index hidden;
  Index kv;
  const char* weight_dtype;
};

TEST(RealData, AllThreeSmallModelsLoad) {
  const fs::path data(OLAB_SHARED_DATA);
  if (!fs::exists(data)) GTEST_SKIP() << "the shared data is not on this machine";
  for (const RealModel& m : {RealModel{"08_model_stories260K", 5, 1024, 64, 172, 32, "F32"},
                             RealModel{"09_model_babyllama_tok105", 5, 1024, 128, 352, 64, "F32"},
                             RealModel{"10_model_bitllama2_3M_256ch", 8, 512, 256, 256, 128, "I8"}}) {
    const auto recording = open(data / m.folder);
    ASSERT_EQ(recording->layers().size(), static_cast<std::size_t>(7 * m.blocks)) << m.folder;
    const LayerInfo& k = recording->layers()[8];
    EXPECT_EQ(k.name, "model.layers.1.self_attn.k_proj");
    EXPECT_EQ(k.out_features, m.kv);
    EXPECT_EQ(k.w_dtype, m.weight_dtype);
    const LayerInfo& down = recording->layers().back();
    EXPECT_EQ(layer_kind(down.name), "down_proj");
    EXPECT_EQ(down.tokens, m.tokens);
    EXPECT_EQ(down.in_features, m.hidden);
    EXPECT_EQ(down.out_features, m.channels);
    const Layer layer = recording->load(recording->layers().size() - 1, 0);
    EXPECT_EQ(layer.x.rows(), m.tokens);
    EXPECT_EQ(layer.w.cols(), m.hidden);
    EXPECT_EQ(recording->load(recording->layers().size() - 1, 7).x, layer.x.topRows(7));
    std::set<std::string> hashes;
    for (std::size_t i = 0; i < 7; ++i) hashes.insert(recording->content_hash(i));
    EXPECT_EQ(hashes.size(), 7U) << m.folder;
  }
}

TEST(RealData, TheModelsInputsFollowFromItsWeights) {
  // In the ternary model every linear sees r(x) = x / sqrt(mean(x^2)), so every token's mean square is 1.
  const fs::path folder = fs::path(OLAB_SHARED_DATA) / "10_model_bitllama2_3M_256ch";
  if (!fs::exists(folder)) GTEST_SKIP() << "the shared data is not on this machine";
  const auto recording = open(folder);
  const Layer layer = recording->load(0, 0);
  for (Index t = 0; t < layer.x.rows(); ++t)
    EXPECT_NEAR(layer.x.row(t).cast<double>().squaredNorm() / 256, 1.0, 1e-3) << t;
  std::set<float> values(layer.w.data(), layer.w.data() + layer.w.size());
  ASSERT_EQ(values.size(), 3U);
  EXPECT_EQ(*values.begin(), -*values.rbegin());
}

TEST(RealData, TheSingleTokenDumpOfLlama2Loads) {
  const fs::path file =
      fs::path(OLAB_SHARED_DATA) / "07_llama2-7b_layer0_single_token_dump/llama2-7b_layer0_token.npz";
  if (!fs::exists(file)) GTEST_SKIP() << "the shared data is not on this machine";
  const auto recording = open(file);
  ASSERT_EQ(recording->layers().size(), 7U);
  EXPECT_EQ(recording->layers()[0].name, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(recording->layers()[6].name, "model.layers.0.mlp.down_proj");
  EXPECT_EQ(recording->layers()[6].in_features, 11008);
  const Layer q = recording->load(0, 0);
  EXPECT_EQ(q.x.rows(), 1);
  EXPECT_EQ(q.x, recording->load(1, 0).x);  // q, k and v see the same input
  EXPECT_EQ(recording->content_hash(0), recording->content_hash(1));
  EXPECT_NE(recording->content_hash(0), recording->content_hash(3));
}

TEST(RealData, ArraysOfOtherKindsAreRefusedClearly) {
  const fs::path data(OLAB_SHARED_DATA);
  if (!fs::exists(data)) GTEST_SKIP() << "the shared data is not on this machine";
  EXPECT_TRUE(contains(error_of([&] { open(data / "golden"); }), "this is no manifest of a recording"));
  EXPECT_TRUE(contains(error_of([&] { open(data / "01_act_scales_opt"); }), "no reader knows this folder"));
  EXPECT_TRUE(contains(error_of([&] { open(data / "01_act_scales_opt/opt-125m_act_scales.npz"); }),
                       "is named '<layer>.x'"));
  EXPECT_EQ(open(data / "golden/hadamard_16.npy")->load(0, 0).x.rows(), 16);
}

}  // namespace
}  // namespace olab

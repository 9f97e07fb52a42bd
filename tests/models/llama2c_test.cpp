#include "models/llama2c.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "datasets/npz.hpp"
#include "messages.hpp"
#include "models/checkpoint.hpp"
#include "models/tokenizer.hpp"
#include "toy_model.hpp"
#include "toy_tokenizer.hpp"

namespace {

namespace fs = std::filesystem;
using olab::Checkpoint;
using olab::Index;
using olab::Matrix;
using olab::test::bytes_of;
using olab::test::error_of;
using olab::test::expect_contains;
using olab::test::read_file;
using olab::test::TempDir;
using olab::test::write_file;

const fs::path kShared = OLAB_SHARED_DATA;

// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
using Header = std::array<std::int32_t, 7>;
constexpr Header kToy{8, 12, 2, 2, 1, 40, 16};

/// The value of a float is its number in the file.
std::string toy_file(const Header& h, std::size_t floats) {
  std::string out;
  for (const std::int32_t number : h) out += bytes_of(number);
  for (std::size_t i = 0; i < floats; ++i) out += bytes_of(static_cast<float>(i));
  return out;
}
// By hand: embedding; per block two norms, wq, wk, wv, wo, w1, w2, w3; final norm; two tables of 16 × 2.
constexpr std::size_t kToyFloats =
    40 * 8 + 2 * (8 + 8 * 8 + 2 * 4 * 8 + 8 * 8 + 8 + 3 * 12 * 8) + 8 + 2 * 16 * 2;

class Llama2c : public testing::Test {
 protected:
  Llama2c() { write_file(file_, toy_file(kToy, kToyFloats)); }
  std::string refusal(const std::string& bytes) const {
    write_file(file_, bytes);
    const std::string out = error_of([&] { olab::import_llama2c(file_, {}, folder_); });
    EXPECT_EQ(out.empty(), fs::exists(folder_));
    return out;
  }
  std::string header_refusal(std::size_t number, std::int32_t value) const {
    Header h = kToy;
    h.at(number) = value;
    return refusal(toy_file(h, kToyFloats));
  }
  /// Nothing but what the test itself put into its folder.
  void expect_nothing_left(std::vector<std::string> names) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(dir_.path()))
      found.push_back(entry.path().filename().string());
    std::ranges::sort(found);
    EXPECT_EQ(found, names);
  }

  TempDir dir_;
  fs::path file_ = dir_ / "toy.bin";
  fs::path folder_ = dir_ / "toy";
  olab::Registries registries_ = olab::test::model_registries();
};

TEST_F(Llama2c, EveryTensorComesFromItsPlaceInTheFile) {
  const olab::ImportReport report = olab::import_llama2c(file_, {}, folder_);
  EXPECT_EQ(report.folder, folder_);
  EXPECT_EQ(
      report.config,
      "2 layers, hidden 8, intermediate 12, 2 heads on 1 of keys, 40 tokens, 16 positions, the head is the "
      "embedding");
  const Checkpoint c(folder_, registries_);
  float at = 0;
  const auto expect_next = [&](const std::string& name, Index rows, Index columns, Index heads = 0) {
    const Matrix got = c.read(name);
    ASSERT_EQ(got.rows(), rows) << name;
    ASSERT_EQ(got.cols(), columns) << name;
    const Index head_rows = heads > 0 ? rows / heads : rows;
    for (Index r = 0; r < rows; ++r) {
      // Row 2i of a head went to row i, row 2i + 1 to row i + half.
      const Index in_head = r % head_rows;
      const Index to = heads == 0 ? r : r - in_head + in_head / 2 + (in_head % 2 == 1 ? head_rows / 2 : 0);
      for (Index j = 0; j < columns; ++j) EXPECT_EQ(got(to, j), at++) << name;
    }
  };
  const auto expect_blocks = [&](const std::string& name, Index rows, Index columns, Index heads = 0) {
    for (const char* block : {"model.layers.0.", "model.layers.1."})
      expect_next(block + name + ".weight", rows, columns, heads);
  };
  expect_next("model.embed_tokens.weight", 40, 8);
  expect_blocks("input_layernorm", 1, 8);
  expect_blocks("self_attn.q_proj", 8, 8, 2);
  expect_blocks("self_attn.k_proj", 4, 8, 1);
  expect_blocks("self_attn.v_proj", 4, 8);
  expect_blocks("self_attn.o_proj", 8, 8);
  expect_blocks("post_attention_layernorm", 1, 8);
  expect_blocks("mlp.gate_proj", 12, 8);
  expect_blocks("mlp.down_proj", 8, 12);
  expect_blocks("mlp.up_proj", 12, 8);
  expect_next("model.norm.weight", 1, 8);
  EXPECT_EQ(at + 64, kToyFloats);
  EXPECT_EQ(c.parameters(), static_cast<double>(kToyFloats - 64));
}

TEST_F(Llama2c, AClassifierOfItsOwnStandsAtTheEnd) {
  Header h = kToy;
  h[5] = -40;
  write_file(file_, toy_file(h, kToyFloats + 40 * 8));
  expect_contains(olab::import_llama2c(file_, {}, folder_).config, "a head of its own");
  const Checkpoint c(folder_, registries_);
  EXPECT_FALSE(c.spec().tied_head);
  EXPECT_EQ(c.read("lm_head.weight")(0, 0), static_cast<float>(kToyFloats));
}

TEST_F(Llama2c, TheConfigSaysWhatTheFileSays) {
  olab::import_llama2c(file_, {}, folder_);
  const olab::ModelSpec s = Checkpoint(folder_, registries_).spec();
  EXPECT_EQ(s.vocab_size, 40);
  EXPECT_EQ(s.heads, 2);
  EXPECT_EQ(s.kv_heads, 1);
  EXPECT_EQ(s.head_dim, 4);
  EXPECT_EQ(s.max_positions, 16);
  EXPECT_EQ(s.norm_eps, 1e-5);
  EXPECT_EQ(s.rope.theta, 10000);
  EXPECT_EQ(s.rope.kind, olab::RopeSpec::Kind::standard);
  EXPECT_EQ(s.activation, olab::ActivationKind::silu);
  EXPECT_TRUE(s.tied_head);
}

TEST_F(Llama2c, AHeaderThatMakesNoSenseIsRefusedWithItsNumbers) {
  EXPECT_EQ(
      header_refusal(0, 0),
      file_.string() +
          ": the header makes no sense for a llama2.c model (dim 0, hidden_dim 12, n_layers 2, n_heads 2, "
          "n_kv_heads 1, vocab_size 40, seq_len 16): dim must be from 1 to 1048576");
  expect_contains(header_refusal(1, -12), "hidden_dim must be from 1 to 4194304");
  expect_contains(header_refusal(2, 5000), "n_layers must be from 1 to 4096");
  expect_contains(header_refusal(3, 3), "dim must be a multiple of n_heads");
  expect_contains(header_refusal(3, 8), "dim / n_heads must be even");
  expect_contains(header_refusal(4, 3), "n_heads must be a multiple of n_kv_heads");
  expect_contains(header_refusal(5, 0), "vocab_size must be from 1 to 16777216");
  expect_contains(header_refusal(5, std::numeric_limits<std::int32_t>::min()), "vocab_size must be from 1");
  expect_contains(header_refusal(6, 0), "seq_len must be from 1");
  expect_nothing_left({"toy.bin"});
}

TEST_F(Llama2c, AFileOfAnotherSizeIsRefusedWithBoth) {
  const std::string good = toy_file(kToy, kToyFloats);
  const std::string expected = std::to_string(good.size());
  EXPECT_EQ(refusal(good.substr(0, good.size() - 4)),
            file_.string() +
                ": by its header (dim 8, hidden_dim 12, n_layers 2, n_heads 2, n_kv_heads 1, vocab_size 40, "
                "seq_len 16) this llama2.c model must have " +
                expected + " bytes, but it has " + std::to_string(good.size() - 4) +
                ": it is truncated; copy or download it again");
  expect_contains(refusal(good + "x"),
                  "but it has " + std::to_string(good.size() + 1) + ": it is no such model");
  expect_contains(refusal(good.substr(0, 27)), "27 bytes are too few for a llama2.c model");
  expect_contains(refusal(""), "this llama2.c model is empty");
  // Sizes that the file does not back cost nothing.
  Header h = kToy;
  h = {1 << 20, 1 << 22, 1 << 12, 1 << 16, 1 << 16, -(1 << 24), 1 << 26};
  expect_contains(refusal(toy_file(h, 10)), "it is truncated");
  expect_nothing_left({"toy.bin"});
}

TEST_F(Llama2c, NewerVersionsAreRefused) {
  expect_contains(
      refusal("24ka" + bytes_of(std::int32_t{1}) + std::string(300, '\0')),
      "this llama2.c model has version 1 of the format (magic \"ak42\"); only the legacy version can "
      "be read, so export it with --version 0");
}

TEST_F(Llama2c, NanAndInfinityAreRefused) {
  std::string bytes = toy_file(kToy, kToyFloats);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(bytes.data() + 28 + 4 * (40 * 8 + 2 * 8 + 8 + 3), &nan, sizeof nan);
  expect_contains(
      refusal(bytes),
      file_.string() + ": tensor 'model.layers.0.self_attn.q_proj.weight': NaN at row 1, column 3");
  expect_nothing_left({"toy.bin"});
}

TEST_F(Llama2c, TheTokenizerIsCopiedIfItFits) {
  const std::string pieces = olab::test::toy_tokenizer(olab::test::toy_pieces());
  write_file(dir_ / "pieces.model", pieces);
  olab::import_llama2c(file_, dir_ / "pieces.model", folder_);
  EXPECT_EQ(read_file(folder_ / "tokenizer.model"), pieces);
  EXPECT_EQ(olab::Tokenizer(folder_).vocab_size(), 40);
  fs::remove_all(folder_);

  const auto refused = [&](const char* tokenizer) {
    return error_of([&] { olab::import_llama2c(file_, dir_ / tokenizer, folder_); });
  };
  expect_contains(refused("piece.model"), "there is no such tokenizer; did you mean");
  expect_contains(refused("toy.bin"), "this is no SentencePiece model, or a damaged one");
  std::vector<std::string> more = olab::test::toy_pieces();
  more.emplace_back("dog");
  write_file(dir_ / "more.model", olab::test::toy_tokenizer(more));
  EXPECT_EQ(refused("more.model"), (dir_ / "more.model").string() +
                                       ": this tokenizer has 41 tokens, but the model " + file_.string() +
                                       " has 40; give the one that the model was trained with");
  expect_nothing_left({"more.model", "pieces.model", "toy.bin"});
}

TEST_F(Llama2c, AFolderWithContentIsNeverTouched) {
  fs::create_directory(folder_);
  olab::import_llama2c(file_, {}, folder_.string() + "/");  // empty: taken
  EXPECT_TRUE(fs::exists(folder_ / "config.json"));
  EXPECT_EQ(error_of([&] { olab::import_llama2c(file_, {}, folder_); }),
            folder_.string() + ": it exists and is not an empty folder; choose another name or remove it");
  expect_contains(error_of([&] { olab::import_llama2c(file_, {}, file_); }), "is not an empty folder");
  EXPECT_EQ(error_of([&] { olab::import_llama2c(dir_ / "tye.bin", {}, dir_ / "new"); }),
            (dir_ / "tye.bin").string() + ": this llama2.c model does not exist; did you mean '" +
                file_.string() + "'?");
  olab::import_llama2c(file_, {}, dir_ / "a/b");  // folders above it are made
  EXPECT_TRUE(fs::exists(dir_ / "a/b/model.safetensors"));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ / "a"), fs::directory_iterator()), 1);
}

struct Published {
  const char* name;
  const char* file;
  const char* weights;
  const char* tokenizer;
  Index layers;
};
class PublishedModel : public testing::TestWithParam<Published> {};

// The .npz beside each model was made from it elsewhere.
TEST_P(PublishedModel, IsImportedWithEveryWeight) {
  const Published& p = GetParam();
  if (!fs::exists(kShared / p.file)) GTEST_SKIP() << "no shared data";
  const TempDir dir;
  olab::import_llama2c(kShared / p.file, kShared / p.tokenizer, dir / "model");
  const Checkpoint c(dir / "model", olab::test::model_registries());
  const olab::ModelSpec& s = c.spec();
  ASSERT_EQ(s.layers, p.layers);
  check_vocabulary(olab::Tokenizer(dir / "model"), s, "model");

  const auto npz = olab::open_npz(kShared / p.weights);
  EXPECT_EQ(c.read("model.embed_tokens.weight"), npz->read_matrix("emb"));
  EXPECT_EQ(c.read("model.norm.weight"), npz->read_matrix("rms_f"));
  const Matrix attention_norms = npz->read_matrix("rms_att");
  const Matrix mlp_norms = npz->read_matrix("rms_ffn");
  const std::array<std::pair<const char*, const char*>, 7> linears{{{"wq", "self_attn.q_proj"},
                                                                    {"wk", "self_attn.k_proj"},
                                                                    {"wv", "self_attn.v_proj"},
                                                                    {"wo", "self_attn.o_proj"},
                                                                    {"w1", "mlp.gate_proj"},
                                                                    {"w2", "mlp.down_proj"},
                                                                    {"w3", "mlp.up_proj"}}};
  for (Index block = 0; block < s.layers; ++block) {
    const std::string prefix = s.block_name(block) + ".";
    EXPECT_EQ(c.read(prefix + "input_layernorm.weight"), attention_norms.row(block));
    EXPECT_EQ(c.read(prefix + "post_attention_layernorm.weight"), mlp_norms.row(block));
    for (const auto& [theirs, ours] : linears) {
      Matrix wanted = npz->read_slice(theirs, block);
      const bool rotary = std::string_view(theirs) == "wq" || std::string_view(theirs) == "wk";
      if (rotary) {
        const Matrix pairs = wanted;
        const Index half = s.head_dim / 2;
        for (Index head = 0; head < pairs.rows() / s.head_dim; ++head)
          for (Index i = 0; i < half; ++i) {
            wanted.row(head * s.head_dim + i) = pairs.row(head * s.head_dim + 2 * i);
            wanted.row(head * s.head_dim + half + i) = pairs.row(head * s.head_dim + 2 * i + 1);
          }
      }
      EXPECT_EQ(c.read(prefix + ours + ".weight"), wanted) << prefix << ours;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shared, PublishedModel,
                         testing::Values(Published{"stories260K", "08_model_stories260K/stories260K.bin",
                                                   "08_model_stories260K/stories260K_weights.npz",
                                                   "15_tokenizers/tok512.model", 5},
                                         Published{"babyllama", "09_model_babyllama_tok105/model5000.bin",
                                                   "09_model_babyllama_tok105/babyllama_weights.npz",
                                                   "09_model_babyllama_tok105/tok105.model", 5}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace

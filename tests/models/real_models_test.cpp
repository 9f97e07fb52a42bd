// Published models against logits, losses and activations that NumPy computed from their weights.
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/registries.hpp"
#include "datasets/npz.hpp"
#include "models/decoder.hpp"
#include "models/llama2c.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;

struct Published {
  std::string name;
  fs::path folder;
  std::string file;
  std::size_t windows = 0;  ///< of the recorded activations
};

const fs::path kShared = OLAB_SHARED_DATA;

class RealModel : public testing::TestWithParam<Published> {
 protected:
  void SetUp() override {
    const Published& p = GetParam();
    if (!fs::exists(kShared / p.folder / p.file))
      GTEST_SKIP() << "the real models are not here; set OLAB_SHARED_DATA to the folder that holds them";
    import_llama2c(kShared / p.folder / p.file, {}, dir_ / "model");
    Registries registries;
    register_models(registries);
    decoder_ = std::make_unique<Decoder>(std::make_shared<const Checkpoint>(dir_ / "model", registries));
    reference_ = open_npz(kShared / p.folder / "reference_logits.npz");
    recorded_ = open_npz(kShared / p.folder / "recorded_activations.npz");
  }

  std::vector<TokenId> reference_ids() const {
    const Matrix ids = reference_->read_matrix("tokens");
    std::vector<TokenId> out;
    for (Index t = 0; t < ids.cols(); ++t) out.push_back(static_cast<TokenId>(ids(0, t)));
    return out;
  }

  test::TempDir dir_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<TensorFile> reference_;
  std::unique_ptr<TensorFile> recorded_;
};
INSTANTIATE_TEST_SUITE_P(
    Llama2c, RealModel,
    testing::Values(Published{"stories260K", "08_model_stories260K", "stories260K.bin", 3},
                    Published{"babyllama", "09_model_babyllama_tok105", "model5000.bin", 4}),
    [](const auto& info) { return info.param.name; });

TEST_P(RealModel, HasTheLogitsAndLossesOfTheReference) {
  const std::vector<TokenId> ids = reference_ids();
  Matrix hidden = decoder_->embed(std::span(&ids, 1)).front();
  OriginalWork work;
  for (Index block = 0; block < decoder_->spec().layers; ++block)
    decoder_->run_block(decoder_->load_block(block), hidden, work);
  const Head head = decoder_->load_head();
  const Matrix normed = decoder_->final_norm(head, hidden);
  const Matrix want = reference_->read_matrix("logits");
  const Matrix got = decoder_->logits(head, normed);
  ASSERT_EQ(got.rows(), want.rows());
  ASSERT_EQ(got.cols(), want.cols());
  EXPECT_LE((got - want).cwiseAbs().maxCoeff(), 1e-4F);

  const WindowScore score = score_window(head, ids, normed, normed);
  const Matrix nll = reference_->read_matrix("nll");
  EXPECT_EQ(score.predictions, nll.size());
  EXPECT_NEAR(score.nll, nll.cast<double>().mean(), 1e-6);
  EXPECT_LT(score.nll, 2.0);
  EXPECT_EQ(score.kl, 0);
  EXPECT_EQ(score.agreement, 1);
}

/// Compares what goes into the linears with the recording, from a row on.
class ComparingWork final : public OriginalWork {
 public:
  ComparingWork(const TensorFile& recorded, Index first) : recorded_(recorded), first_(first) {}
  void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
    static constexpr std::array<std::string_view, kSites> kNames{"attn_in", "o_in", "ffn_in", "down_in"};
    compare(block.index, kNames[static_cast<std::size_t>(site)], x);
    OriginalWork::linear(block, site, x, y);
  }
  void compare(Index block, std::string_view what, const ConstMatrixRef& x) {
    const std::string name = "layers." + std::to_string(block) + "." + std::string(what);
    const Matrix want = recorded_.read_matrix(name);
    ASSERT_EQ(x.cols(), want.cols()) << name;
    const float largest = want.cwiseAbs().maxCoeff();
    EXPECT_LE((x - want.middleRows(first_, x.rows())).cwiseAbs().maxCoeff(), 3e-5F * largest) << name;
    ++compared;
  }
  Index compared = 0;

 private:
  const TensorFile& recorded_;
  Index first_;
};

TEST_P(RealModel, ReadsAtEverySiteWhatWasRecorded) {
  // The recording does not say its tokens: they are those whose embeddings, normed, are the first input.
  // Every window begins with BOS.
  constexpr TokenId kBos = 1;
  const Block first = decoder_->load_block(0);
  const Matrix inputs = recorded_->read_matrix("layers.0.attn_in");
  std::vector<std::vector<TokenId>> vocabulary(1);
  for (TokenId id = 0; id < decoder_->spec().vocab_size; ++id) vocabulary[0].push_back(id);
  Head norm;
  norm.norm = first.attention_norm;
  const Matrix candidates = decoder_->final_norm(norm, decoder_->embed(vocabulary).front());
  std::vector<std::vector<TokenId>> windows;
  for (Index t = 0; t < inputs.rows(); ++t) {
    Index nearest = 0;
    const float distance = (candidates.rowwise() - inputs.row(t)).rowwise().squaredNorm().minCoeff(&nearest);
    ASSERT_LE(distance, 1e-8F) << "row " << t << " is no token's";
    if (nearest == kBos) windows.emplace_back();
    ASSERT_FALSE(windows.empty()) << "the recording does not begin with BOS";
    windows.back().push_back(static_cast<TokenId>(nearest));
  }
  ASSERT_EQ(windows.size(), GetParam().windows);
  EXPECT_EQ(windows[0], reference_ids());

  std::vector<Matrix> hidden = decoder_->embed(windows);
  for (Index index = 0; index < decoder_->spec().layers; ++index) {
    const Block block = decoder_->load_block(index);
    Index row = 0;
    for (Matrix& window : hidden) {
      ComparingWork work(*recorded_, row);
      decoder_->run_block(block, window, work);
      work.compare(index, "resid", window);
      EXPECT_EQ(work.compared, static_cast<Index>(kSites) + 1);
      row += window.rows();
    }
  }
  const Head head = decoder_->load_head();
  Index row = 0;
  for (const Matrix& window : hidden) {
    const Matrix want = recorded_->read_matrix("head_in").middleRows(row, window.rows());
    EXPECT_LE((decoder_->final_norm(head, window) - want).cwiseAbs().maxCoeff(), 1e-4F);
    row += window.rows();
  }
}

}  // namespace
}  // namespace olab

// The forward pass against a plain one in double, for every kind of model that a config can describe.
#include "models/decoder.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>

#include "core/error.hpp"
#include "core/library_product.hpp"
#include "core/parallel.hpp"
#include "messages.hpp"
#include "toy_model.hpp"

namespace olab {
namespace {

using Json = nlohmann::json;
using test::error_of;
using test::TempDir;
using test::toy_llama_config;
using test::toy_opt_config;
using Wide = Eigen::MatrixXd;

// ---- the plain forward pass -----------------------------------------------------------------------------

/// What goes into the linears of a site, block after block.
using SiteInputs = std::vector<std::pair<Site, Wide>>;

class PlainDecoder {
 public:
  explicit PlainDecoder(const Checkpoint& checkpoint) : checkpoint_(checkpoint), spec_(checkpoint.spec()) {}

  Wide logits(const std::vector<TokenId>& ids, SiteInputs* inputs = nullptr) const {
    Wide x(static_cast<Index>(ids.size()), spec_.hidden_size);
    const Wide embedding = tensor(spec_.embedding);
    for (Index t = 0; t < x.rows(); ++t) x.row(t) = embedding.row(ids[static_cast<std::size_t>(t)]);
    if (!spec_.rotary) x += tensor(spec_.position_embedding).middleRows(spec_.position_offset, x.rows());
    for (Index block = 0; block < spec_.layers; ++block) add_block(block, x, inputs);
    return norm(x, spec_.final_norm) * tensor(spec_.head).transpose();
  }

 private:
  Wide tensor(const std::string& name) const { return checkpoint_.read(name).cast<double>(); }

  Wide norm(const Wide& x, const std::string& name) const {
    Wide y = x;
    const Wide gain = tensor(name + ".weight");
    for (Index t = 0; t < x.rows(); ++t) {
      const double mean = spec_.norm == NormKind::layer ? x.row(t).mean() : 0;
      const double square = (x.row(t).array() - mean).square().mean();
      for (Index j = 0; j < x.cols(); ++j)
        y(t, j) = (x(t, j) - mean) / std::sqrt(square + spec_.norm_eps) * gain(0, j);
      if (spec_.norm == NormKind::layer) y.row(t) += tensor(name + ".bias");
    }
    return y;
  }

  Wide linear(const Wide& x, Index block, LinearRole role) const {
    for (const LinearSpec& l : spec_.linears) {
      if (l.role != role) continue;
      Wide y = x * tensor(spec_.linear_name(block, l) + ".weight").transpose();
      if (l.bias) y.rowwise() += tensor(spec_.linear_name(block, l) + ".bias").row(0);
      return y;
    }
    throw std::logic_error("there is no such linear");
  }

  double frequency(Index pair) const {
    const RopeSpec& r = spec_.rope;
    const double f =
        std::pow(r.theta, -2.0 * static_cast<double>(pair) / static_cast<double>(spec_.head_dim));
    if (r.kind == RopeSpec::Kind::standard) return f;
    if (r.kind == RopeSpec::Kind::linear) return f / r.factor;
    // How many waves fit into the positions of the training: few are slowed down, many are not.
    const double waves = f * static_cast<double>(r.original_max_positions) / (2 * std::numbers::pi);
    const double kept = (waves - r.low_freq_factor) / (r.high_freq_factor - r.low_freq_factor);
    return f * std::lerp(1 / r.factor, 1.0, std::clamp(kept, 0.0, 1.0));
  }

  /// Norm and position of one head's vector.
  Eigen::VectorXd head(const Wide& x, Index t, Index index, const std::string& gain) const {
    const Index dim = spec_.head_dim;
    Eigen::VectorXd v = x.row(t).segment(index * dim, dim);
    if (spec_.query_key_norm) {
      v /= std::sqrt(v.squaredNorm() / static_cast<double>(dim) + spec_.norm_eps);
      v.array() *= tensor(gain + ".weight").row(0).transpose().array();
    }
    for (Index i = 0; spec_.rotary && i < dim / 2; ++i) {
      const auto turned =
          std::complex(v(i), v(i + dim / 2)) * std::polar(1.0, static_cast<double>(t) * frequency(i));
      v(i) = turned.real();
      v(i + dim / 2) = turned.imag();
    }
    return v;
  }

  Wide attention(const Wide& q, const Wide& k, const Wide& v, const std::string& block) const {
    const Index dim = spec_.head_dim;
    Wide out = Wide::Zero(q.rows(), q.cols());
    for (Index h = 0; h < spec_.heads; ++h) {
      const Index shared = h * spec_.kv_heads / spec_.heads;
      std::vector<Eigen::VectorXd> keys;
      for (Index t = 0; t < q.rows(); ++t) {
        keys.push_back(head(k, t, shared, block + "." + spec_.key_norm));
        const Eigen::VectorXd query = head(q, t, h, block + "." + spec_.query_norm);
        double sum = 0;
        for (Index s = 0; s <= t; ++s) {
          const double weight =
              std::exp(query.dot(keys[static_cast<std::size_t>(s)]) / std::sqrt(static_cast<double>(dim)));
          out.row(t).segment(h * dim, dim) += weight * v.row(s).segment(shared * dim, dim);
          sum += weight;
        }
        out.row(t).segment(h * dim, dim) /= sum;
      }
    }
    return out;
  }

  double activated(double x) const {
    switch (spec_.activation) {
      case ActivationKind::silu:
        return x / (1 + std::exp(-x));
      case ActivationKind::relu:
        return std::max(x, 0.0);
      case ActivationKind::gelu:
        return x * std::erfc(-x / std::sqrt(2.0)) / 2;
      case ActivationKind::gelu_tanh:
        return x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * std::pow(x, 3))));
    }
    return x;
  }

  void add_block(Index index, Wide& x, SiteInputs* inputs) const {
    const std::string block = spec_.block_name(index);
    const auto note = [&](Site site, const Wide& in) {
      if (inputs != nullptr) inputs->emplace_back(site, in);
    };
    const Wide in = norm(x, block + "." + spec_.attention_norm);
    note(Site::attention_in, in);
    const Wide seen = attention(linear(in, index, LinearRole::query), linear(in, index, LinearRole::key),
                                linear(in, index, LinearRole::value), block);
    note(Site::attention_out, seen);
    x += linear(seen, index, LinearRole::attention_out);
    const Wide middle = norm(x, block + "." + spec_.mlp_norm);
    note(Site::mlp_in, middle);
    Wide inner =
        linear(middle, index, spec_.gated ? LinearRole::gate : LinearRole::up).unaryExpr([&](double v) {
          return activated(v);
        });
    if (spec_.gated) inner.array() *= linear(middle, index, LinearRole::up).array();
    note(Site::mlp_out, inner);
    x += linear(inner, index, LinearRole::down);
  }

  const Checkpoint& checkpoint_;
  const ModelSpec& spec_;
};

// ---- models ---------------------------------------------------------------------------------------------

Json with(Json config, const Json& changes) {
  config.update(changes);
  return config;
}

struct Kind {
  std::string name;
  Json config;
};

std::vector<Kind> kinds() {
  const Json llama = toy_llama_config();
  const Json llama3{{"rope_type", "llama3"},
                    {"factor", 8.0},
                    {"low_freq_factor", 1.0},
                    {"high_freq_factor", 4.0},
                    {"original_max_position_embeddings", 32}};
  return {
      {"llama", llama},
      // Of 8 pairs some stay, some are slowed down in full and some in part.
      {"llama3_rope_and_biases", with(llama, {{"rope_scaling", llama3},
                                              {"rope_theta", 100.0},
                                              {"head_dim", 16},
                                              {"attention_bias", true},
                                              {"mlp_bias", true}})},
      {"linear_rope", with(llama, {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}}}})},
      {"one_key_for_all_heads", with(llama, {{"num_key_value_heads", 1}, {"tie_word_embeddings", true}})},
      {"gelu", with(llama, {{"hidden_act", "gelu"}})},
      {"gelu_tanh", with(llama, {{"hidden_act", "gelu_pytorch_tanh"}})},
      {"qwen2", with(llama, {{"architectures", {"Qwen2ForCausalLM"}}})},
      {"qwen3", with(llama, {{"architectures", {"Qwen3ForCausalLM"}}, {"head_dim", 6}})},
      {"opt", toy_opt_config()},
  };
}

/// A toy model on disk and what reads it.
struct Toy {
  explicit Toy(const Json& config, std::uint64_t seed = 1) {
    test::toy_model(config, seed).write(dir / "toy");
    checkpoint = std::make_shared<const Checkpoint>(dir / "toy", test::model_registries());
  }
  TempDir dir;
  std::shared_ptr<const Checkpoint> checkpoint;
};

std::vector<TokenId> some_ids(Index tokens) {
  std::vector<TokenId> ids;
  for (Index t = 0; t < tokens; ++t) ids.push_back(static_cast<TokenId>((t * t * 7 + t * 3 + 1) % 32));
  return ids;
}

Matrix embedded(const Decoder& decoder, const std::vector<TokenId>& ids) {
  return decoder.embed(std::span(&ids, 1)).front();
}

Matrix all_logits(const Decoder& decoder, const std::vector<TokenId>& ids, BlockWork& work) {
  Matrix hidden = embedded(decoder, ids);
  for (Index block = 0; block < decoder.spec().layers; ++block)
    decoder.run_block(decoder.load_block(block), hidden, work);
  const Head head = decoder.load_head();
  return decoder.logits(head, decoder.final_norm(head, hidden));
}

Matrix all_logits(const Decoder& decoder, const std::vector<TokenId>& ids) {
  OriginalWork work;
  return all_logits(decoder, ids, work);
}

double worst_difference(const Matrix& a, const Wide& b) {
  return (a.cast<double>() - b).cwiseAbs().maxCoeff();
}

// ---- tests ----------------------------------------------------------------------------------------------

class DecoderOf : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Kinds, DecoderOf, testing::ValuesIn(kinds()),
                         [](const auto& info) { return info.param.name; });

TEST_P(DecoderOf, GivesTheLogitsOfThePlainForwardPass) {
  const Toy toy(GetParam().config);
  const Decoder decoder(toy.checkpoint);
  for (const Index tokens : {1, 2, 50}) {
    const Wide want = PlainDecoder(*toy.checkpoint).logits(some_ids(tokens));
    EXPECT_GT(want.cwiseAbs().maxCoeff(), 0.5);
    EXPECT_LE(worst_difference(all_logits(decoder, some_ids(tokens)), want), 2e-5) << tokens << " tokens";
  }
}

/// Notes what goes into every site.
class NotingWork final : public OriginalWork {
 public:
  void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
    inputs.emplace_back(site, x.cast<double>());
    blocks.push_back(block.index);
    std::size_t k = 0;
    for (const Linear& linear : block.linears) {
      if (linear.spec.site != site) continue;
      EXPECT_EQ(y[k].rows(), x.rows());
      EXPECT_EQ(y[k].cols(), linear.spec.out_features);
      ++k;
    }
    EXPECT_EQ(y.size(), k);
    OriginalWork::linear(block, site, x, y);
  }
  SiteInputs inputs;
  std::vector<Index> blocks;
};

TEST_P(DecoderOf, ShowsTheWorkWhatEverySiteReads) {
  const Toy toy(GetParam().config);
  SiteInputs want;
  const Wide logits = PlainDecoder(*toy.checkpoint).logits(some_ids(20), &want);
  NotingWork work;
  EXPECT_LE(worst_difference(all_logits(Decoder(toy.checkpoint), some_ids(20), work), logits), 2e-5);
  ASSERT_EQ(work.inputs.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(work.blocks[i], static_cast<Index>(i / kSites));
    EXPECT_EQ(work.inputs[i].first, want[i].first);
    ASSERT_EQ(work.inputs[i].second.cols(), want[i].second.cols());
    EXPECT_LE((work.inputs[i].second - want[i].second).cwiseAbs().maxCoeff(), 1e-5) << "input " << i;
  }
}

TEST(Decoder, RunsWindowsOfManyTilesAndOfMorePositionsThanItKeepsTablesFor) {
  const Toy toy(toy_llama_config());  // 64 positions
  const Wide want = PlainDecoder(*toy.checkpoint).logits(some_ids(530));
  EXPECT_LE(worst_difference(all_logits(Decoder(toy.checkpoint), some_ids(530)), want), 5e-5);
}

TEST(Decoder, HasTheSameBitsForAnyNumberOfThreads) {
  // Wide enough for several tiles of a product.
  const Toy toy(with(toy_llama_config(), {{"hidden_size", 384}, {"intermediate_size", 640}}));
  const Decoder decoder(toy.checkpoint);
  Matrix one;
  Matrix two;
  with_threads(1, [&] { one = all_logits(decoder, some_ids(530)); });
  with_threads(2, [&] { two = all_logits(decoder, some_ids(530)); });
  EXPECT_EQ(one, two);
}

TEST(Decoder, SeesNoTokenThatComesLater) {
  const Toy toy(toy_llama_config());
  const Decoder decoder(toy.checkpoint);
  std::vector<TokenId> ids = some_ids(40);
  const Matrix before = all_logits(decoder, ids);
  ids[30] = (ids[30] + 1) % 32;
  const Matrix after = all_logits(decoder, ids);
  EXPECT_EQ(Matrix(after.topRows(30)), Matrix(before.topRows(30)));
  for (Index t = 30; t < 40; ++t) EXPECT_NE(Matrix(after.row(t)), Matrix(before.row(t))) << t;
}

/// Linear layers that give nothing.
class NoWork final : public BlockWork {
 public:
  void linear(const Block& /*block*/, Site /*site*/, const ConstMatrixRef& /*x*/,
              std::span<Matrix> y) override {
    for (Matrix& m : y) m.setZero();
  }
};

TEST(Decoder, AddsBiasesToWhateverTheWorkGives) {
  const Toy toy(with(toy_llama_config(), {{"attention_bias", true}, {"mlp_bias", true}}));
  const Decoder decoder(toy.checkpoint);
  Block block = decoder.load_block(1);
  block.drop_weights();
  EXPECT_EQ(block.linears[0].weight.size(), 0);
  const Matrix before = embedded(decoder, some_ids(5));
  Matrix hidden = before;
  NoWork work;
  decoder.run_block(block, hidden, work);
  const Vector& out = block.linears[3].bias;
  const Vector& down = block.linears[6].bias;
  ASSERT_EQ(down.size(), 16);
  const Matrix want = before.rowwise() + (out + down);
  EXPECT_LE((hidden - want).cwiseAbs().maxCoeff(), 1e-6F);
}

/// Looks at and changes what enters attention.
class AttentionWork final : public OriginalWork {
 public:
  void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
    OriginalWork::linear(block, site, x, y);
    if (site == Site::attention_in) plain_queries = y[0];
    if (site == Site::attention_out) seen = x;
  }
  void attention(const Block& /*block*/, MatrixRef q, MatrixRef k, MatrixRef v) override {
    queries = q;
    keys = k;
    v.setConstant(3.0F);
    if (one_key) k.setConstant(std::numeric_limits<float>::quiet_NaN());
  }
  bool one_key = false;
  Matrix plain_queries;
  Matrix queries;
  Matrix keys;
  Matrix seen;
};

TEST(Decoder, HandsTheWorkWhatEntersAttentionAndTakesWhatItLeaves) {
  const Toy toy(toy_llama_config());
  const Decoder decoder(toy.checkpoint);
  const Block block = decoder.load_block(0);
  Matrix hidden = embedded(decoder, some_ids(9));
  AttentionWork work;
  decoder.run_block(block, hidden, work);
  // Behind the positions.
  rotate_heads(rotary_tables(decoder.spec().rope, decoder.spec().head_dim, 9), work.plain_queries);
  EXPECT_EQ(work.queries, work.plain_queries);
  EXPECT_EQ(work.keys.cols(), 8);
  // Every mean of equal values is that value.
  EXPECT_LE((work.seen.array() - 3.0F).abs().maxCoeff(), 1e-5F);
  work.one_key = true;
  decoder.run_block(block, hidden, work);
  EXPECT_TRUE(work.seen.array().isNaN().all()) << "what the work did to the keys is lost";
}

TEST(Decoder, LoadsBlocksWithNamesAndNorms) {
  const Toy toy(toy_opt_config());
  const Block block = Decoder(toy.checkpoint).load_block(1);
  EXPECT_EQ(block.index, 1);
  EXPECT_EQ(block.name, "model.decoder.layers.1");
  ASSERT_EQ(block.linears.size(), 6U);
  for (const Linear& linear : block.linears) {
    EXPECT_EQ(linear.weight, toy.checkpoint->read(linear.name + ".weight"));
    EXPECT_EQ(Matrix(linear.bias), toy.checkpoint->read(linear.name + ".bias"));
  }
  EXPECT_EQ(Matrix(block.mlp_norm.bias),
            toy.checkpoint->read("model.decoder.layers.1.final_layer_norm.bias"));
  EXPECT_EQ(block.query_gain.size(), 0);
}

TEST(Decoder, EmbedsEveryWindowFromPositionZero) {
  const Toy toy(toy_opt_config());
  const Decoder decoder(toy.checkpoint);
  const std::vector<std::vector<TokenId>> windows{{5, 5}, {}, {5}};
  const std::vector<Matrix> got = decoder.embed(windows);
  ASSERT_EQ(got.size(), 3U);
  const Matrix tokens = toy.checkpoint->read("model.decoder.embed_tokens.weight");
  const Matrix positions = toy.checkpoint->read("model.decoder.embed_positions.weight");
  EXPECT_EQ(Matrix(got[0].row(0)), Matrix(tokens.row(5) + positions.row(2)));
  EXPECT_EQ(Matrix(got[0].row(1)), Matrix(tokens.row(5) + positions.row(3)));
  EXPECT_EQ(got[1].rows(), 0);
  EXPECT_EQ(got[2], Matrix(got[0].row(0)));
}

TEST(Decoder, RunsAWindowWithoutTokens) {
  const Toy toy(toy_llama_config());
  EXPECT_EQ(all_logits(Decoder(toy.checkpoint), {}).rows(), 0);
}

TEST(Decoder, RefusesWindowsThatAreTooLongForLearnedPositions) {
  const Toy toy(toy_opt_config());
  EXPECT_EQ(error_of([&] {
              (void)Decoder(toy.checkpoint).embed(std::vector<std::vector<TokenId>>{{1}, some_ids(65)});
            }),
            "toy: window 1 has 65 tokens, but the model has learned 64 positions; cut the text into windows "
            "of at most so many");
  EXPECT_EQ(embedded(Decoder(toy.checkpoint), some_ids(64)).rows(), 64);
}

TEST(Decoder, RefusesIdsThatTheModelDoesNotHave) {
  const Toy toy(toy_llama_config());
  for (const TokenId id : {32, -1})
    EXPECT_EQ(error_of([&] {
                (void)Decoder(toy.checkpoint).embed(std::vector<std::vector<TokenId>>{{1}, {3, id}});
              }),
              "toy: token 1 of window 1 is " + std::to_string(id) +
                  ", but the model's vocabulary is 0 to 31; make the ids with the model's own tokenizer");
}

}  // namespace
}  // namespace olab

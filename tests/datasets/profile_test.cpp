#include "datasets/profile.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "datasets/npz.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

const char* const kSmall = R"(model: small
summary: a profile of our own
source: made up
dtype: F32
tokens: 64
layers: 3
probabilities: [0, 0.5, 1]
inputs:
  attention:
    in_features: 40
    statistic: absmax
    quantiles: [1, 2, 4]
    top: {7: 50, 30: 80}
    groups:
      - {layers: 0, dead: 0.25}
      - layers: 1-2
        scale: 2
        massive:
          - {token: 3, channel: 5, value: -700}
          - {token: 1, every: 20, channel: 5, value: 900}
  mlp:
    in_features: 16
    statistic: rms
    tail: 4
    rectified: true
    quantiles: [1, 1, 1]
kinds:
  - name: block.{layer}.q_proj
    input: attention
    out_features: 24
    weight: {gain: 1, spread: 0.1}
  - name: block.{layer}.k_proj
    input: attention
    out_features: 8
    weight: {gain: 2, tail: 5}
  - name: block.{layer}.down_proj
    input: mlp
    out_features: 40
    weight: {}
)";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::unique_ptr<Recording> open_text(const std::string& text, const GenerateOptions& options = {}) {
  const test::TempDir folder;
  test::write_file(folder / "own.yaml", text);
  return open_profile((folder / "own.yaml").string(), options);
}

/// The message of opening `text`, from the file's name on.
std::string error_of(const std::string& text) {
  try {
    open_text(text);
  } catch (const Error& e) {
    const std::string message = e.what();
    return message.substr(std::min(message.find("own.yaml"), message.size()));
  }
  return "no error";
}

std::size_t index_of(const Recording& recording, const std::string& name) {
  const auto& layers = recording.layers();
  const auto found = std::ranges::find(layers, name, &LayerInfo::name);
  if (found == layers.end()) throw std::runtime_error("no layer " + name);
  return static_cast<std::size_t>(found - layers.begin());
}

GenerateOptions without_weights(std::uint64_t seed = 0) {
  GenerateOptions options;
  options.seed = seed;
  options.out_features = 1;
  return options;
}

std::vector<double> to_doubles(const ConstMatrixRef& row) {
  return {row.data(), row.data() + row.size()};
}

std::vector<double> channel_rms(const Matrix& x) {
  std::vector<double> out(static_cast<std::size_t>(x.cols()), 0.0);
  for (Index t = 0; t < x.rows(); ++t)
    for (Index j = 0; j < x.cols(); ++j) {
      const double v = x(t, j);
      out[static_cast<std::size_t>(j)] += v * v;
    }
  for (double& v : out) v = std::sqrt(v / static_cast<double>(x.rows()));
  return out;
}

double quantile(std::vector<double> values, double p) {
  std::ranges::sort(values);
  const double place = p * static_cast<double>(values.size() - 1);
  const auto i = static_cast<std::size_t>(place);
  if (i + 1 >= values.size()) return values.back();
  return values[i] + (place - static_cast<double>(i)) * (values[i + 1] - values[i]);
}

double kurtosis(const std::vector<double>& values) {
  double mean = 0;
  for (const double v : values) mean += v;
  mean /= static_cast<double>(values.size());
  double second = 0;
  double fourth = 0;
  for (const double v : values) {
    const double d = (v - mean) * (v - mean);
    second += d;
    fourth += d * d;
  }
  return fourth * static_cast<double>(values.size()) / (second * second);
}

/// How far apart two positive numbers are, as a factor >= 1.
double factor(double a, double b) {
  return std::max(a, b) / std::min(a, b);
}

bool have_shared_data() {
  return std::filesystem::exists(OLAB_SHARED_DATA);
}

// ------------------------------------------------------------------------------------ the shipped profiles

TEST(Profiles, AreSevenWithASummaryEach) {
  const std::vector<std::string> names{"gaussian", "heavy-tailed", "llama2-7b",     "llama3.2-1b",
                                       "opt-1.3b", "qwen2.5-3b",   "tinyllama-1.1b"};
  EXPECT_EQ(profile_names(), names);
  for (const std::string& name : profile_names()) EXPECT_GT(profile_summary(name).size(), 20U) << name;
}

TEST(Profiles, HaveTheLayersOfTheModelsUnderTheirHuggingFaceNames) {
  struct Case {
    std::string profile, name;
    std::size_t count;
    Index in_features, out_features;
  };
  const std::vector<Case> cases{
      {"llama2-7b", "model.layers.31.mlp.down_proj", 224, 11008, 4096},
      {"llama3.2-1b", "model.layers.15.self_attn.v_proj", 112, 2048, 512},
      {"opt-1.3b", "model.decoder.layers.23.fc1", 144, 2048, 8192},
      {"qwen2.5-3b", "model.layers.35.mlp.gate_proj", 252, 2048, 11008},
      {"tinyllama-1.1b", "model.layers.21.self_attn.o_proj", 154, 2048, 2048},
      {"gaussian", "model.layers.3.mlp.down_proj", 8, 4096, 1024},
  };
  for (const Case& c : cases) {
    const auto recording = open_profile(c.profile, {});
    ASSERT_EQ(recording->layers().size(), c.count) << c.profile;
    const LayerInfo& info = recording->layers()[index_of(*recording, c.name)];
    EXPECT_EQ(info.in_features, c.in_features) << c.profile;
    EXPECT_EQ(info.out_features, c.out_features) << c.profile;
    EXPECT_EQ(info.tokens, 2048) << c.profile;
    EXPECT_EQ(info.x_dtype, "generated");
  }
  EXPECT_EQ(open_profile("llama3.2-1b", {})->layers()[6].name, "model.layers.0.mlp.down_proj");
}

TEST(Profiles, SayWhatGeneratedDataIsNot) {
  for (const std::string& name : profile_names()) {
    const auto recording = open_profile(name, {});
    EXPECT_EQ(recording->facts().at("generated"),
              "marginal statistics only, no correlations between channels");
    EXPECT_EQ(recording->facts().at("model"), name);
    EXPECT_FALSE(recording->facts().at("source").empty());
  }
  for (const char* const model : {"llama2-7b", "llama3.2-1b", "opt-1.3b", "qwen2.5-3b", "tinyllama-1.1b"})
    EXPECT_NE(open_profile(model, {})->facts().at("source").find("assumed"), std::string::npos) << model;
}

TEST(Profiles, AnUnknownNameIsAnErrorWithTheNearestOne) {
  try {
    open_profile("lama2-7b", {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(
        e.what(),
        "there is no profile 'lama2-7b'; did you mean 'llama2-7b'? Known: gaussian, heavy-tailed, llama2-7b, "
        "llama3.2-1b, opt-1.3b, qwen2.5-3b, tinyllama-1.1b; a profile of your own is a path to a "
        ".yaml file");
  }
  EXPECT_THROW(profile_summary("lama2-7b"), Error);
  EXPECT_THROW(open_profile("no/such/file.yaml", {}), Error);
}

TEST(Profiles, TheGaussianControlHasNoOutliers) {
  const auto recording = open_profile("gaussian", without_weights());
  const Matrix x = recording->load(0, 0).x;
  ASSERT_EQ(x.size(), 2048 * 1024);
  // Two million entries: standard errors 0.0007 of the mean, 0.0005 of the rms, 0.0034 of the kurtosis. The
  // cut at 4.2 standard deviations takes 0.003 of the kurtosis.
  EXPECT_NEAR(x.cast<double>().mean(), 0.0, 0.004);
  EXPECT_NEAR(std::sqrt(x.cast<double>().squaredNorm() / static_cast<double>(x.size())), 1.0, 0.003);
  EXPECT_NEAR(kurtosis(to_doubles(x)), 3.0, 0.03);
  const std::vector<double> maxima = to_doubles(channel_absmax(x));
  EXPECT_LT(quantile(maxima, 1) / quantile(maxima, 0.5), 1.35);
}

TEST(Profiles, TheHeavyTailedControlHasHeavyTailsInEveryChannel) {
  const auto recording = open_profile("heavy-tailed", without_weights());
  const Matrix x = recording->load(1, 0).x;
  ASSERT_EQ(x.cols(), 4096);
  const std::vector<double> rms = channel_rms(x);
  EXPECT_LT(factor(quantile(rms, 0.5), 1.0), 1.1);
  EXPECT_LT(factor(quantile(rms, 0.8413) / quantile(rms, 0.5), std::exp(1.0)), 1.1);
  std::vector<double> of_channels;
  for (Index j = 0; j < 50; ++j) {
    std::vector<double> channel;
    for (Index t = 0; t < x.rows(); ++t) channel.push_back(x(t, j));
    of_channels.push_back(kurtosis(channel));
  }
  EXPECT_GT(quantile(of_channels, 0.5), 8.0);
}

// ------------------------------------------------------------------------------------ against recordings

// What the generated data of a layer may be off by, as factors, at the profile's own width and 2048 tokens.
// Most of it is that a profile gives one set of facts to neighbouring layers that agree within 1.12 in each
// fact and within 1.2 in kurtosis; the kurtosis hangs on the fourth power of the few largest channels. The
// worst found over all layers of the four models: 1.12, 1.20 and 1.49.
constexpr double kQuantileFactor = 1.15;
constexpr double kRatioFactor = 1.25;
constexpr double kKurtosisFactor = 1.55;

struct ChannelCase {
  std::string profile, file, statistic;
  std::vector<std::pair<std::string, std::string>> layers;  ///< (generated, recorded)
};

void compare_channels(const ChannelCase& c) {
  if (!have_shared_data()) GTEST_SKIP() << "the recorded statistics are not here: " << OLAB_SHARED_DATA;
  const auto recorded = open_npz(std::filesystem::path(OLAB_SHARED_DATA) / c.file);
  const auto generated = open_profile(c.profile, without_weights());
  for (const auto& [name, tensor] : c.layers) {
    SCOPED_TRACE(c.profile + " " + name);
    const Matrix x = generated->load(index_of(*generated, name), 0).x;
    const std::vector<double> ours = c.statistic == "rms" ? channel_rms(x) : to_doubles(channel_absmax(x));
    const std::vector<double> real = to_doubles(recorded->read_matrix(tensor));
    ASSERT_EQ(ours.size(), real.size());
    for (const double p : {0.1, 0.5, 0.9, 0.99}) {
      const double wanted = quantile(real, p);
      if (wanted == 0) {
        EXPECT_EQ(quantile(ours, p), 0) << "quantile " << p;
        continue;
      }
      EXPECT_LT(factor(quantile(ours, p), wanted), kQuantileFactor)
          << "quantile " << p << ": " << quantile(ours, p) << ", recorded " << wanted;
    }
    const double ratio = quantile(ours, 1) / quantile(ours, 0.5);
    const double real_ratio = quantile(real, 1) / quantile(real, 0.5);
    EXPECT_LT(factor(ratio, real_ratio), kRatioFactor)
        << "max/median " << ratio << ", recorded " << real_ratio;
    EXPECT_LT(factor(kurtosis(ours), kurtosis(real)), kKurtosisFactor)
        << "kurtosis " << kurtosis(ours) << ", recorded " << kurtosis(real);
    const auto largest = [](const std::vector<double>& v) { return std::ranges::max_element(v) - v.begin(); };
    if (real_ratio > 8) {
      // Where one channel stands out it is the model's own.
      const std::ptrdiff_t at = largest(ours);
      EXPECT_GT(real[static_cast<std::size_t>(at)], 0.8 * quantile(real, 1));
    }
  }
}

TEST(ProfileAgainstRecording, Opt13bHasTheChannelMaximaOfTheModel) {
  const std::string at = "model.decoder.layers.";
  ChannelCase c{"opt-1.3b", "01_act_scales_opt/opt-1.3b_act_scales.npz", "absmax", {}};
  for (const char* const name :
       {"0.self_attn.q_proj", "2.self_attn.v_proj", "12.self_attn.k_proj", "2.self_attn.out_proj",
        "19.self_attn.out_proj", "0.fc1", "19.fc1", "0.fc2", "5.fc2", "23.fc2"})
    c.layers.emplace_back(at + name, at + name);
  compare_channels(c);
}

TEST(ProfileAgainstRecording, Llama321bHasTheChannelMaximaOfTheModel) {
  const std::string at = "model.layers.";
  ChannelCase c{"llama3.2-1b", "03_act_scales_llama-3.2-1b/llama-3.2-1b_act_scales.npz", "absmax", {}};
  for (const char* const name : {"0.self_attn.q_proj", "5.self_attn.k_proj", "10.self_attn.v_proj",
                                 "0.self_attn.o_proj", "12.self_attn.o_proj", "1.mlp.gate_proj",
                                 "9.mlp.up_proj", "0.mlp.down_proj", "1.mlp.down_proj", "15.mlp.down_proj"})
    c.layers.emplace_back(at + name, at + name);
  compare_channels(c);
}

ChannelCase imatrix_case(const std::string& profile, const std::vector<std::pair<int, std::string>>& wanted) {
  ChannelCase out{profile, "04_imatrix_rms/" + profile + "_rms.npz", "rms", {}};
  for (const auto& [layer, kind] : wanted) {
    const std::string of_file = kind == "self_attn.q_proj"   ? "attn_q"
                                : kind == "self_attn.o_proj" ? "attn_output"
                                : kind == "mlp.up_proj"      ? "ffn_up"
                                                             : "ffn_down";
    out.layers.emplace_back("model.layers." + std::to_string(layer) + "." + kind,
                            "blk." + std::to_string(layer) + "." + of_file + ".weight");
  }
  return out;
}

TEST(ProfileAgainstRecording, TinyLlamaHasTheChannelRmsOfTheModel) {
  compare_channels(imatrix_case("tinyllama-1.1b", {{0, "self_attn.q_proj"},
                                                   {1, "self_attn.q_proj"},
                                                   {12, "self_attn.q_proj"},
                                                   {0, "self_attn.o_proj"},
                                                   {0, "mlp.up_proj"},
                                                   {1, "mlp.down_proj"},
                                                   {21, "mlp.down_proj"}}));
}

TEST(ProfileAgainstRecording, Qwen25HasTheChannelRmsOfTheModel) {
  compare_channels(imatrix_case("qwen2.5-3b", {{13, "self_attn.q_proj"},
                                               {34, "self_attn.q_proj"},
                                               {31, "self_attn.o_proj"},
                                               {1, "mlp.up_proj"},
                                               {5, "mlp.up_proj"},
                                               {2, "mlp.down_proj"},
                                               {30, "mlp.down_proj"}}));
}

TEST(ProfileAgainstRecording, Llama321bKeepsItsOneMassiveEntryAtTheStartingToken) {
  const auto recording = open_profile("llama3.2-1b", without_weights());
  const Matrix x = recording->load(index_of(*recording, "model.layers.1.mlp.down_proj"), 0).x;
  EXPECT_EQ(x(0, 1417), 624.0F);  // 623.5 in BF16
  const Vector tokens = token_absmax(x);
  EXPECT_LT(tokens.tail(2047).maxCoeff(), 20.0F);
}

TEST(ProfileAgainstRecording, Llama27bHasItsMassiveTokensAsRecorded) {
  if (!have_shared_data()) GTEST_SKIP() << "the recorded statistics are not here: " << OLAB_SHARED_DATA;
  const auto recorded = open_npz(std::filesystem::path(OLAB_SHARED_DATA) /
                                 "06_llama2-7b_per_token_maxima/llama2-7b-hf-static.npz");
  const auto generated = open_profile("llama2-7b", without_weights());
  for (const char* const name : {"model.layers.1.mlp.down_proj", "model.layers.30.mlp.down_proj"}) {
    const Vector tokens = token_absmax(generated->load(index_of(*generated, name), 0).x);
    const Matrix real = recorded->read_matrix(std::string(name) + ".input");
    // The starting token and the first delimiter, exact in F16; no other token comes near.
    EXPECT_EQ(tokens[0], real(0, 0)) << name;
    EXPECT_EQ(tokens[7], real(0, 7)) << name;
    EXPECT_GT(tokens[7], 1000.0F) << name;
    EXPECT_LT(tokens.segment(1, 6).maxCoeff(), 0.1F * tokens[7]) << name;
    EXPECT_LT(tokens.tail(2040).maxCoeff(), 0.1F * tokens[7]) << name;
  }
}

// The recorded maximum of a position is over 512 samples, so it stands beside the largest of 512 generated
// tokens. One such maximum scatters by 10 to 30 %. Over all 128 layers the middle of four of them was between
// 0.71 and 1.42 of the recorded median, and 1.003 in the geometric mean; the test takes ten layers.
constexpr double kTokenFactor = 1.5;
constexpr double kMeanTokenFactor = 1.12;
// Of the starting token: the middle of 15 tokens generated with different seeds.
constexpr double kStartingTokenFactor = 1.35;

TEST(ProfileAgainstRecording, Llama27bHasTheTokenMaximaOfTheModel) {
  if (!have_shared_data()) GTEST_SKIP() << "the recorded statistics are not here: " << OLAB_SHARED_DATA;
  const auto recorded = open_npz(std::filesystem::path(OLAB_SHARED_DATA) /
                                 "06_llama2-7b_per_token_maxima/llama2-7b-hf-static.npz");
  const auto generated = open_profile("llama2-7b", without_weights());
  double logs = 0;
  const std::vector<std::string> names{"0.self_attn.q_proj", "9.self_attn.q_proj",  "31.self_attn.v_proj",
                                       "1.self_attn.o_proj", "20.self_attn.o_proj", "0.mlp.gate_proj",
                                       "15.mlp.up_proj",     "1.mlp.down_proj",     "14.mlp.down_proj",
                                       "30.mlp.down_proj"};
  for (const std::string& part : names) {
    const std::string name = "model.layers." + part;
    const Vector tokens = token_absmax(generated->load(index_of(*generated, name), 0).x);
    std::vector<double> largest;
    for (Index block = 0; block < 4; ++block) {
      const Index skip = block == 0 ? 8 : 0;  // massive tokens have their own test
      largest.push_back(tokens.segment(block * 512 + skip, 512 - skip).maxCoeff());
    }
    const double wanted = quantile(to_doubles(recorded->read_matrix(name + ".input")), 0.5);
    const double got = quantile(largest, 0.5);
    EXPECT_LT(factor(got, wanted), kTokenFactor) << name << ": " << got << ", recorded " << wanted;
    logs += std::log(got / wanted);
  }
  EXPECT_LT(std::abs(logs / static_cast<double>(names.size())), std::log(kMeanTokenFactor));
}

TEST(ProfileAgainstRecording, Llama27bHasAStartingTokenAsLargeAsRecorded) {
  if (!have_shared_data()) GTEST_SKIP() << "the recorded statistics are not here: " << OLAB_SHARED_DATA;
  const auto recorded = open_npz(std::filesystem::path(OLAB_SHARED_DATA) /
                                 "06_llama2-7b_per_token_maxima/llama2-7b-hf-static.npz");
  const std::vector<std::string> names{"model.layers.2.self_attn.q_proj", "model.layers.20.self_attn.o_proj",
                                       "model.layers.16.mlp.gate_proj", "model.layers.22.mlp.down_proj"};
  std::map<std::string, std::vector<double>> first;
  for (std::uint64_t seed = 0; seed < 15; ++seed) {
    const auto generated = open_profile("llama2-7b", without_weights(seed));
    for (const std::string& name : names)
      first[name].push_back(token_absmax(generated->load(index_of(*generated, name), 1).x)[0]);
  }
  for (const std::string& name : names) {
    const double wanted = recorded->read_matrix(name + ".input")(0, 0);
    const double got = quantile(first[name], 0.5);
    EXPECT_LT(factor(got, wanted), kStartingTokenFactor) << name << ": " << got << ", recorded " << wanted;
  }
}

// The spread of magnitudes within one token of layer 0: the profile's channels are estimated from this very
// token.
constexpr double kOneTokenFactor = 1.35;

TEST(ProfileAgainstRecording, Llama27bSpreadsATokenOverChannelsAsRecorded) {
  if (!have_shared_data()) GTEST_SKIP() << "the recorded statistics are not here: " << OLAB_SHARED_DATA;
  const auto recorded = open_npz(std::filesystem::path(OLAB_SHARED_DATA) /
                                 "07_llama2-7b_layer0_single_token_dump/llama2-7b_layer0_token.npz");
  const auto generated = open_profile("llama2-7b", without_weights());
  const auto shape = [](const ConstMatrixRef& token) {
    std::vector<double> magnitudes = to_doubles(token.cwiseAbs().eval());
    const double rms = std::sqrt(token.cast<double>().squaredNorm() / static_cast<double>(token.size()));
    for (double& m : magnitudes) m /= rms;
    return magnitudes;
  };
  for (const char* const part : {"self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"}) {
    const std::vector<double> real = shape(recorded->read_matrix(std::string("layers.0.") + part + ".input"));
    const Matrix x = generated->load(index_of(*generated, std::string("model.layers.0.") + part), 64).x;
    for (const double p : {0.5, 0.9, 0.99, 1.0}) {
      std::vector<double> over_tokens;
      for (Index t = 8; t < 64; ++t) over_tokens.push_back(quantile(shape(Matrix(x.row(t))), p));
      EXPECT_LT(factor(quantile(over_tokens, 0.5), quantile(real, p)), kOneTokenFactor)
          << part << " quantile " << p << ": " << quantile(over_tokens, 0.5) << ", recorded "
          << quantile(real, p);
    }
  }
}

// ------------------------------------------------------------------------------------ the generator

TEST(Generator, GivesTheSameBitsAgainAndForAnyNumberOfThreads) {
  const auto recording = open_text(kSmall);
  const Layer a = recording->load(1, 0);
  const Layer b = open_text(kSmall)->load(1, 0);
  const ThreadLimit one(1);
  const Layer c = recording->load(1, 0);
  EXPECT_EQ(a.x, b.x);
  EXPECT_EQ(a.w, b.w);
  EXPECT_EQ(a.x, c.x);
  EXPECT_EQ(a.w, c.w);
  EXPECT_EQ(a.name, "block.0.k_proj");
}

TEST(Generator, ATokenDoesNotDependOnHowManyAreAskedFor) {
  GenerateOptions many;
  many.tokens = 100;
  const auto recording = open_text(kSmall, many);
  EXPECT_EQ(recording->layers()[3].tokens, 100);
  const Matrix all = recording->load(3, 0).x;
  ASSERT_EQ(all.rows(), 100);
  EXPECT_EQ(recording->load(3, 37).x, all.topRows(37));
  GenerateOptions few;
  few.tokens = 10;
  EXPECT_EQ(open_text(kSmall, few)->load(3, 0).x, all.topRows(10));
}

TEST(Generator, PositionsStartAnewInEverySequence) {
  GenerateOptions options;
  options.tokens = 40;
  options.sequence_length = 16;
  options.in_features = 256;
  options.out_features = 1;
  const auto recording = open_profile("llama2-7b", options);
  const auto& layers = recording->layers();
  const auto at =
      std::ranges::find(layers, "model.layers.1.mlp.down_proj", &LayerInfo::name) - layers.begin();
  const Layer layer = recording->load(static_cast<std::size_t>(at), 0);
  // The starting token has 423.25, the first delimiter, at position 7, has 1411.
  for (const Index t : {0, 16, 32}) EXPECT_EQ(layer.x.row(t).cwiseAbs().maxCoeff(), 423.25F) << t;
  for (const Index t : {7, 23, 39}) EXPECT_EQ(layer.x.row(t).cwiseAbs().maxCoeff(), 1411.0F) << t;
  for (const Index t : {1, 15, 17, 33}) EXPECT_LT(layer.x.row(t).cwiseAbs().maxCoeff(), 100.0F) << t;
  options.sequence_length = 0;
  EXPECT_NE(open_profile("llama2-7b", options)->content_hash(0), recording->content_hash(0));
}

TEST(Generator, ZeroTokensMeansThoseOfTheProfile) {
  GenerateOptions options;
  options.tokens = 0;
  EXPECT_EQ(open_text(kSmall, options)->load(0, 0).x.rows(), 64);
}

TEST(Generator, MoreTokensThanGeneratedIsAnError) {
  GenerateOptions options;
  options.tokens = 10;
  const auto recording = open_text(kSmall, options);
  try {
    recording->load(0, 11);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "profile small: 11 tokens asked of layer block.0.q_proj, which is generated with 10; ask "
                 "for more when "
                 "the profile is opened");
  }
  options.in_features = -1;
  try {
    open_text(kSmall, options);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "option in_features is -1; it must be 0 (as in the profile) or more");
  }
}

TEST(Generator, LayersWithOneInputShareXAndNotW) {
  const auto recording = open_text(replaced(kSmall, "out_features: 8", "out_features: 24"));
  const Layer q = recording->load(0, 0);
  const Layer k = recording->load(1, 0);
  EXPECT_EQ(q.x, k.x);
  EXPECT_NE(q.w, k.w);
  EXPECT_NE(recording->load(3, 0).x, recording->load(6, 0).x);  // layers 1 and 2, same facts
}

TEST(Generator, ChannelsHaveTheStatedMaxima) {
  const auto recording = open_text(kSmall);
  const Vector maxima = channel_absmax(recording->load(0, 0).x);
  EXPECT_FLOAT_EQ(maxima[30], 80.0F);
  EXPECT_FLOAT_EQ(maxima[7], 50.0F);
  std::vector<double> rest;
  Index dead = 0;
  for (Index j = 0; j < 40; ++j)
    if (maxima[j] == 0)
      ++dead;
    else if (j != 7 && j != 30)
      rest.push_back(maxima[j]);
  EXPECT_EQ(dead, 10);
  // Between the quantiles 1, 2 and 4, straight in the logarithm; the 28 ranks end half a rank inside.
  EXPECT_NEAR(quantile(rest, 1), 4.0, 0.11);
  EXPECT_NEAR(quantile(rest, 0.5), 2.0, 0.1);
  EXPECT_NEAR(quantile(rest, 0), 1.0, 0.1);
}

TEST(Generator, MassiveEntriesStandAtTheirTokensAndScaleMultipliesTheRest) {
  GenerateOptions options;
  options.tokens = 64;
  const Matrix x = open_text(kSmall, options)->load(3, 0).x;
  EXPECT_EQ(x(3, 5), -700.0F);
  for (const Index t : {1, 21, 41, 61}) EXPECT_EQ(x(t, 5), 900.0F) << t;
  EXPECT_LT(std::abs(x(2, 5)), 10.0F);
  EXPECT_FLOAT_EQ(channel_absmax(x)[30], 160.0F);
}

TEST(Generator, RectifiedInputsHaveNoNegativeEntriesAndTheStatedRms) {
  GenerateOptions options;
  options.tokens = 20000;
  const Matrix x = open_text(kSmall, options)->load(2, 0).x;
  EXPECT_GE(x.minCoeff(), 0.0F);
  EXPECT_NEAR(static_cast<double>((x.array() == 0).count()) / static_cast<double>(x.size()), 0.5, 0.01);
  const std::vector<double> rms = channel_rms(x);
  EXPECT_NEAR(quantile(rms, 0.5), 1.0, 0.03);
}

TEST(Generator, WeightsHaveTheStatedScale) {
  GenerateOptions options;
  options.in_features = 500;
  options.out_features = 400;
  const auto recording = open_text(kSmall, options);
  const auto rms = [](const Matrix& w) {
    return std::sqrt(w.cast<double>().squaredNorm() / static_cast<double>(w.size()));
  };
  EXPECT_NEAR(rms(recording->load(0, 1).w) * std::sqrt(500.0), 1.0, 0.02);
  EXPECT_NEAR(rms(recording->load(1, 1).w) * std::sqrt(500.0), 2.0, 0.04);
  EXPECT_GT(kurtosis(to_doubles(recording->load(1, 1).w)), 5.0);
  EXPECT_NEAR(kurtosis(to_doubles(recording->load(2, 1).w)), 3.0, 0.1);
}

TEST(Generator, TokenAmplitudesKeepTheRmsOfChannels) {
  const std::string text =
      replaced(kSmall, "    quantiles: [1, 1, 1]\n",
               "    quantiles: [1, 1, 1]\n    groups:\n      - {layers: 0-2, token_spread: 0.5, "
               "token_scales: {4: 0.001}}\n");
  GenerateOptions options;
  options.tokens = 4000;
  const Matrix x = open_text(text, options)->load(2, 0).x;
  EXPECT_LT(x.row(4).maxCoeff(), 0.05F);
  double sum = 0;
  for (const double r : channel_rms(x)) sum += r * r;
  EXPECT_NEAR(sum / 16, 1.0, 0.1);
}

TEST(Generator, ValuesAreRoundedToTheDtypeOfTheProfile) {
  const Matrix bf16 = open_text(replaced(kSmall, "dtype: F32", "dtype: BF16"))->load(0, 0).x;
  const Matrix f16 = open_text(replaced(kSmall, "dtype: F32", "dtype: F16"))->load(0, 0).x;
  const Matrix f32 = open_text(kSmall)->load(0, 0).x;
  EXPECT_EQ(bf16, f32.cast<Eigen::bfloat16>().cast<float>());
  EXPECT_EQ(f16, f32.cast<Eigen::half>().cast<float>());
  EXPECT_NE(bf16, f32);
  EXPECT_NE(f16, f32);
}

TEST(Generator, OtherWidthsKeepQuantilesTopChannelsAndMassiveValues) {
  GenerateOptions options = without_weights();
  options.in_features = 256;
  const auto recording = open_profile("llama3.2-1b", options);
  const Layer layer = recording->load(index_of(*recording, "model.layers.1.mlp.down_proj"), 0);
  ASSERT_EQ(layer.x.cols(), 256);
  ASSERT_EQ(layer.w.rows(), 1);
  // Channel 1417 of 8192 becomes 44 of 256; the median channel stays at 0.54.
  EXPECT_EQ(layer.x(0, 1417 * 256 / 8192), 624.0F);
  const std::vector<double> maxima = to_doubles(channel_absmax(layer.x));
  EXPECT_LT(factor(quantile(maxima, 0.5), 0.542), 1.1);
  // Of eight listed channels one stays: the largest, 13.9.
  EXPECT_EQ(std::ranges::count_if(maxima, [](double m) { return m > 5 && m < 100; }), 1);

  options.in_features = 3;
  EXPECT_EQ(open_profile("llama3.2-1b", options)->load(13, 4).x(0, 0), 624.0F);
  options.in_features = 100;
  const Matrix wide = open_text(kSmall, options)->load(3, 0).x;
  EXPECT_EQ(wide(3, 12), -700.0F);
  EXPECT_FLOAT_EQ(channel_absmax(wide)[75], 160.0F);
}

TEST(Generator, MassiveChannelsDoNotFallOnOneAnotherInANarrowLayer) {
  const std::string text =
      replaced(kSmall, "{token: 3, channel: 5, value: -700}", "{token: 1, channel: 6, value: -700}");
  GenerateOptions options;
  options.in_features = 4;
  const Matrix x = open_text(text, options)->load(3, 0).x;
  EXPECT_EQ(x(1, 0), -700.0F);
  EXPECT_EQ(x(1, 1), 900.0F);
}

TEST(Generator, AnotherSeedGivesOtherNumbersWithTheSameFacts) {
  GenerateOptions other;
  other.seed = 1;
  const Layer a = open_text(kSmall)->load(0, 0);
  const Layer b = open_text(kSmall, other)->load(0, 0);
  EXPECT_NE(a.x, b.x);
  EXPECT_NE(a.w, b.w);
  EXPECT_FLOAT_EQ(channel_absmax(a.x)[30], channel_absmax(b.x)[30]);
}

TEST(Generator, TheContentHashNamesTheData) {
  const auto hash = [](const std::string& text, const GenerateOptions& options = {}, std::size_t index = 0) {
    return open_text(text, options)->content_hash(index);
  };
  const std::string base = hash(kSmall);
  EXPECT_EQ(base.size(), 32U);
  EXPECT_EQ(hash(kSmall), base);
  EXPECT_EQ(hash(replaced(kSmall, "made up", "written down")), base);
  EXPECT_EQ(hash(std::string("# a comment\n") + kSmall), base);
  GenerateOptions options;
  options.in_features = 40;
  options.out_features = 24;
  EXPECT_EQ(hash(kSmall, options), base);  // as in the profile, said in words

  EXPECT_NE(hash(kSmall, {}, 1), base);
  EXPECT_NE(hash(kSmall, {}, 3), base);
  EXPECT_NE(hash(replaced(kSmall, "[1, 2, 4]", "[1, 2, 5]")), base);
  EXPECT_NE(hash(replaced(kSmall, "dtype: F32", "dtype: F16")), base);
  for (const int changed : {0, 1, 2, 3}) {
    GenerateOptions o;
    if (changed == 0) o.seed = 7;
    if (changed == 1) o.tokens = 65;
    if (changed == 2) o.in_features = 41;
    if (changed == 3) o.out_features = 25;
    EXPECT_NE(hash(kSmall, o), base) << changed;
  }
}

// ------------------------------------------------------------------------------------ bad profiles

TEST(ProfileFile, ErrorsNameThePlaceAndTheRemedy) {
  EXPECT_EQ(error_of(replaced(kSmall, "layers: 3", "layer: 3")),
            "own.yaml:6:1: a profile has no key 'layer'; did you mean 'layers'? Known: model, summary, "
            "source, dtype, tokens, layers, probabilities, inputs, kinds");
  EXPECT_EQ(error_of(replaced(kSmall, "tokens: 64", "tokens: many")),
            "own.yaml:5:1: tokens must be a whole number, not 'many'");
  EXPECT_EQ(error_of(replaced(kSmall, "[1, 2, 4]", "[-1, 2, 4]")),
            "own.yaml:12:17: quantiles is -1; it must be from 0 to 1000000000000");
  EXPECT_EQ(error_of(replaced(kSmall, "[1, 2, 4]", "[1, 2]")),
            "own.yaml:12:5: quantiles has 2 numbers; probabilities has 3");
  EXPECT_EQ(error_of(replaced(kSmall, "[1, 2, 4]", "[1, 4, 2]")),
            "own.yaml:12:5: quantiles must not fall from one probability to the next");
  EXPECT_EQ(error_of(replaced(kSmall, "[0, 0.5, 1]", "[0, 0.5, 0.9]")),
            "own.yaml:7:1: probabilities must rise from 0 to 1");
  EXPECT_EQ(error_of(replaced(kSmall, "statistic: absmax", "statistic: maximum")),
            "own.yaml:11:5: statistic is 'maximum'; it must be absmax or rms");
  EXPECT_EQ(error_of(replaced(kSmall, "dtype: F32", "dtype: FP16")),
            "own.yaml:4:1: dtype is 'FP16'; it must be F32, F16 or BF16");
  EXPECT_EQ(error_of(replaced(kSmall, "7: 50", "40: 50")),
            "own.yaml:13:11: top: '40' is no channel; it must be a whole number from 0 to 39");
  EXPECT_EQ(error_of(replaced(kSmall, "7: 50", "7: big")),
            "own.yaml:13:11: top of channel 7 must be a number, not 'big'");
  EXPECT_EQ(error_of(replaced(kSmall, "tail: 4", "tail: 1")),
            "own.yaml:24:5: tail is 1; it must be from 2.1 to 1000000");
  EXPECT_EQ(error_of(replaced(kSmall, "layers: 1-2", "layers: 1-3")),
            "own.yaml:16:9: layers is '1-3'; it must be a layer or a range such as 2-5, within 0-2");
  EXPECT_EQ(error_of(replaced(kSmall, "layers: 1-2", "layers: 2")), "own.yaml:14:5: layer 1 is in no group");
  EXPECT_EQ(error_of(replaced(kSmall, "layers: 1-2", "layers: 0-2")),
            "own.yaml:14:5: layer 0 is in two groups");
  EXPECT_EQ(error_of(replaced(kSmall, "scale: 2", "token_spread: 0.2")),
            "own.yaml:17:9: token_spread needs statistic: rms; channel maxima say nothing of the tokens' "
            "amplitudes");
  EXPECT_EQ(error_of(replaced(kSmall, "input: mlp", "input: mpl")),
            "own.yaml:37:5: there is no input 'mpl'; did you mean 'mlp'? Known: attention, mlp");
  EXPECT_EQ(error_of(replaced(kSmall, "block.{layer}.k_proj", "k_proj")),
            "own.yaml:32:5: name 'k_proj' must contain {layer}, or all layers would be called alike");
  EXPECT_EQ(error_of(replaced(kSmall, "gain: 1,", "gian: 1,")),
            "own.yaml:31:14: weight has no key 'gian'; did you mean 'gain'? Known: gain, spread, tail");
  EXPECT_EQ(error_of("model: [\n").rfind("own.yaml:2:1: not valid YAML", 0), 0U) << error_of("model: [\n");
}

TEST(ProfileFile, TheSharedInputIsCheckedForQuantiles) {
  EXPECT_EQ(error_of(replaced(kSmall, "    quantiles: [1, 2, 4]\n", "")),
            "own.yaml:14:9: quantiles are missing, here and in the input");
  EXPECT_EQ(error_of(replaced(kSmall, "    quantiles: [1, 1, 1]\n", "")),
            "own.yaml:21:3: quantiles are missing");
}

}  // namespace
}  // namespace olab

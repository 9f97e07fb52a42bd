#include "datasets/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <boost/math/distributions/complement.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cassert>
#include <cmath>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "core/text.hpp"
#include "datasets/profile_facts.hpp"

namespace olab {

// The files of datasets/profiles, embedded by CMake (olab_embed).
std::span<const std::pair<std::string_view, std::string_view>> shipped_profiles();

namespace {

// Part of every content hash: raise it whenever generated numbers change.
constexpr std::uint64_t kGeneratorVersion = 1;
constexpr Index kTokenGrain = 16;
constexpr Index kRowGrain = 64;
// Expected number of entries of a channel that pass the bound. With e^-4.6 = 1/100 of the channels none does.
constexpr double kPassingEntries = 4.605170185988091;

/// Random entries of mean 0: a sign times a magnitude drawn through its tabulated quantile function, for the
/// price of 64 random bits.
class EntryTable {
 public:
  /// Gaussian, or Student t with `tail` degrees of freedom. Magnitudes above the one that is passed with
  /// probability `passing` are set to it: the bound. `passing` of 0: the table's own end, about 1/32768.
  EntryTable(std::optional<double> tail, double passing) : tail_(tail), passing_(passing) {
    const double floor = 0.25 / static_cast<double>(kCells);
    bound_ = upper_quantile(tail, std::max(passing, floor));
    for (std::size_t k = 0; k < kCells; ++k) {
      const double above = 1.0 - static_cast<double>(k) / static_cast<double>(kCells);
      knots_[k] = static_cast<float>(std::min(bound_, upper_quantile(tail, above)));
    }
    knots_[kCells] = static_cast<float>(bound_);
    double sum = 0;
    for (std::size_t k = 0; k < kCells; ++k) {
      const double a = knots_[k];
      const double b = knots_[k + 1];
      sum += (a * a + a * b + b * b) / 3;
    }
    rms_ = std::sqrt(sum / static_cast<double>(kCells));
  }

  std::optional<double> tail() const { return tail_; }
  double passing() const { return passing_; }
  double bound() const { return bound_; }
  double rms() const { return rms_; }

  float draw(RandomStream& random) const {
    // 13 bits choose the cell, 24 the place in it, one the sign.
    const std::uint64_t bits = random.bits();
    const auto cell = static_cast<std::size_t>(bits >> (64U - kCellBits));
    const float place = static_cast<float>((bits >> 8U) & 0xFFFFFFU) * 0x1.0p-24F;
    const float magnitude = knots_[cell] + place * (knots_[cell + 1] - knots_[cell]);
    // The sign goes in by its bit: a branch would be mispredicted every second time.
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) |
                                static_cast<std::uint32_t>(bits << 31U));
  }

 private:
  static constexpr unsigned kCellBits = 13;
  static constexpr std::size_t kCells = std::size_t{1} << kCellBits;

  /// The magnitude that is passed with probability `above`.
  static double upper_quantile(std::optional<double> tail, double above) {
    if (above >= 1) return 0;
    if (tail.has_value())
      return boost::math::quantile(boost::math::complement(boost::math::students_t(*tail), above / 2));
    return boost::math::quantile(boost::math::complement(boost::math::normal(), above / 2));
  }

  std::optional<double> tail_;
  double passing_;
  std::vector<float> knots_ = std::vector<float>(kCells + 1);
  double bound_ = 0;
  double rms_ = 1;
};

enum class Rounding { none, f16, bf16 };

float rounded(float value, Rounding rounding) {
  switch (rounding) {
    case Rounding::none:
      return value;
    case Rounding::f16:
      return static_cast<float>(Eigen::half(std::clamp(value, -65504.0F, 65504.0F)));
    case Rounding::bf16:
      return static_cast<float>(Eigen::bfloat16(value));
  }
  assert(false);
  return value;
}

/// The quantile function given at `probabilities`: straight in the logarithm, since channels differ by
/// factors.
double interpolate(const std::vector<double>& probabilities, const std::vector<double>& quantiles, double p) {
  const auto above = std::ranges::lower_bound(probabilities, p);
  if (above == probabilities.begin()) return quantiles.front();
  const auto i = static_cast<std::size_t>(above - probabilities.begin());
  const double low = quantiles[i - 1];
  const double high = quantiles[i];
  const double place = (p - probabilities[i - 1]) / (probabilities[i] - probabilities[i - 1]);
  if (low <= 0) return low + place * (high - low);
  return low * std::pow(high / low, place);
}

/// Channel `channel` of a layer with `own` channels, in a layer with `width`.
Index moved_channel(Index channel, Index own, Index width) {
  return own == width ? channel : channel * width / own;
}

/// Everything about the X of one input in one layer but its random entries.
struct ChannelPlan {
  Vector factors;  ///< what an entry of the table is multiplied by
  std::vector<MassiveEntry> massive;
};

bool taken(const std::vector<MassiveEntry>& entries, const MassiveEntry& wanted) {
  return std::ranges::any_of(
      entries, [&](const MassiveEntry& e) { return e.token == wanted.token && e.channel == wanted.channel; });
}

ChannelPlan plan_channels(const Profile& profile, const ProfileInput& input, const ProfileGroup& group,
                          Index width, const EntryTable& table, const RandomStream& model_stream) {
  Vector statistic = Vector::Constant(width, -1.0F);  // negative: not yet assigned
  std::size_t kept = group.top.size();
  if (width < input.in_features && kept > 0) {
    const double share = static_cast<double>(width) / static_cast<double>(input.in_features);
    kept = std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(static_cast<double>(kept) * share)));
    kept = std::min(kept, static_cast<std::size_t>(width));
  }
  for (std::size_t i = 0; i < kept; ++i) {
    Index at = moved_channel(group.top[i].first, input.in_features, width);
    while (statistic[at] >= 0) at = (at + 1) % width;  // two channels of a wider layer may fall on one
    statistic[at] = static_cast<float>(group.top[i].second);
  }

  // The ranks are shuffled once per input, not per layer: a channel that is large in one layer is so in the
  // next.
  RandomStream ranks = model_stream.fork("ranks of " + input.name);
  const std::vector<Index> order = ranks.permutation(width);
  const Index rest = width - static_cast<Index>(kept);
  const Index dead = std::min(rest, static_cast<Index>(std::lround(group.dead * static_cast<double>(width))));
  Index rank = 0;
  for (const Index channel : order) {
    if (statistic[channel] >= 0) continue;
    const double p = (static_cast<double>(rank - dead) + 0.5) / static_cast<double>(rest - dead);
    statistic[channel] =
        rank < dead ? 0.0F : static_cast<float>(interpolate(profile.probabilities, group.quantiles, p));
    ++rank;
  }

  const double unit = input.statistic == ChannelStatistic::absmax ? table.bound()
                      : input.rectified                           ? table.rms() * std::sqrt(0.5)
                                                                  : table.rms();
  ChannelPlan out;
  out.factors = statistic * static_cast<float>(group.scale / unit);
  for (MassiveEntry entry : group.massive) {
    entry.channel = moved_channel(entry.channel, input.in_features, width);
    // In a narrow layer two channels may fall on one; none is lost while there is room.
    for (Index tried = 0; tried < width && taken(out.massive, entry); ++tried)
      entry.channel = (entry.channel + 1) % width;
    out.massive.push_back(entry);
  }
  return out;
}

double token_amplitude(const ProfileGroup& group, Index token, RandomStream& random) {
  for (const auto& [index, scale] : group.token_scales)
    if (index == token) return scale;
  if (group.token_spread <= 0) return 1;
  // Mean square 1, so that channels keep their root mean square.
  return std::exp(group.token_spread * random.normal() - group.token_spread * group.token_spread);
}

class GeneratedRecording final : public Recording {
 public:
  GeneratedRecording(const ConfigNode& root, const GenerateOptions& options)
      : profile_(parse_profile(root)), options_(options) {
    check_option("tokens", options.tokens);
    check_option("sequence_length", options.sequence_length);
    check_option("in_features", options.in_features);
    check_option("out_features", options.out_features);
    if (options_.tokens == 0) options_.tokens = profile_.tokens;
    rounding_ = profile_.dtype == "F16"    ? Rounding::f16
                : profile_.dtype == "BF16" ? Rounding::bf16
                                           : Rounding::none;
    facts_ = {{"model", profile_.model},
              {"summary", profile_.summary},
              {"source", profile_.source},
              {"generated", "marginal statistics only, no correlations between channels"}};
    hash_facts(root);
    for (const ProfileInput& input : profile_.inputs) {
      // Only stated maxima need a bound. A rectified channel has half of its tokens to reach it in.
      const double entries = static_cast<double>(profile_.tokens) * (input.rectified ? 0.5 : 1.0);
      const bool bounded = input.statistic == ChannelStatistic::absmax;
      input_tables_.push_back(table_of(input.tail, bounded ? kPassingEntries / entries : 0.0));
    }
    for (const ProfileKind& kind : profile_.kinds) weight_tables_.push_back(table_of(kind.weight_tail, 0.0));
    list_layers();
  }

  const std::vector<LayerInfo>& layers() const override { return layers_; }
  const std::map<std::string, std::string>& facts() const override { return facts_; }

  Matrix load_input(std::size_t index, Index tokens) const override {
    assert(index < layers_.size());
    if (tokens < 0 || tokens > options_.tokens)
      throw Error(fmt::format(
          "profile {}: {} tokens asked of layer {}, which is generated with {}; ask for more when "
          "the profile is opened",
          profile_.model, tokens, layers_[index].name, options_.tokens));
    return generate_x(index, tokens == 0 ? options_.tokens : tokens);
  }

  void load_weight_into(std::size_t index, MatrixRef out) const override { generate_w(index, out); }

  std::string input_hash(std::size_t index) const override {
    assert(index < layers_.size());
    return layer_hash(index, "generated input")
        .add(profile_.inputs[kind_of(index).input].name)
        .add(static_cast<std::uint64_t>(number_of(index)))
        .hex();
  }

  std::string content_hash(std::size_t index) const override {
    assert(index < layers_.size());
    const LayerInfo& info = layers_[index];
    // The name too: weights of layers with the same facts differ only by it.
    return layer_hash(index, "generated layer")
        .add(static_cast<std::uint64_t>(info.out_features))
        .add(info.name)
        .hex();
  }

 private:
  Hasher layer_hash(std::size_t index, std::string_view what) const {
    const LayerInfo& info = layers_[index];
    Hasher hasher;
    hasher.add(what)
        .add(kGeneratorVersion)
        .add(facts_hash_)
        .add(options_.seed)
        .add(static_cast<std::uint64_t>(info.tokens))
        .add(static_cast<std::uint64_t>(options_.sequence_length))
        .add(static_cast<std::uint64_t>(info.in_features));
    return hasher;
  }

  static void check_option(std::string_view name, Index value) {
    if (value < 0)
      throw Error(fmt::format("option {} is {}; it must be 0 (as in the profile) or more", name, value));
  }

  const ProfileKind& kind_of(std::size_t index) const {
    return profile_.kinds[index % profile_.kinds.size()];
  }
  Index number_of(std::size_t index) const { return static_cast<Index>(index / profile_.kinds.size()); }

  /// Few different tables serve all inputs and kinds; one costs 10 ms.
  std::size_t table_of(std::optional<double> tail, double passing) {
    const auto known = std::ranges::find_if(
        tables_, [&](const EntryTable& t) { return t.tail() == tail && t.passing() == passing; });
    if (known != tables_.end()) return static_cast<std::size_t>(known - tables_.begin());
    tables_.emplace_back(tail, passing);
    return tables_.size() - 1;
  }

  /// The texts for people have no part in the numbers.
  void hash_facts(const ConfigNode& root) {
    Hasher hasher;
    for (const auto& [key, value] : root.entries)
      if (key != "summary" && key != "source") hasher.add(key).add(to_yaml(value));
    facts_hash_ = hasher.hex();
  }

  void list_layers() {
    for (Index layer = 0; layer < profile_.layers; ++layer)
      for (const ProfileKind& kind : profile_.kinds) {
        LayerInfo info;
        info.name = kind.name;
        constexpr std::string_view kPlace = "{layer}";
        for (auto at = info.name.find(kPlace); at != std::string::npos; at = info.name.find(kPlace, at))
          info.name.replace(at, kPlace.size(), std::to_string(layer));
        info.tokens = options_.tokens;
        info.in_features =
            options_.in_features > 0 ? options_.in_features : profile_.inputs[kind.input].in_features;
        info.out_features = options_.out_features > 0 ? options_.out_features : kind.out_features;
        info.x_dtype = "generated";
        info.w_dtype = "generated";
        layers_.push_back(std::move(info));
      }
  }

  RandomStream model_stream() const { return RandomStream(options_.seed).fork("profile " + profile_.model); }

  Matrix generate_x(std::size_t index, Index tokens) const {
    const ProfileInput& input = profile_.inputs[kind_of(index).input];
    const EntryTable& table = tables_[input_tables_[kind_of(index).input]];
    const Index number = number_of(index);
    const ProfileGroup& group = *std::ranges::find_if(
        input.groups, [&](const ProfileGroup& g) { return g.first <= number && number <= g.last; });
    const Index width = layers_[index].in_features;
    const RandomStream model = model_stream();
    const ChannelPlan plan = plan_channels(profile_, input, group, width, table, model);
    const RandomStream stream = model.fork(fmt::format("x of layer {}, {}", number, input.name));

    const Index sequence =
        options_.sequence_length > 0 ? options_.sequence_length : std::max<Index>(tokens, 1);
    Matrix x = large_matrix(tokens, width);
    parallel_for(tokens, kTokenGrain, [&](Index begin, Index end) {
      for (Index t = begin; t < end; ++t) {
        RandomStream random = stream.fork(std::to_string(t));
        const auto amplitude = static_cast<float>(token_amplitude(group, t % sequence, random));
        for (Index j = 0; j < width; ++j) {
          const float entry = table.draw(random);
          const float value = input.rectified ? std::max(entry, 0.0F) : entry;
          x(t, j) = rounded(value * (plan.factors[j] * amplitude), rounding_);
        }
      }
    });
    for (const MassiveEntry& entry : plan.massive)
      for (Index begin = 0; begin < tokens; begin += sequence)
        for (Index t = begin + entry.token;
             t<std::min(begin + sequence, tokens); t += entry.every> 0 ? entry.every : sequence)
          x(t, entry.channel) = rounded(static_cast<float>(entry.value), rounding_);
    return x;
  }

  void generate_w(std::size_t index, MatrixRef& w) const {
    const ProfileKind& kind = kind_of(index);
    const EntryTable& table = tables_[weight_tables_[index % profile_.kinds.size()]];
    const LayerInfo& info = layers_[index];
    const double scale = kind.weight_gain / (std::sqrt(static_cast<double>(info.in_features)) * table.rms());
    const RandomStream stream = model_stream().fork("w of " + info.name);

    parallel_for(info.out_features, kRowGrain, [&](Index begin, Index end) {
      for (Index o = begin; o < end; ++o) {
        RandomStream random = stream.fork(std::to_string(o));
        double spread = 1;
        if (kind.weight_spread > 0)
          spread = std::exp(kind.weight_spread * random.normal() - kind.weight_spread * kind.weight_spread);
        const auto factor = static_cast<float>(scale * spread);
        for (Index j = 0; j < info.in_features; ++j)
          w(o, j) = rounded(table.draw(random) * factor, rounding_);
      }
    });
  }

  Profile profile_;
  GenerateOptions options_;
  Rounding rounding_ = Rounding::none;
  std::string facts_hash_;
  std::map<std::string, std::string> facts_;
  std::vector<EntryTable> tables_;
  std::vector<std::size_t> input_tables_;   ///< of profile_.inputs, into tables_
  std::vector<std::size_t> weight_tables_;  ///< of profile_.kinds, into tables_
  std::vector<LayerInfo> layers_;           ///< layer by layer, kinds in their order
};

/// A shipped profile is known by its model. (Not by the stem of its file: CMake ends that at the first dot,
/// and models are called opt-1.3b.)
std::string_view model_of(std::string_view text) {
  constexpr std::string_view kKey = "\nmodel: ";
  const auto at = text.find(kKey);
  assert(at != std::string_view::npos);
  const std::string_view rest = text.substr(at + kKey.size());
  return trim(rest.substr(0, rest.find('\n')));
}

/// The text of a shipped profile, or an empty one.
std::string_view find_shipped(std::string_view name) {
  for (const auto& [stem, text] : shipped_profiles())
    if (model_of(text) == name) return text;
  return {};
}

ConfigNode parse_shipped(std::string_view name, std::string_view text) {
  return parse_yaml(text, fmt::format("{}.yaml", name));
}

[[noreturn]] void fail_unknown(const std::string& name) {
  throw Error(fmt::format("there is no profile '{}'{}; a profile of your own is a path to a .yaml file", name,
                          suggestion(name, profile_names())));
}

}  // namespace

std::unique_ptr<Recording> open_profile(const std::string& name_or_file, const GenerateOptions& options) {
  if (const std::string_view text = find_shipped(name_or_file); !text.empty())
    return std::make_unique<GeneratedRecording>(parse_shipped(name_or_file, text), options);
  const std::filesystem::path file = name_or_file;
  if (file.extension() != ".yaml" && file.extension() != ".yml") fail_unknown(name_or_file);
  return std::make_unique<GeneratedRecording>(parse_yaml(read_text_file(file, "profile"), file.string()),
                                              options);
}

std::vector<std::string> profile_names() {
  std::vector<std::string> out;
  for (const auto& [stem, text] : shipped_profiles()) out.emplace_back(model_of(text));
  std::ranges::sort(out);
  return out;
}

std::string profile_summary(const std::string& name) {
  const std::string_view text = find_shipped(name);
  if (text.empty()) fail_unknown(name);
  return parse_shipped(name, text).at("summary").text("summary");
}

}  // namespace olab

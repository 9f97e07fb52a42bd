#include "datasets/profile_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "core/text.hpp"

namespace olab {
namespace {

constexpr double kLargest = 1e12;  // products of three such numbers still fit a float
constexpr Index kMaxFeatures = Index{1} << 24;
constexpr Index kMaxTokens = Index{1} << 30;
// Below 16 tokens the bound that channel maxima should reach has no meaning.
constexpr Index kMinTokens = 16;
// With less the variance does not exist.
constexpr double kMinTail = 2.1;

double number_or(const ConfigNode& map, std::string_view key, double low, double high, double otherwise) {
  const ConfigNode* const node = map.find(key);
  return node == nullptr ? otherwise : node->number(key, low, high);
}

std::optional<double> read_tail(const ConfigNode& map) {
  const ConfigNode* const node = map.find("tail");
  if (node == nullptr) return std::nullopt;
  return node->number("tail", kMinTail, 1e6);
}

/// "{113: 13.9, 6540: 5.22}".
std::vector<std::pair<Index, double>> read_indexed(const ConfigNode& node, std::string_view what, Index count,
                                                   std::string_view of_what) {
  if (!node.is_map()) node.fail(fmt::format("{} must be a map of {} to value", what, of_what));
  std::vector<std::pair<Index, double>> out;
  for (const auto& [key, value] : node.entries) {
    std::int64_t index = 0;
    if (!parse_integer(key, index) || index < 0 || index >= count)
      value.fail(fmt::format("{}: '{}' is no {}; it must be a whole number from 0 to {}", what, key, of_what,
                             count - 1));
    out.emplace_back(index, value.number(fmt::format("{} of {} {}", what, of_what, index), 0, kLargest));
  }
  return out;
}

std::vector<double> read_quantiles(const ConfigNode& node, std::size_t count) {
  std::vector<double> out = node.numbers("quantiles", 0, kLargest);
  if (out.size() != count)
    node.fail(fmt::format("quantiles has {} numbers; probabilities has {}", out.size(), count));
  if (!std::ranges::is_sorted(out)) node.fail("quantiles must not fall from one probability to the next");
  return out;
}

/// Facts that an input gives for all its groups, and a group for itself.
void read_channel_facts(const ConfigNode& node, const Profile& profile, Index in_features,
                        ProfileGroup& group) {
  if (const ConfigNode* const n = node.find("quantiles"))
    group.quantiles = read_quantiles(*n, profile.probabilities.size());
  if (const ConfigNode* const n = node.find("top")) {
    group.top = read_indexed(*n, "top", in_features, "channel");
    // The largest first: narrower layers keep the beginning of the list.
    std::ranges::stable_sort(group.top, [](const auto& a, const auto& b) { return a.second > b.second; });
  }
  if (const ConfigNode* const n = node.find("dead")) group.dead = n->number("dead", 0, 1);
}

void read_layer_range(const ConfigNode& node, Index layers, ProfileGroup& group) {
  const std::string& text = node.text("layers");
  const std::vector<std::string> ends = split(text, '-');
  std::int64_t first = 0;
  std::int64_t last = 0;
  const bool good = (ends.size() == 1 || ends.size() == 2) && parse_integer(trim(ends.front()), first) &&
                    parse_integer(trim(ends.back()), last);
  if (!good || first > last || last >= layers)
    node.fail(fmt::format("layers is '{}'; it must be a layer or a range such as 2-5, within 0-{}", text,
                          layers - 1));
  group.first = first;
  group.last = last;
}

MassiveEntry read_massive(const ConfigNode& node, Index in_features) {
  node.require_map("massive", {"token", "every", "channel", "value"});
  MassiveEntry out;
  out.token = node.at("token").integer("token", 0, kMaxTokens);
  if (const ConfigNode* const n = node.find("every")) out.every = n->integer("every", 1, kMaxTokens);
  out.channel = node.at("channel").integer("channel", 0, in_features - 1);
  out.value = node.at("value").number("value", -kLargest, kLargest);
  return out;
}

ProfileGroup read_group(const ConfigNode& node, const Profile& profile, const ProfileInput& input,
                        const ProfileGroup& defaults) {
  node.require_map(
      "a group", {"layers", "scale", "quantiles", "top", "dead", "token_spread", "token_scales", "massive"});
  ProfileGroup out = defaults;
  read_layer_range(node.at("layers"), profile.layers, out);
  read_channel_facts(node, profile, input.in_features, out);
  out.scale = number_or(node, "scale", 0, kLargest, 1);
  for (const char* const key : {"token_spread", "token_scales"})
    if (const ConfigNode* const n = node.find(key);
        n != nullptr && input.statistic == ChannelStatistic::absmax)
      n->fail(
          fmt::format("{} needs statistic: rms; channel maxima say nothing of the tokens' amplitudes", key));
  out.token_spread = number_or(node, "token_spread", 0, 3, 0);
  if (const ConfigNode* const n = node.find("token_scales"))
    out.token_scales = read_indexed(*n, "token_scales", kMaxTokens, "token");
  if (const ConfigNode* const n = node.find("massive")) {
    n->require_list("massive");
    for (const ConfigNode& item : n->items) out.massive.push_back(read_massive(item, input.in_features));
  }
  if (out.quantiles.empty()) node.fail("quantiles are missing, here and in the input");
  return out;
}

void check_coverage(const ConfigNode& node, std::vector<ProfileGroup>& groups, Index layers) {
  std::ranges::sort(groups, {}, &ProfileGroup::first);
  Index next = 0;
  for (const ProfileGroup& group : groups) {
    if (group.first > next) break;
    if (group.first < next) node.fail(fmt::format("layer {} is in two groups", group.first));
    next = group.last + 1;
  }
  if (next < layers) node.fail(fmt::format("layer {} is in no group", next));
}

ProfileInput read_input(const std::string& name, const ConfigNode& node, const Profile& profile) {
  node.require_map("an input",
                   {"in_features", "statistic", "tail", "rectified", "quantiles", "top", "dead", "groups"});
  ProfileInput out;
  out.name = name;
  out.in_features = node.at("in_features").integer("in_features", 1, kMaxFeatures);
  const ConfigNode& statistic = node.at("statistic");
  const std::string& text = statistic.text("statistic");
  if (text != "absmax" && text != "rms")
    statistic.fail(fmt::format("statistic is '{}'; it must be absmax or rms", text));
  out.statistic = text == "rms" ? ChannelStatistic::rms : ChannelStatistic::absmax;
  out.tail = read_tail(node);
  if (const ConfigNode* const n = node.find("rectified")) out.rectified = n->boolean("rectified");

  ProfileGroup defaults;
  read_channel_facts(node, profile, out.in_features, defaults);
  if (const ConfigNode* const groups = node.find("groups")) {
    groups->require_list("groups");
    for (const ConfigNode& group : groups->items)
      out.groups.push_back(read_group(group, profile, out, defaults));
    check_coverage(*groups, out.groups, profile.layers);
  } else {
    if (defaults.quantiles.empty()) node.fail("quantiles are missing");
    defaults.last = profile.layers - 1;
    out.groups.push_back(std::move(defaults));
  }
  return out;
}

ProfileKind read_kind(const ConfigNode& node, const Profile& profile) {
  node.require_map("a kind", {"name", "input", "out_features", "weight"});
  ProfileKind out;
  out.name = node.at("name").text("name");
  if (profile.layers > 1 && out.name.find("{layer}") == std::string::npos)
    node.at("name").fail(
        fmt::format("name '{}' must contain {{layer}}, or all layers would be called alike", out.name));
  const std::string& input = node.at("input").text("input");
  std::vector<std::string> known;
  for (const ProfileInput& i : profile.inputs) known.push_back(i.name);
  const auto found = std::ranges::find(known, input);
  if (found == known.end())
    node.at("input").fail(fmt::format("there is no input '{}'{}", input, suggestion(input, known)));
  out.input = static_cast<std::size_t>(found - known.begin());
  out.out_features = node.at("out_features").integer("out_features", 1, kMaxFeatures);
  const ConfigNode& weight = node.at("weight");
  weight.require_map("weight", {"gain", "spread", "tail"});
  out.weight_gain = number_or(weight, "gain", 0, kLargest, 1);
  out.weight_spread = number_or(weight, "spread", 0, 3, 0);
  out.weight_tail = read_tail(weight);
  return out;
}

std::vector<double> read_probabilities(const ConfigNode& node) {
  std::vector<double> out = node.numbers("probabilities", 0, 1);
  const bool rising = std::ranges::adjacent_find(out, std::ranges::greater_equal{}) == out.end();
  if (out.size() < 2 || out.front() != 0 || out.back() != 1 || !rising)
    node.fail("probabilities must rise from 0 to 1");
  return out;
}

}  // namespace

Profile parse_profile(const ConfigNode& root) {
  root.require_map("a profile", {"model", "summary", "source", "dtype", "tokens", "layers", "probabilities",
                                 "inputs", "kinds"});
  Profile out;
  out.model = root.at("model").text("model");
  out.summary = root.at("summary").text("summary");
  out.source = root.at("source").text("source");
  out.dtype = root.at("dtype").text("dtype");
  if (out.dtype != "F32" && out.dtype != "F16" && out.dtype != "BF16")
    root.at("dtype").fail(fmt::format("dtype is '{}'; it must be F32, F16 or BF16", out.dtype));
  out.tokens = root.at("tokens").integer("tokens", kMinTokens, kMaxTokens);
  out.layers = root.at("layers").integer("layers", 1, 100000);
  out.probabilities = read_probabilities(root.at("probabilities"));
  const ConfigNode& inputs = root.at("inputs");
  if (!inputs.is_map() || inputs.entries.empty()) inputs.fail("inputs must be a map of names to inputs");
  for (const auto& [name, node] : inputs.entries) out.inputs.push_back(read_input(name, node, out));
  const ConfigNode& kinds = root.at("kinds");
  kinds.require_list("kinds");
  if (kinds.items.empty()) kinds.fail("kinds is empty; a profile needs at least one kind of layer");
  for (const ConfigNode& node : kinds.items) {
    ProfileKind kind = read_kind(node, out);
    for (const ProfileKind& other : out.kinds)
      if (other.name == kind.name) node.fail(fmt::format("two kinds have the name '{}'", kind.name));
    out.kinds.push_back(std::move(kind));
  }
  return out;
}

}  // namespace olab

#include "experiments/inspect.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/text.hpp"
#include "metrics/common/outliers.hpp"

namespace olab {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no NaN or infinity; they are written as texts, as in exports.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(to_text(value));
}

Json peaks_json(const std::vector<OutlierPeak>& peaks) {
  Json out = Json::array();
  for (const OutlierPeak& p : peaks) out.push_back({{"index", p.index}, {"absmax", number(p.magnitude)}});
  return out;
}

std::string peaks_text(const std::vector<OutlierPeak>& peaks) {
  std::vector<std::string> parts;
  for (const OutlierPeak& p : peaks) parts.push_back(fmt::format("{} ({:.4g})", p.index, p.magnitude));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::string verdict(const OutlierReport& o) {
  if (o.has_massive() && o.has_normal()) return "massive and normal outliers";
  if (o.has_massive()) return "massive outliers";
  return o.has_normal() ? "normal outliers" : "no outliers";
}

Json layer_json(const LayerInfo& info, const Observation& x, const OutlierReport& o) {
  Json out{{"name", info.name},
           {"kind", layer_kind(info.name)},
           {"tokens", x.x().rows()},
           {"in_features", info.in_features},
           {"out_features", info.out_features},
           {"x_dtype", info.x_dtype},
           {"w_dtype", info.w_dtype.empty() ? Json(nullptr) : Json(info.w_dtype)},
           {"absmax", number(x.moments().absmax)},
           {"median", number(x.abs_median())},
           {"kurtosis", number(x.moments().kurtosis())},
           {"channel_absmax_median", number(o.channel_median)},
           {"normal_outliers", o.has_normal()},
           {"massive_outliers", o.has_massive()},
           {"normal_channels", o.normal_channels},
           {"massive_entries", o.massive_entries},
           {"massive_tokens", o.massive_tokens},
           {"massive_channels", o.massive_channels},
           {"top_channels", peaks_json(o.top_channels)},
           {"top_tokens", peaks_json(o.top_tokens)}};
  return out;
}

std::string layer_text(const LayerInfo& info, const Observation& x, const OutlierReport& o) {
  std::string out = fmt::format("{}\n", info.name);
  out += fmt::format("  X {} × {} {}", x.x().rows(), info.in_features, info.x_dtype);
  out += info.out_features > 0
             ? fmt::format(", W {} × {} {}\n", info.out_features, info.in_features, info.w_dtype)
             : ", no W\n";
  out += fmt::format("  absmax {:.4g}, median |x| {:.4g}, kurtosis {:.4g}\n", x.moments().absmax,
                     x.abs_median(), x.moments().kurtosis());
  out += fmt::format("  top channels {}\n  top tokens   {}\n", peaks_text(o.top_channels),
                     peaks_text(o.top_tokens));
  out +=
      fmt::format("  {}: {} normal channels, {} massive entries in {} tokens and {} channels\n", verdict(o),
                  o.normal_channels.size(), o.massive_entries, o.massive_tokens, o.massive_channels);
  return out;
}

std::string definitions(const OutlierRules& rules) {
  return fmt::format(
      "kurtosis: Pearson's, population, over all entries (Gaussian = 3)\n"
      "massive outlier: |x| > {} and |x| > {} · median |x|\n"
      "normal outlier: a channel whose max |x| is at least {} times the median channel's, and whose |x| "
      "exceeds {} · "
      "median |x| in more than {:.0f} % of the tokens\n",
      rules.massive_absolute, rules.massive_ratio, rules.normal_ratio, rules.normal_ratio,
      100 * rules.persistence);
}

}  // namespace

std::string inspect_recording(const Recording& recording, const std::string& source,
                              const InspectOptions& options) {
  const std::vector<LayerInfo>& layers = recording.layers();
  const OutlierRules rules;
  Json json{{"source", source}, {"facts", Json::object()}};
  std::string text = source + "\n";
  for (const auto& [key, value] : recording.facts()) {
    json["facts"][key] = value;
    text += fmt::format("  {}: {}\n", key, value);
  }
  text += definitions(rules);
  json["definitions"] = {{"kurtosis", "Pearson, population, all entries (Gaussian = 3)"},
                         {"massive_absolute", rules.massive_absolute},
                         {"massive_ratio", rules.massive_ratio},
                         {"normal_ratio", rules.normal_ratio},
                         {"persistence", rules.persistence}};
  json["layers"] = Json::array();
  bool any = false;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const LayerInfo& info = layers[i];
    if (std::ranges::none_of(options.layers, [&](const std::string& p) { return glob_match(p, info.name); }))
      continue;
    any = true;
    if (options.stop != nullptr) options.stop->check();
    if (options.tokens > info.tokens)
      throw Error(fmt::format("layer {}: --tokens {}, but the recording has {}", info.name, options.tokens,
                              info.tokens));
    const Layer layer = recording.load(i, options.tokens);
    const Observation x(Stage::original, layer.x, std::nullopt, 0, -1);
    const OutlierReport outliers = classify_outliers(x, rules, options.top);
    if (options.json) {
      json["layers"].push_back(layer_json(info, x, outliers));
    } else {
      text += layer_text(info, x, outliers);
    }
  }
  if (!any) {
    std::vector<std::string> names;
    for (const LayerInfo& l : layers) names.push_back(l.name);
    throw Error(
        fmt::format("{}: no layer fits '{}'{}", source, fmt::join(options.layers, ","),
                    options.layers.empty() ? std::string() : suggestion(options.layers.front(), names)));
  }
  return options.json ? json.dump(2) + "\n" : text;
}

}  // namespace olab

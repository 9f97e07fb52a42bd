#include "experiments/perplexity_study.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "core/config.hpp"
#include "core/error.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

ConfigNode text_node(const std::string& text) {
  ConfigNode out;
  out.kind = ConfigNode::Kind::scalar;
  out.scalar = text;
  return out;
}

ConfigNode list_node(const std::vector<std::string>& texts) {
  ConfigNode out;
  out.kind = ConfigNode::Kind::list;
  for (const std::string& text : texts) out.items.push_back(text_node(text));
  return out;
}

ConfigNode map_node(std::vector<std::pair<std::string, ConfigNode>> entries) {
  ConfigNode out;
  out.kind = ConfigNode::Kind::map;
  out.entries = std::move(entries);
  return out;
}

/// "W4A4QKV4" → {"W": 4, "A": 4, "Q": 4, "K": 4, "V": 4}; absent: not quantized.
std::map<char, std::int64_t> parse_bits(const std::string& text) {
  const auto refuse = [&] {
    throw Error(
        fmt::format("--bits {}: expected W and A with their bits (2 to 8, or 16: not quantized), then "
                    "perhaps Q, K and V, for "
                    "example W4A4, W4A16, W4A4KV4 or W4A4QKV4",
                    text));
  };
  std::map<char, std::int64_t> out;
  std::size_t at = 0;
  while (at < text.size()) {
    std::string names;
    while (at < text.size() && std::string_view("WAQKV").find(text[at]) != std::string_view::npos)
      names.push_back(text[at++]);
    std::string digits;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') digits.push_back(text[at++]);
    std::int64_t bits = 0;
    if (names.empty() || !parse_integer(digits, bits) || !((bits >= 2 && bits <= 8) || bits == 16)) refuse();
    for (const char name : names)
      if (!out.emplace(name, bits).second) refuse();
  }
  if (!out.contains('W') || !out.contains('A')) refuse();
  return out;
}

ConfigNode format_node(std::int64_t bits, double clip) {
  std::vector<std::pair<std::string, ConfigNode>> entries{{"bits", text_node(std::to_string(bits))}};
  if (bits != 16 && clip != 1) entries.emplace_back("clip", text_node(to_text(clip)));
  return map_node(std::move(entries));
}

ConfigNode quantizer_node(const PerplexityStudy& options, const std::string& text) {
  const std::map<char, std::int64_t> bits = parse_bits(text);
  std::vector<std::pair<std::string, ConfigNode>> entries{
      {"activation", format_node(bits.at('A'), options.activation_clip)},
      {"weight", format_node(bits.at('W'), options.weight_clip)}};
  // As in the released code, values are not clipped (quantizer.py, commit 62c5844).
  for (const auto& [name, key, clip] :
       {std::tuple{'Q', "query", options.activation_clip}, std::tuple{'K', "key", options.activation_clip},
        std::tuple{'V', "value", 1.0}})
    if (bits.contains(name)) entries.emplace_back(key, format_node(bits.at(name), clip));
  return map_node(std::move(entries));
}

ConfigNode table_node(const std::string& value, const std::string& title) {
  return map_node({{"table", map_node({{"rows", text_node("method")},
                                       {"columns", text_node("layer")},
                                       {"value", text_node(value)},
                                       {"title", text_node(title)}})}});
}

}  // namespace

std::string perplexity_study(const PerplexityStudy& options) {
  std::vector<std::pair<std::string, ConfigNode>> settings;
  for (const std::string& text : options.settings) {
    const auto equal = text.find('=');
    if (equal == std::string::npos || equal == 0)
      throw Error(fmt::format(
          "--with {}: expected key=value, for example context=512; olab show perplexity lists them", text));
    const std::string key = text.substr(0, equal);
    const std::string given = text.substr(equal + 1);
    if (std::ranges::any_of(settings, [&](const auto& s) { return s.first == key; }))
      throw Error(
          fmt::format("--with {}: '{}' is given twice; several values are one list: {}=1,2", text, key, key));
    // A separator may be a comma itself.
    const std::vector<std::string> values =
        key == "document_separator" ? std::vector{given} : split_top_level(given, ',');
    settings.emplace_back(key, values.size() == 1 ? text_node(values.front()) : list_node(values));
  }
  std::vector<std::pair<std::string, ConfigNode>> data{{"model", list_node(options.models)},
                                                       {"text", list_node(options.texts)}};
  if (!options.calibration_text.empty())
    data.emplace_back("calibration_text", text_node(options.calibration_text));
  ConfigNode quantizers;
  quantizers.kind = ConfigNode::Kind::list;
  for (const std::string& bits : options.bits) quantizers.items.push_back(quantizer_node(options, bits));
  ConfigNode views;
  views.kind = ConfigNode::Kind::list;
  views.items = {table_node("model.perplexity", "Perplexity"),
                 table_node("model.original_perplexity", "Perplexity of the original model"),
                 table_node("model.kl", "KL divergence from the original model"),
                 table_node("output.nmse", "Output error of the linear layers, mean")};
  const ConfigNode perplexity =
      settings.empty() ? text_node("perplexity") : map_node({{"perplexity", map_node(std::move(settings))}});
  return to_yaml(map_node({{"study", text_node(options.name)},
                           {"evaluate", perplexity},
                           {"data", map_node(std::move(data))},
                           {"quantizer", quantizers},
                           {"methods", list_node(options.methods)},
                           {"views", views}}));
}

std::string perplexity_command(const PerplexityStudy& options, const std::vector<std::string>& overrides) {
  std::string out = "olab perplexity";
  for (const std::string& model : options.models) out += fmt::format(" '{}'", model);
  const auto add = [&](const char* option, const std::vector<std::string>& values) {
    for (const std::string& value : values) out += fmt::format(" {} '{}'", option, value);
  };
  add("--text", options.texts);
  if (!options.calibration_text.empty()) add("--calibration-text", {options.calibration_text});
  add("--method", options.methods);
  add("--bits", options.bits);
  add("--with", options.settings);
  const PerplexityStudy plain;
  if (options.activation_clip != plain.activation_clip)
    out += fmt::format(" --activation-clip {}", to_text(options.activation_clip));
  if (options.weight_clip != plain.weight_clip)
    out += fmt::format(" --weight-clip {}", to_text(options.weight_clip));
  if (options.name != plain.name) out += fmt::format(" --study '{}'", options.name);
  add("--set", overrides);
  return out;
}

}  // namespace olab

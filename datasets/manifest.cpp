#include "datasets/manifest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "core/error.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view kFormat = "outlierlab-recording";
constexpr std::int64_t kVersion = 1;
constexpr int kDeepest = 32;  // the JSON library writes nested values by recursion

// A value of the manifest that knows its place, for messages ("layers[2].x.file").
class Node {
 public:
  Node(const json& value, std::string place, const std::string& source)
      : value_(value), place_(std::move(place)), source_(source) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(fmt::format("{}: {}: {}", source_, place_.empty() ? "top level" : place_, message));
  }
  const json& value() const { return value_; }
  // The entry, or nothing where it is absent or null.
  std::optional<Node> find(const std::string& key) const {
    require(value_.is_object(), "an object {…}");
    const auto it = value_.find(key);
    if (it == value_.end() || it->is_null()) return std::nullopt;
    return Node(*it, place_.empty() ? key : fmt::format("{}.{}", place_, key), source_);
  }
  Node at(const std::string& key) const {
    std::optional<Node> node = find(key);
    if (!node) fail(fmt::format("key '{}' is missing", key));
    return *std::move(node);
  }
  Node item(std::size_t i) const { return {value_[i], fmt::format("{}[{}]", place_, i), source_}; }
  void require(bool fits, std::string_view expected) const {
    if (!fits) fail(fmt::format("{} was expected, not {}", expected, value_.type_name()));
  }
  std::string text() const {
    require(value_.is_string(), "a text");
    auto out = value_.get<std::string>();
    if (out.empty()) fail("the text is empty");
    if (out.find('\0') != std::string::npos) fail("the text holds a NUL");
    return out;
  }
  Index count() const {
    require(value_.is_number_unsigned() &&
                value_.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<Index>::max()),
            "a whole number, 0 or more,");
    return value_.get<Index>();
  }
  // A misspelled "weight" would otherwise lose the weights in silence.
  void know_only(std::span<const std::string> keys) const {
    require(value_.is_object(), "an object {…}");
    for (const auto& [key, value] : value_.items())
      if (std::ranges::find(keys, key) == keys.end())
        fail(fmt::format("key '{}' is not known{}", key, suggestion(key, keys)));
  }

 private:
  const json& value_;
  std::string place_;
  const std::string& source_;
};

json parse_strictly(std::string_view text, const std::string& source) {
  // The JSON library takes a NUL for the end of its input and would not look behind it.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw Error(fmt::format("{}: byte {}: a NUL stands in the manifest; the file is damaged", source, nul));
  std::vector<std::set<std::string>> open;  // the keys so far of every object that is being read
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepest)
      throw Error(fmt::format("{}: values are nested more than {} deep", source, kDeepest));
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second)
      throw Error(fmt::format("{}: key '{}' stands twice in one object", source, value.get<std::string>()));
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::exception& e) {
    throw Error(
        fmt::format("{}: this is no valid JSON ({})", source, std::string_view(e.what()).substr(0, 200)));
  }
}

TensorPlace parse_place(const Node& node) {
  static const std::array<std::string, 2> keys{"file", "tensor"};
  node.know_only(keys);
  const Node file = node.at("file");
  TensorPlace out{file.text(), node.at("tensor").text()};
  const std::filesystem::path path(out.file);
  if (path.is_absolute() || std::ranges::find(path, std::filesystem::path("..")) != path.end())
    file.fail(fmt::format("'{}' lies outside of the recording's folder; move the file into it", out.file));
  return out;
}

ManifestLayer parse_layer(const Node& node) {
  static const std::array<std::string, 6> keys{"name",         "tokens", "in_features",
                                               "out_features", "x",      "weight"};
  node.know_only(keys);
  ManifestLayer out;
  out.name = node.at("name").text();
  out.tokens = node.at("tokens").count();
  out.in_features = node.at("in_features").count();
  if (const auto rows = node.find("out_features")) out.out_features = rows->count();
  out.x = parse_place(node.at("x"));
  if (const auto weight = node.find("weight")) out.weight = parse_place(*weight);
  if (out.weight && out.out_features == 0) node.fail("there is a weight, so out_features must be 1 or more");
  return out;
}

std::string free_text(const json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

// Keys of the top level that are no facts.
bool is_structure(std::string_view key) {
  return key == "format" || key == "version" || key == "tokens" || key == "layers" || key == "provenance";
}

void parse_facts(const Node& root, Manifest& out) {
  for (const auto& [key, value] : root.value().items()) {
    if (is_structure(key) || value.is_null()) continue;
    const bool text_wanted = key == "model" || key == "source";
    if (text_wanted && !value.is_string()) root.fail(fmt::format("'{}' must be a text", key));
    out.facts[key] = free_text(value);
  }
  const auto provenance = root.find("provenance");
  if (!provenance) return;
  if (!provenance->value().is_object()) {
    out.facts["provenance"] = free_text(provenance->value());
    return;
  }
  for (const auto& [key, value] : provenance->value().items())
    out.facts.emplace(out.facts.contains(key) ? "provenance." + key : key, free_text(value));
}

}  // namespace

Manifest parse_manifest(std::string_view text, const std::string& source) {
  const json tree = parse_strictly(text, source);
  const Node root(tree, "", source);
  const auto format = root.find("format");
  if (!format || format->value() != kFormat)
    root.fail(fmt::format(R"("format" is not "{}": this is no manifest of a recording)", kFormat));
  const Node version = root.at("version");
  if (version.value() != kVersion)
    version.fail(fmt::format("version {} is not known; this program reads version {}",
                             free_text(version.value()), kVersion));
  if (const auto tokens = root.find("tokens")) static_cast<void>(tokens->count());

  Manifest out;
  const Node layers = root.at("layers");
  layers.require(layers.value().is_array(), "a list […]");
  if (layers.value().empty()) layers.fail("there are no layers; record at least one");
  std::set<std::string> names;
  for (std::size_t i = 0; i < layers.value().size(); ++i) {
    const Node node = layers.item(i);
    out.layers.push_back(parse_layer(node));
    if (!names.insert(out.layers.back().name).second)
      node.fail(fmt::format("a layer '{}' stands before it already", out.layers.back().name));
  }
  parse_facts(root, out);
  return out;
}

std::string manifest_text(const Manifest& manifest) {
  ordered_json root;
  root["format"] = kFormat;
  root["version"] = kVersion;
  Index tokens = 0;
  for (const ManifestLayer& layer : manifest.layers) tokens = std::max(tokens, layer.tokens);
  ordered_json provenance = ordered_json::object();
  for (const auto& [key, value] : manifest.facts) {
    if (key == "model" || key == "source")
      root[key] = value;
    else
      provenance[key] = value;
  }
  root["tokens"] = tokens;
  root["provenance"] = std::move(provenance);
  ordered_json layers = ordered_json::array();
  for (const ManifestLayer& layer : manifest.layers) {
    ordered_json entry;
    entry["name"] = layer.name;
    entry["tokens"] = layer.tokens;
    entry["in_features"] = layer.in_features;
    entry["out_features"] = layer.out_features;
    entry["x"] = ordered_json{{"file", layer.x.file}, {"tensor", layer.x.tensor}};
    if (layer.weight)
      entry["weight"] = ordered_json{{"file", layer.weight->file}, {"tensor", layer.weight->tensor}};
    layers.push_back(std::move(entry));
  }
  root["layers"] = std::move(layers);
  try {
    return root.dump(2) + "\n";
  } catch (const json::exception& e) {
    throw Error(fmt::format("manifest.json: a name or a text is not valid UTF-8 ({})", e.what()));
  }
}

}  // namespace olab

#include "experiments/listing.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>

#include "core/config.hpp"
#include "core/text.hpp"
#include "datasets/profile.hpp"
#include "experiments/model_runner.hpp"
#include "experiments/perplexity_settings.hpp"
#include "experiments/runner.hpp"
#include "experiments/study.hpp"

namespace olab {
namespace {

using Json = nlohmann::ordered_json;

/// One kind of things, whatever registry or list they come from.
struct Kind {
  std::string plural;
  std::string singular;
  std::vector<Info> entries;
};

template <class Base>
Kind kind_of(const std::string& plural, const std::string& singular, const Registry<Base>& registry) {
  Kind out{plural, singular, {}};
  for (const std::string& name : registry.names()) out.entries.push_back(registry.info(name));
  return out;
}

Info plain(std::string name, std::string summary, std::string reference) {
  Info out;
  out.name = std::move(name);
  out.summary = std::move(summary);
  out.reference = std::move(reference);
  return out;
}

std::vector<Kind> all_kinds(const Registries& r) {
  std::vector<Kind> out{kind_of("methods", "method", r.methods),
                        kind_of("metrics", "metric", r.metrics),
                        kind_of("permutations", "permutation", r.permutations),
                        kind_of("formats", "format", r.quantizers),
                        kind_of("readers", "reader", r.readers),
                        kind_of("charts", "chart", r.charts),
                        kind_of("architectures", "architecture", r.architectures)};
  const auto add_values = [&](std::span<const BuiltinValue> values, const char* where) {
    for (const BuiltinValue& v : values) {
      Info info = plain(v.name, v.definition, where);
      info.notes["definition"] = v.definition;
      info.notes["unit"] = v.unit;
      info.notes["better"] = v.better;
      out[1].entries.push_back(std::move(info));
    }
  };
  add_values(builtin_values(), "recorded for every run");
  add_values(model_values(), "recorded for every run of a whole model");
  out.push_back({"evaluations", "evaluation", {perplexity_info()}});
  Kind profiles{"profiles", "profile", {}};
  for (const std::string& name : profile_names())
    profiles.entries.push_back(plain(name, profile_summary(name), "generated data"));
  out.push_back(std::move(profiles));
  Kind studies{"studies", "study", {}};
  for (const std::string& name : study_names()) {
    const ConfigNode tree = parse_yaml(shipped_study(name), name);
    const ConfigNode* const text = tree.find("description");
    studies.entries.push_back(
        plain(name, text == nullptr ? "" : text->scalar, "experiments/studies/" + name + ".yaml"));
  }
  out.push_back(std::move(studies));
  return out;
}

std::string range_text(const ParamInfo& p) {
  if (std::isfinite(p.low) && std::isfinite(p.high))
    return fmt::format("{} to {}", to_text(p.low), to_text(p.high));
  if (std::isfinite(p.low)) return fmt::format("at least {}", to_text(p.low));
  return std::isfinite(p.high) ? fmt::format("at most {}", to_text(p.high)) : "";
}

Json to_json(const Info& info) {
  Json out{{"name", info.name}, {"summary", info.summary}, {"reference", info.reference}};
  Json notes = Json::object();
  for (const auto& [key, text] : info.notes) notes[key] = text;
  out["notes"] = notes;
  Json params = Json::array();
  for (const ParamInfo& p : info.params) {
    Json one{{"name", p.name}, {"type", p.type()}, {"default", p.format(p.fallback)}, {"doc", p.doc}};
    if (std::isfinite(p.low)) one["low"] = p.low;
    if (std::isfinite(p.high)) one["high"] = p.high;
    params.push_back(std::move(one));
  }
  out["params"] = params;
  Json presets = Json::array();
  for (const PresetInfo& p : info.presets) {
    Json values = Json::object();
    for (const auto& [name, value] : p.values) values[name] = value;
    presets.push_back({{"name", p.key}, {"value", p.word}, {"doc", p.doc}, {"sets", values}});
  }
  if (!presets.empty()) out["presets"] = presets;
  return out;
}

/// A Markdown cell: pipes would end it.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string list_text(const Kind& kind, ListFormat format) {
  if (format == ListFormat::json) {
    Json out = Json::array();
    for (const Info& i : kind.entries) out.push_back(to_json(i));
    return out.dump(2) + "\n";
  }
  std::string out;
  if (format == ListFormat::markdown) {
    const bool metrics = kind.plural == "metrics";
    out += metrics ? "| metric | definition | better |\n|---|---|---|\n"
                   : fmt::format("| {} | what it does | parameters | source |\n|---|---|---|---|\n",
                                 kind.singular);
    for (const Info& i : kind.entries) {
      if (metrics) {
        const std::string definition = i.note("definition");
        out += fmt::format("| `{}` | {} | {} |\n", i.name, cell(definition.empty() ? i.summary : definition),
                           i.note("better"));
        continue;
      }
      std::vector<std::string> params;
      for (const ParamInfo& p : i.params) params.push_back(fmt::format("`{}`", p.name));
      for (const PresetInfo& p : i.presets)
        if (const std::string name = fmt::format("`{}`", p.key);
            std::ranges::find(params, name) == params.end())
          params.push_back(name);
      out += fmt::format("| `{}` | {} | {} | {} |\n", i.name, cell(i.summary), fmt::join(params, ", "),
                         cell(i.reference));
    }
    return out;
  }
  std::size_t width = 0;
  for (const Info& i : kind.entries) width = std::max(width, i.name.size());
  for (const Info& i : kind.entries) out += fmt::format("{:<{}}  {}\n", i.name, width, i.summary);
  return out;
}

std::string show_text(const Kind& kind, const Info& info, ListFormat format) {
  if (format == ListFormat::json) {
    Json out = to_json(info);
    out["kind"] = kind.singular;
    return out.dump(2) + "\n";
  }
  std::string out = fmt::format("{} {}\n  {}\n", kind.singular, info.name, info.summary);
  if (!info.reference.empty()) out += fmt::format("  source: {}\n", info.reference);
  for (const auto& [key, text] : info.notes) out += fmt::format("  {}: {}\n", key, text);
  if (info.params.empty()) return out;
  out += "  parameters:\n";
  std::size_t width = 0;
  for (const ParamInfo& p : info.params) width = std::max(width, p.name.size());
  for (const ParamInfo& p : info.params) {
    const std::string range = range_text(p);
    out += fmt::format("    {:<{}}  {}{} = {}\n    {:<{}}    {}\n", p.name, width, p.type(),
                       range.empty() ? "" : ", " + range, p.format(p.fallback), "", width, p.doc);
  }
  if (!info.presets.empty()) out += "  words for several parameters:\n";
  for (const PresetInfo& p : info.presets) {
    std::vector<std::string> values;
    for (const auto& [name, value] : p.values) values.push_back(name + "=" + value);
    out += fmt::format("    {}={}  {}\n      {}\n", p.key, p.word, p.doc, fmt::join(values, ", "));
  }
  return out;
}

}  // namespace

std::vector<std::string> list_kinds() {
  return {"architectures", "charts",       "datasets", "evaluations", "formats", "methods",
          "metrics",       "permutations", "profiles", "readers",     "studies"};
}

std::string list_entries(const std::string& kind, const Registries& r, ListFormat format) {
  if (kind == "datasets") {
    if (format != ListFormat::text) throw Error("list datasets: ask for readers or profiles in this format");
    return "readers:\n" + list_entries("readers", r, format) + "profiles:\n" +
           list_entries("profiles", r, format);
  }
  for (const Kind& k : all_kinds(r))
    if (k.plural == kind || k.singular == kind) return list_text(k, format);
  std::vector<std::string> known = list_kinds();
  known.emplace_back("runs");
  throw Error(fmt::format("there is no list of '{}'{}", kind, suggestion(kind, known)));
}

std::string show_entry(const std::string& kind, const std::string& name, const Registries& r,
                       ListFormat format) {
  std::vector<std::string> known;
  std::string out;
  std::vector<std::string> found;
  for (const Kind& k : all_kinds(r)) {
    if (!kind.empty() && k.singular != kind && k.plural != kind) continue;
    for (const Info& info : k.entries) {
      known.push_back(info.name);
      if (info.name != name) continue;
      if (k.singular == "study" && format == ListFormat::text) {
        out += shipped_study(name);
      } else {
        out += show_text(k, info, format);
      }
      found.push_back(k.singular);
    }
  }
  if (found.empty()) throw Error(fmt::format("nothing is called '{}'{}", name, suggestion(name, known)));
  if (found.size() > 1 && format == ListFormat::json)
    throw Error(fmt::format("'{}' is {}; say which: olab show {} {}", name, fmt::join(found, " and "),
                            found.front(), name));
  return out;
}

bool is_entry(const std::string& name, const Registries& r) {
  return std::ranges::any_of(all_kinds(r), [&](const Kind& k) {
    return std::ranges::find(k.entries, name, &Info::name) != k.entries.end();
  });
}

}  // namespace olab

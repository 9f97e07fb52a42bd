#include "core/registry.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/text.hpp"

namespace olab {
namespace {

[[noreturn]] void bad_value(const Info& info, const ParamInfo& p, std::string_view why) {
  throw SpecError(fmt::format("{}.{}: {}", info.name, p.name, why), p.name);
}

std::string names_of(const ParamInfo& p) {
  std::string out;
  for (const auto& [name, value] : p.aliases) out += fmt::format(" or '{}'", name);
  return out;
}

Value parse_value(const Info& info, const ParamInfo& p, std::string_view text, const Registries& registries) {
  text = trim(text);
  if (std::holds_alternative<bool>(p.fallback)) {
    if (text == "true" || text == "false") return text == "true";
    bad_value(info, p, fmt::format("'{}' is neither true nor false", text));
  }
  if (std::holds_alternative<std::int64_t>(p.fallback)) {
    for (const auto& [name, value] : p.aliases)
      if (text == name) return value;
    std::int64_t v = 0;
    if (!parse_integer(text, v))
      bad_value(info, p, fmt::format("'{}' is not a whole number{}", text, names_of(p)));
    const auto d = static_cast<double>(v);
    if (!(d >= p.low && d <= p.high))
      bad_value(info, p, fmt::format("{} is outside {} to {}{}", v, p.low, p.high, names_of(p)));
    return v;
  }
  if (std::holds_alternative<double>(p.fallback)) {
    double v = 0;
    if (!parse_double(text, v)) bad_value(info, p, fmt::format("'{}' is not a number", text));
    if (!(v >= p.low && v <= p.high))
      bad_value(info, p, fmt::format("{} is outside {} to {}", v, p.low, p.high));
    return v;
  }
  if (text.size() >= 2 &&
      ((text.front() == '[' && text.back() == ']') || (text.front() == '"' && text.back() == '"')))
    text = trim(text.substr(1, text.size() - 2));
  if (!p.choices.empty() && std::ranges::find(p.choices, text) == p.choices.end())
    bad_value(info, p, fmt::format("'{}' is no choice{}", text, suggestion(text, p.choices)));
  if (!p.normalize) return std::string(text);
  try {
    return p.normalize(text, registries);
  } catch (const Error& e) {
    bad_value(info, p, e.what());
  }
}

std::string quoted_if_needed(const std::string& text) {
  return text.find_first_of(",()|= ") == std::string::npos ? text : "[" + text + "]";
}

}  // namespace

std::string ParamInfo::type() const {
  if (std::holds_alternative<bool>(fallback)) return "bool";
  if (std::holds_alternative<double>(fallback)) return "number";
  if (std::holds_alternative<std::string>(fallback))
    return choices.empty() ? "text" : fmt::format("{}", fmt::join(choices, "|"));
  std::string out = "integer";
  for (const auto& [name, value] : aliases) out += "|" + name;
  return out;
}

std::string ParamInfo::format(const Value& value) const {
  if (const auto* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const auto* d = std::get_if<double>(&value)) return to_text(*d);
  if (const auto* s = std::get_if<std::string>(&value)) return quoted_if_needed(*s);
  const std::int64_t i = std::get<std::int64_t>(value);
  for (const auto& [name, special] : aliases)
    if (special == i) return name;
  return std::to_string(i);
}

const ParamInfo* Info::find(std::string_view param) const {
  const auto it = std::ranges::find(params, param, &ParamInfo::name);
  return it == params.end() ? nullptr : &*it;
}

std::string Info::note(std::string_view key) const {
  const auto it = notes.find(key);
  return it == notes.end() ? std::string() : it->second;
}

Spec parse_spec(std::string_view text) {
  text = trim(text);
  Spec out;
  const auto open = text.find('(');
  out.name = std::string(trim(text.substr(0, open)));
  if (out.name.empty())
    throw SpecError(fmt::format("'{}': a name is missing; write name or name(key=value, ...)", text), "");
  if (out.name.find_first_of(")[]{},|=") != std::string::npos)
    throw SpecError(fmt::format("'{}': not of the form name(key=value, ...)", text), "");
  if (open == std::string_view::npos) return out;
  if (text.back() != ')') throw SpecError(fmt::format("'{}': the closing ')' is missing", text), "");
  const std::string_view body = trim(text.substr(open + 1, text.size() - open - 2));
  if (body.empty()) return out;
  for (const std::string& item : split_top_level(body, ',')) {
    const auto parts = split_top_level(item, '=');
    if (item.empty() || parts.size() > 2)
      throw SpecError(fmt::format("'{}': expected key=value, got '{}'", text, item), "");
    if (parts.size() == 1) {
      out.params.emplace_back("", parts[0]);
    } else {
      out.params.emplace_back(parts[0], parts[1]);
    }
  }
  return out;
}

Params resolve_params(const Info& info, const Spec& spec, const Registries& registries) {
  Params out;
  for (const ParamInfo& p : info.params) out.emplace(p.name, p.fallback);
  std::vector<std::string> known;
  for (const ParamInfo& p : info.params) known.push_back(p.name);
  for (const PresetInfo& p : info.presets)
    if (std::ranges::find(known, p.key) == known.end()) known.push_back(p.key);
  std::vector<std::string> given;
  // Presets first: what is given by name wins over them, wherever it stands.
  for (const auto& [key, text] : spec.params) {
    if (std::ranges::find(info.presets, key, &PresetInfo::key) == info.presets.end()) continue;
    if (std::ranges::find(given, key) != given.end())
      throw SpecError(fmt::format("{}.{}: given twice", info.name, key), key);
    given.push_back(key);
    std::vector<std::string> words;
    bool found = false;
    for (const PresetInfo& p : info.presets) {
      if (p.key != key) continue;
      words.push_back(p.word);
      if (p.word != trim(text)) continue;
      found = true;
      for (const auto& [name, value] : p.values)
        out[name] = parse_value(info, *info.find(name), value, registries);
    }
    if (!found)
      throw SpecError(fmt::format("{}.{}: '{}' is no choice{}", info.name, key, trim(text),
                                  suggestion(trim(text), words)),
                      key);
  }
  for (const auto& [key, text] : spec.params) {
    if (std::ranges::find(info.presets, key, &PresetInfo::key) != info.presets.end()) continue;
    const std::string name = key.empty() && !info.params.empty() ? info.params.front().name : key;
    const ParamInfo* const p = info.find(name);
    if (p == nullptr)
      throw SpecError(fmt::format("{} has no parameter '{}'{}", info.name, key, suggestion(key, known)), key);
    if (std::ranges::find(given, name) != given.end())
      throw SpecError(fmt::format("{}.{}: given twice", info.name, name), name);
    given.push_back(name);
    out[name] = parse_value(info, *p, text, registries);
  }
  return out;
}

std::string canonical_text(const Info& info, const Params& params) {
  std::vector<std::string> parts;
  for (const ParamInfo& p : info.params) parts.push_back(p.name + "=" + p.format(params.at(p.name)));
  return parts.empty() ? info.name : fmt::format("{}({})", info.name, fmt::join(parts, ","));
}

std::string short_text(const Info& info, const Params& params) {
  std::vector<std::string> parts;
  for (const ParamInfo& p : info.params)
    if (params.at(p.name) != p.fallback) parts.push_back(p.name + "=" + p.format(params.at(p.name)));
  return parts.empty() ? info.name : fmt::format("{}({})", info.name, fmt::join(parts, ","));
}

void throw_unknown_name(std::string_view kind, std::string_view name, const std::vector<std::string>& known) {
  throw SpecError(fmt::format("no {} is called '{}'{}", kind, name, suggestion(name, known)), "");
}

void throw_duplicate_name(std::string_view kind, std::string_view name) {
  throw Error(fmt::format("two {}s are called '{}'; give one of them another name", kind, name));
}

}  // namespace olab

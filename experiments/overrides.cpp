#include "experiments/overrides.hpp"

#include <fmt/format.h>

#include <cmath>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

constexpr std::size_t kMaxRange = 100'000;

ConfigNode scalar_node(std::string_view text, const std::string& where) {
  ConfigNode out;
  out.where = where;
  if (text == "null") return out;
  out.kind = ConfigNode::Kind::scalar;
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front()) {
    out.quoted = true;
    text = text.substr(1, text.size() - 2);
  }
  out.scalar = std::string(text);
  return out;
}

void relocate(ConfigNode& node, const std::string& where) {
  node.where = where;
  for (ConfigNode& item : node.items) relocate(item, where);
  for (auto& [key, value] : node.entries) relocate(value, where);
}

/// "name(a,b)" → its arguments; false where the text is no call of `name`.
bool call_arguments(std::string_view text, std::string_view name, std::vector<std::string>& out) {
  if (!text.starts_with(name) || text.size() < name.size() + 2 || text[name.size()] != '(' ||
      text.back() != ')')
    return false;
  out = split_top_level(text.substr(name.size() + 1, text.size() - name.size() - 2), ',');
  return true;
}

ConfigNode range_node(const std::vector<std::string>& arguments, const std::string& where) {
  ConfigNode out;
  out.where = where;
  out.kind = ConfigNode::Kind::list;
  std::vector<double> v;
  for (const std::string& a : arguments) {
    double d = 0;
    if (!parse_double(a, d) || !std::isfinite(d)) out.fail(fmt::format("range(): '{}' is not a number", a));
    v.push_back(d);
  }
  if (v.empty() || v.size() > 3)
    out.fail("range() takes range(stop), range(start,stop) or range(start,stop,step)");
  const double start = v.size() == 1 ? 0 : v[0];
  const double stop = v.size() == 1 ? v[0] : v[1];
  const double step = v.size() == 3 ? v[2] : 1;
  if (step == 0) out.fail("range(): the step must not be 0");
  const double count = std::ceil((stop - start) / step);
  if (!(count <= static_cast<double>(kMaxRange)))
    out.fail(fmt::format("range(): more than {} values", kMaxRange));
  for (double i = 0; i < count; ++i) out.items.push_back(scalar_node(to_text(start + i * step), where));
  return out;
}

ConfigNode value_node(std::string_view text, const std::string& where) {
  text = trim(text);
  if (text.starts_with('[') || (text.starts_with('{') && text.find(':') != std::string_view::npos)) {
    ConfigNode out = parse_yaml(text, where);
    relocate(out, where);
    return out;
  }
  std::vector<std::string> arguments;
  if (call_arguments(text, "range", arguments)) return range_node(arguments, where);
  const bool choice = call_arguments(text, "choice", arguments);
  const std::vector<std::string> parts = choice ? arguments : split_top_level(text, ',');
  if (parts.size() == 1 && !choice) return scalar_node(parts[0], where);
  ConfigNode out;
  out.where = where;
  out.kind = ConfigNode::Kind::list;
  for (const std::string& part : parts) out.items.push_back(value_node(part, where));
  return out;
}

std::string entry_name(const ConfigNode& item) {
  if (item.is_scalar())
    return std::string(trim(std::string_view(item.scalar).substr(0, item.scalar.find('('))));
  if (item.is_map() && item.entries.size() == 1) return item.entries.front().first;
  return {};
}

struct Override {
  std::string text;
  std::string where;
  std::vector<std::string> path;
  bool has_value = false;
  std::string value;
  enum class Mode { set, add, force, remove } mode = Mode::set;
};

Override parse_override(const std::string& text) {
  Override out;
  out.text = text;
  out.where = fmt::format("override '{}'", text);
  std::string_view rest = text;
  if (rest.starts_with("++")) {
    out.mode = Override::Mode::force;
    rest.remove_prefix(2);
  } else if (rest.starts_with('+')) {
    out.mode = Override::Mode::add;
    rest.remove_prefix(1);
  } else if (rest.starts_with('~')) {
    out.mode = Override::Mode::remove;
    rest.remove_prefix(1);
  }
  const auto equals = rest.find('=');
  out.has_value = equals != std::string_view::npos;
  if (!out.has_value && out.mode != Override::Mode::remove)
    throw Error(fmt::format("{}: expected key=value (+key=value adds, ~key deletes)", out.where));
  if (out.has_value) out.value = std::string(rest.substr(equals + 1));
  for (const std::string& part : split(trim(rest.substr(0, equals)), '.')) {
    if (part.empty()) throw Error(fmt::format("{}: an empty name in the key", out.where));
    out.path.push_back(part);
  }
  return out;
}

/// The child of `node` that `name` means; nullptr where there is none. A scalar entry of a list ("- rtn")
/// turns into a map with that one key when its inside is asked for.
ConfigNode* child(ConfigNode& node, const std::string& name, bool inside) {
  if (node.is_map()) return node.find(name);
  if (!node.is_list()) return nullptr;
  std::int64_t position = 0;
  if (parse_integer(name, position))
    return position >= 0 && position < static_cast<std::int64_t>(node.items.size())
               ? &node.items[static_cast<std::size_t>(position)]
               : nullptr;
  for (ConfigNode& item : node.items) {
    if (entry_name(item) != name) continue;
    if (!inside) return &item;
    if (item.is_scalar()) {
      ConfigNode map;
      map.where = item.where;
      map.kind = ConfigNode::Kind::map;
      ConfigNode empty;
      empty.where = item.where;
      empty.kind = ConfigNode::Kind::map;
      map.entries.emplace_back(name, std::move(empty));
      item = std::move(map);
    }
    ConfigNode& found = item.entries.front().second;
    if (found.is_null()) found.kind = ConfigNode::Kind::map;
    return &found;
  }
  return nullptr;
}

std::vector<std::string> child_names(const ConfigNode& node) {
  std::vector<std::string> out;
  for (const auto& [key, value] : node.entries) out.push_back(key);
  for (const ConfigNode& item : node.items) out.push_back(entry_name(item));
  return out;
}

ConfigNode new_map(const std::string& where) {
  ConfigNode out;
  out.where = where;
  out.kind = ConfigNode::Kind::map;
  return out;
}

void apply(ConfigNode& root, const Override& o) {
  ConfigNode* node = &root;
  for (std::size_t i = 0; i + 1 < o.path.size(); ++i) {
    ConfigNode* next = child(*node, o.path[i], true);
    if (next == nullptr) {
      const bool adds = o.mode == Override::Mode::add || o.mode == Override::Mode::force;
      if (node->is_list() && adds) {
        ConfigNode entry = new_map(o.where);
        entry.entries.emplace_back(o.path[i], new_map(o.where));
        node->items.push_back(std::move(entry));
        node = &node->items.back().entries.front().second;
        continue;
      }
      if (o.mode == Override::Mode::remove || node->is_list()) {
        throw Error(fmt::format("{}: there is no '{}' here{}", o.where, o.path[i],
                                suggestion(o.path[i], child_names(*node))));
      }
      if (!node->is_map() && !node->is_null())
        throw Error(fmt::format("{}: '{}' is no map, so it has no '{}'", o.where,
                                i == 0 ? std::string("the study") : o.path[i - 1], o.path[i]));
      node->kind = ConfigNode::Kind::map;
      node->entries.emplace_back(o.path[i], new_map(o.where));
      next = &node->entries.back().second;
    }
    if (next->is_null()) next->kind = ConfigNode::Kind::map;
    node = next;
  }
  const std::string& last = o.path.back();
  ConfigNode* const target = child(*node, last, false);
  if (o.mode == Override::Mode::remove) {
    if (target == nullptr)
      throw Error(fmt::format("{}: there is no '{}' to delete{}", o.where, last,
                              suggestion(last, child_names(*node))));
    if (o.has_value && to_yaml(value_node(o.value, o.where)) != to_yaml(*target)) return;
    if (node->is_map()) {
      std::erase_if(node->entries, [&](const auto& e) { return e.first == last; });
    } else {
      node->items.erase(node->items.begin() + (target - node->items.data()));
    }
    return;
  }
  if (o.mode == Override::Mode::add && target != nullptr)
    throw Error(fmt::format("{}: '{}' exists already; write key=value to change it", o.where, last));
  ConfigNode value = value_node(o.value, o.where);
  if (target != nullptr) {
    *target = std::move(value);
  } else if (node->is_map() || node->is_null()) {
    node->kind = ConfigNode::Kind::map;
    node->entries.emplace_back(last, std::move(value));
  } else if (node->is_list() && o.mode != Override::Mode::set) {
    ConfigNode entry = new_map(o.where);
    entry.entries.emplace_back(last, std::move(value));
    node->items.push_back(std::move(entry));
  } else if (node->is_list()) {
    throw Error(
        fmt::format("{}: there is no '{}' here{}", o.where, last, suggestion(last, child_names(*node))));
  } else {
    throw Error(
        fmt::format("{}: '{}' is no map, so it has no '{}'", o.where, o.path[o.path.size() - 2], last));
  }
}

}  // namespace

void apply_overrides(ConfigNode& study, std::span<const std::string> overrides) {
  for (const std::string& text : overrides) apply(study, parse_override(text));
}

}  // namespace olab

#include "core/config.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "core/error.hpp"
#include "core/text.hpp"
#include "core/utf8.hpp"

namespace olab {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxNodes = 1'000'000;  // aliases can make a small file enormous

std::string place(const std::string& source, const YAML::Mark& mark) {
  return mark.is_null() ? source : fmt::format("{}:{}:{}", source, mark.line + 1, mark.column + 1);
}

/// Throws where `text` holds what no config file needs and YAML cannot write back: bytes that are not UTF-8,
/// and control characters other than tab and line ends.
void check_characters(std::string_view text, const std::string& where) {
  const std::size_t bad = scan_utf8(text, [&](std::size_t offset, std::uint32_t c) {
    const bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7F && c < 0xA0);
    if (control)
      throw Error(fmt::format("{}: control character {:#04x} at byte {}; remove it", where, c, offset));
  });
  if (bad != std::string_view::npos)
    throw Error(fmt::format("{}: byte {} is not UTF-8; save the file as UTF-8", where, bad));
}

ConfigNode convert(const YAML::Node& node, const std::string& source, int depth, std::size_t& count) {
  ConfigNode out;
  out.where = place(source, node.Mark());
  if (depth > kMaxDepth) out.fail(fmt::format("nested deeper than {} levels", kMaxDepth));
  if (++count > kMaxNodes)
    out.fail(fmt::format("more than {} values (aliases that repeat one another?)", kMaxNodes));
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      return out;
    case YAML::NodeType::Scalar:
      out.kind = ConfigNode::Kind::scalar;
      out.scalar = node.Scalar();
      check_characters(out.scalar, out.where);  // an escape can make what the file itself does not hold
      out.quoted = node.Tag() == "!";
      return out;
    case YAML::NodeType::Sequence:
      out.kind = ConfigNode::Kind::list;
      for (const YAML::Node& item : node) out.items.push_back(convert(item, source, depth + 1, count));
      return out;
    case YAML::NodeType::Map:
      break;
  }
  out.kind = ConfigNode::Kind::map;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) out.fail("a key must be a plain text");
    const std::string key = entry.first.Scalar();
    check_characters(key, place(source, entry.first.Mark()));
    if (out.find(key) != nullptr)
      throw Error(fmt::format("{}: the key '{}' stands twice in one map; keep one",
                              place(source, entry.first.Mark()), key));
    ConfigNode value = convert(entry.second, source, depth + 1, count);
    // Messages about an entry point at its key: that is what one searches for.
    value.where = place(source, entry.first.Mark());
    out.entries.emplace_back(key, std::move(value));
  }
  return out;
}

void emit(YAML::Emitter& out, const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::null:
      out << YAML::Null;
      break;
    case ConfigNode::Kind::scalar:
      if (node.quoted) out << YAML::DoubleQuoted;
      out << node.scalar;
      break;
    case ConfigNode::Kind::list:
      out << (std::ranges::all_of(node.items, &ConfigNode::is_scalar) ? YAML::Flow : YAML::Block)
          << YAML::BeginSeq;
      for (const ConfigNode& item : node.items) emit(out, item);
      out << YAML::EndSeq;
      break;
    case ConfigNode::Kind::map:
      out << YAML::Block << YAML::BeginMap;
      for (const auto& [key, value] : node.entries) {
        out << YAML::Key << key << YAML::Value;
        emit(out, value);
      }
      out << YAML::EndMap;
      break;
  }
}

}  // namespace

ConfigNode::ConfigNode() = default;
ConfigNode::ConfigNode(const ConfigNode& other) = default;
ConfigNode::ConfigNode(ConfigNode&& other) noexcept = default;
ConfigNode& ConfigNode::operator=(const ConfigNode& other) = default;
ConfigNode& ConfigNode::operator=(ConfigNode&& other) noexcept = default;
ConfigNode::~ConfigNode() = default;

const ConfigNode* ConfigNode::find(std::string_view key) const {
  const auto it = std::ranges::find(entries, key, [](const auto& e) -> std::string_view { return e.first; });
  return it == entries.end() ? nullptr : &it->second;
}
ConfigNode* ConfigNode::find(std::string_view key) {
  return const_cast<ConfigNode*>(
      std::as_const(*this).find(key));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
}
const ConfigNode& ConfigNode::at(std::string_view key) const {
  const ConfigNode* const found = find(key);
  if (found == nullptr) fail(fmt::format("the key '{}' is missing", key));
  return *found;
}

void ConfigNode::fail(std::string_view message) const {
  throw Error(fmt::format("{}: {}", where, message));
}

void ConfigNode::require_map(std::string_view what, const std::vector<std::string>& known_keys) const {
  if (!is_map()) fail(fmt::format("{} must be a map of keys to values", what));
  for (const auto& [key, value] : entries)
    if (std::ranges::find(known_keys, key) == known_keys.end())
      value.fail(fmt::format("{} has no key '{}'{}", what, key, suggestion(key, known_keys)));
}
void ConfigNode::require_list(std::string_view what) const {
  if (!is_list()) fail(fmt::format("{} must be a list", what));
}
const std::string& ConfigNode::text(std::string_view what) const {
  if (!is_scalar()) fail(fmt::format("{} must be a single text", what));
  return scalar;
}
bool ConfigNode::boolean(std::string_view what) const {
  const std::string& t = text(what);
  if (t == "true") return true;
  if (t == "false") return false;
  fail(fmt::format("{} must be true or false, not '{}'", what, t));
}
std::int64_t ConfigNode::integer(std::string_view what, std::int64_t low, std::int64_t high) const {
  std::int64_t v = 0;
  if (!parse_integer(text(what), v)) fail(fmt::format("{} must be a whole number, not '{}'", what, scalar));
  if (v < low || v > high) fail(fmt::format("{} is {}; it must be from {} to {}", what, v, low, high));
  return v;
}
double ConfigNode::number(std::string_view what, double low, double high) const {
  double v = 0;
  if (!parse_double(text(what), v)) fail(fmt::format("{} must be a number, not '{}'", what, scalar));
  if (!(v >= low && v <= high)) fail(fmt::format("{} is {}; it must be from {} to {}", what, v, low, high));
  return v;
}
std::vector<std::string> ConfigNode::texts(std::string_view what) const {
  if (is_scalar()) return {scalar};
  if (!is_list()) fail(fmt::format("{} must be a text or a list of texts", what));
  std::vector<std::string> out;
  for (const ConfigNode& item : items) out.push_back(item.text(what));
  return out;
}
std::vector<double> ConfigNode::numbers(std::string_view what, double low, double high) const {
  require_list(what);
  std::vector<double> out;
  for (const ConfigNode& item : items) out.push_back(item.number(what, low, high));
  return out;
}

ConfigNode parse_yaml(std::string_view text, const std::string& source) {
  check_characters(text, source);
  try {
    std::size_t count = 0;
    return convert(YAML::Load(std::string(text)), source, 0, count);
  } catch (const YAML::Exception& e) {
    throw Error(fmt::format("{}: not valid YAML: {}", place(source, e.mark), e.msg));
  }
}

ConfigNode load_yaml(const std::filesystem::path& file) {
  return parse_yaml(read_text_file(file, "config file"), file.string());
}

std::string to_yaml(const ConfigNode& node) {
  YAML::Emitter out;
  emit(out, node);
  return std::string(out.c_str()) + "\n";
}

std::string read_text_file(const std::filesystem::path& file, std::string_view what) {
  if (std::filesystem::is_directory(file))
    throw Error(fmt::format("{} {}: it is a folder, not a file", what, file.string()));
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(fmt::format("{} {}: it cannot be read; does it exist?", what, file.string()));
  std::ostringstream out;
  out << in.rdbuf();
  return std::move(out).str();
}

}  // namespace olab

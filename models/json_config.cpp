#include "models/json_config.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "core/error.hpp"
#include "datasets/mapped_file.hpp"

namespace olab {
namespace {

using nlohmann::json;

constexpr std::size_t kDeepest = 32;
constexpr std::size_t kLongestPlace = 400;
constexpr std::size_t kMostValues = 1'000'000;
constexpr std::size_t kLargestFile = std::size_t{64} << 20U;

// Builds the tree event by event, which is the only way to see a key that stands twice.
class TreeEvents final : public json::json_sax_t {
 public:
  TreeEvents(ConfigNode& root, const std::string& source) : root_(root), source_(source) {}

  bool null() override {
    add({});
    return true;
  }
  bool boolean(bool value) override { return scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return scalar(fmt::format("{}", value)); }
  bool number_unsigned(number_unsigned_t value) override { return scalar(fmt::format("{}", value)); }
  bool number_float(number_float_t, const string_t& text) override { return scalar(text); }
  bool string(string_t& text) override {
    ConfigNode& node = add({});
    node.kind = ConfigNode::Kind::scalar;
    node.scalar = text;
    node.quoted = true;
    return true;
  }
  bool binary(binary_t&) override { return false; }  // JSON has none
  bool start_object(std::size_t) override { return open(ConfigNode::Kind::map); }
  bool start_array(std::size_t) override { return open(ConfigNode::Kind::list); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& text) override {
    if (!open_.back().keys.insert(text).second)
      open_.back().node->fail(fmt::format("the key '{}' stands twice; keep one", text));
    key_ = text;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception& e) override {
    throw Error(fmt::format("{}: byte {}: this is no valid JSON ({})", source_,
                            position > 0 ? position - 1 : 0, std::string_view(e.what()).substr(0, 200)));
  }

 private:
  struct Open {
    ConfigNode* node;
    std::set<std::string> keys;
  };

  // Values of a map are told by their keys, those of a list by their numbers. A place that would become very
  // long stays that of the parent: else a long key above many values would be written out for each of them.
  std::string place() const {
    if (open_.empty()) return source_;
    const ConfigNode& parent = *open_.back().node;
    const bool top = open_.size() == 1;
    if (parent.is_list()) return fmt::format("{}{}[{}]", parent.where, top ? ": " : "", parent.items.size());
    if (parent.where.size() + key_.size() > source_.size() + kLongestPlace) return parent.where;
    return fmt::format("{}{}{}", parent.where, top ? ": " : ".", key_);
  }
  // A parent's list does not grow while one of its values is open, so pointers to open nodes stay good.
  ConfigNode& add(ConfigNode node) {
    node.where = place();
    if (++values_ > kMostValues) node.fail(fmt::format("there are more than {} values", kMostValues));
    if (open_.empty()) return root_ = std::move(node);
    ConfigNode& parent = *open_.back().node;
    if (parent.is_list()) return parent.items.emplace_back(std::move(node));
    return parent.entries.emplace_back(key_, std::move(node)).second;
  }
  bool scalar(std::string text) {
    ConfigNode& node = add({});
    node.kind = ConfigNode::Kind::scalar;
    node.scalar = std::move(text);
    return true;
  }
  bool open(ConfigNode::Kind kind) {
    ConfigNode& node = add({});
    node.kind = kind;
    open_.push_back({&node, {}});
    if (open_.size() > kDeepest) node.fail(fmt::format("values are nested more than {} deep", kDeepest));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  ConfigNode& root_;
  const std::string& source_;
  std::string key_;
  std::vector<Open> open_;
  std::size_t values_ = 0;
};

}  // namespace

ConfigNode parse_json(std::string_view text, const std::string& source) {
  // The JSON library takes a NUL for the end of its input and would not look behind it.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw Error(fmt::format("{}: byte {}: a NUL stands in the text; the file is damaged", source, nul));
  ConfigNode root;
  TreeEvents events(root, source);
  json::sax_parse(text, &events, json::input_format_t::json, true);
  return root;
}

ConfigNode load_json(const std::filesystem::path& file, std::string_view what) {
  const MappedFile mapped(file, what);
  const auto bytes = mapped.bytes();
  if (bytes.size() > kLargestFile)
    throw Error(fmt::format("{}: a {} of {} bytes was not expected; the largest that is read has {}",
                            mapped.source(), what, bytes.size(), kLargestFile));
  return parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, mapped.source());
}

const ConfigNode* find_value(const ConfigNode& map, std::string_view key) {
  const ConfigNode* const node = map.find(key);
  return node == nullptr || node->is_null() ? nullptr : node;
}

}  // namespace olab

// YAML as a tree of values that know where they were written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace olab {

/// A value of a configuration file. Every error names the place ("study.yaml:12:5", or the override).
class ConfigNode {
 public:
  enum class Kind { null, scalar, list, map };

  // Out of line: a vector of pairs of a class that is not complete yet must not be made in the class itself.
  ConfigNode();
  ConfigNode(const ConfigNode& other);
  ConfigNode(ConfigNode&& other) noexcept;
  ConfigNode& operator=(const ConfigNode& other);
  ConfigNode& operator=(ConfigNode&& other) noexcept;
  ~ConfigNode();

  Kind kind = Kind::null;
  std::string where;                                        ///< "file:line:column" or "override 'a=b'"
  std::string scalar;                                       ///< text of a scalar, as written
  bool quoted = false;                                      ///< the scalar stood in quotes
  std::vector<ConfigNode> items;                            ///< of a list
  std::vector<std::pair<std::string, ConfigNode>> entries;  ///< of a map, in the order of the file

  bool is_null() const { return kind == Kind::null; }
  bool is_scalar() const { return kind == Kind::scalar; }
  bool is_list() const { return kind == Kind::list; }
  bool is_map() const { return kind == Kind::map; }

  /// The entry of a map, or nullptr.
  const ConfigNode* find(std::string_view key) const;
  ConfigNode* find(std::string_view key);
  /// The entry of a map; Error where it is missing.
  const ConfigNode& at(std::string_view key) const;

  /// Throws Error "<where>: <message>".
  [[noreturn]] void fail(std::string_view message) const;

  /// The node as a map with no other keys than these; Error with the nearest known key otherwise. `what` is
  /// the word for messages ("data", "a profile").
  void require_map(std::string_view what, const std::vector<std::string>& known_keys) const;
  void require_list(std::string_view what) const;

  const std::string& text(std::string_view what) const;
  bool boolean(std::string_view what) const;
  std::int64_t integer(std::string_view what, std::int64_t low, std::int64_t high) const;
  double number(std::string_view what, double low, double high) const;
  /// A list of texts; one scalar counts as a list of one.
  std::vector<std::string> texts(std::string_view what) const;
  /// A list of numbers, each within [low, high].
  std::vector<double> numbers(std::string_view what, double low, double high) const;
};

/// Parses one YAML document; `source` stands in messages. Error with line and column on bad YAML, on a key
/// that stands twice in one map, and on anchors nested beyond reason.
ConfigNode parse_yaml(std::string_view text, const std::string& source);

/// Reads and parses a file; Error where it cannot be read.
ConfigNode load_yaml(const std::filesystem::path& file);

/// The node as a YAML document (block style); parses back to an equal tree.
std::string to_yaml(const ConfigNode& node);

/// All of a file as text; Error "<what> <path>: ..." where it cannot be read.
std::string read_text_file(const std::filesystem::path& file, std::string_view what);

}  // namespace olab

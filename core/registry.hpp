// Self-describing factories: a name, a documented list of parameters, a constructor. Name, summary, source
// and parameters are ONE object, and every default lives in the struct that it configures and nowhere else.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.hpp"

namespace olab {

struct Registries;

using Value = std::variant<bool, std::int64_t, double, std::string>;
using Params = std::map<std::string, Value, std::less<>>;

/// Brings a text parameter to its canonical form (a nested specification, say); throws Error where it is bad.
using Normalize = std::function<std::string(std::string_view, const Registries&)>;

/// One parameter of a plug-in.
struct ParamInfo {
  std::string name;
  std::string doc;
  Value fallback;                                             ///< the default; fixes the type too
  double low = -std::numeric_limits<double>::infinity();      ///< inclusive, numbers only
  double high = std::numeric_limits<double>::infinity();      ///< inclusive, numbers only
  std::vector<std::string> choices;                           ///< texts only; empty: any text
  std::vector<std::pair<std::string, std::int64_t>> aliases;  ///< names of special integers ("full" = 0)
  Normalize normalize;                                        ///< texts only; may be empty
  std::string list_separator;  ///< texts only: a list in a study is one value, joined by this, and no axis

  /// "bool", "integer", "number", "text" or "a|b|c".
  std::string type() const;
  /// The value as it stands in canonical texts.
  std::string format(const Value& value) const;
};

/// A word that stands for values of several parameters: "mode=paper". It is no parameter itself: canonical
/// texts hold the values. What is given beside it wins over it.
struct PresetInfo {
  std::string key;
  std::string word;
  std::string doc;
  std::vector<std::pair<std::string, std::string>> values;
};

/// What is known of a plug-in without making one.
struct Info {
  std::string name;
  std::string summary;
  std::string reference;          ///< paper or source
  std::vector<ParamInfo> params;  ///< in declared order
  std::vector<PresetInfo> presets;
  std::map<std::string, std::string, std::less<>> notes;  ///< free facts: "definition", "unit", "better", …

  const ParamInfo* find(std::string_view param) const;
  std::string note(std::string_view key) const;  ///< "" where absent
};

/// A name with parameters as texts: "duquant(block_size=64, permutation=zigzag)". A value without a key goes
/// to the first declared parameter.
struct Spec {
  std::string name;
  std::vector<std::pair<std::string, std::string>> params;  ///< key ("" = first parameter), text
};

/// Error on bad syntax or on a key that stands twice.
Spec parse_spec(std::string_view text);

/// All parameters with their values; SpecError on an unknown key (with the nearest one), a wrong type, a
/// value out of range, or a key that is given twice.
Params resolve_params(const Info& info, const Spec& spec, const Registries& registries);

/// The identity of a plug-in with its parameters: every parameter in declared order, "name(a=1,b=x)".
std::string canonical_text(const Info& info, const Params& params);

/// Only the parameters that differ from their defaults: for labels, not for identity.
std::string short_text(const Info& info, const Params& params);

[[noreturn]] void throw_unknown_name(std::string_view kind, std::string_view name,
                                     const std::vector<std::string>& known);
[[noreturn]] void throw_duplicate_name(std::string_view kind, std::string_view name);

/// Describes T once; each default is read from a default-constructed T.
template <class T>
class Schema {
 public:
  Schema(std::string name, std::string summary, std::string reference = {}) {
    info_.name = std::move(name);
    info_.summary = std::move(summary);
    info_.reference = std::move(reference);
  }
  /// A flag, an integer, a number or a free text; numbers within [low, high].
  template <class M>
  Schema& param(std::string name, M T::*field, std::string doc, double low = -kInfinity,
                double high = kInfinity) {
    ParamInfo p;
    p.name = std::move(name);
    p.doc = std::move(doc);
    p.fallback = to_value(T{}.*field);
    p.low = low;
    p.high = high;
    return add(std::move(p), field);
  }
  /// A text out of a closed list.
  Schema& choice(std::string name, std::string T::*field, std::string doc, std::vector<std::string> of) {
    ParamInfo p;
    p.name = std::move(name);
    p.doc = std::move(doc);
    p.fallback = T{}.*field;
    p.choices = std::move(of);
    return add(std::move(p), field);
  }
  /// For the parameter declared last: another name for one integer, allowed beside its range.
  Schema& also(std::string alias, std::int64_t value) {
    info_.params.back().aliases.emplace_back(std::move(alias), value);
    return *this;
  }
  /// For the parameter declared last: brings a text to its canonical form, or refuses it.
  Schema& normalize(Normalize function) {
    info_.params.back().normalize = std::move(function);
    return *this;
  }
  /// For the parameter declared last: a list of texts in a study is one value, joined by `separator`.
  Schema& joins(std::string separator) {
    info_.params.back().list_separator = std::move(separator);
    return *this;
  }
  /// `key=word` stands for `values` (texts of parameters that are declared before).
  Schema& preset(std::string key, std::string word, std::string doc,
                 std::vector<std::pair<std::string, std::string>> values) {
    info_.presets.push_back({std::move(key), std::move(word), std::move(doc), std::move(values)});
    return *this;
  }
  Schema& note(std::string key, std::string text) {
    info_.notes[std::move(key)] = std::move(text);
    return *this;
  }
  const Info& info() const { return info_; }
  std::unique_ptr<T> make(const Params& params) const {
    auto object = std::make_unique<T>();
    for (const auto& [name, value] : params) setters_.at(name)(*object, value);
    return object;
  }

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  template <class M>
  static Value to_value(const M& m) {
    if constexpr (std::is_same_v<M, bool>) {
      return m;
    } else if constexpr (std::is_integral_v<M>) {
      return static_cast<std::int64_t>(m);
    } else if constexpr (std::is_floating_point_v<M>) {
      return static_cast<double>(m);
    } else {
      return std::string(m);
    }
  }
  template <class M>
  Schema& add(ParamInfo p, M T::*field) {
    setters_[p.name] = [field](T& object, const Value& value) {
      std::visit(
          [&](const auto& v) {
            if constexpr (std::is_convertible_v<decltype(v), M>) object.*field = static_cast<M>(v);
          },
          value);
    };
    info_.params.push_back(std::move(p));
    return *this;
  }
  Info info_;
  std::map<std::string, std::function<void(T&, const Value&)>, std::less<>> setters_;
};

/// The plug-ins of one kind. A value that is passed around, never a global.
template <class Base>
class Registry {
 public:
  /// `kind` is the word for messages: "method", "metric", …
  explicit Registry(std::string kind) : kind_(std::move(kind)) {}

  /// Error on a name (or alias) that exists.
  template <class T>
  void add(Schema<T> schema) {
    static_assert(std::is_base_of_v<Base, T>);
    const std::string name = schema.info().name;
    Info info = schema.info();
    Factory factory = [s = std::move(schema)](const Params& p) -> std::unique_ptr<Base> { return s.make(p); };
    if (contains(name)) throw_duplicate_name(kind_, name);
    entries_.emplace(name, Entry{std::move(info), std::move(factory)});
  }
  /// A second name; canonical texts always use the first.
  void alias(std::string other, std::string name) {
    if (contains(other)) throw_duplicate_name(kind_, other);
    aliases_.emplace(std::move(other), std::move(name));
  }
  const std::string& kind() const { return kind_; }
  std::vector<std::string> names() const {  ///< sorted, without aliases
    std::vector<std::string> out;
    for (const auto& [name, entry] : entries_) out.push_back(name);
    return out;
  }
  bool contains(std::string_view name) const { return entries_.contains(name) || aliases_.contains(name); }
  /// SpecError with the nearest name where it does not exist.
  const Info& info(std::string_view name) const { return find(name).info; }
  Params resolve(const Spec& spec, const Registries& all) const {
    return resolve_params(find(spec.name).info, spec, all);
  }
  std::string canonical(const Spec& spec, const Registries& all) const {
    const Info& i = info(spec.name);
    return canonical_text(i, resolve_params(i, spec, all));
  }
  std::string canonical(std::string_view text, const Registries& all) const {
    return canonical(parse_spec(text), all);
  }
  std::unique_ptr<Base> make(const Spec& spec, const Registries& all) const {
    const Entry& entry = find(spec.name);
    return entry.make(resolve_params(entry.info, spec, all));
  }
  std::unique_ptr<Base> make(std::string_view text, const Registries& all) const {
    return make(parse_spec(text), all);
  }

 private:
  using Factory = std::function<std::unique_ptr<Base>(const Params&)>;
  struct Entry {
    Info info;
    Factory make;
  };
  const Entry& find(std::string_view name) const {
    const auto other = aliases_.find(name);
    const auto it = entries_.find(other == aliases_.end() ? name : std::string_view(other->second));
    if (it == entries_.end()) throw_unknown_name(kind_, name, names());
    return it->second;
  }
  std::string kind_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::string, std::less<>> aliases_;
};

}  // namespace olab

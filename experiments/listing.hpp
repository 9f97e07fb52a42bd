// What there is to use: methods, metrics, formats, charts, architectures, studies, profiles; as text, JSON or
// Markdown.
#pragma once

#include <string>
#include <vector>

#include "core/registries.hpp"

namespace olab {

enum class ListFormat { text, json, markdown };

/// Kinds for `list` and `show`: methods, metrics, permutations, formats, readers, charts, architectures,
/// profiles, studies.
std::vector<std::string> list_kinds();

/// All entries of a kind ("datasets" means readers and profiles). Error on an unknown kind, with the nearest.
std::string list_entries(const std::string& kind, const Registries& r, ListFormat format);

/// Everything about one entry: summary, source, notes, parameters with type, range and default. `kind` may be
/// empty: the name is looked for in all kinds. Error where it is unknown or stands in several kinds.
std::string show_entry(const std::string& kind, const std::string& name, const Registries& r,
                       ListFormat format);

/// True where some kind has an entry of this name.
bool is_entry(const std::string& name, const Registries& r);

}  // namespace olab

// JSON as the tree of values that configuration is read from.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/config.hpp"

namespace olab {

/// Parses one JSON text, strictly. Every value knows its place: "config.json: rope_scaling.factor", with
/// `source` in front. Texts are quoted scalars; numbers keep their digits. Error, with the byte, on what is
/// no JSON (comments, NaN, two values, a NUL), on a key that stands twice in one object, on values nested
/// more than 32 deep and on more than a million of them.
ConfigNode parse_json(std::string_view text, const std::string& source);

/// Reads and parses a file. Error where it cannot be read or is larger than 64 MiB, which no configuration
/// is.
ConfigNode load_json(const std::filesystem::path& file, std::string_view what);

/// The entry of a map, or nullptr where it is missing or null.
const ConfigNode* find_value(const ConfigNode& map, std::string_view key);

}  // namespace olab

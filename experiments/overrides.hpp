// Command-line overrides of a study, in Hydra's grammar.
#pragma once

#include <span>
#include <string>

#include "core/config.hpp"

namespace olab {

/// Applies overrides to a study's tree, in order:
///   key=value    sets a key (the study's schema refuses keys that it does not know)
///   +key=value   adds a key; Error where it exists
///   ++key=value  sets or adds
///   ~key         deletes a key; Error where it does not exist
///   ~key=value   deletes it if it has this value
/// Keys are paths with dots; an entry of a list is named by its position or by its name:
/// `methods.duquant.alpha`. Values: a text, `a,b,c` (a list, that is an axis), `[a, b]` and `{a: b}` in
/// YAML's flow form, `range(1,10,2)` (end excluded), `choice(a,b)`, `null`. Quotes protect commas. Error
/// "override '…': …" on anything else.
void apply_overrides(ConfigNode& study, std::span<const std::string> overrides);

}  // namespace olab

// Files that appear whole or not at all.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>

namespace olab {

/// Lets `write` fill a file beside `file` under a temporary name and then gives it the name `file`, replacing
/// what stood there. Error where it cannot be written; nothing is left behind then.
void write_atomically(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write);

}  // namespace olab

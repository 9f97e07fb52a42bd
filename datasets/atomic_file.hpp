// Files and folders that appear whole or not at all.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>

namespace olab {

/// Lets `write` fill a file beside `file` under a temporary name and then gives it the name `file`, replacing
/// what stood there. Error where it cannot be written; nothing is left behind then.
void write_atomically(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write);

/// Error where something stands at `folder` that is not an empty folder.
void require_no_content(const std::filesystem::path& folder);

/// Lets `write` fill a folder beside `folder` under a temporary name, which it is called with, and then gives
/// it the name `folder`. Error where something stands there that is not an empty folder, and where it cannot
/// be written; no part of it is left behind then.
void write_folder_atomically(const std::filesystem::path& folder,
                             const std::function<void(const std::filesystem::path&)>& write);

}  // namespace olab

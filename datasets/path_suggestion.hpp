// What a missing path may have been meant to be.
#pragma once

#include <filesystem>
#include <string>

namespace olab {

/// "; did you mean 'folder/name'?", the nearest name in the folder of `path`, or "; check the path" where
/// none is near: the tail of a message about a path that does not exist.
std::string path_suggestion(const std::filesystem::path& path);

}  // namespace olab

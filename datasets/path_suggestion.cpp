#include "datasets/path_suggestion.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <vector>

#include "core/text.hpp"

namespace olab {
namespace fs = std::filesystem;

std::string path_suggestion(const fs::path& path) {
  // "folder/" has no last part, but is meant to have one.
  const fs::path wanted = path.has_filename() ? path : path.parent_path();
  const fs::path folder = wanted.has_parent_path() ? wanted.parent_path() : fs::path(".");
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  std::ranges::sort(names);
  const std::string near = nearest(wanted.filename().string(), names);
  if (near.empty()) return "; check the path";
  return fmt::format("; did you mean '{}'?", wanted.has_parent_path() ? (folder / near).string() : near);
}

}  // namespace olab

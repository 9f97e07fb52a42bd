// Methods, metrics, readers and charts from shared libraries built out of tree.
#pragma once

#include <filesystem>

#include "core/registries.hpp"

namespace olab {

/// Loads `file` and lets it register itself. Error where the file is missing or no plug-in, or where it was
/// built for another version, standard library or Eigen. The library stays loaded until the process ends.
void load_plugin(const std::filesystem::path& file, Registries& registries);

/// What this program was built with; a plug-in must carry the same text.
const char* abi_tag();

}  // namespace olab

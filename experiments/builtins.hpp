// The registries with everything that ships.
#pragma once

#include <filesystem>
#include <vector>

#include "core/registries.hpp"

namespace olab {

/// Everything built in, and the plug-ins of these files.
Registries make_registries(const std::vector<std::filesystem::path>& plugins = {});

}  // namespace olab

// A stored run in words.
#pragma once

#include <string>
#include <vector>

#include "results/store.hpp"

namespace olab {

/// Everything that is stored of a run, as text.
std::string describe_run(const RunRecord& run, const std::vector<std::string>& series);

}  // namespace olab

// Which sizes divide a width: the remedy in every message about blocks and groups.
#pragma once

#include <string>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// All divisors of n >= 1 that are at least 2, rising.
std::vector<Index> divisors(Index n);

/// "2, 4, 8", or "none".
std::string join_sizes(const std::vector<Index>& sizes);

}  // namespace olab

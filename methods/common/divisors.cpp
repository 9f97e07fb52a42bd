#include "methods/common/divisors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace olab {

std::vector<Index> divisors(Index n) {
  std::vector<Index> out;
  for (Index d = 1; d * d <= n; ++d) {
    if (n % d != 0) continue;
    if (d >= 2) out.push_back(d);
    if (n / d != d && n / d >= 2) out.push_back(n / d);
  }
  std::ranges::sort(out);
  return out;
}

std::string join_sizes(const std::vector<Index>& sizes) {
  return sizes.empty() ? "none" : fmt::format("{}", fmt::join(sizes, ", "));
}

}  // namespace olab

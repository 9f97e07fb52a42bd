#include "methods/common/permutation.hpp"

#include <algorithm>
#include <numeric>

#include "core/text.hpp"

namespace olab {

PermutationStrategy::~PermutationStrategy() = default;

std::vector<Index> descending(const ConstVectorRef& values) {
  std::vector<Index> order(static_cast<std::size_t>(values.size()));
  std::iota(order.begin(), order.end(), Index{0});
  std::ranges::stable_sort(order, [&](Index a, Index b) { return values[a] > values[b]; });
  return order;
}

std::string normalize_permutation(std::string_view text, const Registries& registries) {
  if (trim(text) == "none") return "none";
  const Spec spec = parse_spec(text);
  if (!registries.permutations.contains(spec.name)) {
    std::vector<std::string> known = registries.permutations.names();
    known.insert(known.begin(), "none");
    throw_unknown_name(registries.permutations.kind(), spec.name, known);
  }
  return registries.permutations.canonical(spec, registries);
}

}  // namespace olab

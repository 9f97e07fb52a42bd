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

std::vector<Index> deal_back_and_forth(const ConstVectorRef& values, Index block_size) {
  const std::vector<Index> sorted = descending(values);
  const Index blocks = values.size() / block_size;
  std::vector<Index> out(sorted.size());
  for (Index rank = 0; rank < values.size(); ++rank) {
    const Index round = rank / blocks;
    const Index position = rank % blocks;
    const Index block = round % 2 == 0 ? position : blocks - 1 - position;
    out[static_cast<std::size_t>(block * block_size + round)] = sorted[static_cast<std::size_t>(rank)];
  }
  return out;
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

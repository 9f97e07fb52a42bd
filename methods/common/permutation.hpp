// Strategies that order channels before a block rotation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"
#include "core/random.hpp"
#include "core/registries.hpp"
#include "core/stop.hpp"

namespace olab {

/// Finds an order of channels: position j of the result takes channel order[j].
class PermutationStrategy {
 public:
  PermutationStrategy() = default;
  PermutationStrategy(const PermutationStrategy&) = delete;
  PermutationStrategy& operator=(const PermutationStrategy&) = delete;
  virtual ~PermutationStrategy();

  /// x: tokens × channels, as transformed so far; `block_size` divides channels.
  virtual std::vector<Index> order(const ConstMatrixRef& x, Index block_size, RandomStream random,
                                   const StopFlag* stop) const = 0;
};

/// Channels by value, largest first; equal values keep their order.
std::vector<Index> descending(const ConstVectorRef& values);

/// Channels by value, largest first, dealt to the K blocks back and forth: 0 … K-1, K-1 … 0, 0 …. (The
/// released DuQuant code then sorts each block descending, which dealing from a sorted list has done
/// already.) `block_size` divides the number of values.
std::vector<Index> deal_back_and_forth(const ConstVectorRef& values, Index block_size);

/// "none", or the canonical text of a registered strategy; SpecError with the nearest name otherwise.
std::string normalize_permutation(std::string_view text, const Registries& registries);

}  // namespace olab

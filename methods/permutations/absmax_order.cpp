// Channels by magnitude: the first block gets all the large ones. The counter-example to zigzag.
#include "core/registries.hpp"
#include "methods/common/permutation.hpp"

namespace olab {
namespace {

struct AbsMax final : PermutationStrategy {
  std::vector<Index> order(const ConstMatrixRef& x, Index /*block_size*/, RandomStream /*random*/,
                           const StopFlag* /*stop*/) const override {
    return descending(channel_absmax(x));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(absmax_order) {
  using namespace olab;
  r.permutations.add(Schema<AbsMax>("absmax", "Sorts channels by max|x|, largest first"));
}

// DuQuant's zigzag (Lin et al. 2024, arXiv:2406.01721, Eq. (4)): every block gets its share of large
// channels.
#include "core/registries.hpp"
#include "methods/common/permutation.hpp"

namespace olab {
namespace {

struct Zigzag final : PermutationStrategy {
  std::vector<Index> order(const ConstMatrixRef& x, Index block_size, RandomStream /*random*/,
                           const StopFlag* /*stop*/) const override {
    return deal_back_and_forth(channel_absmax(x), block_size);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(zigzag) {
  using namespace olab;
  r.permutations.add(Schema<Zigzag>("zigzag", "Deals channels, largest first, to the blocks back and forth",
                                    "Lin et al. 2024, arXiv:2406.01721, Eq. (4)"));
}

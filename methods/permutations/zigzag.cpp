// DuQuant's zigzag (Lin et al. 2024, arXiv:2406.01721, Eq. (4)): every block gets its share of large
// channels.
#include "core/registries.hpp"
#include "methods/common/permutation.hpp"

namespace olab {
namespace {

/// Channels, sorted by max|x| descending, are dealt to the K blocks back and forth: 0 … K-1, K-1 … 0, 0 ….
/// The released code then sorts each block descending, which dealing from a sorted list has done already.
struct Zigzag final : PermutationStrategy {
  std::vector<Index> order(const ConstMatrixRef& x, Index block_size, RandomStream /*random*/,
                           const StopFlag* /*stop*/) const override {
    const std::vector<Index> sorted = descending(channel_absmax(x));
    const Index blocks = x.cols() / block_size;
    std::vector<Index> out(sorted.size());
    for (Index rank = 0; rank < x.cols(); ++rank) {
      const Index round = rank / blocks;
      const Index position = rank % blocks;
      const Index block = round % 2 == 0 ? position : blocks - 1 - position;
      out[static_cast<std::size_t>(block * block_size + round)] = sorted[static_cast<std::size_t>(rank)];
    }
    return out;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(zigzag) {
  using namespace olab;
  r.permutations.add(Schema<Zigzag>("zigzag", "Deals channels, largest first, to the blocks back and forth",
                                    "Lin et al. 2024, arXiv:2406.01721, Eq. (4)"));
}

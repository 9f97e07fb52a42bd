// A uniform random order. The "random" of the released DuQuant code differs: it swaps random pairs of
// channels.
#include "core/registries.hpp"
#include "methods/common/permutation.hpp"

namespace olab {
namespace {

struct Random final : PermutationStrategy {
  std::vector<Index> order(const ConstMatrixRef& x, Index /*block_size*/, RandomStream random,
                           const StopFlag* /*stop*/) const override {
    return random.permutation(x.cols());
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(random) {
  using namespace olab;
  r.permutations.add(Schema<Random>("random", "Uniform shuffle (Fisher-Yates)"));
}

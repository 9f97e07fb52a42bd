// The random order that permutations are compared with (Lin et al. 2024, arXiv:2406.01721, Table E16).
#include <string>

#include "core/registries.hpp"
#include "methods/common/permutation.hpp"

namespace olab {
namespace {

struct Random final : PermutationStrategy {
  std::string kind = "uniform";

  std::vector<Index> order(const ConstMatrixRef& x, Index /*block_size*/, RandomStream random,
                           const StopFlag* /*stop*/) const override {
    std::vector<Index> out = random.permutation(x.cols());
    return kind == "pairing" ? exchanges(out) : out;
  }

 private:
  /// The channels of the first half of `drawn` change places with those of the second; an odd one stays.
  static std::vector<Index> exchanges(const std::vector<Index>& drawn) {
    std::vector<Index> out = drawn;
    const std::size_t half = drawn.size() / 2;
    for (std::size_t k = 0; k < half; ++k) {
      out[static_cast<std::size_t>(drawn[k])] = drawn[half + k];
      out[static_cast<std::size_t>(drawn[half + k])] = drawn[k];
    }
    if (drawn.size() % 2 == 1) out[static_cast<std::size_t>(drawn.back())] = drawn.back();
    return out;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(random) {
  using namespace olab;
  r.permutations.add(
      Schema<Random>("random", "A random order", "Lin et al. 2024, arXiv:2406.01721, Table E16")
          .choice("kind", &Random::kind,
                  "uniform: any order (Fisher-Yates); pairing: channels change places in random pairs, the "
                  "baseline of the released code (commit 62c5844, quantizer.py: permutation_random)",
                  {"uniform", "pairing"}));
}

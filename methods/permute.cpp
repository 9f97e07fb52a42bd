// A permutation of channels alone: one step of a pipeline, or an ablation.
#include "core/registries.hpp"
#include "methods/common/block_size.hpp"
#include "methods/common/method.hpp"
#include "methods/common/permutation.hpp"
#include "methods/common/rotate_permute.hpp"

namespace olab {
namespace {

struct Permute final : Method {
  std::string strategy = "zigzag";
  Index block = 128;

  Index block_size(Index channels) const override { return resolve_block(block, channels); }

  void check(Index channels, const Registries& /*registries*/) const override {
    check_block_size(channels, block_size(channels), "permute");
  }

  Chain calibrate(const Calibration& calibration) const override {
    check(calibration.x.cols(), calibration.registries);
    Chain chain;
    if (strategy == "none") return chain;
    chain.add(find_permutation(calibration.x, strategy, block_size(calibration.x.cols()), calibration,
                               calibration.number_of("permutation")));
    return chain;
  }

  void steps(Index channels, const Registries& /*registries*/,
             std::vector<std::string>& path) const override {
    if (strategy == "none") return;
    path.push_back(permutation_step(strategy, block_size(channels), next_permutation(path)));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(permute) {
  using namespace olab;
  r.methods.add(
      Schema<Permute>("permute", "Reorders channels before a block rotation",
                      "Lin et al. 2024, arXiv:2406.01721, Eq. (4)")
          .param("strategy", &Permute::strategy, "none or a permutation strategy: olab list permutations")
          .normalize(normalize_permutation)
          .param("block_size", &Permute::block, "channels per block that the strategy balances", 2, 65536)
          .also("auto", kAutoBlock));
}

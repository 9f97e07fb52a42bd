// DuQuant's greedy rotation alone: one step of a pipeline, or an ablation.
#include "core/registries.hpp"
#include "methods/common/block_size.hpp"
#include "methods/common/method.hpp"
#include "methods/common/rotate_permute.hpp"

namespace olab {
namespace {

struct Rotate final : Method, RotationSettings {
  Index block_size(Index channels) const override {
    return resolve_block(RotationSettings::block_size, channels);
  }

  void check(Index channels, const Registries& /*registries*/) const override {
    check_block_size(channels, block_size(channels), "rotate");
    check_search(at_width(*this, channels), "rotate");
    refuse_unused(*this, "rotate");
  }

  double calibration_work(Index tokens, Index channels, const Registries& /*registries*/) const override {
    return search_work(at_width(*this, channels), tokens, channels);
  }

  Chain calibrate(const Calibration& calibration) const override {
    check(calibration.x.cols(), calibration.registries);
    const RotationSettings search = at_width(*this, calibration.x.cols());
    Chain chain;
    chain.add(find_rotation(calibration.x, search, calibration, calibration.number_of("block_rotation")));
    return chain;
  }

  void steps(Index channels, const Registries& /*registries*/,
             std::vector<std::string>& path) const override {
    path.push_back(rotation_step(at_width(*this, channels), next_rotation(path)));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(rotate) {
  using namespace olab;
  Schema<Rotate> schema("rotate", "Greedy search for a block rotation that flattens outliers",
                        "Lin et al. 2024, arXiv:2406.01721, Eq. (2), Algorithm 1");
  schema
      .param("block_size", static_cast<Index Rotate::*>(&RotationSettings::block_size), "channels per block",
             2, 65536)
      .also("auto", kAutoBlock)
      .param("steps", static_cast<Index Rotate::*>(&RotationSettings::steps), "greedy steps that are tried",
             1, 1000000);
  r.methods.add(add_search_toggles(schema));
}

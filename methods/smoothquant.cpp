// SmoothQuant (Xiao et al. 2023, arXiv:2211.10438): moves activation outliers into the weights.
#include "core/registries.hpp"
#include "methods/common/method.hpp"
#include "methods/common/smoothing.hpp"

namespace olab {
namespace {

struct SmoothQuant final : Method, SmoothingSettings {
  Chain calibrate(const Calibration& calibration) const override {
    Chain chain;
    chain.add(find_smoothing(calibration, *this));
    return chain;
  }

  void steps(Index /*channels*/, const Registries& /*registries*/,
             std::vector<std::string>& path) const override {
    path.push_back(smoothing_step(*this));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(smoothquant) {
  using namespace olab;
  Schema<SmoothQuant> schema("smoothquant", "Divides channels by max|x|^alpha / max|w|^(1-alpha)",
                             "Xiao et al. 2023, arXiv:2211.10438");
  schema.param("alpha", static_cast<double SmoothQuant::*>(&SmoothingSettings::alpha),
               "how much of the outliers moves into the weights", 0.0, 1.0);
  add_smoothing_toggles(schema).note("without_weights", "every max|w| counts as 1");
  r.methods.add(std::move(schema));
  r.methods.alias("smooth", "smoothquant");
}

// Share of the values that the quantizer clipped.
#include <limits>

#include "metrics/common/metric.hpp"

namespace olab {
namespace {

struct ClippedFraction final : Metric {
  std::vector<Stage> stages() const override { return {Stage::quantized, Stage::weight_quantized}; }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const auto count = static_cast<double>(observation.x().size());
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    sink.value("clipped_fraction",
               observation.clipped() < 0 ? nothing : static_cast<double>(observation.clipped()) / count);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(clipped_fraction) {
  using namespace olab;
  r.metrics.add(Schema<ClippedFraction>("clipped_fraction", "Share of values beyond the ends of the grid", "")
                    .note("definition",
                          "values that lay beyond the ends of the quantizer's grid and were clipped / all "
                          "values; NaN where unknown")
                    .note("unit", "fraction")
                    .note("better", "none"));
}

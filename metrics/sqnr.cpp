// Signal-to-quantization-noise ratio.
#include <cmath>
#include <limits>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct SignalToNoise final : Metric {
  std::vector<Stage> stages() const override { return comparison_stages(); }
  bool errors_suffice() const override { return true; }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ErrorSums& e = observation.errors();
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    sink.value("sqnr", e.count == 0 ? nothing : -10 * std::log10(relative_error(e.error, e.signal)));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(sqnr) {
  using namespace olab;
  r.metrics.add(
      Schema<SignalToNoise>("sqnr", "Signal-to-quantization-noise ratio", "")
          .note("definition", "−10 log10 NMSE = 10 log10(‖A‖²_F / ‖A − Â‖²_F); infinite at zero error")
          .note("unit", "dB")
          .note("better", "higher"));
}

// Mean squared error over all entries.
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct MeanSquaredError final : Metric {
  std::vector<Stage> stages() const override { return comparison_stages(); }
  bool errors_suffice() const override { return true; }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ErrorSums& e = observation.errors();
    sink.value("mse", e.error / static_cast<double>(e.count));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(mse) {
  using namespace olab;
  r.metrics.add(Schema<MeanSquaredError>("mse", "Mean squared error", "")
                    .note("definition", "mean over all entries of (a - â)²")
                    .note("unit", "value²")
                    .note("better", "lower"));
}

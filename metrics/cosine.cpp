// Cosine of the angle between two matrices, each flattened to one vector.
#include <algorithm>
#include <cmath>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct CosineSimilarity final : Metric {
  std::vector<Stage> stages() const override { return comparison_stages(); }
  bool errors_suffice() const override { return true; }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ErrorSums& e = observation.errors();
    const double norms = std::sqrt(e.signal) * std::sqrt(e.estimate);
    // Rounding may leave [-1, 1] by a digit; 0 / 0 stays NaN.
    sink.value("cosine", std::clamp(e.product / norms, -1.0, 1.0));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(cosine) {
  using namespace olab;
  r.metrics.add(Schema<CosineSimilarity>("cosine", "Cosine similarity of the flattened matrices", "")
                    .note("definition", "⟨A, Â⟩_F / (‖A‖_F ‖Â‖_F); NaN where either is zero")
                    .note("unit", "ratio")
                    .note("better", "higher"));
}

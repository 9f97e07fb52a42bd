// Squared error relative to the squared norm of what should have been.
#include <limits>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct NormalizedError final : Metric {
  std::vector<Stage> stages() const override { return comparison_stages(); }
  bool errors_suffice() const override { return true; }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ErrorSums& e = observation.errors();
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    sink.value("nmse", e.count == 0 ? nothing : relative_error(e.error, e.signal));
    sink.value("nmse.token_mean", e.row_relative / static_cast<double>(e.rows));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(nmse) {
  using namespace olab;
  r.metrics.add(
      Schema<NormalizedError>("nmse", "Squared error relative to the squared norm", "")
          .note("definition",
                "‖A − Â‖²_F / ‖A‖²_F; token_mean: mean over tokens (rows) of ‖a_t − â_t‖² / ‖a_t‖², which "
                "massive tokens do not dominate. 0 at zero error, even of a zero matrix")
          .note("unit", "ratio")
          .note("better", "lower")
          .note("values", "nmse nmse.token_mean"));
}

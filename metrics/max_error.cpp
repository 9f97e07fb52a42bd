// Largest absolute error.
#include <limits>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct MaxError final : Metric {
  std::vector<Stage> stages() const override { return comparison_stages(); }
  bool errors_suffice() const override { return true; }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ErrorSums& e = observation.errors();
    sink.value("max_error", e.count == 0 ? std::numeric_limits<double>::quiet_NaN() : e.max_error);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(max_error) {
  using namespace olab;
  r.metrics.add(Schema<MaxError>("max_error", "Largest absolute error of an entry", "")
                    .note("definition", "max over all entries of |a − â|")
                    .note("unit", "value")
                    .note("better", "lower"));
}

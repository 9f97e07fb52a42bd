// Largest magnitude.
#include <limits>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct AbsMax final : Metric {
  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const Moments& m = observation.moments();
    sink.value("absmax", m.count == 0 ? std::numeric_limits<double>::quiet_NaN() : m.absmax);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(absmax) {
  using namespace olab;
  r.metrics.add(Schema<AbsMax>("absmax", "Largest magnitude of an entry", "")
                    .note("definition", "max over all entries of |x|")
                    .note("unit", "value")
                    .note("better", "lower"));
}

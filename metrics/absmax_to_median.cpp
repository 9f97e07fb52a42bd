// How far the largest entry stands out of the typical one.
#include <limits>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct AbsMaxToMedian final : Metric {
  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const double median = observation.abs_median();
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    sink.value("absmax_to_median", median == 0 ? nothing : observation.moments().absmax / median);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(absmax_to_median) {
  using namespace olab;
  r.metrics.add(Schema<AbsMaxToMedian>("absmax_to_median", "Largest magnitude over the median magnitude", "")
                    .note("definition", "max |x| / median |x| over all entries; NaN where the median is 0")
                    .note("unit", "ratio")
                    .note("better", "lower"));
}

// How far the largest channel stands out of the typical one.
#include <limits>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct ChannelAbsMaxRatio final : Metric {
  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const Vector& absmax = observation.channel_absmax();
    const double median = median_of_abs(absmax);
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    // The moments know of a NaN that a maximum overlooks.
    sink.value("channel_absmax_ratio", median == 0 ? nothing : observation.moments().absmax / median);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(channel_absmax_ratio) {
  using namespace olab;
  r.metrics.add(
      Schema<ChannelAbsMaxRatio>("channel_absmax_ratio",
                                 "Largest channel maximum over the median channel maximum", "")
          .note("definition", "max_j O_j / median_j O_j with O_j = max_t |x_tj|; NaN where the median is 0")
          .note("unit", "ratio")
          .note("better", "lower"));
}

// Excess kurtosis: a Gaussian has 0.
#include "metrics/common/kurtosis.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct ExcessKurtosis final : Metric {
  std::string axis = "all";

  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    sink.value("excess_kurtosis", pearson_kurtosis(observation, axis) - 3);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(excess_kurtosis) {
  using namespace olab;
  r.metrics.add(
      Schema<ExcessKurtosis>("excess_kurtosis", "Excess kurtosis (Gaussian = 0)")
          .choice("axis", &ExcessKurtosis::axis, kKurtosisAxisDoc, kurtosis_axes())
          .note("definition",
                "m4 / m2² − 3 with population moments m_k = mean of (x − mean)^k (Gaussian = 0, uniform = "
                "−1.2); over all entries unless an axis is named; NaN where all entries are equal")
          .note("unit", "ratio")
          .note("better", "lower"));
}

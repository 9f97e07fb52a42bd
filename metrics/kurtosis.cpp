// Pearson's kurtosis: a Gaussian has 3.
#include "metrics/common/kurtosis.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct Kurtosis final : Metric {
  std::string axis = "all";

  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    sink.value("kurtosis", pearson_kurtosis(observation, axis));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(kurtosis) {
  using namespace olab;
  r.metrics.add(
      Schema<Kurtosis>("kurtosis", "Pearson's kurtosis (Gaussian = 3)")
          .choice("axis", &Kurtosis::axis, kKurtosisAxisDoc, kurtosis_axes())
          .note("definition",
                "m4 / m2² with population moments m_k = mean of (x − mean)^k (Pearson, not excess: Gaussian "
                "= 3, uniform = 1.8); over all entries unless an axis is named; NaN where all entries are "
                "equal")
          .note("unit", "ratio")
          .note("better", "lower"));
}

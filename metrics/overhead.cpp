// The measured price of a transform at inference (DuQuant, arXiv:2406.01721, section 4.3, reports about 9 %
// on a GPU).
#include <limits>

#include "core/online_cost.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct OnlineOverhead final : Metric {
  Index tokens = OnlineCostSettings{}.tokens;
  Index bits = OnlineCostSettings{}.bits;
  Index repeats = 5;
  std::string precision = "fp32";

  std::vector<Stage> stages() const override { return {Stage::online}; }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const OnlinePart& part = observation.online();
    Spread overhead{kNaN, kNaN, kNaN};
    if (part.stages != nullptr && part.out_features > 0) {
      OnlineCostSettings settings;
      settings.tokens = tokens;
      settings.bits = static_cast<int>(bits);
      settings.precision = precision == "bf16" ? Precision::bf16 : Precision::fp32;
      settings.repeats = static_cast<int>(repeats);
      overhead =
          OnlineLayer(observation.x().cols(), part.out_features, settings).measure(*part.stages).overhead;
    }
    sink.value("overhead", overhead.median);
    sink.value("overhead.low", overhead.low);
    sink.value("overhead.high", overhead.high);
  }

 private:
  static constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(overhead) {
  using namespace olab;
  r.metrics.add(
      Schema<OnlineOverhead>("overhead", "Measured time of the transform against the quantized layer", "")
          .param("tokens", &OnlineOverhead::tokens, "tokens of one call", 1, 1e6)
          .param("bits", &OnlineOverhead::bits, "of activations and weights", 2, 8)
          .param("repeats", &OnlineOverhead::repeats, "rounds; the median counts", 1, 1000)
          .choice("precision", &OnlineOverhead::precision, "of dense rotations; bf16 needs a CPU that has it",
                  {"fp32", "bf16"})
          .note("definition",
                "(t(transform and quantize) − t(quantize)) / (t(quantize) + t(integer product)), CPU time of "
                "one "
                "thread, median over rounds; low and high are the smallest and the largest round")
          .note("unit", "ratio")
          .note("better", "lower")
          .note("timing", "true")
          .note("values", "overhead overhead.low overhead.high"));
}

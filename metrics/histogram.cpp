// The distribution of all entries; with counts on a log axis single outliers show.
#include <algorithm>
#include <cmath>

#include "core/text.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

// Odd, so that zero is the centre of a bin.
constexpr Index kBins = 121;

struct Histogram final : Metric {
  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ConstMatrixRef& x = observation.x();
    const double absmax = observation.moments().absmax;
    if (!std::isfinite(absmax)) return;
    // Divide first: bins / absmax may overflow where absmax is tiny. A zero matrix falls into the middle bin.
    const double range = absmax > 0 ? absmax : 1.0;
    std::vector<Index> counts(kBins);
    for (Index t = 0; t < x.rows(); ++t) {
      for (Index j = 0; j < x.cols(); ++j) {
        const double position = (static_cast<double>(x(t, j)) / range + 1.0) * (kBins / 2.0);
        ++counts[std::min(kBins - 1, static_cast<Index>(position))];
      }
    }
    Series out;
    out.name = "histogram";
    out.rows = 1;
    out.columns = kBins;
    for (const Index count : counts) out.values.push_back(static_cast<double>(count));
    out.facts = {{"tokens", std::to_string(x.rows())},
                 {"channels", std::to_string(x.cols())},
                 {"absmax", to_text(absmax)}};
    sink.series(std::move(out));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(histogram) {
  using namespace olab;
  r.metrics.add(
      Schema<Histogram>("histogram", "Counts of the entries by value")
          .note("definition",
                "counts of x in 121 equal bins over [−absmax, absmax]; bin i = 0 … 120 is centred at (i − "
                "60) · 2 absmax / 121; an edge belongs to the bin above it, absmax to the last")
          .note("unit", "count")
          .note("better", "none")
          .note("series", "true"));
}

// The picture of every outlier paper: |X| over tokens and channels, small enough for any layer.
#include <algorithm>
#include <cmath>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

constexpr Index kMaxTokens = 64;
constexpr Index kMaxChannels = 96;

struct Surface final : Metric {
  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ConstMatrixRef& x = observation.x();
    if (!std::isfinite(observation.moments().absmax)) return;
    Series out;
    out.name = "surface";
    out.rows = std::min(kMaxTokens, x.rows());
    out.columns = std::min(kMaxChannels, x.cols());
    out.values.assign(static_cast<std::size_t>(out.rows * out.columns), 0.0);
    // Cell c covers the channels from c·C/columns up to the next cell's first, rows likewise: no cell is
    // empty, and each entry belongs to one, so the largest entry of all survives.
    std::vector<Index> first(static_cast<std::size_t>(out.columns) + 1);
    for (Index c = 0; c <= out.columns && out.columns > 0; ++c) first[c] = c * x.cols() / out.columns;
    for (Index row = 0; row < out.rows; ++row) {
      for (Index t = row * x.rows() / out.rows; t < (row + 1) * x.rows() / out.rows; ++t) {
        for (Index c = 0; c < out.columns; ++c) {
          double& cell = out.values[row * out.columns + c];
          for (Index j = first[c]; j < first[c + 1]; ++j)
            cell = std::max(cell, std::abs(static_cast<double>(x(t, j))));
        }
      }
    }
    out.facts = {{"tokens", std::to_string(x.rows())},
                 {"channels", std::to_string(x.cols())},
                 {"pooled_tokens", std::to_string(out.rows)},
                 {"pooled_channels", std::to_string(out.columns)}};
    sink.series(std::move(out));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(surface) {
  using namespace olab;
  r.metrics.add(
      Schema<Surface>("surface", "|X| over tokens and channels, for surface charts")
          .note("definition",
                "max of |x| over the tokens and channels of a cell; at most 64 × 96 cells (weights: rows × "
                "input channels)")
          .note("unit", "value")
          .note("better", "none")
          .note("series", "true"));
}

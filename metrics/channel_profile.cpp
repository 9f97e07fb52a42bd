// Channel maxima sorted from the largest down: how many channels stick out, and how far.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

constexpr Index kMaxPoints = 512;
constexpr Index kExactRanks = 64;

// Ranks (from 0) to store: all of a narrow layer; else the first ones exactly and then log-spaced ones to the
// last.
std::vector<Index> sampled_ranks(Index channels) {
  std::vector<Index> out(static_cast<std::size_t>(std::min(channels, kMaxPoints)));
  std::iota(out.begin(), out.end(), Index{0});
  if (channels <= kMaxPoints) return out;
  out.resize(kExactRanks);
  const double ratio = static_cast<double>(channels) / static_cast<double>(kExactRanks);
  constexpr Index kSpaced = kMaxPoints - kExactRanks;
  for (Index i = 1; i <= kSpaced; ++i) {
    const double position = static_cast<double>(kExactRanks) *
                            std::pow(ratio, static_cast<double>(i) / static_cast<double>(kSpaced));
    const Index rank = i == kSpaced ? channels - 1 : static_cast<Index>(std::nearbyint(position)) - 1;
    if (rank > out.back()) out.push_back(rank);
  }
  return out;
}

struct ChannelProfile final : Metric {
  std::vector<Stage> stages() const override { return input_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const ConstMatrixRef& x = observation.x();
    if (!std::isfinite(observation.moments().absmax)) return;
    const Vector& absmax = observation.channel_absmax();
    std::vector<Index> order(static_cast<std::size_t>(x.cols()));
    std::iota(order.begin(), order.end(), Index{0});
    std::sort(order.begin(), order.end(),
              [&](Index a, Index b) { return absmax[a] != absmax[b] ? absmax[a] > absmax[b] : a < b; });
    const std::vector<Index> ranks = sampled_ranks(x.cols());
    Series out;
    out.name = "channel_profile";
    out.rows = 3;
    out.columns = static_cast<Index>(ranks.size());
    for (const Index rank : ranks) out.values.push_back(static_cast<double>(rank + 1));
    for (const Index rank : ranks) out.values.push_back(static_cast<double>(absmax[order[rank]]));
    for (const Index rank : ranks) out.values.push_back(observation.channel_abs_mean()[order[rank]]);
    out.facts = {{"tokens", std::to_string(x.rows())},
                 {"channels", std::to_string(x.cols())},
                 {"rows", "rank,absmax,absmean"}};
    sink.series(std::move(out));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(channel_profile) {
  using namespace olab;
  r.metrics.add(
      Schema<ChannelProfile>("channel_profile", "Channel maxima sorted from the largest down")
          .note("definition",
                "rows: rank (1 = largest), O_j = max_t |x_tj| of the channel at that rank, mean_t |x_tj| "
                "of the same channel; the first 64 ranks, then log-spaced ones, at most 512")
          .note("unit", "value")
          .note("better", "none")
          .note("series", "true"));
}

// What every block of channels holds: the picture behind block variance and l1 mass.
#include <algorithm>
#include <cmath>

#include "metrics/common/blocks.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

constexpr Index kMaxPoints = 512;

struct BlockProfile final : Metric {
  Index block_size = kMethodBlockSize;

  std::vector<Stage> stages() const override { return activation_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const Index size = resolve_block_size("block_profile", block_size, observation);
    if (!std::isfinite(observation.moments().absmax)) return;
    const Vector& absmax = observation.channel_absmax();
    const Index blocks = absmax.size() / size;
    std::vector<double> maxima(static_cast<std::size_t>(blocks));
    for (Index j = 0; j < blocks * size; ++j)
      maxima[j / size] = std::max(maxima[j / size], static_cast<double>(absmax[j]));

    Series out;
    out.name = "block_profile";
    out.rows = 3;
    out.columns = std::min(kMaxPoints, blocks);
    for (const std::vector<double>& row :
         {block_absmax_means(observation, size), maxima, block_l1_masses(observation, size)}) {
      for (Index c = 0; c < out.columns; ++c)
        out.values.push_back(*std::max_element(row.begin() + c * blocks / out.columns,
                                               row.begin() + (c + 1) * blocks / out.columns));
    }
    out.facts = {{"channels", std::to_string(absmax.size())},
                 {"block_size", std::to_string(size)},
                 {"blocks", std::to_string(blocks)},
                 {"rows", "absmax_mean,absmax_max,l1_mass"}};
    sink.series(std::move(out));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(block_profile) {
  using namespace olab;
  r.metrics.add(Schema<BlockProfile>("block_profile", "Maxima and l1 mass of every block of channels",
                                     "Lin et al. 2024, arXiv:2406.01721, Eq. (4); PeRQ, arXiv:2601.22347")
                    .param("block_size", &BlockProfile::block_size, kBlockSizeDoc, 1, kLargestBlock)
                    .also("method", kMethodBlockSize)
                    .note("definition",
                          "rows: mean over the block's channels of O_j = max_t |x_tj|; max of O_j; l1 mass "
                          "= mean_t Σ_(j in b) |x_tj|; one column a block, more than 512 blocks pooled by "
                          "max")
                    .note("unit", "value")
                    .note("better", "none")
                    .note("series", "true"));
}

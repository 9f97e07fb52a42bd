// DuQuant's block variance: how unevenly the large channels lie among the blocks.
#include "metrics/common/blocks.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct BlockVariance final : Metric {
  Index block_size = kMethodBlockSize;

  std::vector<Stage> stages() const override { return activation_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const Index size = resolve_block_size("block_variance", block_size, observation);
    const std::vector<double> means = block_absmax_means(observation, size);
    sink.value("block_variance", mean_and_variance(means).variance);
    // Variances over different numbers of blocks do not compare, so the number stands beside them.
    sink.value("block_variance.blocks", static_cast<double>(means.size()));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(block_variance) {
  using namespace olab;
  r.metrics.add(Schema<BlockVariance>("block_variance", "Variance among blocks of the mean channel maximum",
                                      "Lin et al. 2024, arXiv:2406.01721, Eq. (4)")
                    .param("block_size", &BlockVariance::block_size, kBlockSizeDoc, 1, kLargestBlock)
                    .also("method", kMethodBlockSize)
                    .note("definition",
                          "population variance over blocks b of M_b = mean over the channels j of b of O_j "
                          "= max_t |x_tj|; 0 where there is one block; blocks: number of blocks")
                    .note("unit", "value²")
                    .note("better", "lower")
                    .note("values", "block_variance block_variance.blocks"));
}

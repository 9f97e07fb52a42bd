// PeRQ's l1 mass of blocks: it bounds what a block Hadamard can leave as the largest entry.
#include <algorithm>
#include <limits>

#include "metrics/common/blocks.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

struct BlockL1Mass final : Metric {
  Index block_size = kMethodBlockSize;

  std::vector<Stage> stages() const override { return activation_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const Index size = resolve_block_size("block_l1_mass", block_size, observation);
    const std::vector<double> masses = block_l1_masses(observation, size);
    double largest = std::numeric_limits<double>::quiet_NaN();
    if (!masses.empty()) largest = *std::max_element(masses.begin(), masses.end());
    const double mean = mean_and_variance(masses).mean;
    sink.value("block_l1_mass.max", largest);
    sink.value("block_l1_mass.mean", mean);
    sink.value("block_l1_mass.max_over_mean", largest / mean);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(block_l1_mass) {
  using namespace olab;
  r.metrics.add(
      Schema<BlockL1Mass>("block_l1_mass", "l1 mass of the heaviest and the mean block",
                          "PeRQ, arXiv:2601.22347")
          .param("block_size", &BlockL1Mass::block_size, kBlockSizeDoc, 1, kLargestBlock)
          .also("method", kMethodBlockSize)
          .note("definition",
                "mass of block b = mean over tokens t of Σ_(j in b) |x_tj|; max and mean over blocks, and "
                "max_over_mean = max / mean (1: all blocks carry the same mass; NaN for a zero matrix)")
          .note("unit", "value (max_over_mean: ratio)")
          // A rotation raises max and mean while it lowers the outliers; only the ratio has a good direction.
          .note("better", "none")
          .note("values", "block_l1_mass.max block_l1_mass.mean block_l1_mass.max_over_mean"));
}

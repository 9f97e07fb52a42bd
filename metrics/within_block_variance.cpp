// The plain variance inside blocks of channels, not to be taken for DuQuant's variance among blocks.
#include "metrics/common/blocks.hpp"
#include "metrics/common/stages.hpp"

namespace olab {
namespace {

// Population variance of all entries of each block (tokens × size), in two passes.
std::vector<double> block_variances(const ConstMatrixRef& x, Index size) {
  const Index blocks = x.cols() / size;
  const double n = static_cast<double>(x.rows()) * static_cast<double>(size);
  const auto sum_over_blocks = [&](const auto& term) {
    std::vector<double> out(static_cast<std::size_t>(blocks));
    for (Index t = 0; t < x.rows(); ++t) {
      for (Index b = 0; b < blocks; ++b) {
        double sum = 0;
        for (Index j = b * size; j < (b + 1) * size; ++j) sum += term(b, static_cast<double>(x(t, j)));
        out[b] += sum;
      }
    }
    for (double& v : out) v /= n;
    return out;
  };
  const std::vector<double> means = sum_over_blocks([](Index, double v) { return v; });
  return sum_over_blocks([&](Index b, double v) { return (v - means[b]) * (v - means[b]); });
}

struct WithinBlockVariance final : Metric {
  Index block_size = kMethodBlockSize;

  std::vector<Stage> stages() const override { return activation_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    const Index size = resolve_block_size("within_block_variance", block_size, observation);
    sink.value("within_block_variance", mean_and_variance(block_variances(observation.x(), size)).mean);
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(within_block_variance) {
  using namespace olab;
  r.metrics.add(
      Schema<WithinBlockVariance>("within_block_variance", "Mean over blocks of the variance inside a block")
          .param("block_size", &WithinBlockVariance::block_size, kBlockSizeDoc, 1, kLargestBlock)
          .also("method", kMethodBlockSize)
          .note("definition",
                "mean over blocks b of the population variance of all entries x_tj of the block (all "
                "tokens, j in b) around the block's own mean")
          .note("unit", "value²")
          .note("better", "none"));
}

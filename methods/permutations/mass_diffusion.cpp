// PeRQ's MassDiff (arXiv:2601.22347, Algorithm 1): blocks of equal l1 mass, because a block Hadamard leaves
// at most max_j ‖x_j‖_1 / sqrt(b) (its Proposition 3.3).
#include <functional>
#include <queue>
#include <utility>

#include "core/registries.hpp"
#include "methods/common/permutation.hpp"

namespace olab {
namespace {

/// Σ_t |x_tc| of every channel c.
Eigen::RowVectorXd masses(const ConstMatrixRef& x) {
  Eigen::RowVectorXd out = Eigen::RowVectorXd::Zero(x.cols());
  for (Index t = 0; t < x.rows(); ++t) out += x.row(t).cwiseAbs().cast<double>();
  return out;
}

struct MassDiffusion final : PermutationStrategy {
  /// The mean over tokens is what the paper takes; the sum orders and balances alike. A block's mass is the
  /// sum of its channels', so "smallest after adding" is "smallest so far".
  std::vector<Index> order(const ConstMatrixRef& x, Index block_size, RandomStream /*random*/,
                           const StopFlag* /*stop*/) const override {
    const Eigen::RowVectorXd mass = masses(x);
    const Vector score = mass.cast<float>();
    const Index blocks = x.cols() / block_size;
    std::vector<Index> out(static_cast<std::size_t>(x.cols()));
    std::vector<Index> filled(static_cast<std::size_t>(blocks), 0);
    // The block of the smallest mass that is not full; of equal ones the first. The first K channels seed the
    // K blocks in their order, as empty blocks weigh nothing; a channel of zeros must not join a seed's block
    // before every block has one.
    using Open = std::pair<std::pair<bool, double>, Index>;  // (seeded, mass), block
    std::priority_queue<Open, std::vector<Open>, std::greater<>> open;
    for (Index k = 0; k < blocks; ++k) open.push({{false, 0.0}, k});
    for (const Index channel : descending(score)) {
      const auto [weight, block] = open.top();
      open.pop();
      Index& count = filled[static_cast<std::size_t>(block)];
      out[static_cast<std::size_t>(block * block_size + count)] = channel;
      if (++count < block_size) open.push({{true, weight.second + mass[channel]}, block});
    }
    return out;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(mass_diffusion) {
  using namespace olab;
  r.permutations.add(Schema<MassDiffusion>(
      "mass_diffusion", "Gives each channel, largest mean |x| first, to the lightest block",
      "arXiv:2601.22347 (PeRQ), Algorithm 1"));
}

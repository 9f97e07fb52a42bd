// Simulated annealing on DuQuant's Eq. (4) (Lin et al. 2024, arXiv:2406.01721, Table E16): the variance over
// blocks of the mean of their channels' max|x|. The paper does not say how it anneals; this is the plain way.
#include <cmath>
#include <string>
#include <utility>

#include "core/registries.hpp"
#include "methods/common/permutation.hpp"

namespace olab {
namespace {

/// An order of channels with the sums of their maxima by block. Its energy is Σ_k (S_k − mean S)², which is
/// Eq. (4) times K b².
class BlockSums {
 public:
  BlockSums(const Vector& maxima, std::vector<Index> order, Index block_size)
      : maxima_(maxima), order_(std::move(order)), block_size_(block_size) {
    sums_.setZero(maxima.size() / block_size);
    for (Index j = 0; j < maxima.size(); ++j) sums_[j / block_size] += maximum_at(j);
  }

  double energy() const { return (sums_.array() - sums_.mean()).square().sum(); }
  const std::vector<Index>& order() const { return order_; }

  /// What exchanging positions i and j would add to the energy; 0 within a block.
  double change(Index i, Index j) const {
    const Index a = i / block_size_;
    const Index b = j / block_size_;
    if (a == b) return 0;
    const double moved = maximum_at(j) - maximum_at(i);
    return 2 * moved * (sums_[a] - sums_[b] + moved);
  }
  void exchange(Index i, Index j) {
    const double moved = maximum_at(j) - maximum_at(i);
    sums_[i / block_size_] += moved;
    sums_[j / block_size_] -= moved;
    std::swap(order_[static_cast<std::size_t>(i)], order_[static_cast<std::size_t>(j)]);
  }

 private:
  double maximum_at(Index position) const {
    return static_cast<double>(maxima_[order_[static_cast<std::size_t>(position)]]);
  }
  const Vector& maxima_;
  std::vector<Index> order_;
  Index block_size_;
  Eigen::VectorXd sums_;
};

struct SimulatedAnnealing final : PermutationStrategy {
  Index steps = 200000;
  double temperature = 0.1;
  double cooling = 1e-9;
  std::string start = "zigzag";

  /// Exchanges of two random positions are accepted as by Metropolis et al. 1953. What comes out is never
  /// worse than the start.
  std::vector<Index> order(const ConstMatrixRef& x, Index block_size, RandomStream random,
                           const StopFlag* stop) const override {
    constexpr Index kStepsPerCheck = 4096;
    const Vector maxima = channel_absmax(x);
    std::vector<Index> first = start == "random" ? random.fork("start").permutation(x.cols())
                                                 : deal_back_and_forth(maxima, block_size);
    BlockSums state(maxima, first, block_size);
    const double at_start = state.energy();
    if (!(at_start > 0)) return first;
    const double factor = std::pow(cooling, 1.0 / static_cast<double>(steps));
    double heat = temperature * at_start;
    for (Index step = 0; step < steps; ++step) {
      if (stop != nullptr && step % kStepsPerCheck == 0) stop->check();
      const Index i = random.below(x.cols());
      const Index j = random.below(x.cols());
      const double change = state.change(i, j);
      if (change <= 0 || random.uniform() < std::exp(-change / heat)) state.exchange(i, j);
      heat *= factor;
    }
    // Sums that were kept up to date are off by some roundings; the comparison is of fresh ones.
    const double at_end = BlockSums(maxima, state.order(), block_size).energy();
    return at_end < at_start ? state.order() : first;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(simulated_annealing) {
  using namespace olab;
  r.permutations.add(
      Schema<SimulatedAnnealing>(
          "simulated_annealing",
          "Exchanges channels at random, less and less to the worse, until the blocks' "
          "means of max|x| are equal (Eq. 4)",
          "Lin et al. 2024, arXiv:2406.01721, Table E16")
          .param("steps", &SimulatedAnnealing::steps, "exchanges that are tried", 1, 1e9)
          .param("temperature", &SimulatedAnnealing::temperature,
                 "first temperature, as a share of the variance at the start; 0: only what helps", 0.0, 1e6)
          .param("cooling", &SimulatedAnnealing::cooling,
                 "last temperature, as a share of the first; it falls by one factor a step", 1e-300, 1.0)
          .choice("start", &SimulatedAnnealing::start, "the order to start from", {"zigzag", "random"}));
}

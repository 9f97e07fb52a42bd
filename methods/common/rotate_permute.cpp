#include "methods/common/rotate_permute.hpp"

#include <fmt/format.h>

#include <utility>

#include "methods/common/permutation.hpp"

namespace olab {

SearchedRotation find_rotation(const ConstMatrixRef& x, const RotationSettings& search,
                               const Calibration& calibration, Index number) {
  const RandomStream random = calibration.random.fork(fmt::format("rotation {}", number));
  return search_block_rotation(x, search, random_block_steps(search, random), calibration.stop);
}

std::vector<Index> find_permutation(const ConstMatrixRef& x, const std::string& strategy, Index block_size,
                                    const Calibration& calibration, Index number) {
  check_block_size(x.cols(), block_size, "permutation");
  return calibration.registries.permutations.make(strategy, calibration.registries)
      ->order(x, block_size, calibration.random.fork(fmt::format("permutation {}", number)),
              calibration.stop);
}

Chain rotate_and_permute(Matrix x, const RotatePermute& recipe, const Calibration& calibration,
                         const StepSource& steps, RotatePermuteTrace* trace) {
  const Index first_rotation = calibration.number_of("block_rotation");
  const Index first_permutation = calibration.number_of("permutation");
  Chain chain;
  const auto add = [&](const std::shared_ptr<const Transform>& transform) {
    chain.add(transform);
    transform->apply_to_activations(x);
  };
  const auto rotate = [&](Index number) {
    SearchedRotation found =
        steps ? search_block_rotation(
                    x, recipe.search, [&](Index block) { return steps(number, block); }, calibration.stop)
              : find_rotation(x, recipe.search, calibration, first_rotation + number);
    add(found.transform);
    if (trace != nullptr) trace->rotations.push_back(std::move(found));
  };

  if (recipe.first_rotation) rotate(0);
  for (Index k = 0; k < recipe.permutation_times; ++k) {
    if (recipe.permutation != "none") {
      std::vector<Index> order = find_permutation(x, recipe.permutation, recipe.search.block_size,
                                                  calibration, first_permutation + k);
      if (trace != nullptr) trace->permutations.push_back(order);
      add(make_permutation(std::move(order)));
    }
    if (recipe.second_rotation) rotate(k + 1);
  }
  return chain;
}

}  // namespace olab

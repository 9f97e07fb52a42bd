#include "methods/common/rotate_permute.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "methods/common/permutation.hpp"

namespace olab {
namespace {

constexpr const char* kRotation = "rotation ";
constexpr const char* kPermutation = "permutation ";

Index next_of(const std::vector<std::string>& path, std::string_view kind) {
  return 1 + std::ranges::count_if(path, [&](const std::string& step) { return step.starts_with(kind); });
}

SearchedRotation search_numbered(const ConstMatrixRef& x, const RotationSettings& search,
                                 const Calibration& calibration, Index number) {
  const RandomStream random = calibration.random.fork(fmt::format("rotation {}", number));
  return search_block_rotation(x, search, random_block_steps(search, random), calibration.stop);
}

std::vector<Index> order_numbered(const ConstMatrixRef& x, const std::string& strategy, Index block_size,
                                  const Calibration& calibration, Index number) {
  check_block_size(x.cols(), block_size, "permutation");
  return calibration.registries.permutations.make(strategy, calibration.registries)
      ->order(x, block_size, calibration.random.fork(fmt::format("permutation {}", number)),
              calibration.stop);
}

}  // namespace

std::string rotation_step(const RotationSettings& search, Index number) {
  return fmt::format("{}{}({})", kRotation, number, describe(search));
}

std::string permutation_step(const std::string& strategy, Index block_size, Index number) {
  return fmt::format("{}{}({}, block_size={})", kPermutation, number, strategy, block_size);
}

Index next_rotation(const std::vector<std::string>& path) {
  return next_of(path, kRotation);
}

Index next_permutation(const std::vector<std::string>& path) {
  return next_of(path, kPermutation);
}

std::shared_ptr<const Transform> find_rotation(const ConstMatrixRef& x, const RotationSettings& search,
                                               const Calibration& calibration, Index number) {
  return calibration.find_step(rotation_step(search, number),
                               [&] { return search_numbered(x, search, calibration, number).transform; });
}

std::shared_ptr<const Transform> find_permutation(const ConstMatrixRef& x, const std::string& strategy,
                                                  Index block_size, const Calibration& calibration,
                                                  Index number) {
  return calibration.find_step(permutation_step(strategy, block_size, number), [&] {
    return make_permutation(order_numbered(x, strategy, block_size, calibration, number));
  });
}

Chain rotate_and_permute(Matrix x, const RotatePermute& recipe, const Calibration& calibration,
                         const StepSource& steps, RotatePermuteTrace* trace) {
  const Index first_rotation = calibration.number_of("block_rotation");
  const Index first_permutation = calibration.number_of("permutation");
  const Index block = recipe.search.block_size;
  Calibration at = calibration;
  Chain chain;
  const auto add = [&](const std::shared_ptr<const Transform>& transform, const std::string& step) {
    chain.add(transform);
    transform->apply_to_activations(x);
    at.path.push_back(step);
  };
  // What a caller wants to see, or steers, is not taken from other runs.
  const bool watched = trace != nullptr || steps;
  const auto rotate = [&](Index k) {
    const Index number = first_rotation + k;
    const std::string step = rotation_step(recipe.search, number);
    if (!watched) {
      add(find_rotation(x, recipe.search, at, number), step);
      return;
    }
    SearchedRotation found =
        steps ? search_block_rotation(
                    x, recipe.search, [&](Index b) { return steps(k, b); }, calibration.stop)
              : search_numbered(x, recipe.search, calibration, number);
    add(found.transform, step);
    if (trace != nullptr) trace->rotations.push_back(std::move(found));
  };

  if (recipe.first_rotation) rotate(0);
  for (Index k = 0; k < recipe.permutation_times; ++k) {
    if (recipe.permutation != "none") {
      const Index number = first_permutation + k;
      const std::string step = permutation_step(recipe.permutation, block, number);
      if (watched) {
        std::vector<Index> order = order_numbered(x, recipe.permutation, block, calibration, number);
        if (trace != nullptr) trace->permutations.push_back(order);
        add(make_permutation(order), step);
      } else {
        add(find_permutation(x, recipe.permutation, block, at, number), step);
      }
    }
    if (recipe.second_rotation) rotate(k + 1);
  }
  return chain;
}

void rotate_and_permute_steps(const RotatePermute& recipe, std::vector<std::string>& path) {
  const Index first_rotation = next_rotation(path);
  const Index first_permutation = next_permutation(path);
  const auto rotate = [&](Index k) { path.push_back(rotation_step(recipe.search, first_rotation + k)); };
  if (recipe.first_rotation) rotate(0);
  for (Index k = 0; k < recipe.permutation_times; ++k) {
    if (recipe.permutation != "none")
      path.push_back(permutation_step(recipe.permutation, recipe.search.block_size, first_permutation + k));
    if (recipe.second_rotation) rotate(k + 1);
  }
}

}  // namespace olab

// Rotate, permute, rotate: the part of DuQuant behind the smoothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "methods/common/method.hpp"
#include "methods/common/rotation_search.hpp"

namespace olab {

/// rotation? · (permutation? · rotation?)^permutation_times.
struct RotatePermute {
  RotationSettings search;
  bool first_rotation = true;
  std::string permutation = "zigzag";  ///< strategy, or "none"
  Index permutation_times = 1;
  bool second_rotation = true;  ///< the rotation behind each permutation
};

/// The steps of the rotations of one chain: `number` 0 is the rotation in front, k the one behind the k-th
/// permutation, whichever of them are left out.
using StepSource = std::function<StepRotation(Index number, Index block)>;

/// What was found on the way, in the order of the chain.
struct RotatePermuteTrace {
  std::vector<SearchedRotation> rotations;
  std::vector<std::vector<Index>> permutations;
};

/// The steps of Method::steps that a rotation and a permutation are. `number` counts the ones of a chain
/// from 1.
std::string rotation_step(const RotationSettings& search, Index number);
std::string permutation_step(const std::string& strategy, Index block_size, Index number);
/// 1 + how many rotations (permutations) stand in `path` already.
Index next_rotation(const std::vector<std::string>& path);
Index next_permutation(const std::vector<std::string>& path);

/// One rotation of `x` (calibration.x as transformed so far), with the random stream "rotation <number>".
std::shared_ptr<const Transform> find_rotation(const ConstMatrixRef& x, const RotationSettings& search,
                                               const Calibration& calibration, Index number);

/// x's channels ordered by a strategy (not "none"), with the random stream "permutation <number>".
std::shared_ptr<const Transform> find_permutation(const ConstMatrixRef& x, const std::string& strategy,
                                                  Index block_size, const Calibration& calibration,
                                                  Index number);

/// Finds the chain on x (tokens × channels, as transformed so far; transformed further here). Given `steps`,
/// the rotations use them; else each draws from its own stream, numbered on from `calibration.before`.
Chain rotate_and_permute(Matrix x, const RotatePermute& recipe, const Calibration& calibration,
                         const StepSource& steps = {}, RotatePermuteTrace* trace = nullptr);

/// Appends the steps of rotate_and_permute.
void rotate_and_permute_steps(const RotatePermute& recipe, std::vector<std::string>& path);

}  // namespace olab

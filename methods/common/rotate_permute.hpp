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

/// One rotation of `x`, with the random stream "rotation <number>".
SearchedRotation find_rotation(const ConstMatrixRef& x, const RotationSettings& search,
                               const Calibration& calibration, Index number);

/// The order of x's channels by a strategy (not "none"), with the random stream "permutation <number>".
std::vector<Index> find_permutation(const ConstMatrixRef& x, const std::string& strategy, Index block_size,
                                    const Calibration& calibration, Index number);

/// Finds the chain on x (tokens × channels, as transformed so far; transformed further here). Given `steps`,
/// the rotations use them; else each draws from its own stream, numbered on from `calibration.before`.
Chain rotate_and_permute(Matrix x, const RotatePermute& recipe, const Calibration& calibration,
                         const StepSource& steps = {}, RotatePermuteTrace* trace = nullptr);

}  // namespace olab

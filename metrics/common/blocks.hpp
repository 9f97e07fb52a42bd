// Blocks of neighbouring channels, as block rotations see them.
#pragma once

#include <span>
#include <string_view>

#include "metrics/common/metric.hpp"

namespace olab {

/// Stands for "take the block size of the run's method".
inline constexpr Index kMethodBlockSize = 0;

/// Doc text of the parameter block_size, the same for every block metric.
inline constexpr const char* kBlockSizeDoc =
    "channels per block; method: the block of the run's method, or, where it has none that divides the "
    "width, the largest divisor of the width not above 128";
inline constexpr double kLargestBlock = 1 << 24;

/// Channels per block for this observation. `requested` = kMethodBlockSize: the observation's own block size,
/// or, where that is 0 or does not divide the width, the largest divisor of the width not above 128. Error,
/// naming `metric` and the divisors, where an explicit size does not divide the width.
Index resolve_block_size(std::string_view metric, Index requested, const Observation& observation);

/// Mean of v and of (v - mean)² (population); NaN for no values.
struct MeanAndVariance {
  double mean = 0;
  double variance = 0;
};
MeanAndVariance mean_and_variance(std::span<const double> v);

/// M_b = mean over the channels of block b of O_j = max_t |x_tj| (DuQuant, Eq. 4); `size` divides the width.
std::vector<double> block_absmax_means(const Observation& observation, Index size);

/// mean_t Σ_{j in b} |x_tj| of every block b: the block's l1 mass (PeRQ); `size` divides the width.
std::vector<double> block_l1_masses(const Observation& observation, Index size);

}  // namespace olab

// The lists of stages that most metrics share.
#pragma once

#include <vector>

#include "metrics/common/metric.hpp"

namespace olab {

/// Where there is a reference to compare with: quantized, output, weight_quantized.
std::vector<Stage> comparison_stages();
/// The activations: original, transformed, quantized.
std::vector<Stage> activation_stages();
/// The activations and the same three stages of the weights.
std::vector<Stage> input_stages();

}  // namespace olab

// Kurtosis over all entries or along an axis, for the two metrics that differ only in the 3 they subtract.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "metrics/common/metric.hpp"

namespace olab {

/// The choices of the parameter `axis`, and its doc text.
std::vector<std::string> kurtosis_axes();
inline constexpr const char* kKurtosisAxisDoc =
    "all: one kurtosis of all entries; token: mean over tokens (rows) of the kurtosis of a token; channel: "
    "mean over channels (columns); constant rows and columns are left out";

/// Pearson's kurtosis m4 / m2² with population moments along `axis`; NaN where there is none.
double pearson_kurtosis(const Observation& observation, std::string_view axis);

}  // namespace olab

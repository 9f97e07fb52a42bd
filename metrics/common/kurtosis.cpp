#include "metrics/common/kurtosis.hpp"

namespace olab {

std::vector<std::string> kurtosis_axes() {
  return {"all", "token", "channel"};
}

double pearson_kurtosis(const Observation& observation, std::string_view axis) {
  if (axis == "token") return mean_row_kurtosis(observation.x());
  if (axis == "channel") return mean_column_kurtosis(observation.x());
  return observation.moments().kurtosis();
}

}  // namespace olab

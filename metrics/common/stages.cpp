#include "metrics/common/stages.hpp"

namespace olab {

std::vector<Stage> comparison_stages() {
  return {Stage::quantized, Stage::output, Stage::weight_quantized};
}

std::vector<Stage> activation_stages() {
  return {Stage::original, Stage::transformed, Stage::quantized};
}

std::vector<Stage> input_stages() {
  return {Stage::original,        Stage::transformed,        Stage::quantized,
          Stage::weight_original, Stage::weight_transformed, Stage::weight_quantized};
}

}  // namespace olab

// `olab cost`: what transforms cost at inference.
#pragma once

#include <string>
#include <vector>

#include "core/online_cost.hpp"
#include "core/registries.hpp"
#include "core/stop.hpp"
#include "methods/common/transform.hpp"
#include "results/table.hpp"

namespace olab {

/// A quantized layer, or several that read one input (q, k and v): out_features are those of all of them.
struct CostShape {
  std::string name;
  Index in_features = 0;
  Index out_features = 0;
};

/// "4096:4096,4096:22016"; Error on anything else. Empty: none.
std::vector<CostShape> parse_shapes(const std::string& text);

struct CostOptions {
  std::vector<std::string> methods;  ///< specifications
  std::string like = "llama2-7b";    ///< profile or recording whose first block gives the shapes
  std::vector<CostShape> shapes;     ///< where there are any, instead
  OnlineCostSettings measure;
  const StopFlag* stop = nullptr;
};

/// One method on one layer.
struct MeasuredCost {
  std::string method;
  CostShape shape;
  Cost analytic;  ///< per token
  OnlineCost seconds;
  double precision_error = 0;  ///< NMSE of the transform at the precision asked for against stored precision
};

struct CostReport {
  CostOptions options;
  std::string machine;              ///< CPU and level
  std::vector<MeasuredCost> costs;  ///< method by method, shapes in their order
};

/// Calibrates each method on generated Gaussian tokens (what a transform costs depends on its shape alone)
/// and measures it on each shape. Error on an unknown method, one that does not fit a width, or a transform
/// without an online form.
CostReport measure_costs(const CostOptions& options, const Registries& r);

/// Per method a row: overhead of each layer and of all together in percent of the round-to-nearest layer,
/// medians with the smallest and the largest round; multiply-adds and bytes a token. JSON and CSV: every
/// measured time.
std::string render_costs(const CostReport& report, Format format);

}  // namespace olab

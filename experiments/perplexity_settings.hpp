// How a language model is calibrated, quantized and evaluated: the parameters of `evaluate: perplexity`.
#pragma once

#include <string>

#include "core/matrix.hpp"
#include "core/registry.hpp"

namespace olab {

struct PerplexitySettings {
  static constexpr Index kAuto = 0;
  static constexpr Index kAll = 0;

  Index context = kAuto;  ///< tokens of a window
  Index stride = kAuto;   ///< from one window to the next
  Index windows = kAll;   ///< evaluated at most
  Index calibration_windows = 1;
  bool average_windows = false;
  std::string calibrate_inputs = "quantized";
  bool share_inputs = true;
  bool fold_smoothing = true;
  std::string attention_hadamard = "query-key";
  std::string document_separator;
};

/// Name, parameters and defaults, as those of a plug-in.
const Info& perplexity_info();

/// The settings that resolved parameters stand for.
PerplexitySettings make_perplexity(const Params& params);

}  // namespace olab

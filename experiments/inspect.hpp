// What a recording holds: `olab inspect`.
#pragma once

#include <string>
#include <vector>

#include "core/stop.hpp"
#include "datasets/recording.hpp"

namespace olab {

struct InspectOptions {
  std::vector<std::string> layers{"*"};  ///< globs
  Index tokens = 0;                      ///< 0: all
  int top = 5;                           ///< how many channels and tokens
  bool json = false;
  const StopFlag* stop = nullptr;
};

/// Per layer: shapes, dtypes, absmax, median, kurtosis, the top channels and tokens, and whether it holds
/// normal or massive outliers (PAPER section 3; the thresholds are printed). One layer is in memory at a
/// time. Error where no layer fits.
std::string inspect_recording(const Recording& recording, const std::string& source,
                              const InspectOptions& options);

}  // namespace olab

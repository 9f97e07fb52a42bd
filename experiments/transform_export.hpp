// Writes the transform of a stored run to a file, for other programs and for the method from_file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "core/matrix.hpp"
#include "core/registries.hpp"
#include "core/stop.hpp"
#include "results/store.hpp"

namespace olab {

struct ExportOptions {
  bool force = false;  ///< replace a file that exists
  const StopFlag* stop = nullptr;
};

struct TransformExport {
  std::filesystem::path file;
  Index channels = 0;
  std::vector<std::string> kinds;  ///< "channel_scale", "block_rotation", …: the stages in their order
  Index block_size = 0;            ///< the method's; 0: it has none
  bool has_weights = false;
  Index tokens = 0;              ///< that the error was measured on
  double equivalence_error = 0;  ///< InputWork::equivalence_error of the file as it was read back
};

/// Calibrates the run's method again on the run's data and writes the transform, in the format of
/// methods/common/transform_file.hpp with these texts beside: "method" (canonical), "recording", "layer",
/// "seed", "calibration_tokens", "calibrate_on", "key", "program_version". Error where the run did not finish
/// or cannot be planned again, where the file exists (without `force`), is no .safetensors or cannot be
/// written.
TransformExport export_transform(const Store& store, const RunRecord& run, const std::filesystem::path& file,
                                 const Registries& r, const ExportOptions& options);

/// What the command prints.
std::string describe_export(const TransformExport& done, const RunRecord& run);

}  // namespace olab

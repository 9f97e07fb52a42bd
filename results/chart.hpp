// Charts: plug-ins that draw stored runs.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/registries.hpp"
#include "results/store.hpp"

namespace olab {

struct ChartInput {
  std::string study;                ///< name, for titles
  std::span<const RunRecord> runs;  ///< of one study, in its order
  const Store& store;               ///< for series
  std::filesystem::path folder;     ///< where scripts and pictures go; exists
  std::string prefix;               ///< of every file's stem ("01-surface")
};

/// A figure whose script is written.
struct Figure {
  std::filesystem::path script;  ///< stem.gp; stem.svg and stem.png lie beside it once rendered
  std::string title;
  std::string caption;  ///< data and definition in a sentence or two
};

class Chart {
 public:
  Chart() = default;
  Chart(const Chart&) = delete;
  Chart& operator=(const Chart&) = delete;
  virtual ~Chart();

  /// Metrics (canonical or short texts) whose values or series it needs in the runs: the plan adds them.
  virtual std::vector<std::string> metrics() const = 0;
  /// Writes one script for each figure. Error where the runs hold nothing to draw, with what was looked for.
  virtual std::vector<Figure> draw(const ChartInput& input) const = 0;
};

/// A figure with what gnuplot made of it.
struct DrawnFigure {
  Figure figure;
  bool ok = false;
  std::string message;
};

/// Draws one chart ("line(x=block_size,y=output.nmse)") and renders it. A missing or failing gnuplot is
/// reported in the result, never thrown.
std::vector<DrawnFigure> draw_chart(const Chart& chart, const ChartInput& input);

}  // namespace olab

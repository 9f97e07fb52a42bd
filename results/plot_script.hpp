// A gnuplot script with its data inside, written through gnuplot-iostream.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace olab {

/// Writes a script that draws one figure as SVG (default) or PNG (`gnuplot -e "format='png'" file.gp`).
/// Fonts, sizes and the colour-blind-safe palette are set once here for all charts.
class PlotScript {
 public:
  /// Starts `folder/stem.gp`, which will write stem.svg or stem.png beside itself. Size in points (half a
  /// page: 640 × 420).
  PlotScript(const std::filesystem::path& folder, const std::string& stem, int width, int height);
  PlotScript(const PlotScript&) = delete;
  PlotScript& operator=(const PlotScript&) = delete;
  ~PlotScript();

  PlotScript& command(const std::string& line);
  /// `$name << EOD` with one row a line; NaN is written as such.
  PlotScript& data(const std::string& name, std::span<const std::vector<double>> rows);
  /// The same with a quoted text in the first column of each row.
  PlotScript& labelled_data(const std::string& name, std::span<const std::string> labels,
                            std::span<const std::vector<double>> rows);
  /// `text` as a gnuplot string literal; enhanced-text characters are escaped.
  static std::string quote(const std::string& text);
  const std::filesystem::path& file() const;
  /// Flushes and closes the file; called by the destructor too.
  void close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct Rendered {
  bool ok = false;
  std::string message;  ///< what gnuplot said, or what to install where it is missing
};
/// Runs gnuplot on a script for both formats and checks its exit code and that the files are there.
Rendered render_script(const std::filesystem::path& script);

}  // namespace olab

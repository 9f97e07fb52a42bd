// A gnuplot script with its data inside, written through gnuplot-iostream.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace olab {

/// Writes a script that draws one figure as SVG (default) or PNG (`gnuplot -e "format='png'" file.gp`).
/// Fonts, sizes and the colour-blind-safe palette are set once here for all charts: line types 1 … 8 are the
/// colours of Okabe and Ito with their own dashes and points, `palette` is viridis.
class PlotScript {
 public:
  /// Starts `folder/stem.gp`, which will write stem.svg or stem.png beside itself. Size in points (half a
  /// page: 640 × 420). Error where the file cannot be written.
  PlotScript(const std::filesystem::path& folder, const std::string& stem, int width, int height);
  PlotScript(const PlotScript&) = delete;
  PlotScript& operator=(const PlotScript&) = delete;
  ~PlotScript();

  PlotScript& command(const std::string& line);
  /// `$name << EOD` with one row a line; NaN is written as such, infinities (which cannot be drawn) as NaN.
  PlotScript& data(const std::string& name, std::span<const std::vector<double>> rows);
  /// The same with a quoted text in the first column of each row.
  PlotScript& labelled_data(const std::string& name, std::span<const std::string> labels,
                            std::span<const std::vector<double>> rows);
  /// A bold line and smaller lines under it at the upper left, wrapped to the width; the plot begins below
  /// them. Call it once, before the first plot.
  PlotScript& title(const std::string& heading, const std::string& detail);
  /// What `title` would take of the height of a figure of this width, in points.
  static double title_height(const std::string& heading, const std::string& detail, int width);
  /// The part of the height (0 … 1) that `title` left free.
  double top() const;
  /// `text` as a gnuplot string literal; enhanced-text characters are escaped. Control characters become
  /// blanks, bytes that are not UTF-8 question marks, line ends stay.
  static std::string quote(const std::string& text);
  const std::filesystem::path& file() const;
  /// Flushes and closes the file; called by the destructor too. Error where the disk is full.
  void close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Colours of the charts as "#rrggbb".
namespace plot_colour {
inline constexpr const char* kInk = "#24292f";    ///< titles, what was there before
inline constexpr const char* kMuted = "#57606a";  ///< axes
inline constexpr const char* kGrid = "#d0d7de";
inline constexpr const char* kPaper = "#ffffff";
inline constexpr const char* kEmpty = "#eaeef2";    ///< a cell without a number
inline constexpr const char* kBefore = "#c4ccd4";   ///< areas and broad lines of the original
inline constexpr const char* kOnLight = "#14181d";  ///< text on a light cell, whatever the page's theme
inline constexpr const char* kOnDark = "#fdfdfd";
/// Okabe and Ito, those that stand out on white first.
inline constexpr std::size_t kCategories = 8;
const char* category(std::size_t i);  ///< i modulo kCategories
}  // namespace plot_colour

struct Rendered {
  bool ok = false;
  std::string message;   ///< what gnuplot said, or what to install where it is missing
  bool missing = false;  ///< gnuplot was not found
};
/// Runs gnuplot on a script for both formats and checks its exit code and that the files are there. Pictures
/// of an earlier run are removed first, so none survives that does not belong to the script.
Rendered render_script(const std::filesystem::path& script);

}  // namespace olab

// |X| as a mountain over tokens and channels, one panel a stage: the picture in which massive outliers were
// first shown (Xiao et al. 2023, Fig. 4; Lin et al. 2024, Fig. 1), without the memory it used to take.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "results/chart.hpp"
#include "results/plot_script.hpp"

namespace olab {
namespace {

/// A series pooled once more, for what a panel can show. The maximum of a cell of maxima is the maximum of
/// all that it covers, so no outlier is lost.
std::vector<std::vector<double>> pool_max(const Series& series, Index rows, Index columns) {
  const Index r = std::min(rows, series.rows);
  const Index c = std::min(columns, series.columns);
  std::vector<std::vector<double>> grid(static_cast<std::size_t>(r),
                                        std::vector<double>(static_cast<std::size_t>(c), 0.0));
  for (Index i = 0; i < series.rows; ++i) {
    auto& row = grid[static_cast<std::size_t>(i * r / series.rows)];
    for (Index j = 0; j < series.columns; ++j) {
      double& cell = row[static_cast<std::size_t>(j * c / series.columns)];
      cell = std::max(cell, std::abs(series.values[static_cast<std::size_t>(i * series.columns + j)]));
    }
  }
  return grid;
}

/// A step of 1, 2, 2.5 or 5 times a power of ten, with about four of them in `range`.
double tick_step(double range) {
  const double raw = range / 4;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0})
    if (raw <= factor * power * 1.05) return factor * power;
  return 10 * power;
}

struct Panel {
  std::string stage;
  std::vector<std::vector<double>> grid;
  double tokens = 0;
  double channels = 0;
  double max = 0;
};

class Surface final : public Chart {
 public:
  std::string layer = "*";
  std::string method = "*";
  std::string stages = "original,transformed";
  std::int64_t tokens = 32;
  std::int64_t channels = 64;
  bool shared_z = true;
  std::int64_t limit = 6;

  std::vector<std::string> metrics() const override { return {"surface"}; }

  std::vector<Figure> draw(const ChartInput& input) const override {
    const auto wanted = parse_stages(stages);
    const auto subjects = find_subjects(input, layer, method, wanted, "surface");
    const auto count = std::min(subjects.size(), static_cast<std::size_t>(limit));
    std::vector<Figure> figures;
    std::set<std::string> used;
    for (std::size_t i = 0; i < count; ++i) {
      figures.push_back(draw_subject(input, subjects[i], wanted, used));
      figures.back().caption +=
          left_out(count, subjects.size(), "surfaces", "narrow 'layer' or 'method', or raise 'limit',");
    }
    return figures;
  }

 private:
  Figure draw_subject(const ChartInput& input, const Subject& subject, const std::vector<std::string>& wanted,
                      std::set<std::string>& used) const {
    std::vector<Panel> panels;
    for (const std::string& stage : wanted) panels.push_back(load(input, subject, stage));
    double max = 0;
    std::vector<double> cells;
    for (const Panel& panel : panels) {
      max = std::max(max, panel.max);
      for (const auto& row : panel.grid) cells.insert(cells.end(), row.begin(), row.end());
    }
    if (!(max > 0)) max = 1;
    // A single spike would leave all other colours the same: from a factor of 20 on colour is logarithmic.
    const auto at = [&](double quantile) {
      const auto nth =
          cells.begin() + static_cast<std::ptrdiff_t>(quantile * static_cast<double>(cells.size() - 1));
      std::nth_element(cells.begin(), nth, cells.end());
      return *nth;
    };
    const double low = at(0.05);
    const bool log_colour = low > 0 && max >= 20 * at(0.5);

    // The rows of a weight are output channels.
    const std::string symbol = fmt::format("|{}|", symbol_of(wanted));
    const std::string row_name = symbol == "|W|" ? "output" : "token";
    const RunRecord& run = *subject.run;
    const Panel& first = panels.front();
    Figure figure;
    const bool before_after = wanted == std::vector<std::string>{"original", "transformed"};
    figure.title =
        fmt::format("{} {} {}", symbol, before_after ? "before and after" : "under", method_label(run));
    const std::string pooled =
        fmt::format("{} {}s × {} channels, maxima over {} × {} cells", first.tokens, row_name, first.channels,
                    first.grid.size(), first.grid.front().size());
    figure.caption =
        fmt::format("Magnitude {} at {}, {}. {}{}{}", symbol, layer_title(run), pooled,
                    shared_z ? "One z axis for all panels." : "Every panel has its own z axis.",
                    log_colour ? " Height is linear, colour logarithmic." : "", seed_note(subject));

    const auto n = static_cast<int>(panels.size());
    const int width = n <= 2 ? 640 : 320 * n;
    PlotScript script(input.folder, figure_stem(input, {run.layer, method_label(run)}, used), width, 400);
    figure.script = script.file();
    for (std::size_t i = 0; i < panels.size(); ++i) script.data(fmt::format("stage{}", i), panels[i].grid);
    script.command("set multiplot");
    script.title(figure.title, fmt::format("{}\n{}", layer_title(run), pooled));
    script.command(fmt::format("set border 127 lc rgb '{}' lw 0.6", plot_colour::kMuted))
        .command("set xyplane at 0")
        .command("set view 60,36,0.95,1.3")
        .command("set lmargin 0; set rmargin 0; set tmargin 0; set bmargin 0")
        .command(fmt::format("set grid x y z vertical lc rgb '{}' lt 1 lw 0.5", plot_colour::kGrid))
        .command("set pm3d depthorder border lc rgb '#b0202020' lw 0.25")
        .command("set pm3d lighting primary 0.25 specular 0.0")
        .command("set xlabel 'channel' rotate parallel offset 0,-0.6 font ',10'")
        .command(fmt::format("set ylabel '{}' rotate parallel offset 0,-0.6 font ',10'", row_name))
        .command(fmt::format("set zlabel '{}' rotate offset 1.2,0 font ',10'", symbol))
        .command("set tics font ',9'")
        .command("set xtics offset -0.3,-0.4")
        .command("set ytics offset 0.5,-0.4")
        .command("unset key")
        .command("unset colorbox");
    const double low_colour = log_colour ? low : 0;
    const double bottom = log_colour ? 0.12 : 0.02;  // the colour bar lies below
    script.command(fmt::format("set cbrange [{}:{}]", low_colour, max));
    if (log_colour) script.command("set logscale cb");
    for (std::size_t i = 0; i < panels.size(); ++i) {
      const Panel& panel = panels[i];
      const double left = static_cast<double>(i) / n;
      const double z = shared_z || !(panel.max > 0) ? max : panel.max;
      const double x_step = panel.channels / static_cast<double>(panel.grid.front().size());
      const double y_step = panel.tokens / static_cast<double>(panel.grid.size());
      if (i == 1) script.command("unset label");
      script.command(fmt::format("set xrange [0:{}]", panel.channels))
          .command(fmt::format("set yrange [0:{}]", panel.tokens))
          .command(fmt::format("set zrange [0:{}]", z))
          .command(fmt::format("set xtics {}", tick_step(panel.channels)))
          .command(fmt::format("set ytics {}", tick_step(panel.tokens)))
          .command(fmt::format(
              "set label {} {} at screen {:.4f},{:.4f} center font ',11' textcolor rgb '{}'", i + 1,
              PlotScript::quote(fmt::format("{}: max {}", panel.stage, short_number(panel.max))),
              left + 0.5 / n, script.top() - 0.015, plot_colour::kInk))
          .command(fmt::format("set origin {:.4f},{:.4f}", left + 0.035 / n, bottom))
          .command(fmt::format("set size {:.4f},{:.4f}", 1.0 / n, script.top() - bottom));
      if (i + 1 == panels.size() && log_colour)
        script.command("set colorbox horizontal user origin screen 0.36,0.095 size screen 0.28,0.022")
            .command("set cbtics font ',9' offset 0,0.4")
            .command(fmt::format("set cblabel 'colour: {}' font ',9' offset 0,0.7", symbol));
      script.command(fmt::format(
          "splot $stage{} matrix using (($1+0.5)*{}):(($2+0.5)*{}):3:($3>{}?$3:{}) with pm3d notitle", i,
          x_step, y_step, low_colour, low_colour));
    }
    script.command("unset multiplot");
    script.close();
    return figure;
  }

  Panel load(const ChartInput& input, const Subject& subject, const std::string& stage) const {
    const Series series = load_series(input, subject, stage, "surface", 1);
    Panel panel;
    panel.stage = stage;
    panel.grid = pool_max(series, tokens, channels);
    const double t = series_fact(series, "tokens");
    const double c = series_fact(series, "channels");
    panel.tokens = t > 0 ? t : static_cast<double>(series.rows);
    panel.channels = c > 0 ? c : static_cast<double>(series.columns);
    for (const auto& row : panel.grid)
      panel.max = std::max(panel.max, *std::max_element(row.begin(), row.end()));
    // pm3d draws quadrangles between points: a single row or column would have none.
    if (panel.grid.size() == 1) panel.grid.push_back(panel.grid.front());
    if (panel.grid.front().size() == 1)
      for (auto& row : panel.grid) row.push_back(row.front());
    return panel;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(surface) {
  using namespace olab;
  r.charts.add(
      Schema<Surface>("surface", "3-D surface of |X| over tokens and channels, one panel a stage",
                      "Xiao et al. 2023, arXiv:2211.10438, Fig. 4; Lin et al. 2024, arXiv:2406.01721, Fig. 1")
          .param("layer", &Surface::layer, "layers to draw (glob)")
          .param("method", &Surface::method, "methods to draw (glob over label, name and canonical text)")
          .param("stages", &Surface::stages, "stages, one panel each")
          .param("tokens", &Surface::tokens, "at most so many cells along the tokens", 2, 256)
          .param("channels", &Surface::channels, "at most so many cells along the channels", 2, 512)
          .param("shared_z", &Surface::shared_z, "one z axis for all panels")
          .param("limit", &Surface::limit, "figures at most", 1, 1000));
}

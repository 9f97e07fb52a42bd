// The channels' magnitudes, largest first: how far the outliers stand out, and how flat a method leaves them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "results/chart.hpp"
#include "results/plot_script.hpp"

namespace olab {
namespace {

/// Ranks 1, 2, … at first, then ever wider apart (1.5 %): a curve sorted downwards loses nothing by it that
/// could be seen, and 4096 channels become some 300 points.
std::vector<std::size_t> thinned(std::size_t count) {
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < count;
       i = std::max(i + 1, static_cast<std::size_t>(1.015 * static_cast<double>(i))))
    kept.push_back(i);
  if (!kept.empty() && kept.back() + 1 != count) kept.push_back(count - 1);
  return kept;
}

class ChannelProfile final : public Chart {
 public:
  std::string layer = "*";
  std::string method = "*";
  std::string stages = "original,transformed";
  std::string log = "xy";
  bool mean = false;
  std::int64_t limit = 6;
  std::int64_t lines = 8;

  std::vector<std::string> metrics() const override { return {"channel_profile"}; }

  std::vector<Figure> draw(const ChartInput& input) const override {
    const auto wanted = parse_stages(stages);
    const auto groups = by_layer(find_subjects(input, layer, method, wanted, "channel_profile"));
    const auto count = std::min(groups.size(), static_cast<std::size_t>(limit));
    std::vector<Figure> figures;
    std::set<std::string> used;
    for (std::size_t i = 0; i < count; ++i) {
      figures.push_back(draw_layer(input, groups[i], wanted, used));
      figures.back().caption += left_out(count, groups.size(), "layers", "narrow 'layer' or raise 'limit'");
    }
    return figures;
  }

 private:
  Figure draw_layer(const ChartInput& input, const std::vector<Subject>& subjects,
                    const std::vector<std::string>& wanted, std::set<std::string>& used) const {
    const RunRecord& run = *subjects.front().run;
    PlotScript script(input.folder, figure_stem(input, {run.layer}, used), 640, 420);
    const std::string symbol = symbol_of(wanted);
    std::vector<std::string> plots;
    std::vector<double> all;
    bool has_mean = false;
    double longest = 1;
    const auto add = [&](const Subject& subject, const std::string& stage, const std::string& name,
                         const std::string& style) {
      const Series series = load_series(input, subject, stage, "channel_profile", 2);
      const auto n = static_cast<std::size_t>(series.columns);
      const bool with_mean = mean && series.rows > 2;
      std::vector<std::vector<double>> rows;
      for (const std::size_t i : thinned(n)) {
        std::vector<double> row{series.values[i], series.values[n + i]};
        if (with_mean) row.push_back(series.values[2 * n + i]);
        longest = std::max(longest, row[0]);
        all.push_back(row[1]);
        rows.push_back(std::move(row));
      }
      const std::string block = fmt::format("line{}", plots.size());
      script.data(block, rows);
      plots.push_back(fmt::format("${} using 1:2 with lines {} title {}", block, style,
                                  PlotScript::quote(shorten(name, 64))));
      if (with_mean) {
        plots.push_back(fmt::format("${} using 1:3 with lines {} dt 3 notitle", block, style));
        has_mean = true;
      }
    };
    std::size_t shown = 0;
    for (const std::string& stage : wanted) {
      if (stage != "original") continue;
      // Before any method, so the same for all; broad and behind, as some methods change nothing.
      add(subjects.front(), stage, "original", fmt::format("lc rgb '{}' lw 6", plot_colour::kBefore));
    }
    std::size_t lines_in_all = 0;
    for (const Subject& subject : subjects) {
      for (const std::string& stage : wanted) {
        if (stage == "original") continue;
        if (++lines_in_all > static_cast<std::size_t>(lines)) continue;
        const bool plain = wanted == std::vector<std::string>{"original", "transformed"};
        const std::string& label = method_label(*subject.run);
        add(subject, stage, plain ? label : fmt::format("{}, {}", label, stage),
            fmt::format("lt {}", ++shown));
      }
    }
    Figure figure;
    figure.script = script.file();
    figure.title = "Channel magnitudes, largest first";
    figure.caption =
        fmt::format("max over t of |{0}_tj| for every channel j, sorted downwards, at {1}.{2}{3}{4}", symbol,
                    layer_title(run), has_mean ? " Dotted: the mean over t, in the same order." : "",
                    seed_note(subjects.front()),
                    left_out(shown, lines_in_all, "lines", "narrow 'method' or raise 'lines'"));
    // A dead channel has no place on a logarithmic axis, gnuplot leaves it out; without any other, the axis
    // is linear.
    const bool log_x = log == "xy" && longest > 1;
    const bool log_y = log != "none" && std::any_of(all.begin(), all.end(), [](double v) { return v > 0; });
    script.title(figure.title, fmt::format("{}\nmaximum over {} of |{}| in each channel{}", layer_title(run),
                                           symbol == "W" ? "outputs" : "tokens", symbol,
                                           has_mean ? "; dotted: the mean" : ""));
    script.command("set xlabel 'rank of the channel'").command(fmt::format("set ylabel '|{}|'", symbol));
    if (log_x) script.command("set logscale x").command("set format x '%.0f'");
    if (log_y) script.command("set logscale y").command(fmt::format("set format y '{}'", log_format(all)));
    script.command(fmt::format("set grid xtics ytics lc rgb '{}' lt 1 lw 0.6", plot_colour::kGrid));
    script.command(fmt::format("set xrange [1:{:.9g}]", std::max(longest, 2.0)));
    script.command(fmt::format("plot {}", fmt::join(plots, ", ")));
    script.close();
    return figure;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(channel_profile) {
  using namespace olab;
  r.charts.add(
      Schema<ChannelProfile>("channel_profile", "Sorted channel magnitudes, before and after",
                             "after plot_flatness of FlatQuant, arXiv:2410.09426")
          .param("layer", &ChannelProfile::layer, "layers to draw (glob), one figure each")
          .param("method", &ChannelProfile::method, "methods to draw (glob over label, name, canonical text)")
          .param("stages", &ChannelProfile::stages, "stages; 'original' is drawn once")
          .choice("log", &ChannelProfile::log, "logarithmic axes", {"xy", "y", "none"})
          .param("mean", &ChannelProfile::mean, "the mean of |X| too, dotted")
          .param("limit", &ChannelProfile::limit, "figures at most", 1, 1000)
          .param("lines", &ChannelProfile::lines, "methods × stages in a figure at most", 1, 16));
}

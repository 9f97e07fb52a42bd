// How often each value occurs, before and after; counts are logarithmic, so that single outliers show.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "results/chart.hpp"
#include "results/plot_script.hpp"

namespace olab {
namespace {

constexpr std::size_t kBins = 256;    ///< drawn at most; a panel has no more pixels
constexpr double kNone = 0.5;         ///< where an empty bin lies on the logarithmic axis
constexpr double kAsinhRatio = 20.0;  ///< from this ratio of the ranges on, a linear x axis hides the smaller

struct Histogram {
  std::string name;
  double absmax = 0;
  std::vector<double> counts;
  double width() const { return 2 * absmax / static_cast<double>(counts.size()); }
};

/// Neighbouring bins added up until at most `bins` are left.
std::vector<double> merged(const std::vector<double>& counts, std::size_t bins) {
  const std::size_t group = (counts.size() + bins - 1) / bins;
  if (group <= 1 || counts.size() % group != 0) return counts;
  std::vector<double> out(counts.size() / group, 0.0);
  for (std::size_t i = 0; i < counts.size(); ++i) out[i / group] += counts[i];
  return out;
}

/// The outline of the bars: two points a bin.
std::vector<std::vector<double>> outline(const Histogram& histogram, bool density) {
  const double width = histogram.width();
  const double scale = density && width > 0 ? 1 / width : 1;
  const double floor = kNone * scale;
  std::vector<std::vector<double>> rows;
  rows.reserve(2 * histogram.counts.size() + 2);
  rows.push_back({-histogram.absmax, floor});
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    const double left = -histogram.absmax + width * static_cast<double>(i);
    const double height = std::max(histogram.counts[i] * scale, floor);
    rows.push_back({left, height});
    rows.push_back({left + width, height});
  }
  rows.push_back({histogram.absmax, floor});
  return rows;
}

/// Ticks of an asinh axis: 0 and ± powers of ten between its linear part and its end.
std::string asinh_ticks(double linear, double end) {
  std::string ticks = "'0' 0";
  int first = static_cast<int>(std::ceil(std::log10(linear)));
  const int last = static_cast<int>(std::floor(std::log10(end)));
  first = std::max(first, last - 5);
  for (int e = first; e <= last; ++e) {
    const double value = std::pow(10.0, e);
    ticks += fmt::format(", '{0:g}' {0:.9g}, '−{0:g}' {1:.9g}", value, -value);
  }
  return ticks;
}

class HistogramChart final : public Chart {
 public:
  std::string layer = "*";
  std::string method = "*";
  std::string stages = "original,transformed";
  std::string x = "auto";
  std::string y = "count";
  std::int64_t limit = 6;
  std::int64_t lines = 5;

  std::vector<std::string> metrics() const override { return {"histogram"}; }

  std::vector<Figure> draw(const ChartInput& input) const override {
    const auto wanted = parse_stages(stages);
    const auto groups = by_layer(find_subjects(input, layer, method, wanted, "histogram"));
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
  static Histogram load(const ChartInput& input, const Subject& subject, const std::string& stage,
                        const std::string& name) {
    const Series series = load_series(input, subject, stage, "histogram", 1);
    Histogram out;
    out.name = name;
    out.absmax = series_fact(series, "absmax");
    if (!(out.absmax >= 0))
      throw Error(fmt::format("run {}, series {}.histogram: its fact 'absmax' is '{}', expected a number",
                              subject.run->id, stage,
                              series.facts.contains("absmax") ? series.facts.at("absmax") : "absent"));
    if (!(out.absmax > 0)) out.absmax = 1;  // all zero: one bin holds everything
    out.counts = merged({series.values.begin(), series.values.begin() + series.columns}, kBins);
    return out;
  }

  Figure draw_layer(const ChartInput& input, const std::vector<Subject>& subjects,
                    const std::vector<std::string>& wanted, std::set<std::string>& used) const {
    const RunRecord& run = *subjects.front().run;
    std::vector<Histogram> all;
    const bool has_original = std::find(wanted.begin(), wanted.end(), "original") != wanted.end();
    if (has_original) all.push_back(load(input, subjects.front(), "original", "original"));
    std::size_t lines_in_all = 0;
    std::size_t shown = 0;
    for (const Subject& subject : subjects) {
      for (const std::string& stage : wanted) {
        if (stage == "original") continue;
        if (++lines_in_all > static_cast<std::size_t>(lines)) continue;
        ++shown;
        const std::string& label = method_label(*subject.run);
        const bool plain = stage == "transformed" && has_original && wanted.size() == 2;
        all.push_back(load(input, subject, stage, plain ? label : label + ", " + stage));
      }
    }
    double widest = 0;
    double narrowest = all.front().absmax;
    for (const Histogram& histogram : all) {
      widest = std::max(widest, histogram.absmax);
      narrowest = std::min(narrowest, histogram.absmax);
    }
    const bool asinh = x == "asinh" || (x == "auto" && widest >= kAsinhRatio * narrowest);
    const bool density = y == "density";

    Figure figure;
    PlotScript script(input.folder, figure_stem(input, {run.layer}, used), 640, 420);
    figure.script = script.file();
    figure.title = "Histogram of the values";
    std::string bins;
    for (const Histogram& histogram : all)
      bins +=
          fmt::format("{}{} {}", bins.empty() ? "" : ", ", histogram.name, short_number(histogram.width()));
    figure.caption =
        fmt::format("{} at {}; logarithmic counts, empty bins at the bottom.{} Bin widths: {}.{}{}",
                    density ? "Values per unit of X" : "Values in each bin", layer_title(run),
                    asinh ? " The x axis is asinh-scaled: linear around 0, logarithmic outside." : "", bins,
                    seed_note(subjects.front()),
                    left_out(shown, lines_in_all, "lines", "narrow 'method' or raise 'lines'"));
    std::vector<std::string> plots;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string block = fmt::format("bins{}", i);
      script.data(block, outline(all[i], density));
      const std::string title = PlotScript::quote(
          fmt::format("{}, max |x| {}", shorten(all[i].name, 52), short_number(all[i].absmax)));
      if (has_original && i == 0) {
        plots.push_back(fmt::format("${} using 1:2 with filledcurves y1=bottom fc rgb '{}' notitle", block,
                                    plot_colour::kBefore));
        plots.push_back(fmt::format("${} using 1:2 with lines lc rgb '{}' lw 1 title {}", block,
                                    plot_colour::kMuted, title));
      } else {
        plots.push_back(fmt::format("${} using 1:2 with lines lt {} lw 1.4 title {}", block,
                                    has_original ? i : i + 1, title));
      }
    }
    double bottom = kNone;
    if (density) {
      bottom = kNone / all.front().width();
      for (const Histogram& histogram : all) bottom = std::min(bottom, kNone / histogram.width());
    }
    script.command(fmt::format("bottom = {:.9g}", bottom));
    script.title(
        figure.title,
        fmt::format("{}\n{}", layer_title(run),
                    density ? "values per unit of X (count / bin width)"
                            : "values in each bin; every stage has its own bins from −max |x| to max |x|"));
    if (asinh) {
      const double linear = narrowest / 4;
      script.command(fmt::format("set nonlinear x via asinh(x/{0:.9g}) inverse {0:.9g}*sinh(x)", linear));
      script.command(fmt::format("set xtics ({})", asinh_ticks(linear, widest)));
    }
    script.command(fmt::format("set xrange [{0:.9g}:{1:.9g}]", -widest * 1.02, widest * 1.02))
        .command("set logscale y")
        .command("set format y '10^{%T}'")
        .command("set yrange [bottom:*]")
        .command(asinh ? "set xlabel 'x (asinh scale)'" : "set xlabel 'x'")
        .command(density ? "set ylabel 'values per unit'" : "set ylabel 'values in the bin'")
        .command(fmt::format("plot {}", fmt::join(plots, ", ")));
    script.close();
    return figure;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(histogram) {
  using namespace olab;
  r.charts.add(
      Schema<HistogramChart>("histogram", "Histogram of the values with logarithmic counts, before and after")
          .param("layer", &HistogramChart::layer, "layers to draw (glob), one figure each")
          .param("method", &HistogramChart::method, "methods to draw (glob over label, name, canonical text)")
          .param("stages", &HistogramChart::stages, "stages; 'original' is drawn once, filled")
          .choice("x", &HistogramChart::x, "scale of the values; auto: asinh where the ranges differ much",
                  {"auto", "linear", "asinh"})
          .choice("y", &HistogramChart::y, "values in a bin, or divided by its width", {"count", "density"})
          .param("limit", &HistogramChart::limit, "figures at most", 1, 1000)
          .param("lines", &HistogramChart::lines, "methods × stages in a figure at most", 1, 16));
}

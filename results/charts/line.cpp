// A value against a parameter, one line a series: the picture of an ablation.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/text.hpp"
#include "results/chart.hpp"
#include "results/plot_script.hpp"
#include "results/table.hpp"

namespace olab {
namespace {

constexpr double kLogX = 12;  ///< from this ratio on an axis becomes logarithmic by itself
constexpr double kLogY = 30;
constexpr std::size_t kFewTicks = 12;  ///< so many different x values get a tick each

/// A position on the x axis: a number, or a category ("full", "none", "zigzag").
struct Place {
  std::string text;
  double number = 0;
  bool numeric = false;
};

/// Numbers upwards, then categories in order of appearance, but "none" before and "full" after all others.
std::vector<Place> sorted_places(const std::vector<std::string>& texts) {
  std::vector<Place> places;
  for (const std::string& text : texts) {
    Place place;
    place.text = text;
    place.numeric = parse_double(text, place.number) && std::isfinite(place.number);
    places.push_back(place);
  }
  const auto rank = [](const Place& p) {
    return p.numeric ? 1 : p.text == "none" ? 0 : p.text == "full" ? 3 : 2;
  };
  std::stable_sort(places.begin(), places.end(), [&](const Place& a, const Place& b) {
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    return a.numeric && a.number < b.number;
  });
  return places;
}

/// For each run of a method, what tells its line from the others: the parameters that differ between the runs
/// of that method, without the one on the x axis.
std::string own_series(const RunRecord& run, const std::vector<RunRecord>& runs, const std::string& x) {
  std::string out;
  for (const auto& [name, value] : run.params) {
    if (name == x) continue;
    bool differs = false;
    for (const RunRecord& other : runs) {
      if (other.method != run.method) continue;
      const auto it = other.params.find(name);
      differs = differs || it == other.params.end() || it->second != value;
    }
    if (differs) out += fmt::format("{}{}={}", out.empty() ? "" : ", ", name, value);
  }
  return out.empty() ? run.method : fmt::format("{}({})", run.method, out);
}

class Line final : public Chart {
 public:
  std::string x = "block_size";
  std::string y = "output.nmse";
  std::string series;
  std::string layer = "*";
  std::string method = "*";
  std::string log = "auto";
  std::int64_t lines = 8;

  std::vector<std::string> metrics() const override { return metric_of(y); }

  std::vector<Figure> draw(const ChartInput& input) const override {
    std::vector<RunRecord> on_axis;
    std::vector<RunRecord> aside;  // runs of methods that have no such parameter: horizontal lines
    const auto selected = select_runs(input, layer, method);
    for (const RunRecord* run : selected) (run_field(*run, x).empty() ? aside : on_axis).push_back(*run);
    // Its message names the nearest field or value that exists.
    if (on_axis.empty()) make_table(aside, {x, "none", y, {}});
    if (on_axis.empty())
      throw Error(fmt::format("line: none of the {} runs of study '{}' has the field '{}'", selected.size(),
                              input.study, x));
    std::vector<std::string> names;
    names.reserve(on_axis.size());
    if (series.empty()) {
      for (const RunRecord& run : on_axis) names.push_back(own_series(run, on_axis, x));
    } else {
      const std::vector<std::string> fields = field_list(series);
      std::vector<std::string> known = fields;
      known.push_back(x);
      const auto mixed = mixed_parameters(on_axis, known);
      for (const RunRecord& run : on_axis)
        names.push_back(with_parameters(field_texts(run, fields), run, mixed));
    }
    for (std::size_t i = 0; i < on_axis.size(); ++i) on_axis[i].label = names[i];
    const auto mixed_aside = mixed_parameters(aside, {"method"});
    for (RunRecord& run : aside) run.label = with_parameters(method_label(run), run, mixed_aside);
    const Table table = make_table(on_axis, {"method", x, y, {}});
    Table references;
    if (!aside.empty() && has_value(aside)) references = make_table(aside, {"method", "none", y, {}});
    return {draw_table(input, table, references, selected)};
  }

 private:
  bool has_value(const std::vector<RunRecord>& runs) const {
    return std::any_of(runs.begin(), runs.end(),
                       [&](const RunRecord& run) { return run.values.contains(y); });
  }

  Figure draw_table(const ChartInput& input, const Table& table, const Table& references,
                    const std::vector<const RunRecord*>& selected) const {
    const std::vector<Place> places = sorted_places(table.column_names);
    const bool numeric = std::all_of(places.begin(), places.end(), [](const Place& p) { return p.numeric; });
    std::vector<double> xs;
    for (std::size_t i = 0; i < places.size(); ++i)
      xs.push_back(numeric ? places[i].number : static_cast<double>(i));
    const auto line_count = std::min(table.row_names.size(), static_cast<std::size_t>(lines));
    const auto reference_count =
        std::min(references.row_names.size(),
                 static_cast<std::size_t>(lines) -
                     std::min<std::size_t>(line_count, static_cast<std::size_t>(lines) - 1));

    std::vector<double> ys;
    std::size_t seeds = 0;
    std::size_t failed = 0;
    for (std::size_t r = 0; r < line_count; ++r) {
      for (const Cell& cell : table.cells[r]) {
        if (cell.runs > 0) ys.push_back(cell.mean);
        seeds = std::max(seeds, cell.seeds);
        failed += cell.failed;
      }
    }
    for (std::size_t r = 0; r < reference_count; ++r) ys.push_back(references.cells[r][0].mean);
    // What is not positive has no place on a logarithmic axis: x stays linear then, y leaves those points
    // out.
    const bool log_x =
        numeric && ((log == "auto" && spans(xs, kLogX)) || ((log == "x" || log == "xy") && spans(xs, 1)));
    const bool log_y =
        (log == "auto" && spans(ys, kLogY)) ||
        ((log == "y" || log == "xy") && std::any_of(ys.begin(), ys.end(), [](double v) { return v > 0; }));

    std::vector<std::string> layers;
    for (const RunRecord* run : selected)
      if (std::find(layers.begin(), layers.end(), run->layer) == layers.end()) layers.push_back(run->layer);
    const std::string where = layers.size() == 1 ? layer_title(*selected.front())
                                                 : fmt::format("mean over {} layers ({})", layers.size(),
                                                               selected.front()->recording);
    const std::string bars = seeds > 1 ? fmt::format("bars: ± sd over up to {} seeds", seeds) : "one seed";
    const std::string formula = definition_of(input, y);

    Figure figure;
    figure.title = fmt::format("{} against {}", y, x);
    figure.caption = fmt::format(
        "{}{}, {}; {}.{}{}", y, formula.empty() ? "" : " = " + formula, where, bars,
        references.row_names.empty() ? "" : " Dashed: methods without this parameter.",
        left_out(line_count + reference_count, table.row_names.size() + references.row_names.size(), "lines",
                 "narrow 'method' or raise 'lines'"));
    std::set<std::string> used;
    PlotScript script(input.folder, figure_stem(input, {}, used), 640, 420);
    figure.script = script.file();
    std::vector<std::string> plots;
    for (std::size_t r = 0; r < line_count; ++r) {
      std::vector<std::vector<double>> rows;
      for (std::size_t i = 0; i < places.size(); ++i) {
        const auto column = static_cast<std::size_t>(
            std::find(table.column_names.begin(), table.column_names.end(), places[i].text) -
            table.column_names.begin());
        const Cell& cell = table.cells[r][column];
        if (cell.runs == 0 || !std::isfinite(cell.mean)) continue;  // the line bridges what is not there
        const double deviation = std::isfinite(cell.deviation) ? cell.deviation : 0;
        // A bar to below zero has no lower end on a logarithmic axis: it is cut at a hundredth of the mean.
        const double low = cell.mean - deviation;
        rows.push_back({xs[i], cell.mean, log_y && low <= 0 ? cell.mean / 100 : low, cell.mean + deviation});
      }
      const std::string block = fmt::format("line{}", r);
      const std::string title = PlotScript::quote(shorten(table.row_names[r], 64));
      script.data(block, rows);
      plots.push_back(fmt::format("${} using {} lt {} title {}", block,
                                  seeds > 1 ? "1:2:3:4 with yerrorlines" : "1:2 with linespoints", r + 1,
                                  title));
    }
    for (std::size_t r = 0; r < reference_count; ++r) {
      const double mean = references.cells[r][0].mean;
      plots.push_back(fmt::format("{:.9g} with lines lc rgb '{}' lw 1.4 dt ({},5) title {}", mean,
                                  r == 0 ? plot_colour::kMuted : plot_colour::category(line_count + r),
                                  8 - 2 * r, PlotScript::quote(shorten(references.row_names[r], 64))));
    }
    script.title(
        figure.title,
        fmt::format("{}; {}{}{}", where, bars, formula.empty() ? "" : fmt::format("\n{} = {}", y, formula),
                    failed > 0 ? fmt::format("\n{} failed run(s) left out", failed) : ""));
    script.command(fmt::format("set xlabel {}", PlotScript::quote(x)))
        .command(fmt::format("set ylabel {}", PlotScript::quote(y)));
    if (!series.empty())
      script.command(fmt::format("set key title {} left font ',12'", PlotScript::quote(series)));
    axis(script, places, xs, numeric, log_x);
    if (log_y) script.command("set logscale y").command(fmt::format("set format y '{}'", log_format(ys)));
    if (!log_y && !ys.empty() && *std::min_element(ys.begin(), ys.end()) >= 0)
      script.command("set yrange [0:*]");
    script.command(fmt::format("plot {}", fmt::join(plots, ", ")));
    script.close();
    return figure;
  }

  static void axis(PlotScript& script, const std::vector<Place>& places, const std::vector<double>& xs,
                   bool numeric, bool log_x) {
    if (log_x) script.command("set logscale x");
    const auto [low, high] = std::minmax_element(xs.begin(), xs.end());
    if (log_x) {
      const double margin = *high > *low ? std::pow(*high / *low, 0.05) : 2;
      script.command(fmt::format("set xrange [{:.9g}:{:.9g}]", *low / margin, *high * margin));
    } else {
      const double margin = *high > *low ? 0.05 * (*high - *low) : 0.5;
      script.command(fmt::format("set xrange [{:.9g}:{:.9g}]", *low - margin, *high + margin));
    }
    if (numeric && places.size() > kFewTicks) return;
    std::string ticks;
    std::size_t letters = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      ticks += fmt::format("{}{} {:.9g}", i == 0 ? "" : ", ", PlotScript::quote(shorten(places[i].text, 28)),
                           xs[i]);
      letters += text_length(shorten(places[i].text, 28)) + 2;
    }
    script.command(fmt::format("set xtics{} ({})", letters > 90 ? " rotate by -30" : "", ticks));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(line) {
  using namespace olab;
  r.charts.add(Schema<Line>("line", "A value against a parameter, one line a series, error bars over repeats")
                   .param("x", &Line::x, "field on the x axis, numbers or categories ('full', 'none')")
                   .param("y", &Line::y, "name of the value")
                   .param("series", &Line::series,
                          "field (or several, joined by ',') that tells the lines apart; empty: the method "
                          "and its parameters that differ")
                   .param("layer", &Line::layer, "layers to average (glob)")
                   .param("method", &Line::method, "methods to draw (glob over label, name, canonical text)")
                   .choice("log", &Line::log,
                           "logarithmic axes; auto: where the values span more than a decade or so",
                           {"auto", "x", "y", "xy", "none"})
                   .param("lines", &Line::lines, "lines at most", 1, 32));
}

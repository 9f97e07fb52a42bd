// A value of every linear layer of a whole model, in the order in which tokens pass them: where a method
// fails.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.hpp"
#include "core/text.hpp"
#include "results/chart.hpp"
#include "results/plot_script.hpp"
#include "results/table.hpp"

namespace olab {
namespace {

class Layers final : public Chart {
 public:
  std::string value = "output.nmse";
  std::string model = "*";
  std::string method = "*";
  std::string linear = "*";
  std::string quantizer = "*";
  std::string log = "auto";
  std::int64_t limit = 6;
  std::int64_t lines = 8;

  std::vector<std::string> metrics() const override { return metric_of(value); }

  std::vector<Figure> draw(const ChartInput& input) const override {
    const std::string name = "layers." + value;
    // One figure for each model and number formats, one line for each method: its first seed.
    std::map<std::string, std::vector<std::pair<std::string, Series>>> groups;
    std::vector<std::string> order;
    for (const RunRecord* run : select_runs(input, model, method)) {
      const std::string format = run_field(*run, "quantizer");
      if (!glob_match(quantizer, format)) continue;
      std::optional<Series> series = input.store.series(run->id, name);
      if (!series) continue;
      const std::string key = layer_title(*run) + (format.empty() ? "" : ", " + format);
      auto& group = groups[key];
      if (group.empty()) order.push_back(key);
      const std::string& label = method_label(*run);
      if (std::ranges::any_of(group, [&](const auto& one) { return one.first == label; })) continue;
      group.emplace_back(label, *std::move(series));
    }
    if (order.empty())
      throw Error(
          fmt::format("layers: no finished run of a model holds '{}' of its layers; it is for studies with "
                      "evaluate: perplexity "
                      "whose metrics give this value",
                      value));
    const auto count = std::min(order.size(), static_cast<std::size_t>(limit));
    std::vector<Figure> figures;
    std::set<std::string> used;
    for (std::size_t i = 0; i < count; ++i) {
      figures.push_back(draw_model(input, order[i], groups.at(order[i]), used));
      figures.back().caption +=
          left_out(count, order.size(), "models", "narrow 'model' or 'quantizer', or raise 'limit'");
    }
    return figures;
  }

 private:
  Figure draw_model(const ChartInput& input, const std::string& name,
                    const std::vector<std::pair<std::string, Series>>& methods,
                    std::set<std::string>& used) const {
    PlotScript script(input.folder, figure_stem(input, {name}, used), 820, 440);
    const Series& first = methods.front().second;
    const auto found = first.facts.find("columns");
    std::vector<std::string> names;
    if (found != first.facts.end()) names = split(found->second, ',');
    std::vector<std::size_t> chosen;
    for (std::size_t i = 0; i < names.size(); ++i)
      if (glob_match(linear, names[i])) chosen.push_back(i);
    if (chosen.empty())
      throw Error(
          fmt::format("layers: no linear layer of {} fits '{}'{}", name, linear, suggestion(linear, names)));
    std::vector<std::string> plots;
    std::vector<double> all;
    const std::size_t shown = std::min(methods.size(), static_cast<std::size_t>(lines));
    for (std::size_t m = 0; m < shown; ++m) {
      std::vector<std::vector<double>> rows;
      const Series& series = methods[m].second;
      for (Index block = 0; block < series.rows; ++block) {
        for (const std::size_t i : chosen) {
          const double v = series.values[static_cast<std::size_t>(block * series.columns) + i];
          rows.push_back({static_cast<double>(rows.size()), v});
          if (std::isfinite(v)) all.push_back(v);
        }
      }
      const std::string block = fmt::format("line{}", m);
      script.data(block, rows);
      plots.push_back(fmt::format("${} using 1:2 with linespoints pt 7 ps 0.35 lt {} title {}", block, m + 1,
                                  PlotScript::quote(shorten(methods[m].first, 48))));
    }
    if (all.empty()) throw Error(fmt::format("layers: '{}' of {} holds no finite number", value, name));
    Figure figure;
    figure.script = script.file();
    figure.title = fmt::format("{} of every linear layer", value);
    std::vector<std::string> kinds;
    for (const std::size_t i : chosen) kinds.push_back(names[i].substr(names[i].rfind('.') + 1));
    const std::string definition = definition_of(input, value);
    figure.caption =
        fmt::format("{}. From left to right the blocks, in each {}.{}{}", name, fmt::join(kinds, ", "),
                    definition.empty() ? "" : fmt::format(" {} = {}.", value, definition),
                    left_out(shown, methods.size(), "methods", "narrow 'method' or raise 'lines'"));
    script.title(figure.title, fmt::format("{}\nin each block: {}", name, fmt::join(kinds, ", ")));
    const bool positive = std::ranges::all_of(all, [](double v) { return v > 0; });
    if (positive && (log == "true" || (log == "auto" && spans(all, 20))))
      script.command("set logscale y").command(fmt::format("set format y '{}'", log_format(all)));
    const Index blocks = first.rows;
    const auto width = static_cast<Index>(chosen.size());
    // At most some twenty block numbers; a line at the beginning of each of these blocks.
    const Index step = std::max<Index>(1, (blocks + 19) / 20);
    std::vector<std::string> ticks;
    for (Index b = 0; b < blocks; b += step) ticks.push_back(fmt::format("'{}' {}", b, b * width));
    script.command(fmt::format("set xtics ({})", fmt::join(ticks, ", ")));
    script.command("set xlabel 'block'").command(fmt::format("set ylabel {}", PlotScript::quote(value)));
    script.command(fmt::format("set grid xtics ytics lc rgb '{}' lt 1 lw 0.6", plot_colour::kGrid));
    script.command(fmt::format("set xrange [-0.5:{}]", static_cast<double>(blocks * width) - 0.5));
    // Between powers of ten half of the figure would stay empty.
    const auto [low, high] = std::ranges::minmax(all);
    if (positive) script.command(fmt::format("set yrange [{:.9g}:{:.9g}]", low / 1.3, high * 1.3));
    script.command(fmt::format("plot {}", fmt::join(plots, ", ")));
    script.close();
    return figure;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(layers) {
  using namespace olab;
  r.charts.add(Schema<Layers>("layers", "A value of every linear layer of whole models, a line a method")
                   .param("value", &Layers::value, "a value that the layers of a model have: output.nmse")
                   .param("model", &Layers::model, "glob over the models")
                   .param("method", &Layers::method, "glob over labels, names and specifications")
                   .param("linear", &Layers::linear, "glob over the linear layers of a block: *.down_proj")
                   .param("quantizer", &Layers::quantizer, "glob over the number formats: W4A4*")
                   .choice("log", &Layers::log, "logarithmic y axis", {"auto", "true", "false"})
                   .param("limit", &Layers::limit, "figures at most", 1, 1000)
                   .param("lines", &Layers::lines, "methods in a figure at most", 1, 8));
}

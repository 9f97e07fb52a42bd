// What each rotation block holds, before and after: whether a permutation shares the outliers out.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "results/chart.hpp"
#include "results/plot_script.hpp"

namespace olab {
namespace {

struct Quantity {
  const char* name;
  Index row;
  const char* axis;
  const char* formula;
};
constexpr Quantity kQuantities[] = {  // NOLINT(modernize-avoid-c-arrays)
    {"mean", 0, "mean of O_j",
     "mean over the block of O_j = max over tokens of |X_tj| (Lin et al. 2024, Eq. 4)"},
    {"max", 1, "max of O_j", "maximum over the block of O_j = max over tokens of |X_tj|"},
    {"l1", 2, "ℓ1 mass", "mean over tokens of the sum of |X_tj| in the block (ℓ1 mass)"}};

/// Population variance, as in Eq. (4).
double variance(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double mean = 0;
  for (const double v : values) mean += v / n;
  double square = 0;
  for (const double v : values) square += (v - mean) * (v - mean) / n;
  return square;
}

class Blocks final : public Chart {
 public:
  std::string layer = "*";
  std::string method = "*";
  std::string stages = "original,transformed";
  std::string value = "mean";
  std::string log = "auto";
  std::int64_t limit = 6;

  std::vector<std::string> metrics() const override { return {"block_profile"}; }

  std::vector<Figure> draw(const ChartInput& input) const override {
    const auto wanted = parse_stages(stages);
    const auto subjects = find_subjects(input, layer, method, wanted, "block_profile");
    const auto count = std::min(subjects.size(), static_cast<std::size_t>(limit));
    std::vector<Figure> figures;
    std::set<std::string> used;
    for (std::size_t i = 0; i < count; ++i) {
      figures.push_back(draw_subject(input, subjects[i], wanted, used));
      figures.back().caption += left_out(count, subjects.size(), "layer and method pairs",
                                         "narrow 'layer' or 'method', or raise 'limit',");
    }
    return figures;
  }

 private:
  Figure draw_subject(const ChartInput& input, const Subject& subject, const std::vector<std::string>& wanted,
                      std::set<std::string>& used) const {
    const Quantity& quantity = *std::find_if(std::begin(kQuantities), std::end(kQuantities),
                                             [&](const Quantity& q) { return q.name == value; });
    const RunRecord& run = *subject.run;
    std::vector<std::vector<double>> bars;  // [stage][block, or several pooled by their maximum]
    std::vector<double> counts;             // of blocks, before pooling
    std::vector<double> all;
    for (const std::string& stage : wanted) {
      const Series series = load_series(input, subject, stage, "block_profile", quantity.row + 1);
      const auto from = series.values.begin() + quantity.row * series.columns;
      bars.emplace_back(from, from + series.columns);
      const double counted = series_fact(series, "blocks");
      counts.push_back(counted > 0 ? counted : static_cast<double>(series.columns));
      all.insert(all.end(), bars.back().begin(), bars.back().end());
    }
    // Bars start at 0 and are best compared on a linear axis; one block with a massive outlier would flatten
    // all the others, though.
    const double top = *std::max_element(all.begin(), all.end());
    const bool log_y = (log == "y" && top > 0) || (log == "auto" && spans(all, 100));

    Figure figure;
    const double blocks = counts.front();
    const bool same = std::all_of(counts.begin(), counts.end(), [&](double c) { return c == blocks; });
    figure.title = fmt::format("Blocks under {}", method_label(run));
    std::string counted =
        same ? fmt::format("{} blocks", blocks) : std::string("numbers of blocks differ between the stages");
    std::string variances;
    for (std::size_t s = 0; s < wanted.size(); ++s) {
      if (static_cast<double>(bars[s].size()) <
          counts[s]) {  // maxima of several blocks have another variance
        variances.clear();
        counted += ", neighbours pooled by their maximum";
        break;
      }
      variances += fmt::format("{}{} {}", s == 0 ? "variance over blocks: " : ", ", wanted[s],
                               short_number(variance(bars[s])));
    }
    figure.caption = fmt::format("{}, at {}, {}{}{}.{}{}", quantity.formula, layer_title(run), counted,
                                 variances.empty() ? "" : "; ", variances, log_y ? " Logarithmic axis." : "",
                                 seed_note(subject));
    figure.caption[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(figure.caption[0])));
    PlotScript script(input.folder, figure_stem(input, {run.layer, method_label(run)}, used), 640, 380);
    figure.script = script.file();
    std::vector<std::string> plots;
    const auto stages_drawn = static_cast<double>(wanted.size());
    for (std::size_t s = 0; s < wanted.size(); ++s) {
      // Each stage spans the whole axis, whatever its number of blocks.
      const double pitch = blocks / static_cast<double>(bars[s].size());
      std::vector<std::vector<double>> rows;
      const bool many = bars[s].size() > 96;
      for (std::size_t b = 0; b < bars[s].size(); ++b) {
        const double v = log_y && !(bars[s][b] > 0) ? std::numeric_limits<double>::quiet_NaN() : bars[s][b];
        const double left = pitch * static_cast<double>(b);
        if (many) {  // bars thinner than a pixel: outlines instead
          rows.push_back({left, v});
          rows.push_back({left + pitch, v});
        } else {
          const double bar = 0.8 * pitch / stages_drawn;
          rows.push_back({left + 0.1 * pitch + bar * (static_cast<double>(s) + 0.5), v, bar});
        }
      }
      const std::string block = fmt::format("stage{}", s);
      script.data(block, rows);
      const std::string colour =
          wanted[s] == "original" ? "#9aa4ae" : plot_colour::category(s == 0 ? 0 : s - 1);
      plots.push_back(many ? fmt::format("${} using 1:2 with lines lc rgb '{}' lw 1.2 title {}", block,
                                         colour, PlotScript::quote(wanted[s]))
                           : fmt::format("${} using 1:2:3 with boxes fc rgb '{}' title {}", block, colour,
                                         PlotScript::quote(wanted[s])));
    }
    script.title(figure.title, fmt::format("{}, {}\n{}{}{}", layer_title(run), counted, quantity.formula,
                                           variances.empty() ? "" : "\n", variances));
    script.command("set xlabel 'block'")
        .command(fmt::format("set ylabel {}", PlotScript::quote(quantity.axis)))
        .command(fmt::format("set xrange [0:{}]", blocks));
    if (log_y) {
      double low = top;
      for (const double v : all)
        if (v > 0) low = std::min(low, v);
      script.command("set logscale y")
          .command(fmt::format("set format y '{}'", log_format(all)))
          .command(fmt::format("set yrange [{:.9g}:*]", low / 2));
    } else {
      script.command(top > 0 ? "set yrange [0:*]" : "set yrange [0:1]");
    }
    script.command(fmt::format("plot {}", fmt::join(plots, ", ")));
    script.close();
    return figure;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(blocks) {
  using namespace olab;
  r.charts.add(
      Schema<Blocks>("blocks", "Bars of what each rotation block holds, before and after",
                     "Lin et al. 2024, arXiv:2406.01721, Eq. 4")
          .param("layer", &Blocks::layer, "layers to draw (glob)")
          .param("method", &Blocks::method, "methods to draw (glob over label, name, canonical text)")
          .param("stages", &Blocks::stages, "stages, one colour each")
          .choice("value", &Blocks::value, "mean or maximum of the channels' maxima, or the ℓ1 mass",
                  {"mean", "max", "l1"})
          .choice("log", &Blocks::log, "logarithmic axis; auto: where the bars span two decades",
                  {"auto", "none", "y"})
          .param("limit", &Blocks::limit, "figures at most", 1, 1000));
}

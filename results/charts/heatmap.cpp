// A value over layers and methods as coloured cells: where a method fails, at a glance.
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

constexpr std::size_t kRowsPerFigure = 40;
constexpr double kCosine = 0.77;  ///< of 40 degrees, by which long labels are turned
constexpr double kSine = 0.64;
constexpr double kLetter = 5.5;  ///< width of a letter of the labels, points

class Heatmap final : public Chart {
 public:
  std::string rows = "layer";
  std::string columns = "method";
  std::string value = "output.nmse";
  std::string layer = "*";
  std::string method = "*";
  std::string log = "auto";
  std::int64_t limit = 6;

  std::vector<std::string> metrics() const override { return metric_of(value); }

  std::vector<Figure> draw(const ChartInput& input) const override {
    // The failed ones belong into their cells, so the table sees them too.
    const auto finished = select_runs(input, layer, method);
    std::vector<RunRecord> runs;
    for (const RunRecord& run : input.runs)
      if (fits(run, layer, method)) runs.push_back(run);
    std::string all_columns = columns;
    std::vector<std::string> fields = split(rows, ',');
    for (const std::string& field : split(columns, ',')) fields.push_back(field);
    for (const std::string& parameter : mixed_parameters(runs, fields)) all_columns += "," + parameter;
    const Table table = make_table(runs, {rows, all_columns, value, {}});
    std::vector<double> numbers;
    for (const auto& row : table.cells)
      for (const Cell& cell : row)
        if (cell.runs > 0 && std::isfinite(cell.mean)) numbers.push_back(cell.mean);
    if (numbers.empty())
      throw Error(fmt::format("heatmap: no cell of {} × {} holds a finite '{}'", rows, columns, value));
    Scale scale;
    const auto [low, high] = std::minmax_element(numbers.begin(), numbers.end());
    scale.low = *low;
    scale.high = *high;
    scale.log = log == "true" ? *low > 0 : log == "auto" && spans(numbers, 100);
    const std::vector<std::string> names = labels_of(rows, table.row_names);
    std::vector<Figure> figures;
    std::set<std::string> used;
    const std::size_t total = names.size();
    const std::size_t pages = (total + kRowsPerFigure - 1) / kRowsPerFigure;
    const auto drawn = std::min(pages, static_cast<std::size_t>(limit));
    for (std::size_t page = 0; page < drawn; ++page) {
      const std::size_t first = page * kRowsPerFigure;
      const std::size_t last = std::min(total, first + kRowsPerFigure);
      figures.push_back(
          draw_rows(input, table, all_columns, names, first, last, scale, *finished.front(), used));
      figures.back().caption +=
          left_out(std::min(total, drawn * kRowsPerFigure), total, "rows", "narrow 'layer' or raise 'limit'");
    }
    return figures;
  }

 private:
  struct Scale {
    double low = 0;
    double high = 1;
    bool log = false;
    /// Where a value lies on the colour map, 0 … 1.
    double part(double v) const {
      if (!(high > low)) return 0.5;
      return log ? std::log(v / low) / std::log(high / low) : (v - low) / (high - low);
    }
  };

  Figure draw_rows(const ChartInput& input, const Table& table, const std::string& all_columns,
                   const std::vector<std::string>& names, std::size_t first, std::size_t last,
                   const Scale& scale, const RunRecord& sample, std::set<std::string>& used) const {
    const std::size_t n_rows = last - first;
    const std::size_t n_columns = table.column_names.size();
    constexpr std::size_t kLongestName = 46;
    std::vector<std::string> row_labels;
    std::vector<std::string> column_labels;
    double row_width = 0;
    std::size_t longest_column = 0;
    for (std::size_t length = kLongestName; length <= 2 * kLongestName; ++length) {
      row_labels.clear();
      for (std::size_t i = first; i < last; ++i) row_labels.push_back(shorten(names[i], length));
      // Two rows of one name say nothing: rather longer names.
      if (std::set<std::string>(row_labels.begin(), row_labels.end()).size() == row_labels.size()) break;
    }
    for (const std::string& label : row_labels)
      row_width = std::max(row_width, kLetter * static_cast<double>(text_length(label)));
    for (const std::string& name : labels_of(all_columns, table.column_names)) {
      column_labels.push_back(shorten(name, kLongestName));
      longest_column = std::max(longest_column, text_length(column_labels.back()));
    }
    // Everything in points: the cells get what the labels leave.
    constexpr int kWidth = 640;
    double left = row_width + 26;
    const double right = 78;  // colour bar and its numbers
    const auto cell_at = [&] { return (kWidth - left - right) / static_cast<double>(n_columns); };
    const double label_width = kLetter * static_cast<double>(longest_column);
    const bool rotate = label_width > cell_at() - 6;
    if (rotate) {  // the first labels reach out to the left
      for (std::size_t j = 0; j < n_columns; ++j) {
        const double reach = kCosine * kLetter * static_cast<double>(text_length(column_labels[j]));
        left = std::max(left, std::min(reach + 8 - cell_at() * (static_cast<double>(j) + 0.5), kWidth / 2.0));
      }
    }
    const double cell_width = cell_at();
    const double cell_height = n_rows <= 12 ? 28 : n_rows <= 24 ? 22 : 17;
    const double bottom = rotate ? 24 + kSine * label_width : 30;
    const std::string formula = definition_of(input, value);
    const std::string which =
        n_rows < names.size() ? fmt::format(", rows {} to {} of {}", first + 1, last, names.size()) : "";
    const std::string cell_meaning = cell_note(table);

    Figure figure;
    figure.title = fmt::format("{} by {} and {}{}", value, rows, all_columns, which);
    figure.caption = fmt::format("{}{}{}; {}.{}", value, formula.empty() ? "" : " = " + formula,
                                 sample.recording.empty() ? "" : " on " + sample.recording, cell_meaning,
                                 scale.log ? " Logarithmic colours." : "");
    const std::string detail =
        fmt::format("{}{}{}", sample.recording.empty() ? "" : sample.recording + "; ", cell_meaning,
                    formula.empty() ? "" : fmt::format("\n{} = {}", value, formula));
    const double title_height = PlotScript::title_height(figure.title, detail, kWidth);
    const double height = title_height + cell_height * static_cast<double>(n_rows) + bottom;
    PlotScript script(input.folder, figure_stem(input, {}, used), kWidth, static_cast<int>(height));
    figure.script = script.file();

    std::vector<std::vector<double>> cells;
    std::vector<std::vector<double>> empty;
    struct Note {
      double x, y;
      std::string text;
      const char* colour;
    };
    std::vector<Note> notes;
    const bool numbers = cell_width >= 34 && n_rows * n_columns <= 400;
    for (std::size_t i = 0; i < n_rows; ++i) {
      for (std::size_t j = 0; j < n_columns; ++j) {
        const Cell& cell = table.cells[first + i][j];
        const auto x = static_cast<double>(j);
        const auto y = static_cast<double>(i);
        if (cell.runs > 0 && std::isfinite(cell.mean)) {
          cells.push_back({x, y, cell.mean});
          if (numbers)
            notes.push_back({x, y, cell_number(cell.mean, cell_width),
                             scale.part(cell.mean) > 0.6 ? plot_colour::kOnLight : plot_colour::kOnDark});
        } else {
          empty.push_back({x, y});
          const std::string text = cell.failed > 0 ? "failed" : cell.runs > 0 ? to_text(cell.mean) : "";
          if (cell_width >= 34 && !text.empty()) notes.push_back({x, y, text, plot_colour::kInk});
        }
      }
    }
    script.title(figure.title, detail);
    const auto ticks = [](const std::vector<std::string>& labels) {
      std::string out;
      for (std::size_t i = 0; i < labels.size(); ++i)
        out += fmt::format("{}{} {}", i == 0 ? "" : ", ", PlotScript::quote(labels[i]), i);
      return out;
    };
    script.command("unset grid")
        .command("unset key")
        .command("set border 0")
        .command("set tics scale 0 font ',10'")
        .command(fmt::format("set xtics {} ({})",
                             rotate ? "rotate by 40 right offset 0.8,0" : "norotate center",
                             ticks(column_labels)))
        .command(fmt::format("set ytics ({})", ticks(row_labels)))
        .command(fmt::format("set xrange [-0.5:{}]", static_cast<double>(n_columns) - 0.5))
        .command(fmt::format("set yrange [{}:-0.5]", static_cast<double>(n_rows) - 0.5))
        .command(fmt::format("set lmargin at screen {:.5f}", left / kWidth))
        .command(fmt::format("set rmargin at screen {:.5f}", 1 - right / kWidth))
        .command(fmt::format("set bmargin at screen {:.5f}",
                             bottom / static_cast<double>(static_cast<int>(height))));
    const double spread = scale.high > scale.low ? 0 : std::max(std::abs(scale.high) * 0.01, 1e-300);
    script.command(fmt::format("set cbrange [{:.9g}:{:.9g}]", scale.low - spread, scale.high + spread));
    if (scale.log) script.command("set logscale cb");
    const double box_height = std::min(script.top() - bottom / height, 220 / height);
    script.command("set cbtics font ',9' scale 0.4")
        .command(
            fmt::format("set format cb '{}'", scale.log && scale.high / scale.low > 1e4 ? "10^{%T}" : "%g"))
        .command(fmt::format(
            "set colorbox vertical user origin screen {:.5f},{:.5f} size screen {:.5f},{:.5f} noborder",
            1 - (right - 14) / kWidth, script.top() - box_height, 10.0 / kWidth, box_height));
    int tag = 1;
    for (const Note& note : notes)
      script.command(fmt::format("set label {} {} at first {},{} center font ',9' textcolor rgb '{}' front",
                                 tag++, PlotScript::quote(note.text), note.x, note.y, note.colour));
    script.data("cells", cells);
    std::string plot = "plot $cells using 1:2:(0.485):(0.47):3 with boxxyerror fc palette notitle";
    if (!empty.empty()) {
      script.data("empty", empty);
      plot += fmt::format(", $empty using 1:2:(0.485):(0.47) with boxxyerror fc rgb '{}' notitle",
                          plot_colour::kEmpty);
    }
    script.command(plot);
    script.close();
    return figure;
  }

  /// What a cell's number is the mean of.
  static std::string cell_note(const Table& table) {
    std::size_t seeds = 0;
    std::size_t runs = 0;
    std::size_t failed = 0;
    for (const auto& row : table.cells) {
      for (const Cell& cell : row) {
        seeds = std::max(seeds, cell.seeds);
        runs = std::max(runs, cell.runs);
        failed += cell.failed;
      }
    }
    std::string out = seeds > 1  ? fmt::format("means over up to {} seeds", seeds)
                      : runs > 1 ? fmt::format("means over up to {} runs", runs)
                                 : std::string("one run a cell");
    if (failed > 0) out += fmt::format(", {} failed run(s)", failed);
    return out;
  }

  /// Layers share a long beginning; other names keep theirs, dots in them are decimal points.
  static std::vector<std::string> labels_of(const std::string& field, const std::vector<std::string>& names) {
    return field == "layer" ? without_common_prefix(names) : names;
  }

  /// Two or three significant digits, zeros at the end too: "0.30", "12.0".
  static std::string cell_number(double value, double width) {
    std::string text = fmt::format("{:#.{}g}", value, width >= 52 ? 3 : 2);
    if (text.back() == '.') text.pop_back();
    return text;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(heatmap) {
  using namespace olab;
  r.charts.add(
      Schema<Heatmap>("heatmap", "A value over layers and methods as coloured cells")
          .param("rows", &Heatmap::rows, "field of the rows")
          .param("columns", &Heatmap::columns, "field of the columns")
          .param("value", &Heatmap::value, "name of the value")
          .param("layer", &Heatmap::layer, "layers to draw (glob)")
          .param("method", &Heatmap::method, "methods to draw (glob over label, name, canonical text)")
          .choice("log", &Heatmap::log, "logarithmic colours; auto: from two decades on",
                  {"auto", "true", "false"})
          .param("limit", &Heatmap::limit, "figures at most, of 40 rows each", 1, 1000));
}

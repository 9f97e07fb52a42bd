#include "results/table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/error.hpp"
#include "core/text.hpp"
#include "results/statistics.hpp"
#include "results/table_fields.hpp"
#include "results/table_grid.hpp"

namespace olab {
namespace {

using Kind = RunField::Kind;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::string_view kParamPrefix = "param.";

std::string label(const RunRecord& run) {
  return run.label.empty() ? run.method_text : run.label;
}

std::vector<std::string> field_names(const std::string& text) {
  if (trim(text).empty() || trim(text) == "none") return {};
  std::vector<std::string> out;
  for (const std::string& part : split(text, ',')) out.emplace_back(trim(part));
  return out;
}

void check_fields(std::span<const RunRecord> runs, const std::vector<std::string>& fields) {
  std::set<std::string> known;
  for (const RunField& field : run_fields()) known.emplace(field.name);
  for (const RunRecord& run : runs)
    for (const auto& [name, value] : run.params) known.insert(param_field(name));
  for (const std::string& field : fields)
    if (!known.contains(field))
      throw Error(fmt::format("no run has the field '{}'{}", field,
                              suggestion(field, std::vector<std::string>(known.begin(), known.end()))));
}

std::string joined_fields(const RunRecord& run, const std::vector<std::string>& fields) {
  std::string out;
  for (const std::string& field : fields) {
    if (!out.empty()) out += ", ";
    const std::string text = run_field(run, field);
    out += text.empty() ? "-" : text;
  }
  return out;
}

// The position of a name, which is added at the end where it is new.
std::size_t position(std::vector<std::string>& names, std::map<std::string, std::size_t>& known,
                     const std::string& name) {
  const auto [entry, is_new] = known.emplace(name, names.size());
  if (is_new) names.push_back(name);
  return entry->second;
}

struct Gathered {
  std::map<std::uint64_t, std::vector<double>> by_seed;  // each over layers
  std::size_t failed = 0;
};

Cell statistics(const Gathered& gathered) {
  Cell cell;
  cell.failed = gathered.failed;
  cell.seeds = gathered.by_seed.size();
  std::vector<double> means;
  for (const auto& [seed, over_layers] : gathered.by_seed) {
    cell.runs += over_layers.size();
    means.push_back(sample_mean(over_layers));
  }
  // A method without chance gives every seed the same number, which is the mean then, without deviation.
  cell.mean = sample_mean(means);
  cell.deviation = sample_deviation(means);
  return cell;
}

enum class Better { none, lower, higher };

Better parse_better(const std::string& name) {
  if (name.empty() || name == "none") return Better::none;
  if (name == "lower") return Better::lower;
  if (name == "higher") return Better::higher;
  const std::array<std::string, 3> known{"none", "lower", "higher"};
  throw Error(
      fmt::format("'{}' says nothing about which values are better{}", name, suggestion(name, known)));
}

// The best mean of each column; NaN where there is nothing to beat.
std::vector<double> best_means(const Table& table, Better better) {
  std::vector<double> best(table.column_names.size(), kNaN);
  if (better == Better::none) return best;
  for (std::size_t j = 0; j < best.size(); ++j) {
    std::size_t count = 0;
    for (const auto& row : table.cells) {
      const double mean = row[j].mean;
      if (std::isnan(mean)) continue;
      ++count;
      const bool wins = better == Better::lower ? mean < best[j] : mean > best[j];
      if (count == 1 || wins) best[j] = mean;
    }
    if (count < 2) best[j] = kNaN;
  }
  return best;
}

// One cell for people. `pad` stands where another cell of the column has its mark, so that numbers align.
std::string show_cell(const Cell& cell, bool best, bool pad, Format format) {
  const std::string end = pad && format == Format::text ? " " : "";
  if (cell.runs == 0) return (cell.failed == 0 ? "-" : fmt::format("{} failed", cell.failed)) + end;
  const std::string mean = show_number(cell.mean, format);
  const std::string deviation = show_number(cell.deviation, format);
  const std::string failed = cell.failed == 0 ? "" : fmt::format(" ({} failed)", cell.failed);
  if (format == Format::latex)
    return fmt::format("${}{}${}", best ? fmt::format("\\mathbf{{{}}}", mean) : mean,
                       cell.seeds >= 2 ? fmt::format(" \\pm {}", deviation) : "", failed);
  const std::string shown = cell.seeds >= 2 ? fmt::format("{} ± {}", mean, deviation) : mean;
  if (format == Format::markdown) return (best ? fmt::format("**{}**", shown) : shown) + failed;
  return fmt::format("{}{}{}", shown, best ? "*" : end, failed);
}

std::string render_json(const Table& table) {
  const auto text = [](const std::string& t) { return escape_cell(t, Format::json); };
  const auto names = [&](const std::vector<std::string>& list) {
    std::string out;
    for (const std::string& name : list) out += (out.empty() ? "" : ", ") + text(name);
    return out;
  };
  std::string cells;
  for (std::size_t i = 0; i < table.cells.size(); ++i)
    for (std::size_t j = 0; j < table.cells[i].size(); ++j) {
      const Cell& cell = table.cells[i][j];
      cells += fmt::format(
          R"({}    {{"row": {}, "column": {}, "mean": {}, "deviation": {}, "runs": {}, "failed": {}, "seeds": {}}})",
          cells.empty() ? "" : ",\n", text(table.row_names[i]), text(table.column_names[j]),
          cell.runs == 0 ? "null" : show_number(cell.mean, Format::json),
          cell.seeds < 2 ? "null" : show_number(cell.deviation, Format::json), cell.runs, cell.failed,
          cell.seeds);
    }
  return fmt::format(
      "{{\n  \"title\": {},\n  \"value\": {},\n  \"corner\": {},\n  \"rows\": [{}],\n  \"columns\": [{}],\n"
      "  \"cells\": [{}]\n}}\n",
      text(table.title), text(table.value), text(table.corner), names(table.row_names),
      names(table.column_names), cells.empty() ? "" : "\n" + cells + "\n  ");
}

std::string render_csv(const Table& table) {
  Grid grid;
  grid.header = {table.corner.empty() ? "row" : table.corner,
                 "column",
                 "value",
                 "mean",
                 "deviation",
                 "runs",
                 "failed",
                 "seeds"};
  for (std::size_t i = 0; i < table.cells.size(); ++i)
    for (std::size_t j = 0; j < table.cells[i].size(); ++j) {
      const Cell& cell = table.cells[i][j];
      grid.rows.push_back({table.row_names[i], table.column_names[j], table.value,
                           cell.runs == 0 ? "" : show_number(cell.mean, Format::csv),
                           cell.seeds < 2 ? "" : show_number(cell.deviation, Format::csv),
                           std::to_string(cell.runs), std::to_string(cell.failed),
                           std::to_string(cell.seeds)});
    }
  return render_grid(grid, Format::csv);
}

}  // namespace

std::span<const RunField> run_fields() {
  using R = RunRecord;
  static constexpr std::array kFields{
      RunField{"id", Kind::integer, true, false, [](const R& r) { return std::to_string(r.id); }},
      RunField{"key", Kind::text, false, false, [](const R& r) { return r.key; }},
      RunField{"status", Kind::text, true, true, [](const R& r) { return r.status; }},
      RunField{"recording", Kind::text, false, true, [](const R& r) { return r.recording; }},
      RunField{"layer", Kind::text, true, true, [](const R& r) { return r.layer; }},
      RunField{"layer_kind", Kind::text, false, true, [](const R& r) { return r.layer_kind; }},
      RunField{"tensor_hash", Kind::text, false, true, [](const R& r) { return r.tensor_hash; }},
      RunField{"in_features", Kind::integer, false, true,
               [](const R& r) { return std::to_string(r.in_features); }},
      RunField{"out_features", Kind::integer, false, true,
               [](const R& r) { return std::to_string(r.out_features); }},
      RunField{"calibration_tokens", Kind::integer, false, true,
               [](const R& r) { return std::to_string(r.calibration_tokens); }},
      RunField{"evaluation_tokens", Kind::integer, false, true,
               [](const R& r) { return std::to_string(r.evaluation_tokens); }},
      RunField{"method", Kind::text, true, false, [](const R& r) { return label(r); }},
      RunField{"method_name", Kind::text, false, true, [](const R& r) { return r.method; }},
      RunField{"method_text", Kind::text, false, false, [](const R& r) { return r.method_text; }},
      RunField{"activation", Kind::text, true, true, [](const R& r) { return r.activation_text; }},
      RunField{"weight", Kind::text, true, true, [](const R& r) { return r.weight_text; }},
      RunField{"seed", Kind::integer, true, true, [](const R& r) { return std::to_string(r.seed); }},
      RunField{"started", Kind::text, false, false, [](const R& r) { return r.started; }},
      RunField{"ended", Kind::text, false, false, [](const R& r) { return r.ended; }},
      RunField{"error", Kind::text, true, true, [](const R& r) { return r.error; }},
      RunField{"version", Kind::text, false, true, [](const R& r) { return r.provenance.version; }},
      RunField{"commit", Kind::text, false, true, [](const R& r) { return r.provenance.commit; }},
      RunField{"dirty", Kind::flag, false, true,
               [](const R& r) { return std::string(r.provenance.dirty ? "true" : "false"); }},
      RunField{"compiler", Kind::text, false, true, [](const R& r) { return r.provenance.compiler; }},
      RunField{"flags", Kind::text, false, true, [](const R& r) { return r.provenance.flags; }},
      RunField{"host", Kind::text, false, true, [](const R& r) { return r.provenance.host; }},
      RunField{"cpu", Kind::text, false, true, [](const R& r) { return r.provenance.cpu; }},
      RunField{"kernel_level", Kind::text, false, true, [](const R& r) { return r.provenance.kernel_level; }},
      RunField{"threads", Kind::integer, false, true,
               [](const R& r) { return std::to_string(r.provenance.threads); }},
      RunField{"metrics", Kind::text, false, false,
               [](const R& r) { return fmt::format("{}", fmt::join(r.metrics, "; ")); }},
  };
  return kFields;
}

std::string param_field(const std::string& param) {
  const bool taken = std::ranges::find(run_fields(), param, &RunField::name) != run_fields().end();
  return taken ? std::string(kParamPrefix) + param : param;
}

std::string run_field(const RunRecord& run, const std::string& field) {
  const auto fixed = std::ranges::find(run_fields(), field, &RunField::name);
  if (fixed != run_fields().end()) return fixed->get(run);
  auto param = run.params.find(field);
  if (param == run.params.end() && field.starts_with(kParamPrefix))
    param = run.params.find(std::string_view(field).substr(kParamPrefix.size()));
  return param == run.params.end() ? "" : param->second;
}

void check_value(std::span<const RunRecord> runs, const std::string& value) {
  std::set<std::string> known;
  bool finished = false;
  for (const RunRecord& run : runs) {
    finished = finished || run.status == "finished";
    for (const auto& [name, number] : run.values) known.insert(name);
  }
  if (finished && !known.contains(value))
    throw Error(fmt::format("no finished run has the value '{}'{}", value,
                            suggestion(value, std::vector<std::string>(known.begin(), known.end()))));
}

Cell make_cell(std::span<const RunRecord> runs, const std::string& value) {
  Gathered gathered;
  for (const RunRecord& run : runs)
    if (const auto it = run.values.find(value); it != run.values.end())
      gathered.by_seed[run.seed].push_back(it->second);
  return statistics(gathered);
}

std::string cell_text(const Cell& cell, Format format) {
  return show_cell(cell, false, false, format);
}

Table make_table(std::span<const RunRecord> runs, const TableSpec& spec) {
  const std::vector<std::string> row_fields = field_names(spec.rows);
  const std::vector<std::string> column_fields = field_names(spec.columns);
  if (!runs.empty()) {
    check_fields(runs, row_fields);
    check_fields(runs, column_fields);
    check_value(runs, spec.value);
  }
  Table table;
  table.title = spec.title;
  table.corner = row_fields.empty() ? "" : fmt::format("{}", fmt::join(row_fields, ", "));
  table.value = spec.value;
  std::map<std::string, std::size_t> rows;
  std::map<std::string, std::size_t> columns;
  std::map<std::pair<std::size_t, std::size_t>, Gathered> gathered;
  for (const RunRecord& run : runs) {
    if (run.status != "finished" && run.status != "failed") continue;
    const std::size_t i =
        position(table.row_names, rows, row_fields.empty() ? spec.value : joined_fields(run, row_fields));
    const std::size_t j = position(table.column_names, columns,
                                   column_fields.empty() ? spec.value : joined_fields(run, column_fields));
    Gathered& cell = gathered[{i, j}];
    if (run.status == "failed")
      ++cell.failed;
    else if (const auto value = run.values.find(spec.value); value != run.values.end())
      cell.by_seed[run.seed].push_back(value->second);
  }
  table.cells.resize(table.row_names.size());
  for (std::size_t i = 0; i < table.cells.size(); ++i)
    for (std::size_t j = 0; j < table.column_names.size(); ++j) {
      const auto found = gathered.find({i, j});
      table.cells[i].push_back(statistics(found == gathered.end() ? Gathered{} : found->second));
    }
  return table;
}

Format parse_format(const std::string& name) {
  if (name == "text") return Format::text;
  if (name == "csv") return Format::csv;
  if (name == "json") return Format::json;
  if (name == "md" || name == "markdown") return Format::markdown;
  if (name == "latex") return Format::latex;
  const std::array<std::string, 6> known{"text", "csv", "json", "md", "markdown", "latex"};
  throw Error(fmt::format("there is no format '{}'{}", name, suggestion(name, known)));
}

std::string deviation_note(const Table& table) {
  std::size_t fewest = 0;
  std::size_t most = 0;
  for (const auto& row : table.cells)
    for (const Cell& cell : row) {
      if (cell.seeds < 2) continue;
      fewest = fewest == 0 ? cell.seeds : std::min(fewest, cell.seeds);
      most = std::max(most, cell.seeds);
    }
  if (most == 0) return "";
  return fmt::format("± is the sample standard deviation over {} seeds, of means over layers",
                     fewest == most ? fmt::format("{}", most) : fmt::format("{} to {}", fewest, most));
}

std::string render_table(const Table& table, Format format, const std::string& better) {
  const Better direction = parse_better(better);
  if (format == Format::json) return render_json(table);
  if (format == Format::csv) return render_csv(table);
  const std::vector<double> best = best_means(table, direction);
  Grid grid;
  grid.title = table.title;
  grid.header = {table.corner};
  grid.header.insert(grid.header.end(), table.column_names.begin(), table.column_names.end());
  grid.numeric.assign(grid.header.size(), true);
  grid.numeric.front() = false;
  for (std::size_t i = 0; i < table.cells.size(); ++i) {
    std::vector<GridCell>& row = grid.rows.emplace_back();
    row.emplace_back(table.row_names[i]);
    for (std::size_t j = 0; j < table.cells[i].size(); ++j) {
      const Cell& cell = table.cells[i][j];
      const bool is_best = cell.mean == best[j];
      row.emplace_back(show_cell(cell, is_best, !std::isnan(best[j]), format), true);
    }
  }
  const std::string note = deviation_note(table);
  if (note.empty()) return render_grid(grid, format);
  const std::string_view start = format == Format::latex ? "% " : format == Format::markdown ? "\n" : "  ";
  return fmt::format("{}{}{}\n", render_grid(grid, format), start, note);
}

}  // namespace olab

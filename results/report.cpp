#include "results/report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <system_error>

#include "core/config.hpp"
#include "core/error.hpp"
#include "core/text.hpp"
#include "results/report_parts.hpp"
#include "results/table_grid.hpp"

namespace fs = std::filesystem;

namespace olab {
namespace {

constexpr std::uintmax_t kLargestSvg = 1U << 20U;  ///< a larger SVG goes in as PNG
constexpr std::size_t kMostRuns = 3000;            ///< rows of the table of all runs
constexpr std::size_t kMostValues = 10;            ///< values a run in that table
constexpr std::size_t kMostFailures = 500;

/// A number as it is shown, and exactly for the script that sorts.
std::string number_cell(double value, const std::string& classes, const std::string& shown) {
  return fmt::format("<td{} data-v=\"{}\">{}</td>",
                     classes.empty() ? "" : fmt::format(" class=\"{}\"", classes), to_text(value), shown);
}

std::string sort_head(const std::string& name, bool text) {
  return fmt::format(R"(<th scope="col"{}><button type="button">{}</button></th>)",
                     text ? " class=\"t\"" : "", escape_html(name));
}

/// The best mean of each column; NaN where fewer than two cells have numbers.
std::vector<double> best_of_columns(const Table& table, const std::string& better) {
  std::vector<double> best(table.column_names.size(), std::numeric_limits<double>::quiet_NaN());
  if (better != "lower" && better != "higher") return best;
  for (std::size_t j = 0; j < best.size(); ++j) {
    std::vector<double> means;
    for (const auto& row : table.cells)
      if (row[j].runs > 0 && !std::isnan(row[j].mean)) means.push_back(row[j].mean);
    if (means.size() < 2) continue;
    best[j] = better == "lower" ? *std::min_element(means.begin(), means.end())
                                : *std::max_element(means.begin(), means.end());
  }
  return best;
}

std::string cell_html(const Cell& cell, bool best) {
  const std::string failed =
      cell.failed == 0 ? "" : fmt::format("<span class=\"failed\">{} failed</span>", cell.failed);
  if (cell.runs == 0) return fmt::format("<td>{}</td>", failed.empty() ? "–" : failed);
  std::string shown = escape_html(show_number(cell.mean, Format::text));
  if (!std::isnan(cell.deviation))
    shown += fmt::format(" <span class=\"sd\">± {}</span>",
                         escape_html(show_number(cell.deviation, Format::text)));
  if (!failed.empty()) shown += " " + failed;
  if (best) shown += "<span class=\"hidden-text\"> (best)</span>";
  return number_cell(cell.mean, best ? "best" : "", shown);
}

std::string table_html(const ReportTable& report) {
  const Table& table = report.table;
  const auto best = best_of_columns(table, report.better);
  std::string out = "<section class=\"card keep\">\n";
  out += fmt::format("<h3>{}</h3>\n", escape_html(table.title.empty() ? table.value : table.title));
  std::string note = fmt::format("<code>{}</code>", escape_html(table.value));
  if (!report.definition.empty()) note += ": " + escape_html(report.definition);
  if (report.better == "lower" || report.better == "higher")
    note += fmt::format("; {} is better", report.better);
  out += fmt::format("<p class=\"note\">{}.</p>\n", note);
  out += "<div class=\"scroll\"><table class=\"sortable\">\n<thead><tr>";
  out += sort_head(table.corner, true);
  for (const std::string& name : table.column_names) out += sort_head(name, false);
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < table.row_names.size(); ++i) {
    out += fmt::format("<tr><th scope=\"row\">{}</th>", escape_html(table.row_names[i]));
    for (std::size_t j = 0; j < table.column_names.size(); ++j) {
      const Cell& cell = table.cells[i][j];
      out += cell_html(cell, cell.runs > 0 && cell.mean == best[j]);
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n</section>\n";
}

/// The picture, or nothing where no file of it can be read.
std::string picture_html(const Figure& figure, std::size_t number) {
  const fs::path svg = fs::path(figure.script).replace_extension("svg");
  const fs::path png = fs::path(figure.script).replace_extension("png");
  std::error_code ignored;
  const auto size = fs::file_size(svg, ignored);
  const bool has_svg = !ignored;
  const bool has_png = fs::is_regular_file(png, ignored);
  if (has_svg && (size <= kLargestSvg || !has_png))
    return inline_svg(read_text_file(svg, "chart"), fmt::format("f{}-", number), figure.title);
  if (has_png)
    return fmt::format("<img alt=\"{}\" src=\"data:image/png;base64,{}\">\n", escape_html(figure.title),
                       base64(read_text_file(png, "chart")));
  return {};
}

std::string figure_html(const DrawnFigure& drawn, std::size_t number) {
  std::string out = fmt::format("<figure class=\"card\" id=\"figure-{}\">\n", number);
  const std::string picture = drawn.ok ? picture_html(drawn.figure, number) : "";
  if (picture.empty()) {
    out += fmt::format(
        "<h3>{}</h3>\n<p class=\"message\">Not drawn: {}</p>\n", escape_html(drawn.figure.title),
        escape_html(drawn.message.empty() ? "the picture is gone; olab plot draws it again" : drawn.message));
  }
  out += picture;
  return out + fmt::format("<figcaption><b>Figure {}.</b> {} <code>{}</code></figcaption>\n</figure>\n",
                           number, escape_html(drawn.figure.caption),
                           escape_html(drawn.figure.script.filename().string()));
}

std::string grid_html(const Grid& grid) {
  const auto numeric = [&](std::size_t column) {
    return column < grid.numeric.size() && grid.numeric[column];
  };
  std::string out;
  if (!grid.title.empty()) out += fmt::format("<h3>{}</h3>\n", escape_html(grid.title));
  out += "<div class=\"scroll\"><table class=\"sortable\">\n<thead><tr>";
  for (std::size_t j = 0; j < grid.header.size(); ++j) out += sort_head(grid.header[j], !numeric(j));
  out += "</tr></thead>\n<tbody>\n";
  for (const std::vector<GridCell>& row : grid.rows) {
    out += "<tr>";
    for (std::size_t j = 0; j < row.size(); ++j)
      out += fmt::format("<td{}>{}</td>", numeric(j) ? "" : " class=\"t\"", escape_html(row[j].text));
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string section_html(const ReportSection& section, std::size_t number) {
  std::string out = fmt::format("<h2 id=\"section-{}\">{}</h2>\n<section class=\"card\">\n", number,
                                escape_html(section.title));
  for (const std::string& text : section.paragraphs) out += fmt::format("<p>{}</p>\n", escape_html(text));
  for (const Grid& grid : section.grids) out += grid_html(grid);
  return out + "</section>\n";
}

std::string failures_html(const std::vector<RunRecord>& runs) {
  std::vector<const RunRecord*> failed;
  for (const RunRecord& run : runs)
    if (run.status == "failed") failed.push_back(&run);
  if (failed.empty()) return {};
  std::string out = "<h2 id=\"failed\">Failed runs</h2>\n<section class=\"card\">\n";
  if (failed.size() > kMostFailures)
    out += fmt::format("<p class=\"note\">The first {} of {}; olab list runs shows all.</p>\n", kMostFailures,
                       failed.size());
  out += "<div class=\"scroll\"><table class=\"sortable\">\n<thead><tr>" + sort_head("run", false) +
         sort_head("layer", true) + sort_head("method", true) + sort_head("seed", false) +
         sort_head("error", true) + "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < std::min(failed.size(), kMostFailures); ++i) {
    const RunRecord& run = *failed[i];
    out += fmt::format(
        "<tr><td data-v=\"{0}\">{0}</td><td class=\"t\">{1}</td><td class=\"t\">{2}</td>"
        "<td data-v=\"{3}\">{3}</td><td class=\"t wrap\">{4}</td></tr>\n",
        run.id, escape_html(run.layer), escape_html(method_label(run)), run.seed, escape_html(run.error));
  }
  return out + "</tbody></table></div>\n</section>\n";
}

/// The values that a reader of the tables looks for first, then the outputs, then the others.
std::vector<std::string> shown_values(const Report& report, std::size_t& total) {
  std::set<std::string> known;
  for (const RunRecord& run : report.runs)
    for (const auto& [name, value] : run.values) known.insert(name);
  total = known.size();
  std::vector<std::string> out;
  const auto add = [&](const std::string& name) {
    if (known.erase(name) > 0 && out.size() < kMostValues) out.push_back(name);
  };
  for (const ReportTable& table : report.tables) add(table.table.value);
  for (const std::string& name : std::set<std::string>(known))
    if (name.starts_with("output.")) add(name);
  for (const std::string& name : std::set<std::string>(known)) add(name);
  return out;
}

std::string runs_html(const Report& report) {
  std::string out = "<h2 id=\"runs\">All runs</h2>\n<section class=\"card\">\n";
  if (report.runs.empty()) return out + "<p class=\"note\">None yet.</p>\n</section>\n";
  std::size_t total = 0;
  const auto values = shown_values(report, total);
  // A text that all runs share says nothing in a column, and there it would push the numbers out of sight.
  struct Column {
    const char* name;
    const std::string& (*text)(const RunRecord&);
  };
  std::vector<Column> columns;
  std::string notes;
  for (const Column& column :
       {Column{"activation", [](const RunRecord& run) -> const std::string& { return run.activation_text; }},
        Column{"weight", [](const RunRecord& run) -> const std::string& { return run.weight_text; }}}) {
    const std::string& first = column.text(report.runs.front());
    if (std::any_of(report.runs.begin(), report.runs.end(),
                    [&](const RunRecord& run) { return column.text(run) != first; })) {
      columns.push_back(column);
    } else if (!first.empty()) {
      notes += fmt::format("{}All runs: {} <code>{}</code>.", notes.empty() ? "" : " ", column.name,
                           escape_html(first));
    }
  }
  std::vector<std::string> cuts;
  if (report.runs.size() > kMostRuns)
    cuts.push_back(fmt::format("the first {} of {} runs", kMostRuns, report.runs.size()));
  if (values.size() < total) cuts.push_back(fmt::format("{} of {} values", values.size(), total));
  if (!cuts.empty())
    notes += fmt::format("{}Shown: {}; olab export has all of them.", notes.empty() ? "" : " ",
                         fmt::join(cuts, ", "));
  if (!notes.empty()) out += fmt::format("<p class=\"note\">{}</p>\n", notes);
  out +=
      "<input type=\"search\" data-filter=\"all-runs\" placeholder=\"Filter: words in any column\" "
      "aria-label=\"Filter the runs\"><span class=\"count\" id=\"all-runs-count\" role=\"status\"></span>\n";
  out += "<div class=\"scroll long\"><table class=\"sortable wide\" id=\"all-runs\">\n<thead><tr>" +
         sort_head("run", false) + sort_head("layer", true) + sort_head("method", true) +
         sort_head("seed", false) + sort_head("status", true);
  for (const std::string& name : values) out += sort_head(name, false);
  for (const Column& column : columns) out += sort_head(column.name, true);
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < std::min(report.runs.size(), kMostRuns); ++i) {
    const RunRecord& run = report.runs[i];
    out += fmt::format(
        "<tr><td data-v=\"{0}\">{0}</td><td class=\"t\">{1}</td><td class=\"t\">{2}</td>"
        "<td data-v=\"{3}\">{3}</td><td class=\"t\">{4}</td>",
        run.id, escape_html(run.layer), escape_html(method_label(run)), run.seed, escape_html(run.status));
    for (const std::string& name : values) {
      const auto it = run.values.find(name);
      out += it == run.values.end()
                 ? "<td>–</td>"
                 : number_cell(it->second, "", escape_html(show_number(it->second, Format::text)));
    }
    for (const Column& column : columns)
      out += fmt::format("<td class=\"t\">{}</td>", escape_html(column.text(run)));
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n</section>\n";
}

std::string provenance_html(const std::vector<RunRecord>& runs) {
  std::map<std::string, std::size_t> machines;  // description, runs
  std::map<std::string, std::size_t> recordings;
  std::string first;
  std::string last;
  for (const RunRecord& run : runs) {
    const Provenance& p = run.provenance;
    ++machines[fmt::format("olab {}, commit {}{}; {} {}; {}, {}; kernels {}, {} thread(s)", p.version,
                           p.commit, p.dirty ? " with uncommitted changes" : "", p.compiler, p.flags, p.host,
                           p.cpu, p.kernel_level, p.threads)];
    ++recordings[fmt::format("{}: {} calibration and {} evaluation tokens", run.recording,
                             run.calibration_tokens, run.evaluation_tokens)];
    if (!run.started.empty() && (first.empty() || run.started < first)) first = run.started;
    if (!run.ended.empty() && run.ended > last) last = run.ended;
  }
  std::string out = "<dl>\n";
  const auto entry = [&](const std::string& term, const std::string& text) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(term), escape_html(text));
  };
  for (const auto& [text, count] : recordings) entry("data", fmt::format("{} ({} runs)", text, count));
  for (const auto& [text, count] : machines) entry("computed by", fmt::format("{} ({} runs)", text, count));
  if (!first.empty()) entry("time", last.empty() ? first : first + " to " + last);
  return out + "</dl>\n";
}

std::string facts_html(const Report& report) {
  std::set<std::string> layers;
  std::set<std::string> methods;
  std::set<std::uint64_t> seeds;
  std::map<std::string, std::size_t> status;
  for (const RunRecord& run : report.runs) {
    layers.insert(run.recording + "\n" + run.layer);
    methods.insert(method_label(run));
    seeds.insert(run.seed);
    ++status[run.status];
  }
  std::string out = "<ul class=\"facts\">\n";
  const auto fact = [&](std::size_t count, const char* one, const char* many, bool bad) {
    out += fmt::format("<li{}><b>{}</b><span>{}</span></li>\n", bad ? " class=\"bad\"" : "", count,
                       count == 1 ? one : many);
  };
  fact(report.runs.size(), "run", "runs", false);
  fact(layers.size(), "layer", "layers", false);
  fact(methods.size(), "method", "methods", false);
  fact(seeds.size(), "seed", "seeds", false);
  if (status["failed"] > 0) fact(status["failed"], "failed", "failed", true);
  const std::size_t open = report.runs.size() - status["finished"] - status["failed"];
  if (open > 0) fact(open, "unfinished", "unfinished", true);
  return out + "</ul>\n";
}

std::string page(const Report& report) {
  const bool failed = std::any_of(report.runs.begin(), report.runs.end(),
                                  [](const RunRecord& run) { return run.status == "failed"; });
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"generator\" content=\"OutlierLab\">\n";
  out += fmt::format("<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n", escape_html(report.study),
                     report_style());
  out += fmt::format("<header>\n<h1>{}</h1>\n", escape_html(report.study));
  if (!report.description.empty())
    out += fmt::format("<p class=\"lead\">{}</p>\n", escape_html(trim(report.description)));
  out += facts_html(report);
  out += "<nav aria-label=\"Sections\">";
  const auto link = [&](const char* id, const char* name) {
    out += fmt::format("<a href=\"#{}\">{}</a>", id, escape_html(name));
  };
  for (std::size_t i = 0; i < report.sections.size(); ++i)
    link(fmt::format("section-{}", i + 1).c_str(), report.sections[i].title.c_str());
  if (!report.tables.empty()) link("tables", "Tables");
  if (!report.figures.empty()) link("figures", "Figures");
  if (failed) link("failed", "Failed runs");
  link("runs", "All runs");
  if (!report.definitions.empty()) link("definitions", "Definitions");
  link("reproduce", "Reproduce");
  out += "</nav>\n</header>\n<main>\n";
  for (std::size_t i = 0; i < report.sections.size(); ++i) out += section_html(report.sections[i], i + 1);
  if (!report.tables.empty()) {
    out += "<h2 id=\"tables\">Tables</h2>\n";
    out +=
        "<p class=\"note\">Mean over seeds ± sample standard deviation, after averaging over layers within "
        "each "
        "seed. A click on a heading sorts; the best of a column is marked.</p>\n";
    for (const ReportTable& table : report.tables) out += table_html(table);
  }
  if (!report.figures.empty()) {
    out += "<h2 id=\"figures\">Figures</h2>\n<div class=\"figures\">\n";
    for (std::size_t i = 0; i < report.figures.size(); ++i) out += figure_html(report.figures[i], i + 1);
    out += "</div>\n";
  }
  out += failures_html(report.runs);
  out += runs_html(report);
  if (!report.definitions.empty()) {
    out += "<h2 id=\"definitions\">Definitions</h2>\n<section class=\"card\"><dl>\n";
    for (const auto& [name, formula] : report.definitions)
      out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(name), escape_html(formula));
    out += "</dl></section>\n";
  }
  out += "<h2 id=\"reproduce\">Reproduce</h2>\n";
  if (!report.command.empty())
    out += fmt::format("<section class=\"card\"><h3>Command</h3>\n<pre>{}</pre></section>\n",
                       escape_html(report.command));
  if (!report.study_text.empty())
    out += fmt::format("<section class=\"card\"><h3>Study</h3>\n<pre>{}</pre></section>\n",
                       escape_html(report.study_text));
  if (!report.runs.empty())
    out += "<section class=\"card\"><h3>Provenance</h3>\n" + provenance_html(report.runs) + "</section>\n";
  out +=
      "</main>\n<footer>Written by OutlierLab. Everything on this page is in this one file; the charts' "
      "gnuplot "
      "scripts with their data lie beside it.</footer>\n";
  return out + fmt::format("<script>{}</script>\n</body>\n</html>\n", report_script());
}

}  // namespace

std::string render_sections(const std::vector<ReportSection>& sections, Format format) {
  const bool markdown = format == Format::markdown;
  std::string out;
  for (const ReportSection& section : sections) {
    out += fmt::format("{}{}\n\n", markdown ? "## " : "", section.title);
    for (const std::string& text : section.paragraphs)
      out += (markdown ? escape_cell(text, format) : text) + "\n\n";
    for (const Grid& grid : section.grids) out += render_grid(grid, format) + "\n";
  }
  return out;
}

void write_report(const Report& report, const fs::path& file) {
  const std::string text = page(report);
  // Written beside and renamed: a reader sees the old page or the new one, never half of one.
  const fs::path draft = file.string() + ".part";
  std::error_code failure;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), failure);
  bool written = false;
  {
    std::ofstream out(draft, std::ios::binary);
    written = static_cast<bool>(out.write(text.data(), static_cast<std::streamsize>(text.size()))) &&
              static_cast<bool>(out.flush());
  }
  if (written) {
    failure.clear();
    fs::rename(draft, file, failure);
    if (!failure) return;
  }
  fs::remove(draft, failure);
  throw Error(
      fmt::format("report {}: cannot be written; check that the folder is yours and the disk is not full",
                  file.string()));
}

}  // namespace olab

#include "experiments/views.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <span>

#include "core/hash.hpp"
#include "core/text.hpp"
#include "experiments/model_runner.hpp"
#include "experiments/runner.hpp"
#include "metrics/common/metric.hpp"

namespace olab {
namespace {

/// Changes whenever the views would: the study's text, the runs and what they are.
std::string views_stamp(const Study& study, const std::vector<RunRecord>& runs,
                        const std::vector<ReportSection>& sections) {
  Hasher h;
  h.add("views 3").add(OLAB_VERSION).add(study.text).add(render_sections(sections, Format::text));
  for (const RunRecord& run : runs)
    h.add(run.key).add(run.status).add(run.error).add(run.label).add(run.ended);
  return h.hex();
}

std::string read_stamp(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string out;
  std::getline(in, out);
  return out;
}

bool all_there(const std::filesystem::path& stamp_file) {
  std::ifstream in(stamp_file);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line))
    if (!std::filesystem::exists(stamp_file.parent_path() / line)) return false;
  return true;
}

/// Label of a chart in messages.
std::string chart_text(const Spec& spec) {
  return fmt::format("chart '{}'", spec.name);
}

std::vector<std::pair<std::string, std::string>> all_definitions(const std::vector<RunRecord>& runs,
                                                                 const Registries& r) {
  std::set<std::string> used;
  for (const RunRecord& run : runs)
    for (const std::string& m : run.metrics) used.insert(m.substr(0, m.find('(')));
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string& name : used)
    if (r.metrics.contains(name)) out.emplace_back(name, r.metrics.info(name).note("definition"));
  for (const BuiltinValue& v : builtin_values()) out.emplace_back(v.name, v.definition);
  if (std::ranges::any_of(runs, [](const RunRecord& run) { return run.layer_kind == kModelKind; }))
    for (const BuiltinValue& v : model_values()) out.emplace_back(v.name, v.definition);
  return out;
}

/// The metric behind "output.nmse.token_mean"; null where a value has none.
const Info* metric_of(const std::string& value, const Registries& r) {
  const auto dot = value.find('.');
  if (dot == std::string::npos) return nullptr;
  const std::string rest = value.substr(dot + 1);
  const std::string name = rest.substr(0, rest.find_first_of(".("));
  return r.metrics.contains(name) ? &r.metrics.info(name) : nullptr;
}

void draw_all(const Study& study, const Store& store, const std::vector<RunRecord>& runs,
              const ViewPaths& paths, const Registries& r, Views& out) {
  std::filesystem::create_directories(paths.charts);
  std::map<std::string, std::string, std::less<>> definitions;
  std::map<std::string, std::string, std::less<>> better;
  for (const auto& [name, definition] : all_definitions(runs, r)) definitions[name] = definition;
  for (const std::span<const BuiltinValue> list : {builtin_values(), model_values()})
    for (const BuiltinValue& v : list) better[v.name] = v.better;
  for (const std::string& name : r.metrics.names()) better[name] = r.metrics.info(name).note("better");
  int number = 0;
  for (const StudyView& view : study.views) {
    if (view.is_table) continue;
    const std::string prefix = fmt::format("{:02d}-{}", ++number, view.chart.name);
    const ChartInput input{study.name, runs, store, paths.charts, prefix, definitions, better};
    try {
      for (DrawnFigure& figure : draw_chart(*r.charts.make(view.chart, r), input)) {
        if (!figure.ok && std::ranges::find(out.warnings, figure.message) == out.warnings.end())
          out.warnings.push_back(figure.message);
        out.figures.push_back(std::move(figure));
      }
    } catch (const Error& e) {
      out.warnings.push_back(fmt::format("{}: {}: {}", view.where, chart_text(view.chart), e.what()));
    }
  }
}

}  // namespace

bool is_timing(const std::string& value, const Registries& r) {
  if (value.starts_with("time.")) return true;
  const Info* const metric = metric_of(value, r);
  return metric != nullptr && !metric->note("timing").empty();
}

ValueFacts value_facts(const std::string& value, const Registries& r) {
  for (const std::span<const BuiltinValue> list : {builtin_values(), model_values()})
    for (const BuiltinValue& v : list)
      if (value == v.name) return {v.better, v.definition, v.unit};
  const Info* const metric = metric_of(value, r);
  if (metric == nullptr) return {};
  const std::string better = metric->note("better");
  return {better.empty() ? "none" : better, metric->note("definition"), metric->note("unit")};
}

Table study_table(const std::vector<RunRecord>& runs, TableSpec spec,
                  const std::vector<std::string>& quantizer_axes) {
  const std::string fields = "," + spec.rows + "," + spec.columns + ",";
  for (const std::string& axis : quantizer_axes) {
    if (fields.find("," + axis + ",") != std::string::npos ||
        fields.find(",activation,") != std::string::npos || fields.find(",weight,") != std::string::npos)
      continue;
    spec.columns = spec.columns.empty() || spec.columns == "none" ? axis : spec.columns + "," + axis;
  }
  return make_table(runs, spec);
}

ViewPaths view_paths(const std::filesystem::path& out, const std::filesystem::path& database,
                     const std::string& study) {
  return {database, out / study / "charts", out / study / "report.html"};
}

Views make_views(const Study& study, const Store& store, const ViewPaths& paths, const Registries& r,
                 bool redraw, const std::string& command, const std::vector<ReportSection>& sections) {
  Views out;
  const std::vector<RunRecord> runs =
      store.runs({.study = study.name, .status = {}, .method = {}, .layer = {}});
  for (const StudyView& view : study.views) {
    if (!view.is_table) continue;
    const ValueFacts facts = value_facts(view.table.value, r);
    try {
      out.tables.push_back(
          {study_table(runs, view.table, study.quantizer_axes), facts.better, facts.definition});
    } catch (const Error& e) {
      out.warnings.push_back(fmt::format("{}: table: {}", view.where, e.what()));
    }
  }
  const std::filesystem::path folder = paths.report.parent_path();
  const std::filesystem::path stamp_file = folder / ".views";
  const std::string stamp = views_stamp(study, runs, sections);
  if (!redraw && read_stamp(stamp_file) == stamp && all_there(stamp_file)) return out;
  out.redrawn = true;
  std::error_code ignored;
  std::filesystem::remove(stamp_file, ignored);
  draw_all(study, store, runs, paths, r, out);
  Report report;
  report.study = study.name;
  report.description = study.description;
  report.study_text = study.text;
  report.command = command;
  report.sections = sections;
  report.tables = out.tables;
  report.figures = out.figures;
  report.runs = runs;
  report.definitions = all_definitions(runs, r);
  write_report(report, paths.report);
  if (!out.warnings.empty()) return out;  // try again next time
  std::ofstream file(stamp_file);
  file << stamp << "\n" << paths.report.filename().string() << "\n";
  for (const DrawnFigure& f : out.figures) {
    for (const char* extension : {".svg", ".png"}) {
      std::filesystem::path picture = f.figure.script;
      file << std::filesystem::relative(picture.replace_extension(extension), folder).string() << "\n";
    }
  }
  return out;
}

std::string render_tables(const Views& views, Format format) {
  std::string out;
  for (const ReportTable& t : views.tables) {
    if (!out.empty()) out += "\n";
    out += render_table(t.table, format, t.better);
    if (format == Format::text && !t.definition.empty())
      out += fmt::format("  {} = {}\n", t.table.value, t.definition.substr(0, t.definition.find(';')));
  }
  return out;
}

}  // namespace olab

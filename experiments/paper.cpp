#include "experiments/paper.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <ostream>
#include <set>

#include "core/error.hpp"
#include "core/text.hpp"
#include "datasets/atomic_file.hpp"
#include "experiments/embedded.hpp"
#include "experiments/model_plan.hpp"
#include "experiments/views.hpp"
#include "results/paired.hpp"
#include "results/statistics.hpp"

namespace olab {
namespace {

constexpr double kLevel = 0.05;
constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

RowRuns read_runs(const ConfigNode& node) {
  RowRuns out;
  if (node.is_map()) {
    for (const auto& [pattern, text] : node.entries) out.emplace_back(pattern, text.text("'run'"));
  } else {
    out.emplace_back("*", node.text("'run'"));
  }
  return out;
}

PublishedRow read_row(const ConfigNode& node, std::size_t columns) {
  node.require_map("a published row", {"name", "run", "values", "instead"});
  PublishedRow out;
  out.name = node.at("name").text("'name'");
  out.runs = read_runs(node.at("run"));
  if (const ConfigNode* n = node.find("instead")) {
    if (!n->is_map()) n->fail("'instead' is a map from a measure's value to the one that the row shows");
    for (const auto& [value, other] : n->entries) out.instead[value] = other.text("'instead'");
  }
  const ConfigNode* const values = node.find("values");
  if (values == nullptr) return out;
  values->require_list("'values'");
  for (const ConfigNode& item : values->items) {
    if (item.is_null()) {
      out.values.emplace_back();
      continue;
    }
    double v = 0;
    if (!parse_double(item.text("'values'"), v)) item.fail("'values' holds numbers, nan or null");
    out.values.emplace_back(v);
  }
  if (out.values.size() != columns)
    values->fail(
        fmt::format("the row '{}' has {} values for {} columns; write nan where a run diverged, null where "
                    "nothing is printed",
                    out.name, out.values.size(), columns));
  return out;
}

void read_published(const ConfigNode& node, PaperTable& out) {
  node.require_map("published", {"better", "noise", "columns", "match", "rows"});
  if (const ConfigNode* n = node.find("better")) {
    const std::string better = n->text("'better'");
    if (better != "lower" && better != "higher") n->fail("'better' must be lower or higher");
    out.higher_is_better = better == "higher";
  }
  if (const ConfigNode* n = node.find("noise")) out.noise = n->number("'noise'", 0, 1e9);
  if (const ConfigNode* n = node.find("columns")) out.columns = n->texts("'columns'");
  if (const ConfigNode* n = node.find("match")) out.match = n->text("'match'");
  const ConfigNode& rows = node.at("rows");
  rows.require_list("'rows'");
  for (const ConfigNode& item : rows.items) out.rows.push_back(read_row(item, out.columns.size()));
}

RunsWhere read_where(const ConfigNode& node) {
  RunsWhere out;
  const ConfigNode* const where = node.find("where");
  if (where == nullptr) return out;
  if (!where->is_map()) where->fail("'where' is a map of fields, for example {quantizer: W4A4}");
  for (const auto& [field, text] : where->entries) out.emplace_back(field, text.text("'where'"));
  return out;
}

PaperMeasure read_measure(const ConfigNode& node, const PaperTable& table) {
  node.require_map("a measure", {"value", "against", "runs", "noise", "where"});
  PaperMeasure out;
  out.where = read_where(node);
  out.value = node.at("value").text("'value'");
  if (const ConfigNode* n = node.find("noise")) out.noise = n->number("'noise'", 0, 1e9);
  if (const ConfigNode* n = node.find("against")) {
    for (const std::string& column : n->texts("'against'")) {
      if (std::ranges::find(table.columns, column) == table.columns.end())
        n->fail(
            fmt::format("no published column is called '{}'{}", column, suggestion(column, table.columns)));
      out.against.push_back(column);
    }
  } else {
    out.against = table.columns;
  }
  if (const ConfigNode* n = node.find("runs")) {
    std::vector<std::string> names;
    for (const PublishedRow& row : table.rows) names.push_back(row.name);
    for (const auto& [name, runs] : n->entries) {
      if (std::ranges::find(names, name) == names.end())
        n->fail(fmt::format("no published row is called '{}'{}", name, suggestion(name, names)));
      out.runs.emplace(name, read_runs(runs));
    }
  }
  return out;
}

PaperQuestion read_question(const ConfigNode& node) {
  node.require_map("a question", {"ask", "value", "a", "b", "sequence", "predict", "from", "where"});
  PaperQuestion out;
  out.where = read_where(node);
  out.ask = node.at("ask").text("'ask'");
  if (const ConfigNode* n = node.find("value")) out.value = n->text("'value'");
  int kinds = 0;
  if (node.find("a") != nullptr || node.find("b") != nullptr) {
    out.a = read_runs(node.at("a"));
    out.b = read_runs(node.at("b"));
    ++kinds;
  }
  if (const ConfigNode* n = node.find("sequence")) {
    out.sequence = n->texts("'sequence'");
    if (out.sequence.size() < 2) n->fail("'sequence' needs at least two labels");
    ++kinds;
  }
  if (const ConfigNode* n = node.find("predict")) {
    out.predict = n->text("'predict'");
    out.from = node.at("from").texts("'from'");
    ++kinds;
  }
  if (kinds != 1) node.fail("a question has either a and b, or sequence, or predict and from");
  return out;
}

void drop(ConfigNode& map, std::string_view key) {
  std::erase_if(map.entries, [&](const auto& e) { return e.first == key; });
}

ConfigNode given(const std::string& key, const std::string& text) {
  ConfigNode value;
  value.kind = ConfigNode::Kind::scalar;
  value.where = fmt::format("override '{}={}'", key, text);
  value.scalar = text;
  value.quoted = true;
  return value;
}

void set_text(ConfigNode& map, const std::string& key, const std::string& text) {
  drop(map, key);
  map.entries.emplace_back(key, given(key, text));
}

void set_texts(ConfigNode& map, const std::string& key, const std::vector<std::string>& texts) {
  drop(map, key);
  ConfigNode list;
  list.kind = ConfigNode::Kind::list;
  list.where = fmt::format("override '{}={}'", key, fmt::join(texts, ","));
  for (const std::string& text : texts) list.items.push_back(given(key, text));
  map.entries.emplace_back(key, std::move(list));
}

/// Letters, digits, '-' and '_' only: part of a study's name.
std::string as_name(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-' && c != '_'; },
      '-');
  return text;
}

/// The last part of a path, with or without a slash behind it.
std::string data_name(const std::string& text) {
  const std::filesystem::path path(text);
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

/// The study's data from elsewhere; returns what its name gets behind it.
std::string replace_data(ConfigNode& study, const PaperData& data) {
  if (study.find("evaluate") != nullptr) {
    ConfigNode* const node = study.find("data");
    if (node == nullptr) study.fail("'data' is missing");
    std::string out;
    if (!data.models.empty()) set_texts(*node, "model", data.models);
    if (!data.texts.empty()) set_texts(*node, "text", data.texts);
    if (!data.calibration_text.empty()) set_text(*node, "calibration_text", data.calibration_text);
    for (const std::string& path : data.models) out += "-" + data_name(path);
    return as_name(out);
  }
  if (data.recording.empty() && data.profile.empty()) return {};
  ConfigNode* const node = study.find("data");
  if (node == nullptr) study.fail("'data' is missing");
  drop(*node, "profile");
  drop(*node, "recording");
  if (!data.profile.empty()) {
    set_text(*node, "profile", data.profile);
  } else {
    // A recording brings its own sizes: all of its layers, half of its tokens.
    for (const char* key : {"calibration_tokens", "evaluation_tokens", "tokens", "in_features",
                            "out_features", "sequence_length", "seed"})
      if (const ConfigNode* n = node->find(key); n != nullptr && !n->is_list()) drop(*node, key);
    drop(*node, "layers");
    set_text(*node, "recording", data.recording);
  }
  return as_name("-" + data_name(data.profile.empty() ? data.recording : data.profile));
}

/// Which text a row asks of the field for this layer; nothing where no pattern fits.
const std::string* wanted_text(const RowRuns& runs, const std::string& layer) {
  const auto it = std::ranges::find_if(runs, [&](const auto& r) { return glob_match(r.first, layer); });
  return it == runs.end() ? nullptr : &it->second;
}

std::vector<RunRecord> runs_of(const RowRuns& wanted, const std::string& field,
                               std::span<const RunRecord> runs) {
  std::vector<RunRecord> out;
  for (const RunRecord& run : runs) {
    if (run.status != "finished") continue;
    const std::string* const text = wanted_text(wanted, run.layer);
    if (text != nullptr && run_field(run, field) == *text) out.push_back(run);
  }
  return out;
}

std::vector<RunRecord> runs_where(std::span<const RunRecord> runs, const RunsWhere& where) {
  std::vector<RunRecord> out;
  std::ranges::copy_if(runs, std::back_inserter(out), [&](const RunRecord& run) {
    return std::ranges::all_of(where, [&](const auto& w) { return run_field(run, w.first) == w.second; });
  });
  return out;
}

std::string where_text(const RunsWhere& where) {
  std::vector<std::string> parts;
  for (const auto& [field, text] : where) parts.push_back(field + " = " + text);
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// What tests take as observations: layers, or windows of models.
std::string_view unit_of(std::span<const RunRecord> runs) {
  const bool models = !runs.empty() && std::ranges::all_of(runs, [](const RunRecord& r) {
    return r.layer_kind == kModelKind;
  });
  return models ? "window" : "layer";
}

/// Layer (or window of a model) → mean of the value over its runs (seeds). A value that is not a number stays
/// one.
std::map<std::string, double> by_layer(const std::vector<RunRecord>& runs, const std::string& value,
                                       const WindowValues& windows) {
  std::map<std::string, std::pair<double, std::size_t>> sums;
  const auto add = [&](const std::string& unit, double v) {
    auto& [sum, count] = sums[unit];
    sum += v;
    ++count;
  };
  for (const RunRecord& run : runs) {
    const std::string name = run.recording + "\n" + run.layer;
    if (const auto known = windows.find(run.id); known != windows.end()) {
      if (const auto list = known->second.find(value); list != known->second.end()) {
        for (std::size_t w = 0; w < list->second.size(); ++w)
          add(fmt::format("{}\n{}", name, w), list->second[w]);
        continue;
      }
    }
    if (const auto it = run.values.find(value); it != run.values.end()) add(name, it->second);
  }
  std::map<std::string, double> out;
  for (const auto& [layer, s] : sums) out[layer] = s.first / static_cast<double>(s.second);
  return out;
}

double mean_of(const std::map<std::string, double>& units) {
  double sum = 0;
  for (const auto& [name, v] : units) sum += v;
  return units.empty() ? kNothing : sum / static_cast<double>(units.size());
}

std::string show_published(double v) {
  return std::isnan(v) ? "diverged" : show_number(v, Format::text);
}

/// For a column of p values; for a sentence with "p" and the sign in front.
std::string show_p(double p) {
  return std::isnan(p) ? "–" : p < 1e-4 ? "< 0.0001" : fmt::format("{:.4f}", p);
}
std::string say_p(double p) {
  return std::isnan(p) ? "p unknown" : p < 1e-4 ? "p < 0.0001" : fmt::format("p = {:.4f}", p);
}

std::string show_cell(const std::vector<RunRecord>& runs, const std::string& value) {
  const Cell cell = make_cell(runs, value);
  return cell.runs == 0 ? "–" : cell_text(cell, Format::text);
}

/// What runs are told apart by in columns: the kind of layer; of models, the model.
const std::string& kind_of(const RunRecord& run) {
  return run.layer_kind == kModelKind ? run.layer : run.layer_kind;
}

/// Layer kinds in the order of the runs.
std::vector<std::string> kinds_of(std::span<const RunRecord> runs) {
  std::vector<std::string> out;
  for (const RunRecord& run : runs)
    if (std::ranges::find(out, kind_of(run)) == out.end()) out.push_back(kind_of(run));
  return out;
}

std::vector<RunRecord> of_kind(const std::vector<RunRecord>& runs, const std::string& kind) {
  std::vector<RunRecord> out;
  std::ranges::copy_if(runs, std::back_inserter(out), [&](const RunRecord& r) { return kind_of(r) == kind; });
  return out;
}

std::size_t count_seeds(std::span<const RunRecord> runs) {
  std::set<std::uint64_t> seeds;
  for (const RunRecord& run : runs) seeds.insert(run.seed);
  return seeds.size();
}

/// The value of a row in a measure; nothing where the row does not belong there.
std::optional<std::string> value_for(const PaperMeasure& measure, const PublishedRow& row) {
  if (row.instead.empty()) return measure.value;
  const auto it = row.instead.find(measure.value);
  return it == row.instead.end() ? std::nullopt : std::optional(it->second);
}

const RowRuns& runs_for(const PaperMeasure& measure, const PublishedRow& row) {
  const auto it = measure.runs.find(row.name);
  return it == measure.runs.end() ? row.runs : it->second;
}

/// Published and measured numbers side by side.
Grid side_by_side(const PaperTable& table, const PaperMeasure& measure,
                  const std::vector<std::vector<RunRecord>>& row_runs) {
  std::vector<RunRecord> shown;
  for (const std::vector<RunRecord>& runs : row_runs) shown.insert(shown.end(), runs.begin(), runs.end());
  const std::vector<std::string> kinds = kinds_of(shown);
  Grid grid;
  const bool models = unit_of(shown) == "window";
  grid.title = fmt::format("{} measured here{}",
                           measure.against.empty() ? measure.value : "Published, and " + measure.value,
                           measure.where.empty() ? "" : ", " + where_text(measure.where));
  grid.header = {"variant", models ? kinds.size() > 1 ? "mean of models" : kinds.front() : "all layers"};
  grid.numeric = {false};
  for (const std::string& column : measure.against) grid.header.push_back(column + " (published)");
  if (kinds.size() > 1) grid.header.insert(grid.header.end(), kinds.begin(), kinds.end());
  grid.numeric.resize(grid.header.size(), true);
  for (std::size_t i = 0; i < table.rows.size(); ++i) {
    const PublishedRow& row = table.rows[i];
    const std::optional<std::string> value = value_for(measure, row);
    if (!value) continue;
    std::vector<GridCell> cells{row.name, show_cell(row_runs[i], *value)};
    for (const std::string& column : measure.against) {
      const auto at =
          static_cast<std::size_t>(std::ranges::find(table.columns, column) - table.columns.begin());
      cells.emplace_back(row.values.empty() || !row.values[at] ? "–" : show_published(*row.values[at]));
    }
    if (kinds.size() > 1)
      for (const std::string& kind : kinds) cells.emplace_back(show_cell(of_kind(row_runs[i], kind), *value));
    grid.rows.push_back(std::move(cells));
  }
  return grid;
}

void add_measure(const PaperTable& table, const PaperMeasure& measure, std::span<const RunRecord> runs,
                 const WindowValues& windows, const Registries& r, PaperPage& page) {
  ReportSection& out = page.section;
  const std::vector<RunRecord> chosen = runs_where(runs, measure.where);
  std::vector<std::vector<RunRecord>> row_runs;
  for (const PublishedRow& row : table.rows)
    row_runs.push_back(runs_of(runs_for(measure, row), table.match, chosen));
  out.grids.push_back(side_by_side(table, measure, row_runs));
  if (measure.against.empty()) return;
  Grid verdicts;
  verdicts.title = fmt::format("Is the order of {} the published one?", measure.value);
  verdicts.header = {"published column", "rows",     "Kendall's tau", "p",
                     "pairs told apart", "agreeing", "verdict"};
  verdicts.numeric = {false, true, true, true, true, true, false};
  const bool higher = value_facts(measure.value, r).better == "higher";
  for (const std::string& column : measure.against) {
    const auto at =
        static_cast<std::size_t>(std::ranges::find(table.columns, column) - table.columns.begin());
    std::vector<OrderRow> rows;
    for (std::size_t i = 0; i < table.rows.size(); ++i) {
      if (table.rows[i].values.empty() || !table.rows[i].values[at] || !table.rows[i].instead.empty())
        continue;
      rows.push_back(
          {table.rows[i].name, *table.rows[i].values[at], by_layer(row_runs[i], measure.value, windows)});
    }
    const OrderVerdict v =
        judge_order(rows, measure.noise.value_or(table.noise), table.higher_is_better, higher);
    verdicts.rows.push_back({column, std::to_string(v.rows),
                             std::isnan(v.tau) ? "–" : fmt::format("{:.2f}", v.tau), show_p(v.p),
                             fmt::format("{} of {}", v.told, v.pairs), std::to_string(v.agreeing), v.text});
    page.findings.push_back(
        {fmt::format("{}: order of {}", column, measure.value),
         v.told == 0 ? v.text : fmt::format("{} ({} of {} pairs)", v.text, v.agreeing, v.told)});
    if (v.reversed.empty()) continue;
    constexpr std::size_t kMost = 6;
    const std::size_t named = std::min(kMost, v.reversed.size());
    out.paragraphs.push_back(fmt::format(
        "{}, {}: in print {}{}; here the other way round.", column, measure.value,
        fmt::join(v.reversed.begin(), v.reversed.begin() + static_cast<std::ptrdiff_t>(named), "; "),
        named < v.reversed.size() ? fmt::format("; and {} more", v.reversed.size() - named) : ""));
  }
  out.grids.push_back(std::move(verdicts));
}

std::string runs_text(const RowRuns& runs) {
  std::vector<std::string> out;
  for (const auto& [pattern, text] : runs) out.push_back(pattern == "*" ? text : text + " on " + pattern);
  return fmt::format("{}", fmt::join(out, ", "));
}

PairedOptions pair_options(bool higher) {
  return {Observations::layers, higher ? "higher" : "lower", kLevel};
}

/// B against A over the units that both have, compared as `olab compare` does it.
PairedGroup difference(const std::map<std::string, double>& a, const std::map<std::string, double>& b,
                       bool higher) {
  PairedRuns runs;
  for (const auto& [unit, value] : a) {
    const auto other = b.find(unit);
    if (other == b.end() || std::isnan(value) || std::isnan(other->second)) continue;
    runs.pairs.push_back(
        {unit, "", 0, "", value, other->second, paired_difference(value, other->second, PairedScale::ratio)});
  }
  return compare_pairs(std::move(runs), pair_options(higher)).all();
}

/// A long and a short answer.
struct Answer {
  std::string text;
  std::string brief;
};

Answer answer_pair(const PaperQuestion& q, std::span<const RunRecord> runs, const WindowValues& windows,
                   const std::string& field, bool higher) {
  const auto a = runs_of(q.a, field, runs);
  const auto b = runs_of(q.b, field, runs);
  const PairedGroup d = difference(by_layer(a, q.value, windows), by_layer(b, q.value, windows), higher);
  const std::string who = fmt::format("{} against {}", runs_text(q.b), runs_text(q.a));
  if (d.n == 0)
    return {fmt::format("{}: no {} holds both, so nothing can be said.", who, unit_of(runs)), "–"};
  const std::string numbers =
      fmt::format("{} is {:.3f} of it{}, Wilcoxon {} over {} {}s, {} seeds", q.value, d.center,
                  d.n < 2 ? "" : fmt::format(" [{:.3f}, {:.3f}]", d.interval.low, d.interval.high),
                  say_p(d.wilcoxon.p), d.n, unit_of(runs), count_seeds(b));
  if (d.outcome != Outcome::a_better && d.outcome != Outcome::b_better)
    return {fmt::format("No difference can be told: {}: {}{}.", who, numbers,
                        d.wilcoxon.p <= kLevel ? "; the ranks and the mean point to different sides" : ""),
            fmt::format("not told: {:.3f}", d.center)};
  const bool better = d.outcome == Outcome::b_better;
  const bool by_ranks = d.interval.low < 1 && d.interval.high > 1;
  return {fmt::format("{}: {}: {}{}.", better ? "Yes" : "No, it is worse", who, numbers,
                      by_ranks ? "; the ranks say so, the interval of the mean holds 1" : ""),
          fmt::format("{}: {:.3f}", better ? "yes" : "no, worse", d.center)};
}

Answer answer_sequence(const PaperQuestion& q, std::span<const RunRecord> runs, const WindowValues& windows,
                       const std::string& field, bool higher) {
  std::vector<std::map<std::string, double>> units;
  for (const std::string& label : q.sequence)
    units.push_back(by_layer(runs_of({{"*", label}}, field, runs), q.value, windows));
  std::size_t best = q.sequence.size();
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (units[i].empty()) continue;
    if (best == q.sequence.size() ||
        (higher ? mean_of(units[i]) > mean_of(units[best]) : mean_of(units[i]) < mean_of(units[best])))
      best = i;
  }
  if (best == q.sequence.size()) return {"No finished run answers this.", "–"};
  std::vector<std::size_t> others;
  std::vector<double> p;
  std::vector<PairedGroup> differences;
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (i == best || units[i].empty()) continue;
    others.push_back(i);
    differences.push_back(difference(units[best], units[i], higher));
    p.push_back(differences.back().wilcoxon.p);
  }
  p = holm(p);
  const auto told = [&](std::size_t k) {
    const Outcome outcome = decide(differences[k], p[k], pair_options(higher));
    return outcome == Outcome::a_better || outcome == Outcome::b_better;
  };
  std::vector<std::string> same;
  std::vector<std::string> worse;
  for (std::size_t k = 0; k < others.size(); ++k)
    (told(k) ? worse : same)
        .push_back(
            fmt::format("{} ({:.3f} of it, {})", q.sequence[others[k]], differences[k].center, say_p(p[k])));
  std::string out = fmt::format("The best mean of {} has {}.", q.value, q.sequence[best]);
  if (!worse.empty()) out += fmt::format(" Different from it: {}.", fmt::join(worse, ", "));
  if (!same.empty()) out += fmt::format(" Not told apart from it: {}.", fmt::join(same, ", "));
  std::string first = q.sequence[best];  // the first that is as good
  for (std::size_t k = 0; k < others.size(); ++k)
    if (others[k] < best && !told(k)) {
      first = q.sequence[others[k]];
      break;
    }
  return {out + fmt::format(" (Wilcoxon over {}s, Holm's correction.)", unit_of(runs)),
          fmt::format("best {}; as good from {} on", q.sequence[best], first)};
}

/// Within each layer the runs are ranked by both values; the mean of Spearman's rho over layers.
double prediction(const std::vector<RunRecord>& runs, const std::string& from, const std::string& to) {
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> layers;
  for (const RunRecord& run : runs) {
    const auto x = run.values.find(from);
    const auto y = run.values.find(to);
    if (x == run.values.end() || y == run.values.end() || std::isnan(x->second) || std::isnan(y->second))
      continue;
    auto& [xs, ys] = layers[run.recording + "\n" + run.layer];
    xs.push_back(x->second);
    ys.push_back(y->second);
  }
  double sum = 0;
  std::size_t count = 0;
  for (const auto& [layer, pair] : layers) {
    const double rho = spearman_rho(pair.first, pair.second).coefficient;
    if (std::isnan(rho)) continue;
    sum += rho;
    ++count;
  }
  return count == 0 ? kNothing : sum / static_cast<double>(count);
}

Answer answer_prediction(const PaperQuestion& q, std::span<const RunRecord> runs, ReportSection& out) {
  std::vector<RunRecord> finished;
  std::ranges::copy_if(runs, std::back_inserter(finished),
                       [](const RunRecord& r) { return r.status == "finished"; });
  const std::vector<std::string> kinds = kinds_of(finished);
  Grid grid;
  const std::string_view unit = unit_of(finished) == "window" ? "model" : "layer";
  grid.title = fmt::format("Spearman's rho with {}, over the runs of a {}, mean over {}s{}", q.predict, unit,
                           unit, q.where.empty() ? "" : "; " + where_text(q.where));
  grid.header = {"value"};
  if (kinds.size() > 1) grid.header.insert(grid.header.end(), kinds.begin(), kinds.end());
  grid.header.push_back(fmt::format("all {}s", unit));
  grid.numeric.assign(grid.header.size(), true);
  grid.numeric[0] = false;
  std::string best;
  double most = -1;
  for (const std::string& from : q.from) {
    std::vector<GridCell> cells{from};
    const auto put = [&](double rho) {
      cells.emplace_back(std::isnan(rho) ? "–" : fmt::format("{:.2f}", rho));
      return rho;
    };
    if (kinds.size() > 1)
      for (const std::string& kind : kinds) put(prediction(of_kind(finished, kind), from, q.predict));
    const double all = put(prediction(finished, from, q.predict));
    if (std::abs(all) > most) {
      most = std::abs(all);
      best = fmt::format("{} (rho = {:.2f})", from, all);
    }
    grid.rows.push_back(std::move(cells));
  }
  out.grids.push_back(std::move(grid));
  if (best.empty()) return {"No finished run answers this.", "–"};
  return {fmt::format("Best of those asked, over all {}s: {}.", unit, best), best};
}

/// The text of a shipped table or a file, and how messages call it.
std::pair<std::string, std::string> paper_text(const std::string& name_or_file) {
  for (const auto& [name, shipped] : shipped_papers())
    if (name == name_or_file) return {std::string(shipped), name_or_file + ".yaml"};
  if (std::filesystem::is_regular_file(name_or_file))
    return {read_text_file(name_or_file, "table"), name_or_file};
  const std::vector<std::string> names = paper_names();
  throw Error(fmt::format("no file and no shipped table is called '{}'{}", name_or_file,
                          suggestion(name_or_file, names)));
}

}  // namespace

std::vector<std::string> paper_names() {
  std::vector<std::string> out;
  for (const auto& [name, text] : shipped_papers()) out.emplace_back(name);
  std::ranges::sort(out);
  return out;
}

std::string paper_title(const std::string& name) {
  for (const auto& [stem, text] : shipped_papers())
    if (stem == name) return parse_yaml(text, name + ".yaml").at("title").text("'title'");
  return {};
}

bool paper_needs_model(const std::string& name_or_file) {
  const auto [text, source] = paper_text(name_or_file);
  const ConfigNode root = parse_yaml(text, source);
  const ConfigNode* const study = root.find("study");
  return study != nullptr && study->is_map() && study->find("evaluate") != nullptr;
}

PaperTable load_paper(const std::string& name_or_file, const PaperData& data,
                      std::span<const std::string> overrides, const Registries& r) {
  const std::pair<std::string, std::string> found = paper_text(name_or_file);
  const std::string& text = found.first;
  const std::string& source = found.second;
  ConfigNode root = parse_yaml(text, source);
  root.require_map("a table",
                   {"paper", "title", "source", "notes", "published", "measures", "questions", "study"});
  PaperTable out;
  out.name = root.at("paper").text("'paper'");
  out.title = root.at("title").text("'title'");
  if (const ConfigNode* n = root.find("source")) out.source = n->text("'source'");
  if (const ConfigNode* n = root.find("notes")) out.notes = n->texts("'notes'");
  if (const ConfigNode* n = root.find("published")) read_published(*n, out);
  if (const ConfigNode* n = root.find("measures")) {
    n->require_list("'measures'");
    for (const ConfigNode& item : n->items) out.measures.push_back(read_measure(item, out));
  } else if (!out.rows.empty()) {
    out.measures.push_back({"output.nmse", out.columns, {}, {}, {}});
  }
  if (const ConfigNode* n = root.find("questions")) {
    n->require_list("'questions'");
    for (const ConfigNode& item : n->items) out.questions.push_back(read_question(item));
  }
  ConfigNode study = root.at("study");
  if (study.is_scalar()) study = parse_yaml(shipped_study(study.text("'study'")), study.scalar + ".yaml");
  if (!study.is_map()) study.fail("'study' must be a map, as a study file has it, or a shipped study's name");
  const std::string other = replace_data(study, data);
  set_text(study, "study", "paper-" + out.name + other);
  if (study.find("description") == nullptr) set_text(study, "description", out.title);
  out.study = parse_study(std::move(study), source, overrides, r);
  // A label that no method has would show as an empty row for ever.
  if (out.match == "method") {
    std::vector<std::string> labels;
    for (const StudyMethod& m : out.study.methods) labels.push_back(m.label);
    const auto check = [&](const RowRuns& runs, const std::string& who) {
      for (const auto& [pattern, label] : runs)
        if (std::ranges::find(labels, label) == labels.end())
          throw Error(fmt::format("{}: {} names the method '{}', which the study does not have{}", source,
                                  who, label, suggestion(label, labels)));
    };
    for (const PublishedRow& row : out.rows) check(row.runs, fmt::format("row '{}'", row.name));
    for (const PaperMeasure& m : out.measures)
      for (const auto& [row, runs] : m.runs) check(runs, fmt::format("measure '{}'", m.value));
    for (const PaperQuestion& q : out.questions) {
      check(q.a, fmt::format("question '{}'", q.ask));
      check(q.b, fmt::format("question '{}'", q.ask));
      for (const std::string& label : q.sequence) check({{"*", label}}, fmt::format("question '{}'", q.ask));
    }
  }
  return out;
}

OrderVerdict judge_order(std::span<const OrderRow> rows, double noise, bool published_higher_is_better,
                         bool measured_higher_is_better) {
  // From here on lower is better on both sides; what diverged is the worst.
  struct Ready {
    const OrderRow* row;
    double published;
    double measured;
  };
  std::vector<Ready> ready;
  for (const OrderRow& row : rows) {
    const double measured = mean_of(row.units);
    if (row.units.empty() || std::isnan(measured)) continue;
    const double published = std::isnan(row.published)    ? kInfinity
                             : published_higher_is_better ? -row.published
                                                          : row.published;
    ready.push_back({&row, published, measured_higher_is_better ? -measured : measured});
  }
  OrderVerdict out;
  out.rows = ready.size();
  std::vector<double> published;
  std::vector<double> measured;
  for (const Ready& one : ready) {
    published.push_back(one.published);
    measured.push_back(one.measured);
  }
  const RankCorrelation tau = kendall_tau_b(published, measured);
  out.tau = tau.coefficient;
  out.p = tau.p;
  std::vector<double> p;
  std::vector<std::pair<std::size_t, std::size_t>> pairs;  // the first is better in print
  std::vector<PairedGroup> differences;
  for (std::size_t i = 0; i < ready.size(); ++i)
    for (std::size_t j = i + 1; j < ready.size(); ++j) {
      ++out.pairs;
      const bool same = ready[i].published == ready[j].published ||
                        std::abs(ready[i].published - ready[j].published) <= noise;
      if (same) continue;
      const bool first = ready[i].published < ready[j].published;
      const std::size_t good = first ? i : j;
      const std::size_t bad = first ? j : i;
      pairs.emplace_back(good, bad);
      differences.push_back(
          difference(ready[good].row->units, ready[bad].row->units, measured_higher_is_better));
      p.push_back(differences.back().wilcoxon.p);
    }
  p = holm(p);
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    const Outcome outcome = decide(differences[k], p[k], pair_options(measured_higher_is_better));
    if (outcome != Outcome::a_better && outcome != Outcome::b_better) continue;
    ++out.told;
    if (outcome == Outcome::a_better) {
      ++out.agreeing;
    } else {
      out.reversed.push_back(
          fmt::format("{} before {}", ready[pairs[k].first].row->label, ready[pairs[k].second].row->label));
    }
  }
  out.text = out.told == 0              ? "cannot be told at this noise"
             : out.agreeing == out.told ? "agrees in order"
                                        : "disagrees";
  return out;
}

PaperPage paper_page(const PaperTable& table, std::span<const RunRecord> runs, const WindowValues& windows,
                     const Registries& r) {
  PaperPage page;
  page.table = table.name;
  ReportSection& out = page.section;
  out.title = table.title;
  if (!table.source.empty()) out.paragraphs.push_back("Source: " + table.source);
  std::set<std::string> recordings;
  std::set<std::string> layers;
  for (const RunRecord& run : runs) {
    recordings.insert(data_name(run.recording));
    layers.insert(run.recording + "\n" + run.layer);
  }
  page.data = fmt::format("{}", fmt::join(recordings, ", "));
  const bool models = unit_of(runs) == "window";
  double seconds = 0;
  for (const RunRecord& run : runs)
    if (const auto it = run.values.find("time.run_s"); it != run.values.end()) seconds += it->second;
  out.paragraphs.push_back(
      fmt::format("Measured on {}: {} {}s, {} seeds, {} runs of {} in all.{}", page.data, layers.size(),
                  models ? "model" : "layer", count_seeds(runs), runs.size(), human_seconds(seconds),
                  table.rows.empty() || models
                      ? ""
                      : " The error of a layer is a proxy for perplexity, not perplexity: it tells how far "
                        "one layer's output moves, and nothing of how errors add up over layers."));
  for (const std::string& text : table.notes) out.paragraphs.push_back(text);
  for (const PaperMeasure& measure : table.measures) add_measure(table, measure, runs, windows, r, page);
  for (const PaperQuestion& q : table.questions) {
    const bool higher = value_facts(q.value, r).better == "higher";
    const std::vector<RunRecord> chosen = runs_where(runs, q.where);
    const Answer answer = !q.predict.empty()    ? answer_prediction(q, chosen, out)
                          : !q.sequence.empty() ? answer_sequence(q, chosen, windows, table.match, higher)
                                                : answer_pair(q, chosen, windows, table.match, higher);
    out.paragraphs.push_back(q.ask + " " + answer.text);
    page.findings.push_back({q.ask, answer.brief});
  }
  return page;
}

ReportSection summary_of(const std::vector<PaperPage>& pages) {
  ReportSection out;
  out.title = "At a glance";
  out.paragraphs.emplace_back(
      "A question is answered by the geometric mean, over layers (of models: windows of tokens), of the "
      "error of what it asks about "
      "relative to "
      "what that is compared with: 'yes' and 'no' where a Wilcoxon test over them tells them apart at 5 %, "
      "'not "
      "told' where it does not. An order agrees where all pairs of rows that are told apart both in print "
      "and here "
      "stand in the same order.");
  std::vector<std::string> data;
  std::vector<std::pair<std::string, std::string>> rows;  // table, about
  std::map<std::pair<std::string, std::string>, std::map<std::string, std::string>> cells;
  for (const PaperPage& page : pages) {
    if (std::ranges::find(data, page.data) == data.end()) data.push_back(page.data);
    for (const Finding& f : page.findings) {
      const std::pair<std::string, std::string> row(page.table, f.about);
      if (!cells.contains(row)) rows.push_back(row);
      cells[row][page.data] = f.text;
    }
  }
  Grid grid;
  grid.header = {"table", "finding"};
  grid.header.insert(grid.header.end(), data.begin(), data.end());
  for (const auto& row : rows) {
    std::vector<GridCell> line{row.first, row.second};
    for (const std::string& name : data) {
      const auto it = cells.at(row).find(name);
      line.emplace_back(it == cells.at(row).end() ? "–" : it->second);
    }
    grid.rows.push_back(std::move(line));
  }
  out.grids.push_back(std::move(grid));
  return out;
}

void write_page(const std::filesystem::path& file, const std::string& title, const std::string& lead,
                const std::vector<ReportSection>& sections) {
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path());
  write_atomically(file, [&](std::ostream& out) {
    out << "# " << title << "\n\n" << lead << "\n\n" << render_sections(sections, Format::markdown);
  });
}

}  // namespace olab

#include "results/chart.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/text.hpp"
#include "results/plot_script.hpp"
#include "results/table.hpp"

namespace olab {
namespace {

// The prefixes of stored names; the metrics room owns the list, and nothing here includes that room.
constexpr std::array<std::string_view, 8> kStages{"original",         "transformed",     "quantized",
                                                  "output",           "weight_original", "weight_transformed",
                                                  "weight_quantized", "online"};
// Every run has these; no metric stands behind them although they begin with a stage.
constexpr std::array<std::string_view, 3> kOwn{"online.multiply_adds", "online.bytes",
                                               "online.relative_multiply_adds"};

/// The different texts in order of first appearance.
void add_once(std::vector<std::string>& texts, const std::string& text) {
  if (std::find(texts.begin(), texts.end(), text) == texts.end()) texts.push_back(text);
}

bool fits_method(const RunRecord& run, const std::string& method) {
  return method.empty() || glob_match(method, method_label(run)) || glob_match(method, run.method) ||
         glob_match(method, run.method_text) || method == method_label(run);
}

std::string without_stage(const std::string& value) {
  const auto dot = value.find('.');
  if (dot == std::string::npos || std::find(kOwn.begin(), kOwn.end(), value) != kOwn.end()) return {};
  const std::string stage = value.substr(0, dot);
  return std::find(kStages.begin(), kStages.end(), stage) == kStages.end() ? std::string()
                                                                           : value.substr(dot + 1);
}

bool fits_layer(const RunRecord& run, const std::string& layer) {
  return layer.empty() || layer == run.layer || glob_match(layer, run.layer);
}

/// suggestion() over a list that may be long.
std::string known_names(const std::string& wanted, std::vector<std::string> known) {
  constexpr std::size_t kShown = 12;
  const std::string near = nearest(wanted, known);
  const std::size_t total = known.size();
  known.resize(std::min(total, kShown));
  std::string out = near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
  out += fmt::format("{} {}", near.empty() ? "; there are" : " There are", fmt::join(known, ", "));
  if (total > kShown) out += fmt::format(", … ({} in all)", total);
  return out;
}

}  // namespace

Chart::~Chart() = default;

std::vector<DrawnFigure> draw_chart(const Chart& chart, const ChartInput& input) {
  std::vector<DrawnFigure> drawn;
  for (Figure& figure : chart.draw(input)) drawn.push_back({std::move(figure), false, {}});
  parallel_for(static_cast<Index>(drawn.size()), 1, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      DrawnFigure& one = drawn[static_cast<std::size_t>(i)];
      const Rendered rendered = render_script(one.figure.script);
      one.ok = rendered.ok;
      one.message = rendered.message;
      if (rendered.missing) one.message += " " + input.study;
    }
  });
  return drawn;
}

std::vector<const RunRecord*> select_runs(const ChartInput& input, const std::string& layer,
                                          const std::string& method) {
  std::vector<const RunRecord*> selected;
  std::vector<std::string> layers;
  std::vector<std::string> methods;
  std::size_t unfinished = 0;
  for (const RunRecord& run : input.runs) {
    add_once(layers, run.layer);
    if (!fits_layer(run, layer)) continue;
    add_once(methods, method_label(run));
    if (!fits_method(run, method)) continue;
    if (run.status == "finished") {
      selected.push_back(&run);
    } else {
      ++unfinished;
    }
  }
  if (!selected.empty()) return selected;
  if (input.runs.empty()) throw Error(fmt::format("study '{}' has no runs to draw", input.study));
  if (methods.empty())
    throw Error(
        fmt::format("no layer of study '{}' fits '{}'{}", input.study, layer, known_names(layer, layers)));
  if (unfinished == 0)
    throw Error(fmt::format("no method of study '{}' fits '{}' on layer '{}'{}", input.study, method,
                            layer.empty() ? "*" : layer, known_names(method, methods)));
  throw Error(
      fmt::format("none of the {} runs of study '{}' that fit layer '{}' and method '{}' is finished; "
                  "'olab list runs' shows their errors",
                  unfinished, input.study, layer.empty() ? "*" : layer, method.empty() ? "*" : method));
}

std::vector<std::string> parse_stages(const std::string& stages) {
  std::vector<std::string> out;
  for (const std::string& part : split(stages, ',')) {
    const std::string stage(trim(part));
    if (!stage.empty()) add_once(out, stage);
  }
  if (out.empty()) throw Error("stages: empty; name at least one, for example original,transformed");
  return out;
}

std::string symbol_of(const std::vector<std::string>& stages) {
  const bool weight = std::all_of(stages.begin(), stages.end(),
                                  [](const std::string& stage) { return stage.starts_with("weight_"); });
  return weight ? "W" : "X";
}

std::vector<Subject> find_subjects(const ChartInput& input, const std::string& layer,
                                   const std::string& method, const std::vector<std::string>& stages,
                                   const std::string& metric) {
  std::vector<std::string> wanted;
  wanted.reserve(stages.size());
  for (const std::string& stage : stages) wanted.push_back(stage + "." + metric);
  struct Found {
    Subject subject;
    std::set<std::uint64_t> seeds;
  };
  std::map<std::array<std::string, 3>, std::size_t> places;
  std::vector<Found> found;
  std::vector<std::string> names;
  for (const RunRecord* run : select_runs(input, layer, method)) {
    const auto [place, is_new] =
        places.try_emplace({run->recording, run->layer, method_label(*run)}, found.size());
    if (is_new) found.emplace_back();
    Found& entry = found[place->second];
    entry.seeds.insert(run->seed);
    if (entry.subject.run != nullptr) continue;
    const std::vector<std::string> held = input.store.series_names(run->id);
    for (const std::string& name : held) add_once(names, name);
    const bool all = std::all_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
      return std::find(held.begin(), held.end(), name) != held.end();
    });
    if (all) entry.subject.run = run;
  }
  std::vector<Subject> subjects;
  for (Found& entry : found) {
    entry.subject.seeds = entry.seeds.size();
    if (entry.subject.run != nullptr) subjects.push_back(entry.subject);
  }
  if (subjects.empty())
    throw Error(fmt::format("no run of study '{}' holds the series {}{}; add the metric '{}' to the study",
                            input.study, fmt::join(wanted, " and "), known_names(wanted.front(), names),
                            metric));
  return subjects;
}

std::vector<std::vector<Subject>> by_layer(const std::vector<Subject>& subjects) {
  std::vector<std::vector<Subject>> groups;
  std::map<std::pair<std::string, std::string>, std::size_t> places;
  for (const Subject& subject : subjects) {
    const auto [place, is_new] =
        places.try_emplace({subject.run->recording, subject.run->layer}, groups.size());
    if (is_new) groups.emplace_back();
    groups[place->second].push_back(subject);
  }
  return groups;
}

Series load_series(const ChartInput& input, const Subject& subject, const std::string& stage,
                   const std::string& metric, Index rows) {
  const std::string name = stage + "." + metric;
  auto series = input.store.series(subject.run->id, name);
  const auto where = [&] { return fmt::format("run {}, series {}", subject.run->id, name); };
  if (!series) throw Error(where() + ": it is not in the store any more; run the study again");
  if (series->rows < rows || series->columns < 1 ||
      series->values.size() != static_cast<std::size_t>(series->rows * series->columns))
    throw Error(fmt::format("{}: {} × {} with {} values, expected at least {} row(s) and 1 column", where(),
                            series->rows, series->columns, series->values.size(), rows));
  return std::move(*series);
}

double series_fact(const Series& series, const std::string& name) {
  double value = std::numeric_limits<double>::quiet_NaN();
  const auto it = series.facts.find(name);
  if (it != series.facts.end() && !parse_double(it->second, value))
    value = std::numeric_limits<double>::quiet_NaN();
  return value;
}

const std::string& method_label(const RunRecord& run) {
  if (!run.label.empty()) return run.label;
  return run.method_text.empty() ? run.method : run.method_text;
}

std::string layer_title(const RunRecord& run) {
  return run.recording.empty() ? run.layer : fmt::format("{} ({})", run.layer, run.recording);
}

std::vector<std::string> without_common_prefix(const std::vector<std::string>& names) {
  if (names.size() < 2) return names;
  std::size_t common = names.front().size();
  for (const std::string& name : names) {
    std::size_t same = 0;
    while (same < common && same < name.size() && name[same] == names.front()[same]) ++same;
    common = same;
  }
  const auto dot = names.front().rfind('.', common == 0 ? 0 : common - 1);
  const std::size_t cut = common == 0 || dot == std::string::npos ? 0 : dot + 1;
  std::vector<std::string> out;
  out.reserve(names.size());
  for (const std::string& name : names) out.push_back(name.substr(cut));
  return out;
}

std::string short_number(double value) {
  if (std::isnan(value)) return "nan";
  return fmt::format("{:.4g}", value);
}

std::size_t text_length(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string shorten(const std::string& text, std::size_t length) {
  const std::size_t total = text_length(text);
  if (total <= length || length < 3) return text;
  const std::size_t head = (length - 1) * 2 / 3;
  const std::size_t tail = length - 1 - head;
  std::string out;
  std::size_t at = 0;  // of the character that starts at or before this byte
  bool cut = false;
  for (const char c : text) {
    if ((c & 0xC0) != 0x80) ++at;
    if (at <= head || at > total - tail) {
      out += c;
    } else if (!cut) {
      out += "…";
      cut = true;
    }
  }
  return out;
}

std::string figure_stem(const ChartInput& input, const std::vector<std::string>& parts,
                        std::set<std::string>& used) {
  constexpr std::size_t kLongest = 100;  // of 255 bytes that file systems allow
  std::string stem = input.prefix;
  for (const std::string& part : parts) {
    stem += stem.empty() ? "" : "-";
    for (const char c : part) {
      const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
      if (plain) {
        stem += c;
      } else if (!stem.empty() && stem.back() != '-') {
        stem += '-';
      }
    }
    while (!stem.empty() && stem.back() == '-') stem.pop_back();
  }
  if (stem.empty()) stem = "chart";
  stem.resize(std::min(stem.size(), kLongest));
  std::string unique = stem;
  for (int i = 2; !used.insert(unique).second; ++i) unique = fmt::format("{}-{}", stem, i);
  return unique;
}

std::string left_out(std::size_t drawn, std::size_t total, const std::string& what,
                     const std::string& remedy) {
  if (drawn >= total) return {};
  return fmt::format(" Drawn: {} of {} {}; {} to see others.", drawn, total, what, remedy);
}

std::string seed_note(const Subject& subject) {
  if (subject.seeds < 2) return {};
  return fmt::format(" Seed {}, one of {}.", subject.run->seed, subject.seeds);
}

std::string definition_of(const ChartInput& input, const std::string& value) {
  const std::string plain = without_stage(value);
  const auto dot = plain.find('.');
  const std::string part = dot == std::string::npos ? "" : plain.substr(dot + 1);
  for (const std::string& name : {value, plain, plain.substr(0, dot)}) {
    const auto it = input.definitions.find(name);
    if (name.empty() || it == input.definitions.end()) continue;
    const std::string& all = it->second;
    if (!part.empty()) {
      const std::string mark = part + ": ";
      const auto at = all.find(mark);
      if (at != std::string::npos) {
        const auto from = at + mark.size();
        return all.substr(from, std::min(all.find(';', from), all.size()) - from);
      }
    }
    return all.substr(0, all.find(';'));
  }
  return {};
}

std::string better_of(const ChartInput& input, const std::string& value) {
  const std::string plain = without_stage(value);
  for (const std::string& name : {value, plain, plain.substr(0, plain.find('.'))}) {
    const auto it = input.better.find(name);
    if (!name.empty() && it != input.better.end()) return it->second;
  }
  return {};
}

std::vector<std::string> metric_of(const std::string& value) {
  const std::string plain = without_stage(value);
  if (plain.empty()) return {};
  return {plain.substr(0, plain.find('.'))};
}

bool fits(const RunRecord& run, const std::string& layer, const std::string& method) {
  return fits_layer(run, layer) && fits_method(run, method);
}

std::vector<std::string> field_list(const std::string& fields) {
  std::vector<std::string> out;
  for (const std::string& field : split(fields, ',')) out.emplace_back(trim(field));
  return out;
}

std::string field_texts(const RunRecord& run, const std::vector<std::string>& fields) {
  std::string out;
  for (const std::string& field : fields) {
    const std::string text = run_field(run, field);
    out += fmt::format("{}{}", out.empty() ? "" : ", ", text.empty() ? "–" : text);
  }
  return out;
}

std::string with_parameters(std::string text, const RunRecord& run,
                            const std::vector<std::string>& parameters) {
  for (const std::string& parameter : parameters) {
    const std::string value = run_field(run, parameter);
    if (!value.empty()) text += fmt::format("{}{}={}", text.empty() ? "" : ", ", parameter, value);
  }
  return text;
}

std::vector<std::string> mixed_parameters(std::span<const RunRecord> runs,
                                          const std::vector<std::string>& fields) {
  std::map<std::vector<std::string>, const RunRecord*> first;
  std::set<std::string> mixed;
  for (const RunRecord& run : runs) {
    std::vector<std::string> group{run.recording, run.layer, std::to_string(run.seed)};
    for (const std::string& field : fields) group.push_back(run_field(run, field));
    const auto [entry, is_new] = first.try_emplace(std::move(group), &run);
    if (is_new) continue;
    const auto differs = [](const RunRecord& a, const RunRecord& b, std::set<std::string>& out) {
      for (const auto& [name, value] : a.params) {
        const auto it = b.params.find(name);
        if (it == b.params.end() || it->second != value) out.insert(name);
      }
    };
    differs(run, *entry->second, mixed);
    differs(*entry->second, run, mixed);
  }
  for (const std::string& field : fields) mixed.erase(field);
  return {mixed.begin(), mixed.end()};
}

const char* log_format(std::span<const double> values) {
  const bool longer = std::any_of(values.begin(), values.end(), [](double v) {
    return std::isfinite(v) && v > 0 && (v >= 1e5 || v < 1e-3);
  });
  return longer ? "10^{%T}" : "%g";
}

bool spans(std::span<const double> values, double ratio) {
  double low = std::numeric_limits<double>::infinity();
  double high = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    if (value <= 0) return false;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  return high > 0 && high >= ratio * low;
}

}  // namespace olab

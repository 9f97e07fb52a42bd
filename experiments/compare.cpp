#include "experiments/compare.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "core/text.hpp"
#include "experiments/model_plan.hpp"
#include "experiments/model_windows.hpp"
#include "experiments/study.hpp"
#include "experiments/views.hpp"

namespace olab {
namespace {

void add_new(std::vector<std::string>& list, std::string text) {
  if (std::ranges::find(list, text) == list.end()) list.push_back(std::move(text));
}

/// The labels of the runs for which this holds, in order of appearance.
template <class Predicate>
std::vector<std::string> labels_where(std::span<const RunRecord> runs, const Predicate& holds) {
  std::vector<std::string> out;
  for (const RunRecord& run : runs)
    if (holds(run)) add_new(out, run_field(run, "method"));
  return out;
}

std::vector<std::string> all_labels(std::span<const RunRecord> runs) {
  return labels_where(runs, [](const RunRecord&) { return true; });
}

/// A study with its runs.
struct StoredRuns {
  std::string study;
  std::vector<RunRecord> runs;
};

StoredRuns runs_of(const Store& store, const std::string& study) {
  return {study, store.runs({.study = study, .status = {}, .method = {}, .layer = {}})};
}

std::string one_label(const StoredRuns& in, const std::string& text, const Registries& r) {
  const std::vector<std::string> found = find_labels(in.runs, text, r);
  if (found.size() == 1) return found.front();
  if (found.size() > 1)
    throw Error(fmt::format("study {}: '{}' may be any of {} methods; give one of: {}", in.study, text,
                            found.size(), fmt::join(found, "; ")));
  throw Error(fmt::format("study {}: it has no method '{}'{}", in.study, text,
                          suggestion(text, all_labels(in.runs))));
}

/// The study put last that holds both. Error that says which of the two is nowhere, or where each is.
StoredRuns newest_with_both(const Store& store, const CompareOptions& options, const Registries& r) {
  std::set<std::string> seen;
  std::vector<std::string> known;
  std::vector<std::string> with_a;
  std::vector<std::string> with_b;
  for (const StudyRecord& study : store.studies()) {
    if (!seen.insert(study.name).second) continue;  // an older version
    StoredRuns out = runs_of(store, study.name);
    const bool a = !find_labels(out.runs, options.a, r).empty();
    const bool b = !find_labels(out.runs, options.b, r).empty();
    if (a && b) return out;
    if (a) with_a.push_back(study.name);
    if (b) with_b.push_back(study.name);
    for (std::string& label : all_labels(out.runs)) add_new(known, std::move(label));
  }
  for (const auto& [text, where] : {std::pair{options.a, with_a}, std::pair{options.b, with_b}})
    if (where.empty())
      throw Error(fmt::format("{}: no stored study has a method '{}'{}", store.file().string(), text,
                              suggestion(text, known)));
  throw Error(fmt::format("{}: no stored study has both: '{}' is in {}, '{}' in {}; run them in one study",
                          store.file().string(), options.a, fmt::join(with_a, ", "), options.b,
                          fmt::join(with_b, ", ")));
}

StoredRuns choose_study(const Store& store, const CompareOptions& options, const Registries& r) {
  if (!options.study.empty()) return runs_of(store, find_stored_study(store, options.study).name);
  if (!options.all) return newest_with_both(store, options, r);
  const std::vector<StudyRecord> studies = store.studies();
  if (studies.empty()) throw Error(fmt::format("{}: no study is stored", store.file().string()));
  return runs_of(store, studies.front().name);
}

}  // namespace

StudyRecord find_stored_study(const Store& store, const std::string& name) {
  std::vector<std::string> names;
  for (StudyRecord& s : store.studies()) {
    if (s.name == name || std::filesystem::path(name).stem() == s.name) return std::move(s);
    names.push_back(s.name);
  }
  throw Error(
      fmt::format("{}: no study called '{}'{}", store.file().string(), name, suggestion(name, names)));
}

std::vector<std::string> find_labels(std::span<const RunRecord> runs, const std::string& text,
                                     const Registries& r) {
  auto out = labels_where(runs, [&](const RunRecord& run) { return run_field(run, "method") == text; });
  if (!out.empty()) return out;
  std::string canonical = text;
  std::string name = text;
  try {
    const Spec spec = parse_method(text);
    canonical = r.methods.canonical(spec, r);
    if (spec.params.empty()) name = r.methods.info(spec.name).name;
  } catch (const Error&) {  // no specification: then it may be a text that a plug-in understood
  }
  out = labels_where(runs, [&](const RunRecord& run) { return run.method_text == canonical; });
  if (!out.empty()) return out;
  return labels_where(runs, [&](const RunRecord& run) { return run.method == name; });
}

std::string compare_methods(const Store& store, const CompareOptions& options, const Registries& r,
                            Format format) {
  StoredRuns in = choose_study(store, options, r);
  PairedOptions how;
  how.over = options.over;
  if (how.over == Observations::layers && is_window_value(options.value) &&
      std::ranges::any_of(in.runs, [](const RunRecord& run) { return run.layer_kind == kModelKind; })) {
    in.runs = runs_by_window(in.runs, window_values(store, in.runs));
    how.over = Observations::windows;
  }
  const ValueFacts facts = value_facts(options.value, r);
  std::optional<PairedScale> scale;
  if (facts.unit == "dB") scale = PairedScale::difference;
  how.better = facts.better;
  const auto compare = [&](const std::string& a, const std::string& b) {
    return compare_pairs(pair_runs(in.runs, a, b, options.value, scale), how);
  };
  const std::string what =
      fmt::format("{} of study {}{}", options.value, in.study,
                  facts.better == "none" ? "" : fmt::format(", {} is better", facts.better));
  if (options.all) {
    const std::vector<std::string> labels = all_labels(in.runs);
    if (labels.size() < 2)
      throw Error(fmt::format("study {}: there is nothing to compare; it has {} of at least 2 methods",
                              in.study, labels.size()));
    check_value(in.runs, options.value);
    std::vector<PairedComparison> all;
    for (std::size_t j = 1; j < labels.size(); ++j)
      for (std::size_t i = 0; i < j; ++i) all.push_back(compare(labels[i], labels[j]));
    return render_all_pairs(all, what, format);
  }
  const std::string a = one_label(in, options.a, r);
  const std::string b = one_label(in, options.b, r);
  const PairedComparison comparison = compare(a, b);
  if (comparison.runs.pairs.empty())
    throw Error(fmt::format("study {}: {} and {} have no pair of runs: {}", in.study, a, b,
                            fmt::join(left_out(comparison.runs), "; ")));
  return render_comparison(comparison, fmt::format("{}; A = {}, B = {}", what, a, b), format);
}

}  // namespace olab

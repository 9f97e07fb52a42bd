#include "results/paired.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "core/error.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// What two runs must have in common.
using PairKey = std::tuple<std::string, std::string, std::string, std::uint64_t, Index, Index, std::string,
                           std::string, std::string>;
/// Prefixes of parameters that are settings of a run, not of its method.
constexpr std::array<const char*, 6> kSettings{"activation", "weight", "query", "key", "value", "evaluate"};
PairKey key_of(const RunRecord& run) {
  std::string settings;
  for (const auto& param : run.params) {
    const std::string& name = param.first;
    const bool is_setting =
        name == "text" || name == "calibration_text" ||
        std::ranges::any_of(kSettings, [&](const char* s) { return name.starts_with(std::string(s) + "."); });
    if (is_setting) settings += name + "=" + param.second + "\n";
  }
  return {run.recording,         run.layer,           run.tensor_hash, run.seed, run.calibration_tokens,
          run.evaluation_tokens, run.activation_text, run.weight_text, settings};
}

using LayerKey = std::tuple<std::string, std::string, std::string>;
LayerKey layer_of(const RunRecord& run) {
  return {run.layer, run.recording, run.tensor_hash};
}

struct Slot {
  const RunRecord* a = nullptr;
  const RunRecord* b = nullptr;
  const RunRecord& any() const { return a != nullptr ? *a : *b; }
};

/// Names that tell layers and settings of these runs apart, and no longer than that takes.
class Names {
 public:
  explicit Names(const std::vector<const RunRecord*>& runs) {
    for (const RunRecord* run : runs) layers_[run->layer].insert(layer_of(*run));
    for (const char* field : {"calibration_tokens", "evaluation_tokens"})
      if (varies(runs, field)) fields_.emplace_back(field);
    for (const char* side : kSettings) {
      std::set<std::string> params;
      for (const RunRecord* run : runs)
        for (const auto& [name, text] : run->params)
          if (name.starts_with(std::string(side) + ".")) params.insert(name);
      std::vector<std::string> telling;
      std::ranges::copy_if(params, std::back_inserter(telling),
                           [&](const std::string& p) { return varies(runs, p); });
      // Two formats may have the same parameters; these two have a field of their own.
      std::map<std::vector<std::string>, std::string> texts;
      const bool enough = std::ranges::all_of(runs, [&](const RunRecord* run) {
        std::vector<std::string> values;
        for (const std::string& p : telling) values.push_back(run_field(*run, p));
        const std::string text = run_field(*run, side);
        return texts.emplace(std::move(values), text).first->second == text;
      });
      if (!enough && (side == kSettings[0] || side == kSettings[1])) telling = {side};
      fields_.insert(fields_.end(), telling.begin(), telling.end());
    }
  }

  std::string layer(const RunRecord& run) const {
    const std::set<LayerKey>& same = layers_.at(run.layer);
    if (same.size() == 1) return run.layer;
    std::set<std::string> recordings;
    for (const auto& [name, recording, hash] : same) recordings.insert(recording);
    if (recordings.size() == same.size()) return fmt::format("{} ({})", run.layer, run.recording);
    return fmt::format("{} ({}, {})", run.layer, run.recording, run.tensor_hash);
  }
  std::string setting(const RunRecord& run) const {
    std::vector<std::string> parts;
    for (const std::string& field : fields_)
      parts.push_back(fmt::format("{}={}", field, run_field(run, field)));
    return fmt::format("{}", fmt::join(parts, ", "));
  }

 private:
  /// Whether a layer has runs with different values of it. Layers may differ without being settings.
  static bool varies(const std::vector<const RunRecord*>& runs, const std::string& field) {
    std::map<LayerKey, std::string> first;
    return std::ranges::any_of(runs, [&](const RunRecord* run) {
      const std::string text = run_field(*run, field);
      return first.emplace(layer_of(*run), text).first->second != text;
    });
  }

  std::map<std::string, std::set<LayerKey>> layers_;
  std::vector<std::string> fields_;
};

/// Why a run gives no number; "" where it does.
std::string missing(const RunRecord* run, const std::string& label, const std::string& value) {
  if (run == nullptr) return label + " was not run";
  if (run->status == "failed") return fmt::format("{} failed: {}", label, run->error);
  if (run->status != "finished")
    return fmt::format("{} {} {}", label, run->status == "interrupted" ? "was" : "is", run->status);
  const auto number = run->values.find(value);
  if (number == run->values.end()) return fmt::format("{} has no {}", label, value);
  return std::isnan(number->second) ? fmt::format("{} of {} is not a number", value, label) : "";
}

struct Observation {
  std::vector<double> a;
  std::vector<double> b;
  std::vector<double> differences;
};

/// Pairs of one layer and setting: they differ in the seed alone.
using Cells = std::map<std::pair<std::string, std::string>, std::vector<const RunPair*>>;

Cells cells_of(const std::vector<const RunPair*>& pairs) {
  Cells out;
  for (const RunPair* pair : pairs) out[{pair->layer, pair->setting}].push_back(pair);
  return out;
}

double pooled_deviation(const Cells& cells) {
  double squares = 0;
  std::size_t free = 0;
  for (const auto& [where, pairs] : cells) {
    if (pairs.size() < 2) continue;
    std::vector<double> differences;
    for (const RunPair* pair : pairs) differences.push_back(pair->difference);
    const double deviation = sample_deviation(differences);
    squares += deviation * deviation * static_cast<double>(pairs.size() - 1);
    free += pairs.size() - 1;
  }
  return free == 0 ? kNaN : std::sqrt(squares / static_cast<double>(free));
}

bool are_copies(const Cells& cells) {
  return std::ranges::all_of(cells, [](const auto& cell) {
    const std::vector<const RunPair*>& pairs = cell.second;
    return std::ranges::all_of(pairs, [&](const RunPair* pair) {
      return pair->a == pairs.front()->a && pair->b == pairs.front()->b;
    });
  });
}

PairedGroup measure_group(std::string name, const std::vector<const RunPair*>& pairs, PairedScale scale,
                          const PairedOptions& options) {
  PairedGroup out;
  out.name = std::move(name);
  out.pairs = pairs.size();
  std::set<std::string> layers;
  std::set<std::uint64_t> seeds;
  for (const RunPair* pair : pairs) {
    layers.insert(pair->layer);
    seeds.insert(pair->seed);
    if (std::isinf(pair->difference)) ++out.infinite;
  }
  out.layers = layers.size();
  out.seeds = seeds.size();
  Cells cells = cells_of(pairs);
  out.seed_deviation = pooled_deviation(cells);
  if (options.over == Observations::seeds) {
    for (const auto& [where, members] : cells)
      if (members.size() < seeds.size()) out.incomplete += members.size();
    std::erase_if(cells, [&](const auto& cell) { return cell.second.size() < seeds.size(); });
    out.copies = seeds.size() > 1 && !cells.empty() && are_copies(cells);
  }
  std::map<std::string, Observation> observed;
  for (const auto& [where, members] : cells)
    for (const RunPair* pair : members) {
      if (out.copies && pair->seed != *seeds.begin()) continue;
      const bool by_layer = options.over != Observations::seeds;
      Observation& one = observed[by_layer ? pair->layer : std::to_string(pair->seed)];
      one.a.push_back(pair->a);
      one.b.push_back(pair->b);
      one.differences.push_back(pair->difference);
    }
  out.n = observed.size();
  std::vector<double> a;
  std::vector<double> b;
  std::vector<double> differences;
  for (const auto& [what, one] : observed) {
    a.push_back(sample_mean(one.a));
    b.push_back(sample_mean(one.b));
    differences.push_back(sample_mean(one.differences));
  }
  const auto shown = [&](double d) { return scale == PairedScale::ratio ? std::exp(d) : d; };
  const auto both = [&](const Interval& i) { return Interval{shown(i.low), shown(i.high)}; };
  out.mean_a = sample_mean(a);
  out.mean_b = sample_mean(b);
  out.mean_difference = sample_mean(differences);
  out.center = shown(out.mean_difference);
  out.interval = both(mean_interval(differences, 1 - options.alpha));
  const MedianEstimate median = hodges_lehmann(differences, 1 - options.alpha);
  out.median = {shown(median.estimate), both(median.interval)};
  out.wilcoxon = wilcoxon_signed_rank(differences);
  out.sign = sign_test(differences);
  out.outcome = decide(out, out.wilcoxon.p, options);
  return out;
}

/// The different texts, in order of appearance.
template <class Get>
std::vector<std::string> different(const std::vector<RunPair>& pairs, const Get& get) {
  std::vector<std::string> out;
  for (const RunPair& pair : pairs)
    if (std::ranges::find(out, get(pair)) == out.end()) out.push_back(get(pair));
  return out;
}

}  // namespace

double paired_difference(double a, double b, PairedScale scale) {
  if (a == b) return 0;
  if (scale == PairedScale::difference) return b - a;
  const double ratio = b / a;
  // The quotient of far numbers may leave the range where its logarithm does not.
  return ratio > 0 && std::isfinite(ratio) ? std::log(ratio) : std::log(b) - std::log(a);
}

PairedRuns pair_runs(std::span<const RunRecord> runs, const std::string& a, const std::string& b,
                     const std::string& value, std::optional<PairedScale> scale) {
  PairedRuns out{a, b, value, PairedScale::ratio, {}, {}};
  std::vector<RunRecord> chosen;
  std::vector<std::string> known;
  for (const RunRecord& run : runs) {
    std::string label = run_field(run, "method");
    if (label == a || label == b) chosen.push_back(run);
    if (std::ranges::find(known, label) == known.end()) known.push_back(std::move(label));
  }
  for (const std::string& label : {a, b})
    if (std::ranges::find(known, label) == known.end())
      throw Error(fmt::format("no run has the method '{}'{}", label, suggestion(label, known)));
  check_value(chosen, value);

  std::vector<const RunRecord*> pointers;
  for (const RunRecord& run : chosen) pointers.push_back(&run);
  const Names names(pointers);
  std::map<PairKey, std::size_t> places;
  std::vector<Slot> slots;
  for (const RunRecord& run : chosen) {
    const auto [place, is_new] = places.emplace(key_of(run), slots.size());
    if (is_new) slots.emplace_back();
    Slot& slot = slots[place->second];
    const bool first = run_field(run, "method") == a;
    const RunRecord*& side = first ? slot.a : slot.b;
    if (side != nullptr && side->key != run.key) {
      out.unpaired.push_back({names.layer(run), run.seed, names.setting(run),
                              fmt::format("{} has a second run of the same", first ? a : b)});
      continue;
    }
    side = &run;
    if (a == b) slot.b = &run;
  }
  bool negative = false;
  for (const Slot& slot : slots) {
    const RunRecord& any = slot.any();
    std::vector<std::string> reasons;
    for (std::string reason : {missing(slot.a, a, value), missing(slot.b, b, value)})
      if (!reason.empty() && std::ranges::find(reasons, reason) == reasons.end())
        reasons.push_back(std::move(reason));
    if (!reasons.empty()) {
      out.unpaired.push_back(
          {names.layer(any), any.seed, names.setting(any), fmt::format("{}", fmt::join(reasons, "; "))});
      continue;
    }
    RunPair& pair = out.pairs.emplace_back();
    pair.layer = names.layer(any);
    pair.layer_kind = any.layer_kind;
    pair.seed = any.seed;
    pair.setting = names.setting(any);
    pair.a = slot.a->values.at(value);
    pair.b = slot.b->values.at(value);
    negative = negative || pair.a < 0 || pair.b < 0;
  }
  out.scale = scale.value_or(negative ? PairedScale::difference : PairedScale::ratio);
  if (negative && out.scale == PairedScale::ratio)
    throw Error(fmt::format("{} is negative in some runs, and has no ratio", value));
  for (RunPair& pair : out.pairs) pair.difference = paired_difference(pair.a, pair.b, out.scale);
  return out;
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::a_better:
      return "A better";
    case Outcome::b_better:
      return "B better";
    case Outcome::a_larger:
      return "A larger";
    case Outcome::b_larger:
      return "B larger";
    case Outcome::equal:
      return "equal";
    case Outcome::unclear:
      return "unclear";
    case Outcome::too_few:
      break;
  }
  return "too few";
}

PairedComparison compare_pairs(PairedRuns runs, const PairedOptions& options) {
  PairedComparison out{std::move(runs), options, {}};
  const PairedRuns& r = out.runs;
  const auto add = [&](const std::string& name, const auto& belongs) {
    std::vector<const RunPair*> members;
    for (const RunPair& pair : r.pairs)
      if (belongs(pair)) members.push_back(&pair);
    out.groups.push_back(measure_group(name, members, r.scale, options));
  };
  for (const std::string& kind : different(r.pairs, [](const RunPair& p) { return p.layer_kind; }))
    add(kind, [&](const RunPair& pair) { return pair.layer_kind == kind; });
  const std::vector<std::string> settings = different(r.pairs, [](const RunPair& p) { return p.setting; });
  if (settings.size() > 1)
    for (const std::string& setting : settings)
      add(setting, [&](const RunPair& pair) { return pair.setting == setting; });
  add("all", [](const RunPair&) { return true; });
  return out;
}

Outcome decide(const PairedGroup& group, double p, const PairedOptions& options) {
  if (group.n > 0 && group.wilcoxon.zeros == group.n) return Outcome::equal;
  if (group.n < fewest_differences(options.alpha)) return Outcome::too_few;
  const double ranks = group.wilcoxon.positive - group.wilcoxon.negative;
  // The estimate on the side of the ranks: a mean that few far layers pull to the other side proves nothing.
  const double mean = group.mean_difference;
  if (!(p <= options.alpha) || !(ranks * mean > 0)) return Outcome::unclear;
  if (options.better == "lower") return ranks < 0 ? Outcome::b_better : Outcome::a_better;
  if (options.better == "higher") return ranks > 0 ? Outcome::b_better : Outcome::a_better;
  return ranks > 0 ? Outcome::b_larger : Outcome::a_larger;
}

}  // namespace olab

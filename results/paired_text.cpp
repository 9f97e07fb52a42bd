// A comparison as sentences and tables.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/text.hpp"
#include "results/paired.hpp"
#include "results/table_grid.hpp"

namespace olab {
namespace {

using Json = nlohmann::ordered_json;

std::string count_of(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string_view unit_name(Observations over) {
  return over == Observations::layers ? "layer" : over == Observations::windows ? "window" : "seed";
}

std::string layers_header(const PairedOptions& options) {
  return options.over == Observations::windows ? "windows" : "layers";
}

std::string_view scale_name(PairedScale scale) {
  return scale == PairedScale::ratio ? "ratio" : "difference";
}

std::string brief(double value) {
  return fmt::format("{:.3g}", value);
}

std::string brief_estimate(const PairedGroup& group, PairedScale scale) {
  return fmt::format("{} {} [{}, {}]", scale_name(scale), brief(group.center), brief(group.interval.low),
                     brief(group.interval.high));
}

/// "n = 14 layers, 5 seeds"; what counts comes first.
std::string counts(const PairedGroup& group, Observations over) {
  const std::string layers = count_of(group.layers, over == Observations::seeds ? "layer" : unit_name(over));
  const std::string seeds = count_of(group.seeds, "seed");
  return over != Observations::seeds ? fmt::format("n = {}, {}", layers, seeds)
                                     : fmt::format("n = {}, {}", seeds, layers);
}

/// The smallest p that n observations can give.
double least_p(std::size_t n) {
  return std::min(1.0, std::ldexp(2.0, -static_cast<int>(n)));
}

/// What stands in the way of a test, and what would help.
std::string too_few(const PairedGroup& group, const PairedOptions& options) {
  const bool layers = options.over != Observations::seeds;
  if (group.pairs == 0) return "they have no pair of runs";
  if (group.copies)
    return "both give the same values with every seed, so that seeds are no observations; compare over "
           "layers";
  const std::size_t needed = fewest_differences(options.alpha);
  if (group.n == 0) return "no layer has every seed; run what is missing, or compare over layers";
  std::string out = fmt::format("{} cannot give p below {}: {} are needed, {} more",
                                count_of(group.n, unit_name(options.over)), brief(least_p(group.n)), needed,
                                needed - group.n);
  // Seeds help only where they change something.
  if (!layers || group.seed_deviation == 0) return out;
  if (group.seeds >= needed)
    out += fmt::format("; or compare over the {} seeds, which speaks of these {}s alone", group.seeds,
                       unit_name(options.over));
  else
    out += fmt::format("; or {} more{} for a comparison over seeds, which speaks of these {}s alone",
                       count_of(needed - group.seeds, "seed"),
                       group.seeds == 1 ? ", if seeds change anything," : "", unit_name(options.over));
  return out;
}

std::vector<std::string> notes(const PairedComparison& c) {
  const PairedGroup& all = c.all();
  const bool ratio = c.runs.scale == PairedScale::ratio;
  const bool layers = c.options.over != Observations::seeds;
  const std::string_view unit = unit_name(layers ? c.options.over : Observations::layers);
  std::vector<std::string> out;
  const std::string what = ratio ? "ln(B / A)" : "B - A";
  const std::string each =
      layers ? fmt::format("each {} counts once, with the mean of {} over its seeds and settings", unit, what)
             : fmt::format(
                   "each seed counts once, with the mean of {} over layers and settings: "
                   "other seeds of these layers, not other layers",
                   what);
  out.push_back(fmt::format("{} [{:.4g} %]: {} over {}s, Student's t; {}", ratio ? "B / A" : "B - A",
                            100 * (1 - c.options.alpha), ratio ? "geometric mean" : "mean",
                            unit_name(c.options.over), each));
  out.push_back(fmt::format(
      "sd over seeds: of {} within a {}; p: two-sided, not corrected for the number of rows", what, unit));
  if (all.seeds == 1) out.emplace_back("one seed: how much another one would change is not known");
  if (all.infinite > 0)
    out.push_back(fmt::format("{} infinitely far apart: ranked beyond all others",
                              all.infinite == 1 ? "1 pair is" : fmt::format("{} pairs are", all.infinite)));
  if (all.incomplete > 0)
    out.push_back(fmt::format("{} of layers without every seed not used", count_of(all.incomplete, "pair")));
  for (const std::string& reason : left_out(c.runs)) out.push_back("left out: " + reason);
  return out;
}

/// Lines below a table.
std::string below(const std::vector<std::string>& lines, Format format) {
  const bool latex = format == Format::latex;
  std::vector<std::string> shown;
  for (const std::string& line : lines)
    shown.push_back(fmt::format("{}{}", latex ? "% " : "", escape_cell(line, latex ? Format::text : format)));
  return fmt::format("{}{}\n", latex ? "" : "\n",
                     fmt::join(shown, format == Format::markdown ? "\n\n" : "\n"));
}

GridCell estimate_cell(const PairedGroup& group, Format format) {
  return {fmt::format("{} [{}, {}]", number_cell(group.center, format).text,
                      number_cell(group.interval.low, format).text,
                      number_cell(group.interval.high, format).text),
          true};
}

std::string estimate_header(const PairedComparison& c) {
  return fmt::format("{} [{:.4g} %]", c.runs.scale == PairedScale::ratio ? "B / A" : "B - A",
                     100 * (1 - c.options.alpha));
}

GridCell count_cell(std::size_t count) {
  return {std::to_string(count), true};
}

/// All digits; JSON has no infinities and no NaN.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(to_text(value));
}

/// All facts of a group by name, for CSV and JSON.
std::vector<std::pair<std::string, Json>> facts(const PairedGroup& g) {
  return {{"group", g.name},
          {"pairs", g.pairs},
          {"layers", g.layers},
          {"seeds", g.seeds},
          {"n", g.n},
          {"infinite", g.infinite},
          {"incomplete", g.incomplete},
          {"mean_a", number(g.mean_a)},
          {"mean_b", number(g.mean_b)},
          {"mean_difference", number(g.mean_difference)},
          {"center", number(g.center)},
          {"low", number(g.interval.low)},
          {"high", number(g.interval.high)},
          {"median", number(g.median.estimate)},
          {"median_low", number(g.median.interval.low)},
          {"median_high", number(g.median.interval.high)},
          {"seed_deviation", number(g.seed_deviation)},
          {"zeros", g.wilcoxon.zeros},
          {"ranks_positive", number(g.wilcoxon.positive)},
          {"ranks_negative", number(g.wilcoxon.negative)},
          {"p_wilcoxon", number(g.wilcoxon.p)},
          {"exact", g.wilcoxon.exact},
          {"positive", g.sign.positive},
          {"negative", g.sign.negative},
          {"p_sign", number(g.sign.p)},
          {"outcome", std::string(outcome_name(g.outcome))}};
}

/// What holds for all groups of a comparison.
std::vector<std::pair<std::string, Json>> common_facts(const PairedComparison& c) {
  return {{"a", c.runs.a},
          {"b", c.runs.b},
          {"value", c.runs.value},
          {"better", c.options.better},
          {"scale", std::string(scale_name(c.runs.scale))},
          {"over", std::string(unit_name(c.options.over)) + "s"}};
}

/// Not a list of pairs that the compiler takes for an array.
Json object_of(const std::vector<std::pair<std::string, Json>>& members) {
  Json out = Json::object();
  for (const auto& [name, value] : members) out[name] = value;
  return out;
}

void add_csv_row(Grid& grid, const std::vector<std::pair<std::string, Json>>& members) {
  std::vector<GridCell>& row = grid.rows.emplace_back();
  grid.header.clear();
  for (const auto& [name, value] : members) {
    grid.header.push_back(name);
    row.emplace_back(value.is_string()         ? value.get<std::string>()
                     : value.is_number_float() ? to_text(value.get<double>())
                                               : value.dump());
  }
}

std::string as_json(const PairedComparison& c) {
  Json out = object_of(common_facts(c));
  out["alpha"] = c.options.alpha;
  Json groups = Json::array();
  for (const PairedGroup& group : c.groups) groups.push_back(object_of(facts(group)));
  out["groups"] = std::move(groups);
  Json pairs = Json::array();
  for (const RunPair& p : c.runs.pairs)
    pairs.push_back(object_of({{"layer", p.layer},
                               {"layer_kind", p.layer_kind},
                               {"seed", p.seed},
                               {"setting", p.setting},
                               {"a", number(p.a)},
                               {"b", number(p.b)},
                               {"difference", number(p.difference)}}));
  out["pairs"] = std::move(pairs);
  Json unpaired = Json::array();
  for (const Unpaired& u : c.runs.unpaired)
    unpaired.push_back(
        object_of({{"layer", u.layer}, {"seed", u.seed}, {"setting", u.setting}, {"why", u.why}}));
  out["unpaired"] = std::move(unpaired);
  out["verdict"] = verdict(c);
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<double> corrected(std::span<const PairedComparison> comparisons) {
  std::vector<double> p;
  for (const PairedComparison& c : comparisons) p.push_back(c.all().wilcoxon.p);
  return holm(p);
}

std::vector<std::string> all_notes(std::span<const PairedComparison> comparisons,
                                   const std::vector<double>& p) {
  std::vector<std::string> out;
  if (comparisons.empty()) return out;
  const PairedOptions& options = comparisons.front().options;
  const auto tests =
      static_cast<std::size_t>(std::ranges::count_if(p, [](double v) { return !std::isnan(v); }));
  out.push_back(fmt::format("p Holm: corrected for {}; A or B is better where it is at most {:g}",
                            count_of(tests, "test"), options.alpha));
  std::size_t most = 0;
  std::size_t unpaired = 0;
  for (const PairedComparison& c : comparisons) {
    most = std::max(most, c.all().n);
    unpaired += c.runs.unpaired.size();
  }
  const std::size_t needed =
      fewest_differences(options.alpha / static_cast<double>(std::max<std::size_t>(tests, 1)));
  if (most < needed)
    out.push_back(fmt::format("{} cannot give a corrected p below {}: {} are needed, {} more",
                              count_of(most, unit_name(options.over)),
                              brief(std::min(1.0, least_p(most) * static_cast<double>(tests))), needed,
                              needed - most));
  if (unpaired > 0)
    out.push_back(fmt::format("left out: {}; compare two methods to see why", count_of(unpaired, "run")));
  return out;
}

}  // namespace

std::vector<std::string> left_out(const PairedRuns& runs) {
  std::vector<std::pair<std::string, std::size_t>> reasons;
  for (const Unpaired& one : runs.unpaired) {
    const auto known = std::ranges::find(reasons, one.why, &std::pair<std::string, std::size_t>::first);
    if (known == reasons.end())
      reasons.emplace_back(one.why, 1);
    else
      ++known->second;
  }
  std::vector<std::string> out;
  for (const auto& [why, count] : reasons) out.push_back(fmt::format("{} × {}", count, why));
  return out;
}

std::string verdict(const PairedComparison& c) {
  const PairedGroup& all = c.all();
  const PairedRuns& r = c.runs;
  const std::string none = fmt::format("no difference can be told between {} and {}: ", r.a, r.b);
  const std::string what = brief_estimate(all, r.scale);
  const std::string tested = fmt::format("p = {:.2g}", all.wilcoxon.p);
  const std::string n = counts(all, c.options.over);
  std::string out;
  switch (all.outcome) {
    case Outcome::equal:
      out = fmt::format("{}{} the same {} ({})", none,
                        all.pairs == 1 ? "their one pair has" : fmt::format("all {} pairs have", all.pairs),
                        r.value, n);
      break;
    case Outcome::too_few:
      out = none + (all.n == 0 ? "" : what + ", but ") + too_few(all, c.options);
      if (all.pairs > 0) out += fmt::format(" ({})", n);
      break;
    case Outcome::unclear:
      out = fmt::format("{}{}, {} ({})", none, what, tested, n);
      break;
    case Outcome::a_better:
    case Outcome::b_better:
      out = fmt::format("{} is better than {}: {}, {} ({})", all.outcome == Outcome::b_better ? r.b : r.a,
                        all.outcome == Outcome::b_better ? r.a : r.b, what, tested, n);
      break;
    case Outcome::a_larger:
    case Outcome::b_larger:
      out = fmt::format("{} is larger with {} than with {}: {}, {} ({})", r.value,
                        all.outcome == Outcome::b_larger ? r.b : r.a,
                        all.outcome == Outcome::b_larger ? r.a : r.b, what, tested, n);
      break;
  }
  const double neutral = r.scale == PairedScale::ratio ? 1 : 0;
  const bool told =
      all.outcome != Outcome::equal && all.outcome != Outcome::too_few && all.outcome != Outcome::unclear;
  if (told && !(all.interval.low > neutral || all.interval.high < neutral))
    out += fmt::format("; the ranks tell it, the mean alone would not: its interval holds {:g}", neutral);
  if (!r.unpaired.empty()) out += fmt::format("; without {} left out", count_of(r.unpaired.size(), "run"));
  return out;
}

std::string render_comparison(const PairedComparison& c, const std::string& title, Format format) {
  if (format == Format::json) return as_json(c);
  Grid grid;
  if (format == Format::csv) {
    for (const PairedGroup& group : c.groups) {
      auto members = common_facts(c);
      for (auto& fact : facts(group)) members.push_back(std::move(fact));
      add_csv_row(grid, members);
    }
    return render_grid(grid, format);
  }
  grid.title = title;
  grid.header = {"runs",      layers_header(c.options), "seeds",         "mean of A",
                 "mean of B", estimate_header(c),       "sd over seeds", "p Wilcoxon",
                 "p sign"};
  grid.numeric.assign(grid.header.size(), true);
  grid.numeric.front() = false;
  for (const PairedGroup& g : c.groups)
    grid.rows.push_back({g.name, count_cell(g.layers), count_cell(g.seeds), number_cell(g.mean_a, format),
                         number_cell(g.mean_b, format), estimate_cell(g, format),
                         std::isnan(g.seed_deviation) ? GridCell("-") : number_cell(g.seed_deviation, format),
                         number_cell(g.wilcoxon.p, format), number_cell(g.sign.p, format)});
  std::vector<std::string> lines = notes(c);
  lines.push_back(verdict(c));
  return render_grid(grid, format) + below(lines, format);
}

std::string render_all_pairs(std::span<const PairedComparison> comparisons, const std::string& title,
                             Format format) {
  const std::vector<double> p = corrected(comparisons);
  Grid grid;
  Json list = Json::array();
  for (std::size_t i = 0; i < comparisons.size(); ++i) {
    const PairedComparison& c = comparisons[i];
    const PairedGroup& all = c.all();
    const Outcome outcome = decide(all, p[i], c.options);
    if (format == Format::csv || format == Format::json) {
      auto members = common_facts(c);
      for (auto& fact : facts(all))
        if (fact.first != "group" && fact.first != "outcome") members.push_back(std::move(fact));
      members.emplace_back("unpaired", c.runs.unpaired.size());
      members.emplace_back("p_holm", number(p[i]));
      members.emplace_back("outcome", std::string(outcome_name(outcome)));
      if (format == Format::csv)
        add_csv_row(grid, members);
      else
        list.push_back(object_of(members));
      continue;
    }
    grid.rows.push_back({c.runs.a, c.runs.b, count_cell(all.layers), count_cell(all.seeds),
                         estimate_cell(all, format), number_cell(all.wilcoxon.p, format),
                         number_cell(p[i], format), std::string(outcome_name(outcome))});
  }
  if (format == Format::json) return list.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  if (format == Format::csv) return render_grid(grid, format);
  grid.title = title;
  grid.header = {"A",
                 "B",
                 comparisons.empty() ? "layers" : layers_header(comparisons.front().options),
                 "seeds",
                 comparisons.empty() ? "" : estimate_header(comparisons.front()),
                 "p Wilcoxon",
                 "p Holm",
                 "outcome"};
  grid.numeric = {false, false, true, true, true, true, true, false};
  return render_grid(grid, format) + below(all_notes(comparisons, p), format);
}

}  // namespace olab

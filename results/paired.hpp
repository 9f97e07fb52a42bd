// Two methods compared over the runs that both of them finished.
//
// What is an observation? Runs are not: a method's runs on one layer differ by the seed of its random
// numbers only, and two runs of a method without any are copies. Layers are what a claim about a method is
// meant to hold for, so each layer gives one number (the mean of ln(B / A) over its seeds and settings), and
// the tests and intervals are taken over layers; the deviation over seeds is reported beside them. Counting
// every run as an observation instead would make any difference "significant" with enough seeds. Over seeds
// the same is done the other way round: one number a seed, a claim about other seeds on these very layers.
// What remains: layers of one model resemble each other (q, k and v even read one input), so p of all layers
// together is on the small side, and says nothing of other models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "results/statistics.hpp"
#include "results/store.hpp"
#include "results/table.hpp"

namespace olab {

/// How the values of a pair are set against each other. Errors spread over decades and act by factors, so
/// they are compared as ln(B / A): a ratio of 1/2 weighs as much as one of 2. Values in dB are logarithms
/// already, and values below zero have none: those are compared as B − A.
enum class PairedScale { ratio, difference };

/// ln(b / a), or b − a. Equal values, also two infinities or two zeros, differ by 0; an error of 0 or of
/// infinity against another is infinitely far away, and is kept so.
double paired_difference(double a, double b, PairedScale scale);

/// Two runs that differ in the method alone.
struct RunPair {
  std::string layer;  ///< full name; of several recordings or tensors of one name, with what tells them apart
  std::string layer_kind;
  std::uint64_t seed = 0;
  /// What else varies within a layer: "weight.bits=4, calibration_tokens=32"; "" where nothing does.
  std::string setting;
  double a = 0;
  double b = 0;
  double difference = 0;  ///< by `paired_difference`, never NaN
};

/// A run without its counterpart, or a pair without two numbers.
struct Unpaired {
  std::string layer;
  std::uint64_t seed = 0;
  std::string setting;
  std::string why;  ///< "duquant failed: …", "the value of rtn is not a number"
};

struct PairedRuns {
  std::string a;  ///< labels
  std::string b;
  std::string value;
  PairedScale scale = PairedScale::ratio;
  std::vector<RunPair> pairs;      ///< in the order of the runs
  std::vector<Unpaired> unpaired;  ///< the same
};

/// Pairs the runs of the methods with these labels: same layer (recording, name, tensors), seed, numbers of
/// tokens and quantizers. Nothing vanishes: what failed, was interrupted, still runs, was never run, lacks
/// the value or has NaN for it is left unpaired with the reason. Infinite values are paired. Without `scale`:
/// ratio, or difference where a value is negative. Error where no finished run of either has the value (with
/// the nearest name), or a label is in none of the runs (likewise).
PairedRuns pair_runs(std::span<const RunRecord> runs, const std::string& a, const std::string& b,
                     const std::string& value, std::optional<PairedScale> scale = std::nullopt);

/// What the tests take as observations. Windows of tokens, of a run of a whole model, stand in the place of
/// layers.
enum class Observations { layers, windows, seeds };

/// What can be said of A and B. `larger` instead of `better` where a value has no better direction.
enum class Outcome { a_better, b_better, a_larger, b_larger, equal, unclear, too_few };

/// "A better", "too few", …
std::string_view outcome_name(Outcome outcome);

/// The pairs of one layer kind, of one setting, or all.
struct PairedGroup {
  std::string name;
  std::size_t pairs = 0;
  std::size_t layers = 0;
  std::size_t seeds = 0;
  std::size_t n = 0;         ///< observations: layers or seeds
  std::size_t infinite = 0;  ///< pairs with an infinite difference
  double mean_a = 0;         ///< arithmetic mean over observations of their means
  double mean_b = 0;
  double mean_difference = 0;  ///< mean over observations of ln(B / A), or of B − A
  /// B / A: geometric mean over observations, with Student's interval of the mean logarithm; or B − A.
  double center = 0;
  Interval interval;
  /// Hodges and Lehmann's estimate and Wilcoxon's interval, on the same scale as `center`.
  MedianEstimate median;
  /// Sample standard deviation over seeds of ln(B / A) (or B − A) within a layer and setting, pooled:
  /// sqrt(Σ (x − mean of its layer)² / Σ (seeds − 1)). NaN where none has two seeds.
  double seed_deviation = 0;
  SignedRankTest wilcoxon;
  SignTest sign;
  /// Over seeds: both methods give the same values with every seed, so there is one observation.
  bool copies = false;
  /// Over seeds: pairs of a layer and setting that lack a seed. Means over other layers would differ for that
  /// alone, so these pairs are left out.
  std::size_t incomplete = 0;
  Outcome outcome = Outcome::too_few;  ///< by p of Wilcoxon's test
};

struct PairedOptions {
  Observations over = Observations::layers;
  std::string better = "none";  ///< lower | higher | none
  double alpha = 0.05;          ///< 1 − confidence of the intervals, and what p is held against
};

struct PairedComparison {
  PairedRuns runs;
  PairedOptions options;
  std::vector<PairedGroup> groups;  ///< layer kinds, then settings where there are several, then all
  const PairedGroup& all() const { return groups.back(); }
};

/// Without pairs there is one group, `all`, with n = 0.
PairedComparison compare_pairs(PairedRuns runs, const PairedOptions& options);

/// What a group says at this p: too_few where so few observations can never give p ≤ alpha; equal where no
/// difference differs from 0; better where p ≤ alpha and the mean lies on the side of the larger rank sum;
/// else unclear.
Outcome decide(const PairedGroup& group, double p, const PairedOptions& options);

/// Why runs have no pair, each reason once: "3 × duquant failed: …".
std::vector<std::string> left_out(const PairedRuns& runs);

/// One sentence, computed: "duquant is better than rtn: ratio 0.91 [0.88, 0.94], p = 0.0012 (n = 14 layers,
/// 5 seeds)", "no difference can be told between …".
std::string verdict(const PairedComparison& comparison);

/// Groups as rows, what was left out, and the verdict last. CSV: one line a group, tidy, no sentences. JSON:
/// an object with everything, pairs included.
std::string render_comparison(const PairedComparison& comparison, const std::string& title, Format format);

/// Every pair of methods a row, with Holm's correction of p over the pairs. Comparisons of one value.
std::string render_all_pairs(std::span<const PairedComparison> comparisons, const std::string& title,
                             Format format);

}  // namespace olab

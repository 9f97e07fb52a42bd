#include "results/paired.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "messages.hpp"

namespace olab {
namespace {

using test::error_of;
using test::expect_contains;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
using Runs = std::vector<RunRecord>;

RunRecord run_of(const std::string& label, int layer, std::uint64_t seed, double value,
                 const std::string& kind = "down_proj") {
  RunRecord r;
  r.key = fmt::format("{} {} {} {}", label, layer, seed, kind);
  r.label = label;
  r.method = label;
  r.method_text = label + "()";
  r.recording = "recording";
  r.layer = fmt::format("layers.{}.{}", layer, kind);
  r.layer_kind = kind;
  r.tensor_hash = r.layer;
  r.seed = seed;
  r.status = "finished";
  r.values["output.nmse"] = value;
  return r;
}

RunRecord with_bits(RunRecord run, const std::string& bits) {
  run.weight_text = fmt::format("integer(bits={},clip=1)", bits);
  run.params["weight.bits"] = bits;
  run.params["weight.clip"] = "1";
  run.key += bits;
  return run;
}

/// `layers` layers, where B has `ratios[i % size]` times the error of A; the same with every seed.
Runs study_of(int layers, std::uint64_t seeds, const std::vector<double>& ratios) {
  Runs out;
  for (int i = 0; i < layers; ++i)
    for (std::uint64_t s = 0; s < seeds; ++s) {
      const double a = 0.01 * (i + 1);
      out.push_back(run_of("A", i, s, a));
      out.push_back(run_of("B", i, s, a * ratios[static_cast<std::size_t>(i) % ratios.size()]));
    }
  return out;
}

PairedComparison compared(const Runs& runs,
                          const PairedOptions& options = {Observations::layers, "lower", 0.05}) {
  return compare_pairs(pair_runs(runs, "A", "B", "output.nmse"), options);
}

TEST(PairedDifference, IsALogarithmOrADifference) {
  EXPECT_DOUBLE_EQ(paired_difference(2, 1, PairedScale::ratio), -std::log(2.0));
  EXPECT_DOUBLE_EQ(paired_difference(2, 1, PairedScale::difference), -1);
  EXPECT_EQ(paired_difference(0, 0, PairedScale::ratio), 0);
  EXPECT_EQ(paired_difference(kInfinity, kInfinity, PairedScale::ratio), 0);
  EXPECT_EQ(paired_difference(kInfinity, kInfinity, PairedScale::difference), 0);
  EXPECT_EQ(paired_difference(1, kInfinity, PairedScale::ratio), kInfinity);
  EXPECT_EQ(paired_difference(1, 0, PairedScale::ratio), -kInfinity);
  EXPECT_EQ(paired_difference(0, 1, PairedScale::ratio), kInfinity);
  EXPECT_NEAR(paired_difference(1e-300, 1e300, PairedScale::ratio), 600 * std::log(10.0), 1e-9)
      << "the quotient is infinite, its logarithm is not";
}

TEST(PairRuns, TakesRunsThatDifferInTheMethodAlone) {
  Runs runs{run_of("A", 0, 0, 2), run_of("B", 0, 1, 5), run_of("C", 0, 0, 9),
            run_of("B", 0, 0, 1), run_of("A", 0, 1, 4), run_of("B", 1, 0, 7)};
  const PairedRuns paired = pair_runs(runs, "A", "B", "output.nmse");
  ASSERT_EQ(paired.pairs.size(), 2U);
  EXPECT_EQ(paired.pairs[0].seed, 0U);
  EXPECT_EQ(paired.pairs[0].a, 2);
  EXPECT_EQ(paired.pairs[0].b, 1);
  EXPECT_DOUBLE_EQ(paired.pairs[0].difference, -std::log(2.0));
  EXPECT_EQ(paired.pairs[1].seed, 1U);
  EXPECT_EQ(paired.pairs[1].b, 5);
  EXPECT_EQ(paired.pairs[0].setting, "");
  ASSERT_EQ(paired.unpaired.size(), 1U);
  EXPECT_EQ(paired.unpaired[0].layer, "layers.1.down_proj");
  EXPECT_EQ(paired.unpaired[0].why, "A was not run");
}

TEST(PairRuns, NeverMixesTensorsTokensOrQuantizers) {
  const Runs base{run_of("A", 0, 0, 1), run_of("B", 0, 0, 2)};
  const auto pairs_after = [&](const std::function<void(RunRecord&)>& change) {
    Runs runs = base;
    change(runs[1]);
    return pair_runs(runs, "A", "B", "output.nmse").pairs.size();
  };
  EXPECT_EQ(pairs_after([](RunRecord&) {}), 1U);
  EXPECT_EQ(pairs_after([](RunRecord& r) { r.recording = "other"; }), 0U);
  EXPECT_EQ(pairs_after([](RunRecord& r) { r.tensor_hash = "other"; }), 0U);
  EXPECT_EQ(pairs_after([](RunRecord& r) { r.calibration_tokens = 7; }), 0U);
  EXPECT_EQ(pairs_after([](RunRecord& r) { r.evaluation_tokens = 7; }), 0U);
  EXPECT_EQ(pairs_after([](RunRecord& r) { r.activation_text = "int8"; }), 0U);
  EXPECT_EQ(pairs_after([](RunRecord& r) { r.weight_text = "int8"; }), 0U);
}

TEST(PairRuns, SaysWhyARunHasNoPair) {
  Runs runs;
  for (int layer = 0; layer < 6; ++layer) {
    runs.push_back(run_of("A", layer, 0, 1));
    runs.push_back(run_of("B", layer, 0, 1));
  }
  runs[1].status = "failed";
  runs[1].error = "channel 5 is dead";
  runs[3].status = "interrupted";
  runs[5].status = "running";
  runs[7].values.clear();
  runs[8].values["output.nmse"] = kNaN;
  const PairedRuns paired = pair_runs(runs, "A", "B", "output.nmse");
  EXPECT_EQ(paired.pairs.size(), 1U);
  ASSERT_EQ(paired.unpaired.size(), 5U);
  EXPECT_EQ(paired.unpaired[0].why, "B failed: channel 5 is dead");
  EXPECT_EQ(paired.unpaired[1].why, "B was interrupted");
  EXPECT_EQ(paired.unpaired[2].why, "B is running");
  EXPECT_EQ(paired.unpaired[3].why, "B has no output.nmse");
  EXPECT_EQ(paired.unpaired[4].why, "output.nmse of A is not a number");
  runs[2] = runs[3];
  runs[2].label = "A";
  EXPECT_EQ(left_out(pair_runs(runs, "A", "B", "output.nmse"))[1],
            "1 × A was interrupted; B was interrupted");
}

TEST(PairRuns, KeepsInfiniteValues) {
  const Runs runs{run_of("A", 0, 0, 1), run_of("B", 0, 0, kInfinity)};
  const PairedRuns paired = pair_runs(runs, "A", "B", "output.nmse");
  ASSERT_EQ(paired.pairs.size(), 1U);
  EXPECT_EQ(paired.pairs[0].difference, kInfinity);
  EXPECT_EQ(compare_pairs(paired, {}).all().infinite, 1U);
}

TEST(PairRuns, ComparesNegativeValuesByDifference) {
  const Runs runs{run_of("A", 0, 0, -3), run_of("B", 0, 0, 4)};
  const PairedRuns paired = pair_runs(runs, "A", "B", "output.nmse");
  EXPECT_EQ(paired.scale, PairedScale::difference);
  EXPECT_EQ(paired.pairs[0].difference, 7);
  expect_contains(error_of([&] { (void)pair_runs(runs, "A", "B", "output.nmse", PairedScale::ratio); }),
                  "output.nmse is negative in some runs");
  const Runs positive{run_of("A", 0, 0, 3), run_of("B", 0, 0, 4)};
  EXPECT_EQ(pair_runs(positive, "A", "B", "output.nmse").scale, PairedScale::ratio);
  EXPECT_EQ(pair_runs(positive, "A", "B", "output.nmse", PairedScale::difference).pairs[0].difference, 1);
}

TEST(PairRuns, NamesWhatVariesWithinALayer) {
  Runs runs;
  for (const char* bits : {"4", "8"})
    for (const char* label : {"A", "B"}) runs.push_back(with_bits(run_of(label, 0, 0, 1), bits));
  PairedRuns paired = pair_runs(runs, "A", "B", "output.nmse");
  ASSERT_EQ(paired.pairs.size(), 2U);
  EXPECT_EQ(paired.pairs[0].setting, "weight.bits=4");
  EXPECT_EQ(paired.pairs[1].setting, "weight.bits=8");
  // The same parameters in two formats: only the whole text tells them apart.
  runs[2].params = runs[3].params = runs[0].params;
  paired = pair_runs(runs, "A", "B", "output.nmse");
  EXPECT_EQ(paired.pairs[0].setting, "weight=integer(bits=4,clip=1)");
  // Layers of different lengths are no settings.
  Runs lengths{run_of("A", 0, 0, 1), run_of("B", 0, 0, 1), run_of("A", 1, 0, 1), run_of("B", 1, 0, 1)};
  lengths[2].evaluation_tokens = lengths[3].evaluation_tokens = 100;
  EXPECT_EQ(pair_runs(lengths, "A", "B", "output.nmse").pairs[1].setting, "");
}

TEST(PairRuns, LayersOfOneNameInTwoRecordingsAreTwo) {
  Runs runs{run_of("A", 0, 0, 1), run_of("B", 0, 0, 1), run_of("A", 0, 0, 1), run_of("B", 0, 0, 1)};
  for (std::size_t i : {2, 3}) {
    runs[i].recording = "second";
    runs[i].key += "second";
  }
  const PairedComparison c = compared(runs);
  EXPECT_EQ(c.all().layers, 2U);
  EXPECT_EQ(c.runs.pairs[1].layer, "layers.0.down_proj (second)");
}

TEST(PairRuns, ASecondRunOfTheSameIsTold) {
  Runs runs{run_of("A", 0, 0, 1), run_of("B", 0, 0, 1), run_of("B", 0, 0, 2)};
  EXPECT_TRUE(pair_runs(runs, "A", "B", "output.nmse").unpaired.empty()) << "one run, listed twice";
  runs[2].key = "another";
  const PairedRuns paired = pair_runs(runs, "A", "B", "output.nmse");
  EXPECT_EQ(paired.pairs.size(), 1U);
  ASSERT_EQ(paired.unpaired.size(), 1U);
  EXPECT_EQ(paired.unpaired[0].why, "B has a second run of the same");
}

TEST(PairRuns, RefusesUnknownNames) {
  const Runs runs{run_of("hadamard", 0, 0, 1), run_of("duquant", 0, 0, 1)};
  expect_contains(error_of([&] { (void)pair_runs(runs, "hadamrd", "duquant", "output.nmse"); }),
                  "no run has the method 'hadamrd'; did you mean 'hadamard'?");
  expect_contains(error_of([&] { (void)pair_runs(runs, "hadamard", "duquant", "output.mse"); }),
                  "did you mean 'output.nmse'?");
}

TEST(ComparePairs, AveragesLogarithmsOverSeedsAndTestsOverLayers) {
  // Layer 0: ratios 1/2 and 1/8, so 1/4; layer 1: 1 and 1. Geometric mean over layers: 1/2.
  const Runs runs{run_of("A", 0, 0, 8), run_of("B", 0, 0, 4), run_of("A", 0, 1, 8), run_of("B", 0, 1, 1),
                  run_of("A", 1, 0, 3), run_of("B", 1, 0, 3), run_of("A", 1, 1, 3), run_of("B", 1, 1, 3)};
  const PairedGroup all = compared(runs).all();
  EXPECT_EQ(all.name, "all");
  EXPECT_EQ(all.pairs, 4U);
  EXPECT_EQ(all.layers, 2U);
  EXPECT_EQ(all.seeds, 2U);
  EXPECT_EQ(all.n, 2U) << "layers are the observations, not runs";
  EXPECT_DOUBLE_EQ(all.mean_a, 5.5);
  EXPECT_DOUBLE_EQ(all.mean_b, 2.75);
  EXPECT_NEAR(all.center, 0.5, 1e-15);
  // sd over layers of ln: ln 4 / √2; times t(1, 0.975) / √2.
  EXPECT_NEAR(std::log(all.interval.high / all.center), 12.706204736432095 * std::log(4.0) / 2, 1e-9);
  // Within layers: ln(1/2), ln(1/8) have the variance (ln 4)² / 2, the others 0; pooled over 1 + 1.
  EXPECT_NEAR(all.seed_deviation, std::log(4.0) / 2, 1e-15);
  EXPECT_EQ(all.wilcoxon.n, 1U);
  EXPECT_EQ(all.wilcoxon.zeros, 1U);
  EXPECT_EQ(all.sign.negative, 1U);
}

TEST(ComparePairs, MoreSeedsAreNoMoreEvidence) {
  const std::vector<double> ratios{0.5, 0.9, 1.2, 0.8, 0.7, 0.95, 1.1};
  const PairedGroup once = compared(study_of(7, 1, ratios)).all();
  const PairedGroup often = compared(study_of(7, 20, ratios)).all();
  EXPECT_EQ(once.wilcoxon.p, often.wilcoxon.p);
  EXPECT_EQ(once.sign.p, often.sign.p);
  EXPECT_NEAR(once.interval.high, often.interval.high, 1e-12);
  EXPECT_TRUE(std::isnan(once.seed_deviation));
  EXPECT_NEAR(often.seed_deviation, 0, 1e-15);
}

TEST(ComparePairs, TakesSeedsAsObservationsWhereAsked) {
  // Seed s: ratio (s + 1) / 10 on both layers; layer 2 lacks seed 0 and is not used.
  Runs runs;
  for (int layer = 0; layer < 3; ++layer)
    for (std::uint64_t s = layer == 2 ? 1 : 0; s < 6; ++s) {
      runs.push_back(run_of("A", layer, s, 1));
      runs.push_back(run_of("B", layer, s, layer == 2 ? 5 : 0.1 * static_cast<double>(s + 1)));
    }
  const PairedComparison c = compared(runs, {Observations::seeds, "lower", 0.05});
  EXPECT_EQ(c.all().n, 6U);
  EXPECT_EQ(c.all().incomplete, 5U);
  EXPECT_NEAR(c.all().center, 0.1 * std::pow(720.0, 1.0 / 6), 1e-14);
  EXPECT_EQ(c.all().outcome, Outcome::b_better);
  expect_contains(verdict(c), "(n = 6 seeds, 3 layers)");
  expect_contains(render_comparison(c, "T", Format::text), "5 pairs of layers without every seed not used");
}

TEST(ComparePairs, SeedsThatAreCopiesAreNoObservations) {
  const PairedComparison c = compared(study_of(2, 9, {0.5, 0.7}), {Observations::seeds, "lower", 0.05});
  EXPECT_TRUE(c.all().copies);
  EXPECT_EQ(c.all().n, 1U);
  EXPECT_EQ(c.all().outcome, Outcome::too_few);
  expect_contains(verdict(c), "the same values with every seed");
}

TEST(ComparePairs, HasAGroupForEachKindAndSetting) {
  Runs runs;
  for (const char* kind : {"up_proj", "down_proj"})
    for (const char* bits : {"4", "8"}) {
      runs.push_back(with_bits(run_of("A", 0, 0, 1, kind), bits));
      runs.push_back(with_bits(run_of("B", 0, 0, bits[0] == '4' ? 2 : 8, kind), bits));
    }
  const PairedComparison c = compared(runs);
  ASSERT_EQ(c.groups.size(), 5U);
  EXPECT_EQ(c.groups[0].name, "up_proj");
  EXPECT_NEAR(c.groups[0].center, 4, 1e-14);
  EXPECT_EQ(c.groups[2].name, "weight.bits=4");
  EXPECT_NEAR(c.groups[2].center, 2, 1e-14);
  EXPECT_EQ(c.groups[2].layers, 2U);
  EXPECT_EQ(c.groups[4].name, "all");
  EXPECT_EQ(c.all().n, 2U) << "a layer counts once, whatever its settings";
}

TEST(Verdict, FollowsTheNumbers) {
  const std::vector<double> lower{0.9, 0.92, 0.88, 0.94, 0.91, 0.87};
  const PairedComparison better = compared(study_of(6, 2, lower));
  EXPECT_EQ(better.all().outcome, Outcome::b_better);
  EXPECT_EQ(verdict(better),
            "B is better than A: ratio 0.903 [0.876, 0.931], p = 0.031 (n = 6 layers, 2 seeds)");
  std::vector<double> higher;
  for (const double r : lower) higher.push_back(1 / r);
  EXPECT_EQ(verdict(compared(study_of(6, 2, higher))),
            "A is better than B: ratio 1.11 [1.07, 1.14], p = 0.031 (n = 6 layers, 2 seeds)");
  PairedOptions options{Observations::layers, "higher", 0.05};
  EXPECT_EQ(compared(study_of(6, 2, lower), options).all().outcome, Outcome::a_better);
  options.better = "none";
  expect_contains(verdict(compared(study_of(6, 1, lower), options)),
                  "output.nmse is larger with A than with B: ratio 0.903");
  // One layer the other way round, and farther than any: ranks 1 … 5 against 6.
  std::vector<double> mixed = lower;
  mixed[3] = 1.3;
  const PairedComparison unclear = compared(study_of(6, 2, mixed));
  EXPECT_EQ(unclear.all().outcome, Outcome::unclear);
  expect_contains(verdict(unclear),
                  "no difference can be told between A and B: ratio 0.953 [0.811, 1.12], p = 0.44 (");
}

TEST(Verdict, AnOutlierOnTheOtherSideTakesItBack) {
  // 13 layers better, one worse; how much worse does not change the ranks, but it does the mean.
  std::vector<double> ratios;
  for (int i = 0; i < 14; ++i) ratios.push_back(0.9 - 0.01 * i);
  const auto with_worst = [&](double ratio) {
    ratios[0] = ratio;
    return compared(study_of(14, 1, ratios));
  };
  const PairedComparison mild = with_worst(1.2);
  EXPECT_EQ(mild.all().outcome, Outcome::b_better);
  EXPECT_EQ(verdict(mild).find("the ranks"), std::string::npos) << verdict(mild);
  const PairedComparison wide = with_worst(2);
  EXPECT_EQ(wide.all().outcome, Outcome::b_better);
  expect_contains(verdict(wide), "; the ranks tell it, the mean alone would not: its interval holds 1");
  const PairedComparison far = with_worst(1e6);
  EXPECT_EQ(far.all().wilcoxon.p, wide.all().wilcoxon.p);
  EXPECT_LE(far.all().wilcoxon.p, 0.05);
  EXPECT_GT(far.all().center, 1);
  EXPECT_EQ(far.all().outcome, Outcome::unclear) << "better in rank and worse in the mean is not better";
}

TEST(Verdict, SaysWhatIsNeededForATest) {
  Runs runs = study_of(4, 3, {0.5, 0.6, 0.7});
  EXPECT_EQ(compared(runs).all().outcome, Outcome::too_few);
  expect_contains(verdict(compared(runs)),
                  "4 layers cannot give p below 0.125: 6 are needed, 2 more (n = 4 layers");
  runs.back().values["output.nmse"] *= 1.01;  // seeds change something now
  expect_contains(verdict(compared(runs)), "2 more; or 3 seeds more for a comparison over seeds");
  EXPECT_EQ(compared(study_of(5, 1, {0.5})).all().outcome, Outcome::too_few);
  EXPECT_EQ(compared(study_of(6, 1, {0.5})).all().outcome, Outcome::b_better);
}

TEST(Verdict, AMethodAgainstItselfIsNoDifference) {
  const Runs runs = study_of(8, 2, {0.5});
  const PairedComparison c = compare_pairs(pair_runs(runs, "A", "A", "output.nmse"), {});
  EXPECT_EQ(c.all().outcome, Outcome::equal);
  EXPECT_EQ(c.all().pairs, 16U);
  EXPECT_EQ(c.all().wilcoxon.p, 1);
  EXPECT_EQ(verdict(c),
            "no difference can be told between A and A: all 16 pairs have the same output.nmse (n = 8 "
            "layers, 2 seeds)");
}

TEST(Verdict, FailedAndInfiniteRunsAreTold) {
  Runs runs = study_of(8, 1, {0.5});
  for (RunRecord& run : runs) {
    if (run.label == "B" && run.layer == "layers.0.down_proj") run.values["output.nmse"] = kInfinity;
    if (run.label == "B" && run.layer == "layers.1.down_proj") {
      run.status = "failed";
      run.error = "bad";
    }
  }
  const PairedComparison c = compared(runs);
  EXPECT_EQ(c.all().n, 7U);
  EXPECT_EQ(c.all().infinite, 1U);
  EXPECT_EQ(c.all().center, kInfinity) << "an infinite error does not vanish from the mean";
  EXPECT_EQ(c.all().outcome, Outcome::unclear);
  expect_contains(verdict(c), "; without 1 run left out");
  const std::string text = render_comparison(c, "T", Format::text);
  expect_contains(text, "1 pair is infinitely far apart");
  expect_contains(text, "left out: 1 × B failed: bad");
}

TEST(Verdict, WithoutPairsThereIsNothing) {
  const PairedComparison c = compared({run_of("A", 0, 0, 1), run_of("B", 1, 0, 1)});
  ASSERT_EQ(c.groups.size(), 1U);
  EXPECT_EQ(c.all().n, 0U);
  EXPECT_EQ(c.all().outcome, Outcome::too_few);
  EXPECT_EQ(verdict(c),
            "no difference can be told between A and B: they have no pair of runs; without 2 runs left out");
}

TEST(RenderComparison, PrintsATableNotesAndTheVerdict) {
  const std::string text = render_comparison(compared(study_of(6, 2, {0.5})), "Title", Format::text);
  EXPECT_EQ(text.substr(0, text.find("\n\nB / A")),
            "Title\n"
            "\n"
            "runs       layers  seeds  mean of A  mean of B             B / A [95 %]  sd over seeds  p "
            "Wilcoxon   p sign\n"
            "---------  ------  -----  ---------  ---------  -----------------------  -------------  "
            "----------  -------\n"
            "down_proj       6      2    0.03500    0.01750  0.5000 [0.5000, 0.5000]              0     "
            "0.03125  0.03125\n"
            "all             6      2    0.03500    0.01750  0.5000 [0.5000, 0.5000]              0     "
            "0.03125  0.03125");
  EXPECT_TRUE(
      text.ends_with("\nB is better than A: ratio 0.5 [0.5, 0.5], p = 0.031 (n = 6 layers, 2 seeds)\n"))
      << text;
}

TEST(RenderComparison, WritesEveryFormat) {
  const PairedComparison c = compared(study_of(6, 2, {0.5, 0.25}));
  const auto json = nlohmann::json::parse(render_comparison(c, "T", Format::json));
  EXPECT_EQ(json.at("groups").size(), 2U);
  EXPECT_EQ(json.at("pairs").size(), 12U);
  EXPECT_EQ(json.at("a"), "A");
  EXPECT_EQ(json.at("groups").at(1).at("n"), 6);
  EXPECT_EQ(json.at("groups").at(1).at("outcome"), "B better");
  EXPECT_EQ(json.at("verdict"), verdict(c));
  const std::string csv = render_comparison(c, "T", Format::csv);
  EXPECT_TRUE(csv.starts_with("a,b,value,better,scale,over,group,pairs,layers,seeds,n,")) << csv;
  expect_contains(csv, "\nA,B,output.nmse,lower,ratio,layers,all,12,6,2,6,0,0,");
  expect_contains(render_comparison(c, "T", Format::markdown), "| all | 6 | 2 | ");
  const std::string latex = render_comparison(c, "T", Format::latex);
  expect_contains(latex, "all & 6 & 2 & ");
  expect_contains(latex, "\n% B is better than A: ");
  // Where there is no number JSON still is JSON.
  const auto one =
      nlohmann::json::parse(render_comparison(compared(study_of(1, 1, {0.5})), "T", Format::json));
  EXPECT_EQ(one.at("groups").at(0).at("high"), "inf");
  EXPECT_EQ(one.at("groups").at(0).at("seed_deviation"), "nan");
}

TEST(RenderAllPairs, CorrectsForTheNumberOfPairs) {
  const PairedComparison good = compared(study_of(6, 1, {0.5}));
  const std::vector<PairedComparison> one{good};
  expect_contains(render_all_pairs(one, "T", Format::text), "B better");
  const std::vector<PairedComparison> two{good, good};
  const std::string text = render_all_pairs(two, "T", Format::text);
  EXPECT_EQ(text.find("B better"), std::string::npos) << text;
  expect_contains(text, "0.06250");
  expect_contains(text, "6 layers cannot give a corrected p below 0.0625: 7 are needed, 1 more");
  const auto json = nlohmann::json::parse(render_all_pairs(two, "T", Format::json));
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json.at(0).at("p_holm"), 0.0625);
  EXPECT_EQ(json.at(0).at("p_wilcoxon"), 0.03125);
  expect_contains(render_all_pairs(two, "T", Format::csv), "p_holm,outcome\n");
  EXPECT_EQ(render_all_pairs({}, "T", Format::json), "[]\n");
}

}  // namespace
}  // namespace olab

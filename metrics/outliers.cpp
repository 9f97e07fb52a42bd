// Counts of massive and normal outliers.
#include "metrics/common/outliers.hpp"

#include <cmath>
#include <limits>

#include "metrics/common/stages.hpp"

namespace olab {
namespace {

// The rules are the parameters: their defaults live there and nowhere else.
struct Outliers final : Metric {
  double massive_absolute = OutlierRules{}.massive_absolute;
  double massive_ratio = OutlierRules{}.massive_ratio;
  double normal_ratio = OutlierRules{}.normal_ratio;
  double persistence = OutlierRules{}.persistence;

  std::vector<Stage> stages() const override { return activation_stages(); }
  void evaluate(const Observation& observation, MetricSink& sink) const override {
    OutlierRules rules;
    rules.massive_absolute = massive_absolute;
    rules.massive_ratio = massive_ratio;
    rules.normal_ratio = normal_ratio;
    rules.persistence = persistence;
    const OutlierReport report = classify_outliers(observation, rules, 0);
    // No entries, or a NaN among them: zero would be a finding.
    const bool known = !std::isnan(report.abs_median);
    const auto count = [&](std::string_view name, Index n) {
      sink.value(name, known ? static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN());
    };
    count("outliers.massive_entries", report.massive_entries);
    count("outliers.massive_tokens", report.massive_tokens);
    count("outliers.massive_channels", report.massive_channels);
    count("outliers.normal_channels", static_cast<Index>(report.normal_channels.size()));
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(outliers) {
  using namespace olab;
  r.metrics.add(
      Schema<Outliers>("outliers", "Counts of massive and normal outliers",
                       "Lin et al. 2024, arXiv:2406.01721; Sun et al. 2024, arXiv:2402.17762")
          .param("massive_absolute", &Outliers::massive_absolute, "a massive entry is larger than this", 0)
          .param("massive_ratio", &Outliers::massive_ratio,
                 "a massive entry is larger than this many times median |x|", 0)
          .param("normal_ratio", &Outliers::normal_ratio,
                 "O_j of a normal outlier channel is at least this many times the median O of the channels "
                 "that are not all zero, and its typical entry is larger than this many times median |x|",
                 1)
          .param("persistence", &Outliers::persistence,
                 "share of the tokens in which a normal outlier channel must be large (more than this share)",
                 0, 1)
          .note("definition",
                "massive: entries with |x| > massive_absolute and |x| > massive_ratio · median |x|, and "
                "the tokens and channels that hold one; normal: channels with O_j = max_t |x_tj| >= "
                "normal_ratio · median O and |x_tj| > normal_ratio · median |x| in more than the share "
                "persistence of the tokens")
          .note("unit", "count")
          .note("better", "lower")
          .note("values",
                "outliers.massive_entries outliers.massive_tokens outliers.massive_channels "
                "outliers.normal_channels"));
}

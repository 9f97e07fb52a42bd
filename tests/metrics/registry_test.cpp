// What holds for every registered metric, those of tomorrow included.
#include <bit>
#include <cstdint>
#include <set>

#include "collect.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

std::set<std::string> declared_names(const Info& info) {
  const std::string values = info.note("values");
  std::set<std::string> out;
  for (const std::string& name : split(values.empty() ? info.name : values, ' ')) out.insert(name);
  return out;
}

// One observation that has everything: a reference, a block size, a count of clipped values.
Observation observation_at(Stage stage, const Matrix& x, const Matrix& reference) {
  return {stage, x, reference, 8, 3};
}

std::vector<std::uint64_t> bits_of(const Collect& out) {
  std::vector<std::uint64_t> bits;
  for (const auto& [name, v] : out.values) bits.push_back(std::bit_cast<std::uint64_t>(v));
  for (const auto& [name, s] : out.all_series)
    for (const double v : s.values) bits.push_back(std::bit_cast<std::uint64_t>(v));
  return bits;
}

TEST(MetricRegistry, HoldsWhatTheStudyFormatNames) {
  const Registries r = metric_registries();
  for (const std::string name :
       {"mse", "nmse", "sqnr", "cosine", "max_error", "kurtosis", "excess_kurtosis", "block_variance",
        "within_block_variance", "block_l1_mass", "absmax", "absmax_to_median", "channel_absmax_ratio",
        "outliers", "clipped_fraction", "surface", "channel_profile", "histogram", "block_profile"})
    EXPECT_TRUE(r.metrics.contains(name)) << name;
}

TEST(MetricRegistry, EveryMetricSaysWhatItMeans) {
  const Registries r = metric_registries();
  for (const std::string& name : r.metrics.names()) {
    const Info& info = r.metrics.info(name);
    EXPECT_FALSE(info.summary.empty()) << name;
    EXPECT_FALSE(info.note("definition").empty()) << name;
    EXPECT_FALSE(info.note("unit").empty()) << name;
    const std::string better = info.note("better");
    EXPECT_TRUE(better == "lower" || better == "higher" || better == "none") << name << ": " << better;
    for (const ParamInfo& p : info.params) EXPECT_FALSE(p.doc.empty()) << name << '.' << p.name;
    // The runner stores names under the stage; charts and tables find the metric by the first part.
    for (const std::string& value : declared_names(info))
      EXPECT_TRUE(value == name || value.starts_with(name + ".")) << value;
  }
}

TEST(MetricRegistry, EveryMetricNamesItsStagesOnce) {
  const Registries r = metric_registries();
  for (const std::string& name : r.metrics.names()) {
    const std::vector<Stage> stages = r.metrics.make(name, r)->stages();
    EXPECT_FALSE(stages.empty()) << name;
    EXPECT_EQ(std::set<Stage>(stages.begin(), stages.end()).size(), stages.size()) << name;
  }
}

TEST(MetricRegistry, NoTwoMetricsEmitTheSameName) {
  const Registries r = metric_registries();
  std::set<std::string> seen;
  for (const std::string& name : r.metrics.names())
    for (const std::string& value : declared_names(r.metrics.info(name)))
      EXPECT_TRUE(seen.insert(value).second) << value;
}

TEST(MetricRegistry, EveryMetricRunsAtItsStagesOnOddShapesAndEmitsWhatItDeclares) {
  const Registries r = metric_registries();
  for (const std::string& name : r.metrics.names()) {
    const Info& info = r.metrics.info(name);
    const std::set<std::string> declared = declared_names(info);
    const auto metric = r.metrics.make(name, r);
    for (const auto& [rows, columns] :
         {std::pair<Index, Index>{1, 1}, {1, 64}, {7, 37}, {64, 128}, {33, 172}}) {
      const Matrix reference = gaussian(rows, columns, 1);
      const Matrix x = reference + 0.05F * gaussian(rows, columns, 2);
      const Matrix zero = Matrix::Zero(rows, columns);
      for (const Stage stage : metric->stages()) {
        for (const Matrix* const input : {&x, &zero}) {
          SCOPED_TRACE(name + " at " + std::string(stage_name(stage)) + ", " + std::to_string(rows) + " x " +
                       std::to_string(columns));
          Collect out;
          ASSERT_NO_THROW(out = evaluate(*metric, observation_at(stage, *input, reference)));
          std::set<std::string> emitted;
          for (const auto& [value, v] : out.values) emitted.insert(value);
          for (const auto& [value, s] : out.all_series) emitted.insert(value);
          EXPECT_EQ(emitted, declared);
          EXPECT_EQ(out.all_series.empty(), info.note("series") != "true");
          EXPECT_EQ(out.values.empty(), info.note("series") == "true") << "a series metric emits no numbers";
          for (const auto& [value, s] : out.all_series) {
            EXPECT_EQ(static_cast<Index>(s.values.size()), s.rows * s.columns);
            EXPECT_LE(s.values.size(), 10000U);
          }
          const Collect again = evaluate(*metric, observation_at(stage, *input, reference));
          EXPECT_EQ(bits_of(out), bits_of(again)) << "not deterministic";
        }
      }
    }
  }
}

TEST(MetricRegistry, SharedStatisticsChangeNoResult) {
  // All metrics on one observation, against each on an observation of its own.
  const Registries r = metric_registries();
  const Matrix reference = gaussian(33, 172, 1);
  const Matrix x = reference + 0.05F * gaussian(33, 172, 2);
  const Observation shared = observation_at(Stage::quantized, x, reference);
  for (const std::string& name : r.metrics.names()) {
    const Collect one = evaluate(*r.metrics.make(name, r), shared);
    EXPECT_EQ(bits_of(one), bits_of(collect(name, observation_at(Stage::quantized, x, reference)))) << name;
  }
}

TEST(MetricRegistry, AViewOfColumnsGivesWhatACopyGives) {
  const Registries r = metric_registries();
  const Matrix wide = gaussian(20, 96, 3);
  const Matrix wide_reference = gaussian(20, 96, 4);
  const Matrix x = wide.middleCols(16, 48);
  const Matrix reference = wide_reference.middleCols(16, 48);
  for (const std::string& name : r.metrics.names()) {
    const Observation view(Stage::quantized, wide.middleCols(16, 48), wide_reference.middleCols(16, 48), 8,
                           3);
    EXPECT_EQ(bits_of(collect(name, view)),
              bits_of(collect(name, observation_at(Stage::quantized, x, reference))))
        << name;
  }
}

TEST(MetricRegistry, AnEmptyMatrixIsNoCrash) {
  const Registries r = metric_registries();
  for (const std::string& name : r.metrics.names()) {
    for (const auto& [rows, columns] : {std::pair<Index, Index>{0, 0}, {0, 8}, {8, 0}}) {
      const Matrix x(rows, columns);
      EXPECT_NO_THROW((void)collect(name, observation_at(Stage::quantized, x, x))) << name;
    }
  }
}

}  // namespace
}  // namespace olab

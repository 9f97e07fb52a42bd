// What the tests of this room share: a sink that keeps everything, and small matrices.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "matrices.hpp"
#include "metrics/common/metric.hpp"

namespace olab {

/// What one metric emitted.
struct Collect {
  std::map<std::string, double> values;
  std::map<std::string, Series> all_series;

  double at(const std::string& name) const {
    const auto it = values.find(name);
    if (it != values.end()) return it->second;
    ADD_FAILURE() << "no value is called " << name;
    return -1;
  }
};

class CollectSink final : public MetricSink {
 public:
  explicit CollectSink(Collect& out) : out_(out) {}
  void value(std::string_view name, double v) override {
    EXPECT_TRUE(out_.values.emplace(name, v).second) << name << " was emitted twice";
  }
  void series(Series s) override {
    const std::string name = s.name;
    EXPECT_TRUE(out_.all_series.emplace(name, std::move(s)).second) << name << " was emitted twice";
  }

 private:
  Collect& out_;
};

inline Collect evaluate(const Metric& metric, const Observation& observation) {
  Collect out;
  CollectSink sink(out);
  metric.evaluate(observation, sink);
  return out;
}

inline Registries metric_registries() {
  Registries r;
  register_metrics(r);
  return r;
}

/// Everything that the metric `spec` emits for an observation.
inline Collect collect(const std::string& spec, const Observation& observation) {
  const Registries r = metric_registries();
  return evaluate(*r.metrics.make(spec, r), observation);
}

/// The metric's main value of a matrix at stage `original`; the method has blocks of `block_size`.
inline double value_of(const std::string& spec, const Matrix& x, Index block_size = 0) {
  return collect(spec, Observation(Stage::original, x, std::nullopt, block_size, -1))
      .at(spec.substr(0, spec.find('(')));
}

inline Series series_of(const std::string& spec, const Matrix& x, Index block_size = 0) {
  Collect out = collect(spec, Observation(Stage::original, x, std::nullopt, block_size, -1));
  const std::string name = spec.substr(0, spec.find('('));
  EXPECT_EQ(out.all_series.count(name), 1U) << spec;
  return out.all_series[name];
}

inline Matrix matrix(std::initializer_list<std::initializer_list<float>> rows) {
  Matrix out(static_cast<Index>(rows.size()), static_cast<Index>(rows.begin()->size()));
  Index t = 0;
  for (const auto& row : rows) {
    Index j = 0;
    for (const float v : row) out(t, j++) = v;
    ++t;
  }
  return out;
}

using test::gaussian;

}  // namespace olab

// Metrics over the matrices of a run: what they emit, under the names that are stored.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/series.hpp"
#include "experiments/resolved_spec.hpp"
#include "metrics/common/metric.hpp"

namespace olab {

using Values = std::map<std::string, double, std::less<>>;

struct Measured {
  Values values;
  std::vector<Series> series;
};

/// Adds what `into` does not have yet.
void merge(Measured& into, const Measured& from);

/// The metrics of a study, made once.
class MetricSet {
 public:
  MetricSet(std::span<const ResolvedSpec> specs, const Registries& registries);

  /// Some metric looks at this stage.
  bool wants(Stage stage) const;
  /// No metric of the stage looks at more than Observation::errors().
  bool errors_suffice(Stage stage) const;
  /// What all metrics of the stage emit, under "<stage>.<name>"; a metric with parameters of its own does not
  /// share names with its default.
  void observe(const Observation& observation, Measured& out) const;

 private:
  struct Loaded {
    std::string name;
    std::string suffix;  ///< "(axis=token)": only what differs from the defaults
    std::shared_ptr<const Metric> metric;
    std::vector<Stage> stages;
  };
  std::vector<Loaded> metrics_;
};

}  // namespace olab

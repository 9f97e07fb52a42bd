#include "experiments/observe.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace olab {
namespace {

class Collector final : public MetricSink {
 public:
  Collector(Stage stage, const std::string& name, const std::string& suffix, Measured& out)
      : prefix_(std::string(stage_name(stage)) + "."), suffix_(suffix), name_(name), out_(out) {}
  void value(std::string_view name, double value) override { out_.values[full(name)] = value; }
  void series(Series series) override {
    series.name = full(series.name);
    out_.series.push_back(std::move(series));
  }

 private:
  std::string full(std::string_view name) const {
    std::string text(name);
    if (!suffix_.empty() && text.starts_with(name_)) text.insert(name_.size(), suffix_);
    return prefix_ + text;
  }
  std::string prefix_;
  const std::string& suffix_;
  const std::string& name_;
  Measured& out_;
};

}  // namespace

void merge(Measured& into, const Measured& from) {
  into.values.insert(from.values.begin(), from.values.end());
  into.series.insert(into.series.end(), from.series.begin(), from.series.end());
}

MetricSet::MetricSet(std::span<const ResolvedSpec> specs, const Registries& registries) {
  for (const ResolvedSpec& spec : specs) {
    const Info& info = registries.metrics.info(spec.spec.name);
    Loaded m;
    m.name = info.name;
    const std::string shown = short_text(info, spec.params);
    if (const auto open = shown.find('('); open != std::string::npos) m.suffix = shown.substr(open);
    m.metric = registries.metrics.make(spec.spec, registries);
    m.stages = m.metric->stages();
    metrics_.push_back(std::move(m));
  }
}

bool MetricSet::wants(Stage stage) const {
  return std::ranges::any_of(
      metrics_, [&](const Loaded& m) { return std::ranges::find(m.stages, stage) != m.stages.end(); });
}

bool MetricSet::errors_suffice(Stage stage) const {
  return std::ranges::all_of(metrics_, [&](const Loaded& m) {
    return std::ranges::find(m.stages, stage) == m.stages.end() || m.metric->errors_suffice();
  });
}

void MetricSet::observe(const Observation& observation, Measured& out) const {
  for (const Loaded& m : metrics_) {
    if (std::ranges::find(m.stages, observation.stage()) == m.stages.end()) continue;
    Collector collector(observation.stage(), m.name, m.suffix, out);
    m.metric->evaluate(observation, collector);
  }
}

}  // namespace olab

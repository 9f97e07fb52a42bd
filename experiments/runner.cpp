#include "experiments/runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <tuple>
#include <utility>

#include "core/hash.hpp"
#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "core/text.hpp"
#include "experiments/progress.hpp"
#include "experiments/provenance.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"
#include "metrics/common/metric.hpp"

namespace olab {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Collects what the metrics of one observation emit, under "<stage>.<name>".
class Collector final : public MetricSink {
 public:
  explicit Collector(Measured& out) : out_(out) {}
  void at(Stage stage, const ResolvedSpec& metric, const std::string& name) {
    prefix_ = std::string(stage_name(stage)) + ".";
    // A metric with parameters of its own must not share names with its default.
    suffix_.clear();
    const std::string shown = metric.label;
    if (const auto open = shown.find('('); open != std::string::npos) suffix_ = shown.substr(open);
    name_ = name;
  }
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
  Measured& out_;
  std::string prefix_;
  std::string suffix_;
  std::string name_;
};

struct LoadedMetric {
  ResolvedSpec spec;
  std::unique_ptr<Metric> metric;
  std::vector<Stage> stages;
};

std::vector<LoadedMetric> load_metrics(const Plan& plan, const Registries& r) {
  std::vector<LoadedMetric> out;
  for (const ResolvedSpec& spec : plan.metrics) {
    LoadedMetric m;
    m.spec = spec;
    // Only what differs from the defaults makes a name.
    m.spec.label = short_text(r.metrics.info(spec.spec.name), spec.params);
    m.metric = r.metrics.make(spec.spec, r);
    m.stages = m.metric->stages();
    out.push_back(std::move(m));
  }
  return out;
}

void observe(const std::vector<LoadedMetric>& metrics, const Observation& observation, const Registries& r,
             Measured& out) {
  Collector collector(out);
  for (const LoadedMetric& m : metrics) {
    if (std::ranges::find(m.stages, observation.stage()) == m.stages.end()) continue;
    collector.at(observation.stage(), m.spec, r.metrics.info(m.spec.spec.name).name);
    m.metric->evaluate(observation, collector);
  }
}

void merge(Measured& into, const Measured& from) {
  into.values.insert(from.values.begin(), from.values.end());
  into.series.insert(into.series.end(), from.series.begin(), from.series.end());
}

/// A layer in memory with what all of its runs share.
class LayerWork {
 public:
  LayerWork(const Plan& plan, const PlannedLayer& layer, const Registries& r, const StopFlag* stop)
      : plan_(plan),
        layer_(layer),
        registries_(r),
        stop_(stop),
        metrics_(load_metrics(plan, r)),
        data_(plan.recording->load(layer.index, layer.tokens_needed())) {
    if (has_weights()) {
      y_.resize(layer.evaluation_tokens, data_.w.rows());
      multiply_transposed(evaluation(), data_.w, y_);
    }
  }

  bool has_weights() const { return data_.w.rows() > 0; }

  /// Computes runs that share method, seed and calibration; hands each over as soon as it is done. The
  /// callback takes (run, measured or nullptr, error).
  template <class Done>
  void run_group(std::span<const PlannedRun* const> runs, const Done& done) {
    Group group;
    try {
      prepare(*runs.front(), group);
    } catch (const Error& e) {
      for (const PlannedRun* run : runs) done(*run, nullptr, e.what());
      return;
    }
    for (const PlannedRun* run : runs) {
      if (stop_ != nullptr) stop_->check();
      try {
        const Measured measured = finish(*run, group, static_cast<double>(runs.size()));
        done(*run, &measured, "");
      } catch (const Error& e) {
        done(*run, nullptr, e.what());
      }
    }
  }

 private:
  /// What the runs of a group share.
  struct Group {
    Matrix x;  ///< X T on evaluation tokens
    Matrix w;  ///< W T⁻ᵀ
    Measured measured;
    Index block_size = 0;
    double calibrate_seconds = 0;
    double apply_seconds = 0;
    double metric_seconds = 0;
  };

  ConstMatrixRef evaluation() const {
    return data_.x.middleRows(layer_.evaluation_begin, layer_.evaluation_tokens);
  }

  /// Numbers of the untouched layer; computed once for each block size.
  const Measured& original(Index block_size) {
    const std::lock_guard lock(mutex_);
    auto& slot = originals_[block_size];
    if (!slot) {
      slot = std::make_unique<Measured>();
      observe(metrics_, Observation(Stage::original, evaluation(), std::nullopt, block_size, -1), registries_,
              *slot);
      if (has_weights())
        observe(metrics_, Observation(Stage::weight_original, data_.w, std::nullopt, block_size, -1),
                registries_, *slot);
    }
    return *slot;
  }

  void prepare(const PlannedRun& run, Group& g) {
    const ResolvedSpec& spec = plan_.methods[run.method];
    const std::unique_ptr<Method> method = registries_.methods.make(spec.spec, registries_);
    const Index channels = data_.x.cols();
    method->check(channels, registries_);
    g.block_size = method->block_size(channels);
    // Seed and data make the stream, not the parameters: ablations then compare the same draws.
    const RandomStream random(hash64(layer_.tensor_hash, run.seed));
    auto start = Clock::now();
    const Chain chain =
        method->calibrate({data_.x.topRows(run.calibration_tokens), data_.w, random, registries_, stop_});
    g.calibrate_seconds = since(start);
    start = Clock::now();
    g.x = evaluation();
    chain.apply_to_activations(g.x);
    g.w = data_.w;
    if (has_weights()) chain.apply_to_weights(g.w);
    g.apply_seconds = since(start);
    start = Clock::now();
    merge(g.measured, original(g.block_size));
    observe(metrics_, Observation(Stage::transformed, g.x, std::nullopt, g.block_size, -1), registries_,
            g.measured);
    if (has_weights())
      observe(metrics_, Observation(Stage::weight_transformed, g.w, std::nullopt, g.block_size, -1),
              registries_, g.measured);
    g.metric_seconds = since(start);
    const Cost cost = chain.online_cost();
    g.measured.values["online.multiply_adds"] = cost.multiply_adds;
    g.measured.values["online.bytes"] = cost.bytes;
    if (has_weights())
      g.measured.values["online.relative_multiply_adds"] =
          cost.multiply_adds / (static_cast<double>(channels) * static_cast<double>(data_.w.rows()));
  }

  Measured finish(const PlannedRun& run, const Group& g, double group_size) {
    const auto begin = Clock::now();
    Measured out = g.measured;
    const auto quantizer_of = [&](const ResolvedSpec& s) {
      return registries_.quantizers.make(s.spec, registries_);
    };
    const Index channels = g.x.cols();
    double quantize_seconds = 0;

    const auto activation = quantizer_of(plan_.activations[run.activation]);
    activation->check(Role::activation, channels);
    Matrix x_hat(g.x.rows(), channels);
    auto start = Clock::now();
    const Index clipped = activation->quantize(Role::activation, g.x, x_hat);
    quantize_seconds += since(start);
    observe(metrics_, Observation(Stage::quantized, x_hat, g.x, g.block_size, clipped), registries_, out);
    out.values["bits.activation"] = activation->bits_per_value(Role::activation, g.x.rows(), channels);

    if (has_weights()) {
      const auto weight = quantizer_of(plan_.weights[run.weight]);
      weight->check(Role::weight, channels);
      Matrix w_hat(g.w.rows(), channels);
      start = Clock::now();
      const Index clipped_weights = weight->quantize(Role::weight, g.w, w_hat);
      quantize_seconds += since(start);
      observe(metrics_, Observation(Stage::weight_quantized, w_hat, g.w, g.block_size, clipped_weights),
              registries_, out);
      out.values["bits.weight"] = weight->bits_per_value(Role::weight, g.w.rows(), channels);
      Matrix y_hat(x_hat.rows(), w_hat.rows());
      multiply_transposed(x_hat, w_hat, y_hat);
      observe(metrics_, Observation(Stage::output, y_hat, y_, g.block_size, -1), registries_, out);
    }
    out.values["time.calibrate_s"] = g.calibrate_seconds;
    out.values["time.apply_s"] = g.apply_seconds;
    out.values["time.quantize_s"] = quantize_seconds;
    out.values["time.run_s"] =
        since(begin) + (g.calibrate_seconds + g.apply_seconds + g.metric_seconds) / group_size;
    return out;
  }

  const Plan& plan_;
  const PlannedLayer& layer_;
  const Registries& registries_;
  const StopFlag* stop_;
  std::vector<LoadedMetric> metrics_;
  Layer data_;
  Matrix y_;
  std::mutex mutex_;
  std::map<Index, std::unique_ptr<Measured>> originals_;
};

using RunGroup = std::vector<const PlannedRun*>;

/// Runs that are not stored, grouped by what shares a calibration, in the study's order.
std::vector<RunGroup> make_groups(const PlannedLayer& layer) {
  std::map<std::tuple<std::size_t, Index, std::uint64_t>, std::size_t> where;
  std::vector<RunGroup> out;
  for (const PlannedRun& run : layer.runs) {
    if (run.stored) continue;
    const auto [it, fresh] = where.try_emplace({run.method, run.calibration_tokens, run.seed}, out.size());
    if (fresh) out.emplace_back();
    out[it->second].push_back(&run);
  }
  return out;
}

}  // namespace

std::span<const BuiltinValue> builtin_values() {
  static constexpr std::array<BuiltinValue, 9> kValues{{
      {"time.calibrate_s", "s", "lower", "wall time of the method's calibration on the calibration tokens"},
      {"time.apply_s", "s", "lower", "wall time of X T on the evaluation tokens and of W T⁻ᵀ"},
      {"time.quantize_s", "s", "lower", "wall time of quantizing both"},
      {"time.run_s", "s", "lower",
       "wall time of the run with its metrics; shared work is divided among the runs that share it"},
      {"online.multiply_adds", "per token", "lower",
       "multiply-adds of the transform on one token at inference; what folds into the layer in front counts "
       "0"},
      {"online.bytes", "per token", "lower", "bytes that the transform reads and writes for one token, fp32"},
      {"online.relative_multiply_adds", "", "lower", "online.multiply_adds / (in_features · out_features)"},
      {"bits.activation", "bits", "lower",
       "stored bits for each activation, scales and zero points included"},
      {"bits.weight", "bits", "lower", "stored bits for each weight, scales and zero points included"},
  }};
  return kValues;
}

RunRecord run_record(const Plan& plan, const PlannedLayer& layer, const PlannedRun& run,
                     const Provenance& who, const Registries& r) {
  RunRecord out;
  out.key = run.key;
  out.recording = plan.recording_text;
  out.layer = layer.info.name;
  out.layer_kind = layer.kind;
  out.tensor_hash = layer.tensor_hash;
  out.in_features = layer.info.in_features;
  out.out_features = layer.info.out_features;
  out.calibration_tokens = run.calibration_tokens;
  out.evaluation_tokens = layer.evaluation_tokens;
  out.seed = run.seed;
  out.provenance = who;
  const ResolvedSpec& method = plan.methods[run.method];
  const ResolvedSpec& activation = plan.activations[run.activation];
  const ResolvedSpec& weight = plan.weights[run.weight];
  out.method = method.spec.name;
  out.method_text = method.canonical;
  out.label = method.label;
  out.activation_text = activation.canonical;
  out.weight_text = weight.canonical;
  const auto add = [&](const std::string& prefix, const ResolvedSpec& spec, const Info& info) {
    for (const ParamInfo& p : info.params) out.params[prefix + p.name] = p.format(spec.params.at(p.name));
  };
  add("", method, r.methods.info(method.spec.name));
  add("activation.", activation, r.quantizers.info(activation.spec.name));
  add("weight.", weight, r.quantizers.info(weight.spec.name));
  return out;
}

Measured compute_run(const Plan& plan, const PlannedLayer& layer, const PlannedRun& run,
                     const Registries& r) {
  LayerWork work(plan, layer, r, nullptr);
  std::optional<Measured> out;
  const std::array<const PlannedRun*, 1> one{&run};
  work.run_group(one, [&](const PlannedRun&, const Measured* measured, const std::string& error) {
    if (measured == nullptr) throw Error(error);
    out = *measured;
  });
  return std::move(*out);
}

RunReport execute(const Plan& plan, const Registries& r, Store& store, const RunOptions& options) {
  const auto begin = Clock::now();
  RunReport report;
  report.skipped = plan.stored;
  const Provenance who = make_provenance(plan.jobs);
  const std::int64_t study = store.put_study(plan.study.name, plan.study.text);
  std::vector<std::string> metrics;
  for (const ResolvedSpec& m : plan.metrics) metrics.push_back(m.canonical);
  // Runs that are stored belong to this study too.
  for (const PlannedLayer& layer : plan.layers)
    for (const PlannedRun& run : layer.runs)
      if (run.stored)
        if (const auto id = store.find_finished(run.key, metrics))
          store.link(study, *id, static_cast<std::int64_t>(run.position), plan.methods[run.method].label);

  Progress progress(plan.study.name, plan.total - plan.stored, options.progress);
  std::mutex mutex;  // guards the report
  std::set<std::string> errors;
  std::atomic<bool> halt{false};
  const auto stopped = [&] { return halt.load() || (options.stop != nullptr && options.stop->requested()); };

  for (const PlannedLayer& layer : plan.layers) {
    const std::vector<RunGroup> groups = make_groups(layer);
    if (groups.empty()) continue;
    if (stopped()) break;
    std::map<const PlannedRun*, std::int64_t> ids;
    std::set<const PlannedRun*> open;
    for (const RunGroup& group : groups) {
      for (const PlannedRun* run : group) {
        const std::int64_t id = store.begin(run_record(plan, layer, *run, who, r));
        store.link(study, id, static_cast<std::int64_t>(run->position), plan.methods[run->method].label);
        ids[run] = id;
        open.insert(run);
      }
    }
    const auto done = [&](const PlannedRun& run, const Measured* measured, const std::string& error) {
      const std::string& label = plan.methods[run.method].label;
      if (measured != nullptr) {
        store.finish(ids.at(&run), measured->values, measured->series, metrics);
      } else {
        store.fail(ids.at(&run), error);
      }
      const std::lock_guard lock(mutex);
      open.erase(&run);
      if (measured != nullptr) {
        ++report.computed;
      } else {
        ++report.failed;
        if (errors.insert(label + error).second)
          report.errors.push_back(fmt::format("{}, {}: {}", layer.info.name, label, error));
        if (options.fail_fast) halt = true;
      }
      progress.advance(fmt::format("{} {}", layer.info.name, label));
    };
    const auto close_open = [&] {
      for (const PlannedRun* run : open) store.interrupt(ids.at(run));
      open.clear();
    };

    std::unique_ptr<LayerWork> work;
    try {
      work = std::make_unique<LayerWork>(plan, layer, r, options.stop);
    } catch (const Error& e) {
      for (const RunGroup& group : groups)
        for (const PlannedRun* run : group) done(*run, nullptr, e.what());
      continue;
    }
    std::atomic<std::size_t> next{0};
    std::exception_ptr bug;
    const auto worker = [&] {
      while (!stopped()) {
        const std::size_t i = next++;
        if (i >= groups.size()) return;
        try {
          // One thread a run while runs are concurrent: timings are then single-threaded and comparable.
          with_threads(plan.jobs > 1 ? 1 : hardware_threads(), [&] { work->run_group(groups[i], done); });
        } catch (const Interrupted&) {
          return;
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!bug) bug = std::current_exception();
          halt = true;
        }
      }
    };
    {
      std::vector<std::jthread> threads;
      const std::size_t count = std::min(groups.size(), static_cast<std::size_t>(plan.jobs));
      for (std::size_t t = 1; t < count; ++t) threads.emplace_back(worker);
      worker();
    }
    close_open();
    if (bug) std::rethrow_exception(bug);
  }
  progress.finish();
  report.interrupted = options.stop != nullptr && options.stop->requested() &&
                       report.computed + report.failed < plan.total - plan.stored;
  report.seconds = since(begin);
  return report;
}

}  // namespace olab

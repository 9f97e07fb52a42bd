#include "experiments/runner.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "core/parallel.hpp"
#include "core/text.hpp"
#include "experiments/input_work.hpp"
#include "experiments/progress.hpp"
#include "experiments/provenance.hpp"

namespace olab {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
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
  out.params["calibrate_on"] = plan.sources[run.source].text;
  add("", method, r.methods.info(method.spec.name));
  add("activation.", activation, r.quantizers.info(activation.spec.name));
  add("weight.", weight, r.quantizers.info(weight.spec.name));
  return out;
}

Measured compute_run(const Plan& plan, const PlannedLayer& layer, const PlannedRun& run,
                     const Registries& r) {
  const auto position = static_cast<std::size_t>(&layer - plan.layers.data());
  const PlannedInput& input = input_of(plan, position);
  WorkShares shares;
  WorkMemory memory;
  InputWork work(plan, input, r, nullptr, shares, memory);
  std::optional<Measured> out;
  work.run({{position - input.first, &run}},
           [&](const InputRun&, const Measured* measured, const std::string& error) {
             if (measured == nullptr) throw Error(error);
             out = *measured;
           });
  return std::move(*out);
}

std::vector<std::pair<std::string, double>> shares_of(const WorkShares& shares) {
  return {{"load", shares.load},         {"calibrate", shares.calibrate}, {"transform", shares.transform},
          {"quantize", shares.quantize}, {"product", shares.product},     {"metrics", shares.measure}};
}

std::string describe_work(const RunReport& report) {
  double all = 0;
  for (const auto& [what, seconds] : report.shares) all += seconds;
  std::vector<std::string> parts;
  for (const auto& [what, seconds] : report.shares)
    parts.push_back(fmt::format("{} {:.0f} %", what, all > 0 ? 100 * seconds / all : 0.0));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return fmt::format("time of threads: {}; peak memory {}", fmt::join(parts, ", "),
                     human_bytes(static_cast<double>(usage.ru_maxrss) * 1024));
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

  WorkShares shares;
  WorkMemory memory;
  for (const PlannedInput& input : plan.inputs) {
    const std::vector<RunGroup> groups = make_groups(plan, input);
    if (groups.empty()) continue;
    if (stopped()) break;
    const auto layer_of = [&](const InputRun& run) -> const PlannedLayer& {
      return plan.layers[input.first + run.layer];
    };
    std::map<const PlannedRun*, std::int64_t> ids;
    std::set<const PlannedRun*> open;
    for (const RunGroup& group : groups) {
      for (const InputRun& run : group) {
        const std::int64_t id = store.begin(run_record(plan, layer_of(run), *run.run, who, r));
        store.link(study, id, static_cast<std::int64_t>(run.run->position),
                   plan.methods[run.run->method].label);
        ids[run.run] = id;
        open.insert(run.run);
      }
    }
    const auto done = [&](const InputRun& run, const Measured* measured, const std::string& error) {
      const std::string& label = plan.methods[run.run->method].label;
      const std::string& layer = layer_of(run).info.name;
      if (measured != nullptr) {
        store.finish(ids.at(run.run), measured->values, measured->series, metrics);
      } else {
        store.fail(ids.at(run.run), error);
      }
      const std::lock_guard lock(mutex);
      open.erase(run.run);
      if (measured != nullptr) {
        ++report.computed;
      } else {
        ++report.failed;
        if (errors.insert(label + error).second)
          report.errors.push_back(fmt::format("{}, {}: {}", layer, label, error));
        if (options.fail_fast) halt = true;
      }
      progress.advance(fmt::format("{} {}", layer, label));
    };

    std::unique_ptr<InputWork> work;
    try {
      work = std::make_unique<InputWork>(plan, input, r, options.stop, shares, memory);
    } catch (const Error& e) {
      for (const RunGroup& group : groups)
        for (const InputRun& run : group) done(run, nullptr, e.what());
      continue;
    }
    if (const auto following = &input - plan.inputs.data() + 1;
        following < static_cast<std::ptrdiff_t>(plan.inputs.size()))
      InputWork::prefetch(plan, plan.inputs[static_cast<std::size_t>(following)]);
    std::atomic<std::size_t> next{0};
    std::exception_ptr bug;
    // One thread a run while there are runs enough for all threads; else all threads work on one run.
    const int jobs = static_cast<int>(groups.size()) < 2 * plan.jobs ? 1 : plan.jobs;
    const auto worker = [&] {
      while (!stopped()) {
        const std::size_t i = next++;
        if (i >= groups.size()) return;
        try {
          with_threads(jobs > 1 ? 1 : plan.threads, [&] { work->run(groups[i], done); });
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
      for (int t = 1; t < jobs; ++t) threads.emplace_back(worker);
      worker();
    }
    for (const PlannedRun* run : open) store.interrupt(ids.at(run));
    if (bug) std::rethrow_exception(bug);
  }
  progress.finish();
  report.interrupted = options.stop != nullptr && options.stop->requested() &&
                       report.computed + report.failed < plan.total - plan.stored;
  report.seconds = since(begin);
  report.shares = shares_of(shares);
  return report;
}

}  // namespace olab

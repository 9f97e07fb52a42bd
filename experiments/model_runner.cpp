#include "experiments/model_runner.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <memory>
#include <set>

#include "core/parallel.hpp"
#include "experiments/model_work.hpp"
#include "experiments/progress.hpp"
#include "experiments/provenance.hpp"

namespace olab {

std::span<const BuiltinValue> model_values() {
  static constexpr std::array<BuiltinValue, 12> kValues{{
      {"model.perplexity", "", "lower",
       "exp of the mean negative log-likelihood of the scored tokens, all windows"},
      {"model.nll", "nats", "lower", "mean negative log-likelihood of the scored tokens"},
      {"model.original_perplexity", "", "none", "model.perplexity of the original model on the same windows"},
      {"model.original_nll", "nats", "none", "model.nll of the original model on the same windows"},
      {"model.perplexity_ratio", "", "lower", "model.perplexity / model.original_perplexity"},
      {"model.kl", "nats", "lower",
       "mean over scored tokens of Σ_v p(v) (log p(v) − log q(v)), p of the original model, q of the "
       "quantized one"},
      {"model.agreement", "", "higher",
       "share of scored positions where both models have the same most likely token"},
      {"model.predictions", "", "none", "scored tokens"},
      {"model.hidden_nmse", "", "lower",
       "‖H − Ĥ‖²_F / ‖H‖²_F of the hidden states behind the last block, first evaluated window"},
      {"time.prepare_s", "s", "lower",
       "wall time of calibration, quantization of all weights and layer metrics"},
      {"time.window_s", "s", "lower", "wall time of a window through all quantized blocks, mean"},
      {"time.score_s", "s", "lower", "wall time of a window's final norm, logits and scores, mean"},
  }};
  return kValues;
}

Measured compute_model_run(const ModelPlan& plan, const PlannedModelRun& run, const Registries& r,
                           const StopFlag* stop) {
  WorkShares shares;
  ModelWork work(plan, run.input, r, stop, shares);
  std::map<std::int64_t, WindowNumbers> windows;
  return work.run(
      run, windows, [](std::int64_t, const WindowNumbers&) {}, [](std::size_t, const std::string&) {});
}

RunReport execute_models(const ModelPlan& plan, const Registries& r, Store& store, const RunOptions& options,
                         bool force) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  RunReport report;
  report.skipped = plan.stored;
  const Provenance who = make_provenance(plan.threads);
  const std::int64_t study = store.put_study(plan.study.name, plan.study.text);
  std::vector<std::string> metrics;
  for (const ResolvedSpec& m : plan.metrics) metrics.push_back(m.canonical);
  const auto position = [](const PlannedModelRun& run) { return static_cast<std::int64_t>(run.position); };
  // Steps of progress: a block prepared, or a window through a block.
  const auto units_of = [&](const PlannedModelRun& run) {
    const ModelInput& in = plan.inputs[run.input];
    return (in.windows.size() - run.windows_stored + 1) *
           static_cast<std::size_t>(in.checkpoint->spec().layers);
  };
  std::size_t units = 0;
  for (const PlannedModelRun& run : plan.runs) {
    if (run.stored) {
      if (const auto id = store.find_finished(run.key, metrics))
        store.link(study, *id, position(run), plan.methods[run.method].label);
      continue;
    }
    units += units_of(run);
  }
  Progress progress(plan.study.name, units, options.progress);
  const auto stopped = [&] { return options.stop != nullptr && options.stop->requested(); };
  std::set<std::string> errors;
  WorkShares shares;
  std::unique_ptr<ModelWork> work;
  std::size_t at = plan.inputs.size();
  for (const PlannedModelRun& run : plan.runs) {
    if (run.stored) continue;
    if (stopped()) break;
    const ModelInput& in = plan.inputs[run.input];
    const std::string& label = plan.methods[run.method].label;
    const std::int64_t id = store.begin(model_run_record(plan, run, who, r));
    store.link(study, id, position(run), label);
    std::size_t advanced = 0;
    try {
      if (at != run.input) {
        work.reset();  // its memory first
        work = std::make_unique<ModelWork>(plan, run.input, r, options.stop, shares);
        at = run.input;
      }
      std::map<std::int64_t, WindowNumbers> windows;
      if (!force)
        for (const auto& [window, numbers] : store.parts(run.key))
          windows[window] = WindowNumbers::unpack(numbers);
      Measured measured;
      with_threads(plan.threads, [&] {
        measured = work->run(
            run, windows,
            [&](std::int64_t window, const WindowNumbers& numbers) {
              store.put_part(id, window, numbers.pack());
            },
            [&](std::size_t done, const std::string& now) {
              advanced += done;
              progress.advance(fmt::format("{}: {}", in.name, now), done);
            });
      });
      store.finish(id, measured.values, measured.series, metrics);
      ++report.computed;
    } catch (const Interrupted&) {
      store.interrupt(id);
      report.interrupted = true;
      break;
    } catch (const Error& e) {
      store.fail(id, e.what());
      ++report.failed;
      if (errors.insert(label + e.what()).second)
        report.errors.push_back(fmt::format("{}, {}: {}", in.name, label, e.what()));
      if (advanced < units_of(run)) progress.advance(label + " failed", units_of(run) - advanced);
      if (options.fail_fast) break;
    }
  }
  report.interrupted =
      report.interrupted || (stopped() && report.computed + report.failed < plan.total - plan.stored);
  report.shares = shares_of(shares);
  report.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return report;
}

}  // namespace olab

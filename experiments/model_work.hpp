// One language model on one text: transforms are found and weights quantized block by block, then windows are
// scored.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/stop.hpp"
#include "experiments/model_plan.hpp"
#include "experiments/observe.hpp"
#include "experiments/work_shares.hpp"

namespace olab {

/// What is stored of a window.
struct WindowNumbers {
  double predictions = 0;
  double nll = 0;           ///< of the quantized model, mean over the window's predictions, nats
  double original_nll = 0;  ///< of the original model
  double kl = 0;            ///< KL(original ‖ quantized), mean, nats
  double agreement = 0;     ///< share of predictions with the same most likely token

  std::vector<double> pack() const;
  /// Error where a stored part has another size.
  static WindowNumbers unpack(std::span<const double> stored);
};

/// Perplexity and the like over all windows, and the windows' own numbers as series.
Measured summarize_windows(const std::map<std::int64_t, WindowNumbers>& windows);

/// Called with the number of units of work that were done (a window through a block, a block prepared) and
/// what was.
using ModelProgress = std::function<void(std::size_t units, const std::string& now)>;

/// All runs of one input. The original model's outputs are kept between runs where memory allows.
class ModelWork {
 public:
  ModelWork(const ModelPlan& plan, std::size_t input, const Registries& r, const StopFlag* stop,
            WorkShares& shares);
  ModelWork(const ModelWork&) = delete;
  ModelWork& operator=(const ModelWork&) = delete;
  ~ModelWork();

  /// Computes the windows that are not in `known`, adds them to it, and hands out each when it is done.
  /// Returns all values and series of the run: those of its windows, the mean over all linear layers of every
  /// metric of the study on the original model's first evaluated window (as a study of these layers would
  /// have them), and each layer's own as series "layers.<value>" (blocks × linear layers). Error, with the
  /// layer's name, where a layer of the original or of the quantized model gives NaN or infinity, and where
  /// the method cannot work on a layer. Throws Interrupted.
  Measured run(const PlannedModelRun& planned, std::map<std::int64_t, WindowNumbers>& known,
               const std::function<void(std::int64_t, const WindowNumbers&)>& done,
               const ModelProgress& progress);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace olab

// The runs of the layers that read one input, with all that they share.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/stop.hpp"
#include "experiments/runner.hpp"
#include "methods/common/transform.hpp"

namespace olab {

/// A run and its layer within the input.
struct InputRun {
  std::size_t layer = 0;
  const PlannedRun* run = nullptr;
};

/// Runs that share method, seed and calibration tokens: one transform.
using RunGroup = std::vector<InputRun>;

/// What is used again from input to input. Thread-safe.
class WorkMemory {
 public:
  WorkMemory();
  WorkMemory(const WorkMemory&) = delete;
  WorkMemory& operator=(const WorkMemory&) = delete;
  ~WorkMemory();

 private:
  friend class InputWork;
  struct State;
  std::unique_ptr<State> state_;
};

/// One input in memory: X, and of each layer that reads it W and Y = X Wᵀ.
class InputWork {
 public:
  /// `measured` is null where the run failed with `error`.
  using Done = std::function<void(const InputRun& run, const Measured* measured, const std::string& error)>;

  /// Loads what the runs need; large matrices come from `memory` and go back to it. Error where the data
  /// cannot be read.
  InputWork(const Plan& plan, const PlannedInput& input, const Registries& r, const StopFlag* stop,
            WorkShares& shares, WorkMemory& memory);
  InputWork(const InputWork&) = delete;
  InputWork& operator=(const InputWork&) = delete;
  ~InputWork();

  /// Has the system read what the constructor would load, meanwhile.
  static void prefetch(const Plan& plan, const PlannedInput& input);

  /// Computes a group and hands each run over as soon as it is done. Several groups may be computed at once.
  void run(const RunGroup& group, const Done& done);

  /// The transform of a run of one of the layers. Error where its method does not fit.
  Chain calibrate(const PlannedRun& run);

  /// ‖X Wᵀ − (X T)(W T⁻ᵀ)ᵀ‖ / ‖X Wᵀ‖ of a layer (into Plan::layers) on its evaluation tokens: products in
  /// float, norms in double; 0 where X Wᵀ is 0 and stays so. Without weights W = I.
  double equivalence_error(std::size_t layer, const Chain& transform) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The input that a layer (into Plan::layers) reads.
const PlannedInput& input_of(const Plan& plan, std::size_t layer);

/// The runs of an input that are not stored, grouped by what shares a transform, in the study's order. Where
/// the plan does not share, a group a run.
std::vector<RunGroup> make_groups(const Plan& plan, const PlannedInput& input);

}  // namespace olab

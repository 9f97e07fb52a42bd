// Computes the runs of a plan.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/stop.hpp"
#include "experiments/observe.hpp"
#include "experiments/plan.hpp"
#include "experiments/work_shares.hpp"

namespace olab {

struct RunOptions {
  bool fail_fast = false;
  bool progress = true;
  const StopFlag* stop = nullptr;
};

struct RunReport {
  std::size_t computed = 0;
  std::size_t skipped = 0;  ///< stored before
  std::size_t failed = 0;
  bool interrupted = false;
  std::vector<std::string> errors;  ///< "layer, method: message", without doubles
  double seconds = 0;
  /// Seconds of threads by what they did: load, calibrate, transform, quantize, product, metrics.
  std::vector<std::pair<std::string, double>> shares;
};

/// The shares by their names.
std::vector<std::pair<std::string, double>> shares_of(const WorkShares& shares);

/// "time of threads: load 4 %, …; peak memory 1.2 GiB".
std::string describe_work(const RunReport& report);

/// A number that the runner itself records for every run.
struct BuiltinValue {
  const char* name;
  const char* unit;
  const char* better;
  const char* definition;
};
std::span<const BuiltinValue> builtin_values();

/// Computes what is not stored, layer by layer, `plan.jobs` runs at a time, and stores each run when it is
/// done. The numbers do not depend on the number of threads or on the order.
RunReport execute(const Plan& plan, const Registries& r, Store& store, const RunOptions& options);

/// Computes one planned run and stores nothing: for `olab verify`.
Measured compute_run(const Plan& plan, const PlannedLayer& layer, const PlannedRun& run, const Registries& r);

/// The record of a planned run without results.
RunRecord run_record(const Plan& plan, const PlannedLayer& layer, const PlannedRun& run,
                     const Provenance& who, const Registries& r);

}  // namespace olab

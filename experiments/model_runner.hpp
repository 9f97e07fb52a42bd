// Computes the runs of a plan of models.
#pragma once

#include <span>

#include "experiments/model_plan.hpp"
#include "experiments/runner.hpp"

namespace olab {

/// Numbers of whole models, as stored.
std::span<const BuiltinValue> model_values();

/// Computes what is not stored, run by run, and stores every window when it is done; a run that was
/// interrupted goes on with the windows that are left. The numbers do not depend on the number of threads,
/// nor on interruptions.
RunReport execute_models(const ModelPlan& plan, const Registries& r, Store& store, const RunOptions& options,
                         bool force);

/// Computes one planned run from its beginning and stores nothing: for `olab verify`.
Measured compute_model_run(const ModelPlan& plan, const PlannedModelRun& run, const Registries& r,
                           const StopFlag* stop);

}  // namespace olab

// A stored run, planned again from the study that is stored with it.
#pragma once

#include <cstddef>
#include <string>

#include "core/registries.hpp"
#include "experiments/model_plan.hpp"
#include "experiments/plan.hpp"
#include "results/store.hpp"

namespace olab {

/// A run in the plan of its study.
struct FoundRun {
  std::string study;
  Plan plan;
  std::size_t layer = 0;  ///< into Plan::layers
  std::size_t run = 0;    ///< into PlannedLayer::runs

  const PlannedLayer& planned_layer() const { return plan.layers[layer]; }
  const PlannedRun& planned_run() const { return planned_layer().runs[run]; }
};

/// A run of a whole model in the plan of its study.
struct FoundModelRun {
  std::string study;
  ModelPlan plan;
  std::size_t run = 0;  ///< into ModelPlan::runs
};

/// Plans the stored studies, newest first, until one holds the run. Error where none leads to it any more
/// (its data moved, or the data changed).
FoundModelRun find_model_run(const Store& store, const RunRecord& run, const Registries& r);
/// The same for a run of one layer; Error for one of a whole model.
FoundRun find_run(const Store& store, const RunRecord& run, const Registries& r);

}  // namespace olab

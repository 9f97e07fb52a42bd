#include "experiments/stored_run.hpp"

#include <fmt/format.h>

#include <utility>

#include "core/error.hpp"
#include "experiments/study.hpp"

namespace olab {

FoundRun find_run(const Store& store, const RunRecord& run, const Registries& r) {
  std::string why = "no stored study has it";
  for (const StudyRecord& study : store.studies()) {
    try {
      FoundRun out{study.name, make_plan(parse_study(study.text, study.name, {}, r), r, nullptr, {})};
      for (out.layer = 0; out.layer < out.plan.layers.size(); ++out.layer)
        for (out.run = 0; out.run < out.planned_layer().runs.size(); ++out.run)
          if (out.planned_run().key == run.key) return out;
    } catch (const Error& e) {
      why = e.what();
    }
  }
  throw Error(fmt::format(
      "run {} ({}, {}) cannot be computed again: {}; its data must be where the study says and unchanged",
      run.id, run.layer, run.label, why));
}

}  // namespace olab

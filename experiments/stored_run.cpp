#include "experiments/stored_run.hpp"

#include <fmt/format.h>

#include <utility>

#include "core/error.hpp"
#include "experiments/study.hpp"

namespace olab {

namespace {

[[noreturn]] void refuse(const RunRecord& run, const std::string& why) {
  throw Error(fmt::format(
      "run {} ({}, {}) cannot be computed again: {}; its data must be where the study says and unchanged",
      run.id, run.layer, run.label, why));
}

}  // namespace

FoundModelRun find_model_run(const Store& store, const RunRecord& run, const Registries& r) {
  std::string why = "no stored study has it";
  for (const StudyRecord& study : store.studies()) {
    try {
      Study parsed = parse_study(study.text, study.name, {}, r);
      if (parsed.evaluations.empty()) continue;
      FoundModelRun out{study.name, make_model_plan(std::move(parsed), r, nullptr, {}), 0};
      for (out.run = 0; out.run < out.plan.runs.size(); ++out.run)
        if (out.plan.runs[out.run].key == run.key) return out;
    } catch (const Error& e) {
      why = e.what();
    }
  }
  refuse(run, why);
}

FoundRun find_run(const Store& store, const RunRecord& run, const Registries& r) {
  if (run.layer_kind == kModelKind)
    throw Error(fmt::format(
        "run {} is of a whole model ({}), which has a transform for every input of its layers; give "
        "a run of one layer (olab record, then olab run)",
        run.id, run.layer));
  std::string why = "no stored study has it";
  for (const StudyRecord& study : store.studies()) {
    try {
      Study parsed = parse_study(study.text, study.name, {}, r);
      if (!parsed.evaluations.empty()) continue;
      FoundRun out{study.name, make_plan(std::move(parsed), r, nullptr, {})};
      for (out.layer = 0; out.layer < out.plan.layers.size(); ++out.layer)
        for (out.run = 0; out.run < out.planned_layer().runs.size(); ++out.run)
          if (out.planned_run().key == run.key) return out;
    } catch (const Error& e) {
      why = e.what();
    }
  }
  refuse(run, why);
}

}  // namespace olab

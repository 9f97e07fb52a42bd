#include "experiments/verify.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstdint>

#include "core/text.hpp"
#include "experiments/plan.hpp"
#include "experiments/provenance.hpp"
#include "experiments/runner.hpp"
#include "experiments/views.hpp"

namespace olab {
namespace {

bool same_bits(double a, double b) {
  if (std::isnan(a) && std::isnan(b)) return true;
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

VerifyReport compare(const RunRecord& run, const Measured& now, const Registries& r) {
  VerifyReport out;
  for (const auto& [name, stored] : run.values) {
    if (is_timing(name, r)) continue;
    const auto it = now.values.find(name);
    if (it == now.values.end()) continue;  // of a metric that this study does not have
    ++out.compared;
    if (!same_bits(stored, it->second))
      out.differences.push_back(
          fmt::format("{}: stored {}, now {}", name, to_text(stored), to_text(it->second)));
  }
  const Provenance here = make_provenance(1);
  const auto note = [&](const char* what, const std::string& then, const std::string& today) {
    if (then != today) out.notes.push_back(fmt::format("{}: stored with '{}', now '{}'", what, then, today));
  };
  note("commit", run.provenance.commit, here.commit);
  note("compiler", run.provenance.compiler, here.compiler);
  note("flags", run.provenance.flags, here.flags);
  note("CPU", run.provenance.cpu, here.cpu);
  return out;
}

}  // namespace

VerifyReport verify_run(const Store& store, const RunRecord& run, const Registries& r) {
  std::string why = "no stored study has it";
  for (const StudyRecord& study : store.studies()) {
    try {
      const Plan plan = make_plan(parse_study(study.text, study.name, {}, r), r, nullptr, {});
      for (const PlannedLayer& layer : plan.layers) {
        for (const PlannedRun& planned : layer.runs) {
          if (planned.key != run.key) continue;
          VerifyReport out = compare(run, compute_run(plan, layer, planned, r), r);
          out.study = study.name;
          return out;
        }
      }
    } catch (const Error& e) {
      why = e.what();
    }
  }
  throw Error(fmt::format(
      "run {} ({}, {}) cannot be computed again: {}; its data must be where the study says and unchanged",
      run.id, run.layer, run.label, why));
}

}  // namespace olab

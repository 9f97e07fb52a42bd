#include "experiments/verify.hpp"

#include <fmt/format.h>

#include <bit>
#include <cstdint>

#include "core/text.hpp"
#include "experiments/model_runner.hpp"
#include "experiments/provenance.hpp"
#include "experiments/runner.hpp"
#include "experiments/stored_run.hpp"
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

VerifyReport verify_run(const Store& store, const RunRecord& run, const Registries& r, const StopFlag* stop) {
  if (run.layer_kind == kModelKind) {
    const FoundModelRun found = find_model_run(store, run, r);
    VerifyReport out = compare(run, compute_model_run(found.plan, found.plan.runs[found.run], r, stop), r);
    out.study = found.study;
    return out;
  }
  const FoundRun found = find_run(store, run, r);
  VerifyReport out = compare(run, compute_run(found.plan, found.planned_layer(), found.planned_run(), r), r);
  out.study = found.study;
  return out;
}

}  // namespace olab

#include "experiments/describe.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/text.hpp"

namespace olab {

std::string describe_run(const RunRecord& run, const std::vector<std::string>& series) {
  std::string out;
  const auto line = [&](const char* name, const std::string& text) {
    if (!text.empty()) out += fmt::format("{:<22}{}\n", name, text);
  };
  out += fmt::format("run {}\n", run.id);
  line("status", run.status);
  line("error", run.error);
  line("key", run.key);
  line("recording", run.recording);
  line("layer", fmt::format("{} ({} → {})", run.layer, run.in_features, run.out_features));
  line("tensor hash", run.tensor_hash);
  line("tokens", fmt::format("{} calibration, {} evaluation", run.calibration_tokens, run.evaluation_tokens));
  line("method", run.method_text);
  line("activation", run.activation_text);
  line("weight", run.weight_text);
  line("seed", std::to_string(run.seed));
  line("started", run.started);
  line("ended", run.ended);
  const Provenance& p = run.provenance;
  line("program", fmt::format("{}, commit {}{}", p.version, p.commit, p.dirty ? " with changes" : ""));
  line("compiler", fmt::format("{} {}", p.compiler, p.flags));
  line("machine", fmt::format("{}, {}, {}, {} threads", p.host, p.cpu, p.kernel_level, p.threads));
  line("series", fmt::format("{}", fmt::join(series, ", ")));
  if (!run.values.empty()) out += "values\n";
  for (const auto& [name, value] : run.values) out += fmt::format("  {:<44}{}\n", name, to_text(value));
  return out;
}

}  // namespace olab

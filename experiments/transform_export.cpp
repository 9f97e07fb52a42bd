#include "experiments/transform_export.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.hpp"
#include "core/text.hpp"
#include "datasets/safetensors.hpp"
#include "experiments/input_work.hpp"
#include "experiments/provenance.hpp"
#include "experiments/stored_run.hpp"
#include "methods/common/method.hpp"
#include "methods/common/transform_file.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;

/// Before minutes of calibration.
void check_target(const fs::path& file, bool force) {
  if (file.extension() != ".safetensors")
    throw Error(fmt::format("{}: transforms are written as .safetensors; choose such a name", file.string()));
  const fs::path folder = file.parent_path();
  if (!folder.empty() && !fs::is_directory(folder))
    throw Error(fmt::format("{}: there is no folder {}; make it first", file.string(), folder.string()));
  if (fs::is_directory(file)) throw Error(fmt::format("{}: it is a folder; name a file", file.string()));
  if (!force && fs::exists(file))
    throw Error(
        fmt::format("{}: it exists already; --force replaces it, or choose another name", file.string()));
}

}  // namespace

TransformExport export_transform(const Store& store, const RunRecord& run, const fs::path& file,
                                 const Registries& r, const ExportOptions& options) {
  if (run.status != "finished")
    throw Error(fmt::format("run {} is {}; only the transform of a finished run can be exported", run.id,
                            run.status));
  check_target(file, options.force);
  const FoundRun found = find_run(store, run, r);
  WorkShares shares;
  WorkMemory memory;
  InputWork work(found.plan, input_of(found.plan, found.layer), r, options.stop, shares, memory);
  const Chain chain = work.calibrate(found.planned_run());

  SafetensorsSink sink;
  auto metadata = save_transform(chain, run.in_features, sink);
  metadata["method"] = run.method_text;
  metadata["recording"] = run.recording;
  metadata["layer"] = run.layer;
  metadata["seed"] = std::to_string(run.seed);
  metadata["calibration_tokens"] = std::to_string(run.calibration_tokens);
  metadata["calibrate_on"] = found.plan.sources[found.planned_run().source].text;
  metadata["key"] = run.key;
  metadata["program_version"] = version_text();
  sink.write(file, metadata);

  TransformExport out;
  out.file = file;
  out.channels = run.in_features;
  for (const auto& transform : chain.transforms()) out.kinds.push_back(transform->kind());
  out.block_size = r.methods.make(run.method_text, r)->block_size(run.in_features);
  out.has_weights = run.out_features > 0;
  out.tokens = run.evaluation_tokens;
  out.equivalence_error = work.equivalence_error(found.layer, read_transform(*open_safetensors(file)));
  return out;
}

std::string describe_export(const TransformExport& done, const RunRecord& run) {
  const std::string path = done.file.string();
  std::string out = fmt::format("{}: {} of run {}, {}\n", path, run.label, run.id, run.layer);
  out += fmt::format(
      "  {} channels, {}, {}\n", done.channels,
      done.kinds.empty() ? "no stages: the identity" : fmt::format("T = {}", fmt::join(done.kinds, " · ")),
      human_bytes(static_cast<double>(fs::file_size(done.file))));
  out += fmt::format(
      "  equivalence error ‖X Wᵀ − (X T)(W T⁻ᵀ)ᵀ‖ / ‖X Wᵀ‖ = {:.3g} on {} evaluation tokens{}\n",
      done.equivalence_error, done.tokens, done.has_weights ? "" : "; the recording has no W, so W = I");
  const bool plain = path.find_first_of(",()|= ") == std::string::npos;
  out += fmt::format("  as a method: from_file(path={}{})\n", plain ? path : "[" + path + "]",
                     done.block_size > 0 ? fmt::format(",block_size={}", done.block_size) : "");
  return out;
}

}  // namespace olab

// The plan of a study: its runs, grouped by layer, and what they will cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "datasets/recording.hpp"
#include "experiments/calibration_data.hpp"
#include "experiments/resolved_spec.hpp"
#include "experiments/study.hpp"
#include "results/store.hpp"

namespace olab {

/// One run: a layer's tokens through one method and one pair of quantizers.
struct PlannedRun {
  std::size_t position = 0;  ///< in the study
  std::size_t method = 0;    ///< index into Plan::methods
  std::size_t activation = 0;
  std::size_t weight = 0;
  std::uint64_t seed = 0;
  Index calibration_tokens = 0;
  std::size_t source = 0;  ///< of the calibration's tokens, into Plan::sources
  std::string key;
  bool stored = false;  ///< finished, with all metrics of the study
};

/// The runs of one layer.
struct PlannedLayer {
  std::size_t index = 0;  ///< in the recording
  LayerInfo info;
  std::string kind;
  std::string tensor_hash;
  /// Hash of X and of all W that the calibration sees, where the layer shares a transform with others
  /// (data.share_inputs); else empty.
  std::string shared_hash;
  /// What tells the calibration's tokens apart, one for each of Plan::sources; empty for the layer's own.
  std::vector<std::string> source_hashes;
  /// The names of the layers of which shared_hash has the weights, in their order.
  std::string shared_names;
  Index evaluation_begin = 0;
  Index evaluation_tokens = 0;
  std::vector<PlannedRun> runs;

  Index tokens_needed() const { return evaluation_begin + evaluation_tokens; }
  std::size_t stored() const;
  /// What random streams grow from: everything that the calibration sees.
  const std::string& stream_hash() const { return shared_hash.empty() ? tensor_hash : shared_hash; }
};

/// Layers of a plan that read one input: X is loaded, transformed and quantized once for all of them.
struct PlannedInput {
  std::size_t first = 0;  ///< into Plan::layers
  std::size_t count = 1;
};

struct PlanOptions {
  std::size_t shard = 0;  ///< this process takes runs with position % shards == shard
  std::size_t shards = 1;
  bool force = false;  ///< nothing counts as stored
  int threads = 1;
  bool sharing = true;
  double memory_limit = 0;  ///< bytes; 0: three quarters of the machine's memory
  Index blocks = 0;         ///< studies of models: the estimate of time is for so many blocks; 0: the model's
};

struct Plan {
  Study study;
  std::shared_ptr<const Recording> recording;
  std::string recording_text;              ///< "profile llama2-7b" or a path
  std::vector<CalibrationSource> sources;  ///< what methods are calibrated on
  std::vector<ResolvedSpec> methods;
  std::vector<ResolvedSpec> activations;
  std::vector<ResolvedSpec> weights;
  std::vector<ResolvedSpec> metrics;  ///< the study's and its charts', canonical, without doubles
  std::vector<PlannedLayer> layers;
  std::vector<PlannedInput> inputs;  ///< of the layers, in their order
  bool sharing = true;               ///< runs may take from one another what is the same for both
  /// Beginnings that several methods have in common, and how many have them: found once.
  std::vector<std::pair<std::string, std::size_t>> common_steps;
  /// Runs that cannot work (a block size that does not divide the width): "layer, method: reason". They are
  /// tried all the same and stored as failed.
  std::vector<std::string> problems;

  std::size_t total = 0;
  std::size_t stored = 0;
  double seconds = 0;     ///< estimate for what is not stored
  double peak_bytes = 0;  ///< largest working set of the computation; kept by limiting concurrent runs
  int jobs = 1;           ///< concurrent runs
  int threads = 1;        ///< of all runs together
  bool seconds_from_store = false;  ///< the estimate rests on stored times of this machine
};

/// Opens the data, checks every name and size, and lists the runs. `store` may be null (nothing is stored
/// then). Error on a layer pattern that fits nothing, too few tokens, weights that a study needs and the data
/// lacks.
Plan make_plan(Study study, const Registries& r, const Store* store, const PlanOptions& options);

/// The identity of a run: 32 hexadecimal digits over everything that its numbers depend on.
std::string run_key(const Plan& plan, const PlannedLayer& layer, const PlannedRun& run);

/// Bytes that the runs of a layer need: `fixed` once, `each` for every concurrent run.
struct WorkingSet {
  double fixed = 0;
  double each = 0;
};
WorkingSet working_set(const Plan& plan, const PlannedInput& input);

/// The end of what --dry-run prints: methods in full, and what cannot work.
std::string describe_methods(std::span<const ResolvedSpec> methods, std::span<const std::string> problems);

/// What --dry-run prints.
std::string describe_plan(const Plan& plan);

}  // namespace olab

// The plan of a study of whole models: its runs, grouped by model and text, and what they will cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "experiments/perplexity_settings.hpp"
#include "experiments/plan.hpp"
#include "experiments/resolved_spec.hpp"
#include "experiments/study.hpp"
#include "methods/common/transform.hpp"
#include "models/checkpoint.hpp"
#include "models/tokenizer.hpp"
#include "results/store.hpp"

namespace olab {

/// The kind that runs of models have in place of a layer's.
inline constexpr std::string_view kModelKind = "model";

/// Tokens that one forward pass sees.
struct ModelWindow {
  std::vector<TokenId> ids;
  Index first = 0;  ///< predictions begin behind this token: those of ids[first + 1] … are scored
};

/// A model, a text, and how the two are cut: what runs share.
struct ModelInput {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::string model;  ///< path, as in the study
  std::string text;   ///< path, as in the study
  std::string name;   ///< what stands in place of a layer's name: "stories260K on wiki.test"
  PerplexitySettings settings;
  ResolvedSpec evaluation;
  Index context = 0;
  std::vector<std::vector<TokenId>> calibration;  ///< windows of `context` tokens
  std::vector<ModelWindow> windows;
  std::string calibration_hash;  ///< of the ids
  std::string windows_hash;

  Index calibration_tokens() const { return static_cast<Index>(calibration.size()) * context; }
};

struct PlannedModelRun {
  std::size_t position = 0;  ///< in the study
  std::size_t input = 0;     ///< into ModelPlan::inputs
  std::size_t method = 0;
  std::size_t quantizer = 0;  ///< into Study::quantizers
  std::uint64_t seed = 0;
  std::string key;
  bool stored = false;             ///< finished, with all metrics of the study
  std::size_t windows_stored = 0;  ///< of a run that was interrupted
};

struct ModelPlan {
  Study study;
  std::vector<ModelInput> inputs;
  std::vector<ResolvedSpec> methods;
  std::vector<ResolvedSpec> activations;
  std::vector<ResolvedSpec> weights;
  std::vector<ResolvedSpec> queries;
  std::vector<ResolvedSpec> keys;
  std::vector<ResolvedSpec> values;
  std::vector<ResolvedSpec> metrics;
  std::vector<PlannedModelRun> runs;
  std::vector<std::string> problems;  ///< "down_proj (172 channels), duquant: reason"; such runs fail

  std::size_t total = 0;
  std::size_t stored = 0;
  double seconds = 0;  ///< estimate for what is not stored
  double peak_bytes = 0;
  double memory_limit = 0;
  int threads = 1;
  bool seconds_from_store = false;  ///< the estimate rests on stored times of this machine
  std::string rate_text;            ///< what the estimate rests on

  const QuantizerChoice& quantizer(const PlannedModelRun& run) const {
    return study.quantizers[run.quantizer];
  }
};

/// What attention_hadamard makes of queries, keys and values.
struct HeadRotation {
  std::shared_ptr<const Transform> matrix;  ///< of a head; null: nothing is rotated
  bool queries_and_keys = false;
  bool values = false;
};
/// `queries_or_keys`, `values`: whether they are quantized; what is not needs no rotation. Error where there
/// is no Hadamard matrix of this order, or none that rotates values back.
HeadRotation head_rotation(const PerplexitySettings& settings, Index head_dim, bool queries_or_keys,
                           bool values);

/// Bytes of the parts of a computation, for one input; windows of a batch go through a block together.
struct ModelMemory {
  double head = 0;              ///< head and final norm
  double embedding = 0;         ///< while windows are embedded
  double block = 0;             ///< the original weights of one block
  double prepared = 0;          ///< one block's quantized weights
  double preparing = 0;         ///< what calibration and quantization need beside
  double window = 0;            ///< hidden states of one window
  double passing = 0;           ///< a window's work inside of a block
  Index batch = 1;              ///< windows that are worked on together
  bool keeps_prepared = false;  ///< the quantized weights of all blocks stay in memory
  bool keeps_original = false;  ///< the original's hidden states of all windows stay in memory
  double peak = 0;
};
/// `as_if_blocks` > 0: of a model with so many blocks.
ModelMemory model_memory(const ModelInput& input, double limit, int threads, Index as_if_blocks = 0);

/// Opens models and texts, checks every name and size, and lists the runs. `store` may be null. Error on what
/// Checkpoint, Tokenizer and read_tokens refuse, on a text that is too short for the calibration and one
/// window (with both numbers), on a context that the model has no positions for, and on a limit of memory
/// that one window exceeds.
ModelPlan make_model_plan(Study study, const Registries& r, const Store* store, const PlanOptions& options);

/// The identity of a run.
std::string model_run_key(const ModelPlan& plan, const PlannedModelRun& run);

/// The record of a planned run without results.
RunRecord model_run_record(const ModelPlan& plan, const PlannedModelRun& run, const Provenance& who,
                           const Registries& r);

/// What --dry-run prints. `blocks` > 0: time and memory as if the models had so many blocks.
std::string describe_model_plan(const ModelPlan& plan, const Registries& r, Index blocks);

}  // namespace olab

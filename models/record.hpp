// Records what goes into the linear layers of a language model: `olab record`.
//
// The model is run block by block: the hidden states of all windows go through one block, whose weights alone
// are in memory, before the next is loaded. Hidden states wait on disk in a folder beside the target,
// ".NAME.recording", together with what is recorded so far, and every window that has gone through a block is
// a point from which an interrupted recording goes on, with the same bits in the end. The recording is that
// of scripts/record_activations.py: the same files, names, shapes and manifest.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/registries.hpp"
#include "core/stop.hpp"
#include "datasets/manifest.hpp"
#include "datasets/tensor.hpp"
#include "models/model_spec.hpp"

namespace olab {

struct RecordOptions {
  std::filesystem::path model;  ///< a Hugging Face folder
  std::filesystem::path text;   ///< what read_tokens (models/tokenizer.hpp) takes: a text, .npy or .bin
  std::filesystem::path out;    ///< the recording's folder; absent or empty
  /// Globs over the names of linear layers, as in Hugging Face; "!glob" leaves out. The head is none of them.
  std::vector<std::string> layers{"*"};
  Index tokens = 2048;        ///< rows of every X
  Index context = 0;          ///< tokens of one forward pass; 0: 2048, or the model's positions where fewer
  DType dtype = DType::bf16;  ///< of X and W: bf16, f16 or f32
  bool weights = true;        ///< W beside X
  bool restart = false;       ///< forget an unfinished recording
};

/// "bf16", "fp16" and "fp32", as the recorders call them. Error with the nearest name on any other.
DType parse_record_dtype(std::string_view name);

/// What would be recorded, and what it costs.
struct RecordPlan {
  std::string model;                  ///< name of the model
  Index tokens = 0;                   ///< rows of every X
  Index context = 0;                  ///< tokens of a window; the last may be shorter
  Index windows = 0;                  ///< forward passes
  Index blocks = 0;                   ///< blocks that are run: up to the last chosen layer
  std::vector<ManifestLayer> layers;  ///< in model order, with the names of their files
  std::size_t inputs = 0;             ///< different X: layers that read one input share its file
  double recording_bytes = 0;         ///< of the finished recording
  double waiting_bytes = 0;           ///< of hidden states on disk while it is made
  double memory_bytes = 0;            ///< peak, estimated
  double multiply_adds = 0;           ///< of the linear layers and of attention
  double seconds = 0;                 ///< on this machine, from a product that was timed; without the disk
};

/// Errors are those of record_model that can be told before anything is computed. Writes nothing.
RecordPlan plan_recording(const RecordOptions& options, const Registries& registries);

/// A step is one window through one block.
struct RecordProgress {
  Index done = 0;
  Index total = 0;
  std::string now;  ///< what was just done: "model.layers.3, window 2 of 4"; "" at the start
};

struct RecordReport {
  std::filesystem::path folder;
  std::size_t layers = 0;
  std::size_t inputs = 0;  ///< different X
  Index tokens = 0;
  double bytes = 0;         ///< of all files
  double seconds = 0;       ///< of this call
  Index resumed_steps = 0;  ///< that an earlier call had done
  Index steps = 0;
};

/// Where an unfinished recording of `out` waits: ".NAME.recording" in the same folder.
std::filesystem::path unfinished_recording(const std::filesystem::path& out);

/// Makes the recording, or goes on with one that was interrupted. `progress` is called once before the first
/// step, with the steps that are done already, and after each. Interrupted where `stop` (may be null) was
/// requested; the same call goes on. Error where
/// - the model, its text or its tokenizer cannot be read, or the text has fewer tokens than asked for;
/// - a glob fits no layer (with near names), or none is left;
/// - the target exists and is not empty, or an unfinished recording has other settings, model or text (all
///   differences are shown), or another process makes it;
/// - an input is NaN or infinite or does not fit the dtype: with layer, token and channel. Nothing is kept
///   then, because the same call would end there again;
/// - the disk refuses to write; what is there is kept.
RecordReport record_model(const RecordOptions& options, const Registries& registries,
                          const std::function<void(const RecordProgress&)>& progress, const StopFlag* stop);

}  // namespace olab

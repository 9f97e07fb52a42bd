// Recordings: the tensors of one or more linear layers, read layer by layer.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"
#include "core/registries.hpp"

namespace olab {

/// What is known of a layer from headers alone.
struct LayerInfo {
  std::string name;        ///< as in Hugging Face: "model.layers.1.mlp.down_proj"
  Index tokens = 0;        ///< rows of X
  Index in_features = 0;   ///< columns of X and of W
  Index out_features = 0;  ///< rows of W; 0: the recording has no W for this layer
  std::string x_dtype;     ///< "F32", "BF16", …, or "generated"
  std::string w_dtype;     ///< "" where W is absent
};

/// One linear layer in memory. Values are finite (checked on load).
struct Layer {
  std::string name;
  Matrix x;  ///< tokens × in_features
  Matrix w;  ///< out_features × in_features, or 0 × in_features
};

/// An opened recording. Opening reads headers only; the loads read one layer. All may be called from several
/// threads.
class Recording {
 public:
  Recording() = default;
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  virtual ~Recording();

  /// In model order, see in_model_order().
  virtual const std::vector<LayerInfo>& layers() const = 0;
  /// The first `tokens` tokens of X (0: all). Error with file, tensor and index on NaN or infinity, on
  /// truncation, where X and W do not match, where X has no tokens or fewer than asked for.
  virtual Matrix load_input(std::size_t index, Index tokens) const = 0;
  /// W (out_features × in_features; 0 × in_features where there is none). Errors as for X.
  Matrix load_weight(std::size_t index) const;
  /// The same into out_features × in_features of memory that is there, rows without a gap. Nothing where
  /// there is no W.
  virtual void load_weight_into(std::size_t index, MatrixRef out) const = 0;
  /// Has the system bring what these would load into memory soon, where that can be done; returns at once.
  virtual void prefetch(std::size_t /*index*/, Index /*tokens*/) const {}
  /// Both.
  Layer load(std::size_t index, Index tokens) const;
  /// 32 hexadecimal digits that change whenever a byte of the layer's tensors, a shape or a dtype changes.
  /// Independent of the layer's name and of the file's name.
  virtual std::string content_hash(std::size_t index) const = 0;
  /// The same of X alone: layers that read one input (q, k and v of a block) have equal ones.
  virtual std::string input_hash(std::size_t index) const = 0;
  /// "model", "source", "provenance", …; free texts.
  virtual const std::map<std::string, std::string>& facts() const = 0;
};

/// A format or layout of recordings.
class Reader {
 public:
  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  virtual ~Reader();
  /// Cheap look at a path: is this mine? Never throws on a strange file.
  virtual bool recognises(const std::filesystem::path& path) const = 0;
  virtual std::unique_ptr<Recording> open(const std::filesystem::path& path) const = 0;
};

/// Opens `path` with the reader that recognises it. Error where the path does not exist (with the nearest
/// name in its folder), no reader knows it (with what the readers know) or several do.
std::unique_ptr<Recording> open_recording(const std::filesystem::path& path, const Registries& registries);

/// The last part of a layer's name: "model.layers.1.mlp.down_proj" → "down_proj".
std::string layer_kind(std::string_view layer_name);

/// Whether layer `a` comes before layer `b` in a model: by the numbers in the names as numbers (layer 2
/// before layer 10), within a block in the order q, k, v, o, gate, up, fc1, down, fc2 where the last parts of
/// the names say so, else by name; the numbered parts of a block (experts) after its other layers, lm_head at
/// the end. A strict total order of names.
bool in_model_order(std::string_view a, std::string_view b);

/// Writes a recording layer by layer: a folder with manifest.json (datasets/manifest.hpp has its layout) and
/// one safetensors file a layer, "000.safetensors" and so on, with the tensors "x" and "weight". No file is
/// visible under its final name before it is whole; without finish() the destructor removes what was written.
/// Layers with the same X share the tensor of the first of them.
class RecordingWriter {
 public:
  /// `dtype`: "F32", "F16" or "BF16" for X and W. `facts`: "model" and "source" get their own places in the
  /// manifest, all others become its provenance; a reader gives them all back. Error where the folder exists
  /// and is not empty, or cannot be made.
  RecordingWriter(std::filesystem::path folder, std::string dtype, std::map<std::string, std::string> facts);
  RecordingWriter(const RecordingWriter&) = delete;
  RecordingWriter& operator=(const RecordingWriter&) = delete;
  ~RecordingWriter();
  /// Error where X has no tokens, a value is not finite or does not fit the dtype, X and W do not match, or a
  /// layer of that name was added before.
  void add(const Layer& layer);
  /// Writes manifest.json; without it the folder is no recording.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace olab

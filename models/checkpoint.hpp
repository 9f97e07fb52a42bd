// A model in a Hugging Face folder: config.json and safetensors, read tensor by tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/registries.hpp"
#include "datasets/tensor.hpp"
#include "models/model_spec.hpp"

namespace olab {

/// config.json, and model.safetensors or, where there is none, the shards that model.safetensors.index.json
/// names. Tensors stay on disk until they are asked for; all members may be called from several threads.
/// Names are those of ModelSpec, also where the files leave out "model." because the model was saved without
/// its head.
class Checkpoint {
 public:
  /// Reads config and headers, and checks that every tensor of the architecture is there with its shape.
  /// Error on a folder that does not exist (with the nearest name) or has no config.json, on an architecture
  /// that is not supported (the message lists those that are), a missing or damaged shard, an index that
  /// names a tensor that its shard lacks, a missing tensor, a wrong shape (both are shown) and on a dtype
  /// that is none of F32, F16, BF16 (F64).
  Checkpoint(std::filesystem::path folder, const Registries& registries);
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;
  ~Checkpoint();

  const ModelSpec& spec() const { return spec_; }
  const std::filesystem::path& folder() const { return folder_; }
  std::string name() const;  ///< the folder's last part

  /// A tensor as floats (rank 1: one row). Error, with file, tensor and index, on NaN and infinity.
  Matrix read(const std::string& tensor) const;
  /// Has the system bring the tensors of a block into memory soon; returns at once.
  void prefetch_block(Index block) const;
  /// Parameters of the model, and bytes of its tensors on disk.
  double parameters() const;
  double bytes() const;
  std::string dtype() const;  ///< of the embedding: "BF16"

  /// 32 hexadecimal digits over what the config means (ModelSpec) and all bytes of the tensors that the model
  /// uses, independent of how they are spread over shards, of other keys of the config and of the folder's
  /// name. Reads everything once; kept.
  const std::string& content_hash() const;

 private:
  struct State;
  std::filesystem::path folder_;
  ModelSpec spec_;
  std::unique_ptr<State> state_;
};

/// The shard of every tensor, as a model.safetensors.index.json gives it; `source` stands in messages. Error
/// on bad JSON and where a shard is no plain file name.
std::map<std::string, std::string> parse_shard_index(std::string_view text, const std::string& source);

}  // namespace olab

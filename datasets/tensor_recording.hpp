// A recording whose layers are tensors in files: what all readers hand back.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datasets/recording.hpp"
#include "datasets/tensor.hpp"

namespace olab {

/// A matrix in a tensor file.
struct TensorPart {
  /// Hands out the file: one that is held open, or one that is opened for each load.
  std::function<std::shared_ptr<const TensorFile>()> open;
  std::string source;          ///< the file's path, for messages
  TensorInfo info;             ///< as it was when the recording was opened
  Index slice = -1;            ///< of a rank-3 tensor; -1: the tensor is the matrix
  std::optional<float> scale;  ///< factor on every value
};

/// A part of a file that is held open.
TensorPart part_of(const std::shared_ptr<const TensorFile>& file, std::string_view tensor);

struct LayerParts {
  std::string name;
  TensorPart x;
  std::optional<TensorPart> weight;
};

class TensorRecording final : public Recording {
 public:
  /// Brings the layers into model order. Error where there are none, where two have one name, and where a
  /// part is no matrix. `source` is the recording's path, for messages.
  TensorRecording(std::string source, std::vector<LayerParts> layers,
                  std::map<std::string, std::string> facts);

  const std::vector<LayerInfo>& layers() const override { return infos_; }
  Matrix load_input(std::size_t index, Index tokens) const override;
  void load_weight_into(std::size_t index, MatrixRef out) const override;
  void prefetch(std::size_t index, Index tokens) const override;
  std::string content_hash(std::size_t index) const override;
  std::string input_hash(std::size_t index) const override;
  const std::map<std::string, std::string>& facts() const override { return facts_; }

 private:
  std::string where(std::size_t index) const;
  void check_shapes(std::size_t index) const;

  std::vector<LayerParts> parts_;
  std::vector<LayerInfo> infos_;
  std::map<std::string, std::string> facts_;
};

/// The layers of a file whose tensors are named "<layer>.x" and "<layer>.weight"; all other tensors are left
/// alone. Error where there is no "<layer>.x".
std::unique_ptr<Recording> layers_by_name(const std::shared_ptr<const TensorFile>& file,
                                          std::map<std::string, std::string> facts);

}  // namespace olab

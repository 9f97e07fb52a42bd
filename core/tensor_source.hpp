// Where transforms read their tensors, without knowing of files.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// Named tensors with texts about them: the other side of TensorSink. May be used from several threads.
class TensorSource {
 public:
  TensorSource() = default;
  TensorSource(const TensorSource&) = delete;
  TensorSource& operator=(const TensorSource&) = delete;
  virtual ~TensorSource();

  virtual const std::string& source() const = 0;  ///< the file's path, for messages
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  virtual std::vector<std::string> names() const = 0;
  /// A tensor of rank 2, or of rank 1 as one row. Error where there is none of that name, or where it is no
  /// matrix of numbers.
  virtual Matrix matrix(std::string_view name) const = 0;
  /// A list of whole numbers (I64, rank 1), exactly. Error where the tensor is missing or another one.
  virtual std::vector<Index> indices(std::string_view name) const = 0;
  /// 32 hexadecimal digits that change with the metadata and with every name, dtype, shape and byte.
  virtual std::string content_hash() const = 0;
};

/// Opens a file with named tensors. Error where that cannot be done.
using OpenTensors = std::function<std::unique_ptr<TensorSource>(const std::filesystem::path& file)>;

}  // namespace olab

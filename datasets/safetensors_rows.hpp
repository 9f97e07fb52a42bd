// A safetensors file that grows row by row.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "datasets/tensor.hpp"

namespace olab {

/// Writes a safetensors file with one tensor of rank 2 whose size is known before its values are: the header
/// comes first and announces all rows, which are appended as they come and need never be in memory together.
/// The header is padded so that the data begins at a multiple of 64 bytes, and is what
/// scripts/record_activations.py writes. The same rows give the same bytes however they are split. Until the
/// last row has come open_safetensors refuses the file as truncated. Used by one thread at a time.
class SafetensorsRows {
 public:
  /// Touches no file yet. Error where `dtype` is not supported, rows or columns are below 1, or the name
  /// cannot be a tensor's.
  SafetensorsRows(std::filesystem::path file, const std::string& tensor, DType dtype, Index rows,
                  Index columns);
  SafetensorsRows(const SafetensorsRows&) = delete;
  SafetensorsRows& operator=(const SafetensorsRows&) = delete;
  ~SafetensorsRows();

  /// Makes the file with no rows in it; replaces one that stands there.
  void create();
  /// Opens a file that an earlier writer of the same tensor left behind, cuts it behind its first `written`
  /// rows and goes on there. Error where there is no such file, its header is another one, or it holds fewer
  /// rows.
  void resume(Index written);
  /// Appends values (n × columns) encoded as `dtype`. Error where they are more than were announced, a value
  /// does not fit the dtype, or the disk refuses them; the file must then be resumed before more is appended.
  void append(const ConstMatrixRef& values);
  /// Rows that the file holds.
  Index written() const;
  bool complete() const;
  /// Closes the file. Error where rows are missing.
  void finish();

  /// Bytes of the whole file.
  std::uint64_t file_bytes() const;
  /// Whether `file` exists, has this header and every row. Looks at no value.
  bool is_complete_on_disk() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace olab

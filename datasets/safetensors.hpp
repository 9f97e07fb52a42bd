// safetensors: an 8-byte length, a JSON header, the tensors' bytes.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_sink.hpp"
#include "datasets/mapped_file.hpp"
#include "datasets/tensor.hpp"

namespace olab {

/// Opens a safetensors file; its tensors stay on disk, mapped. Error, with the byte offset or the tensor, on
/// everything that the format forbids: a header that is no JSON object or is longer than the file or 100 MB,
/// a name or key that stands twice, an extent below zero, offsets that leave a hole, overlap, end beyond the
/// file or before its end, a byte count that does not fit dtype and shape.
///
/// Stricter than the reference implementation (huggingface/safetensors) on purpose: the header must begin
/// with
/// '{' and may be padded with spaces only (the format's text; the reference takes any JSON white space), no
/// key may stand twice (the text; the reference does not check), an entry must be a JSON object, and a
/// tensor's name holds no NUL. As the reference does, unknown keys within a tensor's entry are ignored, and
/// data need not be aligned. Dtypes that we do not read (BOOL, U8, F8_E4M3, …) are checked and listed, and
/// refused when read.
std::unique_ptr<TensorFile> open_safetensors(const std::filesystem::path& file);
std::unique_ptr<TensorFile> open_safetensors(MappedFile file);

/// Writes a safetensors file: header keys sorted by name, header padded to 8 bytes, data by falling element
/// size and then name, so that every tensor is aligned. The same tensors give the same bytes. Error on two
/// equal names, on a name or text that is not UTF-8, and where the file cannot be written.
void write_safetensors(const std::filesystem::path& file, std::vector<TensorView> tensors,
                       const std::map<std::string, std::string>& metadata);

/// Collects tensors (F32 matrices, I64 lists) and writes them as one safetensors file.
class SafetensorsSink final : public TensorSink {
 public:
  SafetensorsSink() = default;
  SafetensorsSink(const SafetensorsSink&) = delete;
  SafetensorsSink& operator=(const SafetensorsSink&) = delete;
  ~SafetensorsSink() override;
  void put(const std::string& name, const ConstMatrixRef& values) override;
  void put(const std::string& name, std::span<const Index> values) override;
  void write(const std::filesystem::path& file, const std::map<std::string, std::string>& metadata) const;

 private:
  struct Entry {
    std::string name;
    DType dtype = DType::f32;
    std::vector<Index> shape;
    std::vector<std::byte> bytes;
  };
  std::vector<Entry> entries_;
};

}  // namespace olab

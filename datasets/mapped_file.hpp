// The bytes of a file without reading it: pages come from disk when they are touched.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace olab {

/// A whole file as read-only bytes. A file that another program shortens while it is mapped ends the process
/// with SIGBUS, as every mapped file does: our writers replace files and never change them in place.
class MappedFile {
 public:
  /// `what` is the word for messages ("safetensors file"). Error where the file is missing, empty, a folder
  /// or cannot be mapped.
  MappedFile(const std::filesystem::path& file, std::string_view what);
  /// Bytes in memory under a name for messages; they must outlive the object.
  MappedFile(std::span<const std::byte> bytes, std::string source);
  MappedFile(MappedFile&&) noexcept;
  MappedFile& operator=(MappedFile&&) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& source() const { return source_; }  ///< the path, for messages

 private:
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;  ///< null where the bytes are borrowed
  std::span<const std::byte> bytes_;
  std::string source_;
};

}  // namespace olab

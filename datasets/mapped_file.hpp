// The bytes of a file: mapped, for headers and for libraries that want all of them, and read, for data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
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

  /// Pages come from disk when they are touched.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Hands bytes [begin, end) to `sink` in pieces of `piece` bytes, only the last one shorter. They are read
  /// into memory that is used again, which is several times as fast as to touch the pages of a mapping for
  /// the first time. Error where the file cannot be read or has become shorter. Thread-safe.
  void stream(std::uint64_t begin, std::uint64_t end, std::size_t piece,
              const std::function<void(std::span<const std::byte>)>& sink) const;
  /// Asks the system to have bytes [begin, end) in memory soon, and returns at once.
  void prefetch(std::uint64_t begin, std::uint64_t end) const;
  const std::string& source() const { return source_; }  ///< the path, for messages

 private:
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;  ///< null where the bytes are borrowed
  std::span<const std::byte> bytes_;
  std::string source_;
};

}  // namespace olab

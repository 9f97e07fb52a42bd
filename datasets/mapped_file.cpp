#include "datasets/mapped_file.hpp"

#include <fmt/format.h>

#include <boost/iostreams/device/mapped_file.hpp>
#include <exception>
#include <system_error>

#include "core/error.hpp"

namespace olab {

struct MappedFile::Mapping {
  boost::iostreams::mapped_file_source source;
};

MappedFile::MappedFile(const std::filesystem::path& file, std::string_view what) : source_(file.string()) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (!fs::exists(status)) throw Error(fmt::format("{}: this {} does not exist", source_, what));
  // Looked at before it is opened: opening a pipe would wait for ever.
  if (!fs::is_regular_file(status))
    throw Error(fmt::format("{}: a {} was expected, but this is no regular file", source_, what));
  const std::uintmax_t size = fs::file_size(file, error);
  if (error) throw Error(fmt::format("{}: {}", source_, error.message()));
  // An empty range cannot be mapped.
  if (size == 0)
    throw Error(fmt::format("{}: this {} is empty (0 bytes); copy or record it again", source_, what));
  mapping_ = std::make_unique<Mapping>();
  try {
    mapping_->source.open(source_);
  } catch (const std::exception& e) {
    throw Error(
        fmt::format("{}: this {} cannot be opened ({}); check its permissions", source_, what, e.what()));
  }
  bytes_ = std::as_bytes(std::span(mapping_->source.data(), mapping_->source.size()));
}

MappedFile::MappedFile(std::span<const std::byte> bytes, std::string source)
    : bytes_(bytes), source_(std::move(source)) {}
MappedFile::MappedFile(MappedFile&&) noexcept = default;
MappedFile& MappedFile::operator=(MappedFile&&) noexcept = default;
MappedFile::~MappedFile() = default;

}  // namespace olab

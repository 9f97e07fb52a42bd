#include "datasets/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/iostreams/device/mapped_file.hpp>
#include <cerrno>
#include <exception>
#include <system_error>
#include <vector>

#include "core/error.hpp"

namespace olab {

struct MappedFile::Mapping {
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (descriptor >= 0) ::close(descriptor);
  }
  boost::iostreams::mapped_file_source source;
  int descriptor = -1;
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
  // Where this fails, for want of descriptors say, stream() goes through the mapping.
  mapping_->descriptor = ::open(source_.c_str(), O_RDONLY | O_CLOEXEC);
}

MappedFile::MappedFile(std::span<const std::byte> bytes, std::string source)
    : bytes_(bytes), source_(std::move(source)) {}

void MappedFile::stream(std::uint64_t begin, std::uint64_t end, std::size_t piece,
                        const std::function<void(std::span<const std::byte>)>& sink) const {
  if (!mapping_ || mapping_->descriptor < 0) {
    for (std::uint64_t at = begin; at < end; at += piece)
      sink(bytes_.subspan(at, std::min<std::uint64_t>(piece, end - at)));
    return;
  }
  std::vector<std::byte> buffer(std::min<std::uint64_t>(piece, end - begin));
  for (std::uint64_t at = begin; at < end;) {
    const std::size_t wanted = std::min<std::uint64_t>(piece, end - at);
    for (std::size_t have = 0; have < wanted;) {
      const ssize_t got =
          ::pread(mapping_->descriptor, buffer.data() + have, wanted - have, static_cast<off_t>(at + have));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0)
        throw Error(fmt::format("{}: byte {} cannot be read ({})", source_, at + have,
                                std::generic_category().message(errno)));
      if (got == 0)
        throw Error(
            fmt::format("{}: it ends at byte {} and had {} when it was opened; do not change a file "
                        "that is in use, and start again",
                        source_, at + have, bytes_.size()));
      have += static_cast<std::size_t>(got);
    }
    sink(std::span(buffer).first(wanted));
    at += wanted;
  }
}

void MappedFile::prefetch(std::uint64_t begin, std::uint64_t end) const {
  // A refusal costs speed and nothing else.
  if (mapping_ && mapping_->descriptor >= 0)
    (void)::posix_fadvise(mapping_->descriptor, static_cast<off_t>(begin), static_cast<off_t>(end - begin),
                          POSIX_FADV_WILLNEED);
}

MappedFile::MappedFile(MappedFile&&) noexcept = default;
MappedFile& MappedFile::operator=(MappedFile&&) noexcept = default;
MappedFile::~MappedFile() = default;

}  // namespace olab

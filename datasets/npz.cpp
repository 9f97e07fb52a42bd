#include "datasets/npz.hpp"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "datasets/npy.hpp"

namespace olab {
namespace {

struct Discard {
  void operator()(zip_t* z) const { zip_discard(z); }
  void operator()(zip_file_t* f) const { zip_fclose(f); }
};
using Archive = std::unique_ptr<zip_t, Discard>;
using OpenEntry = std::unique_ptr<zip_file_t, Discard>;

class ZipError {
 public:
  ZipError() { zip_error_init(&error_); }
  explicit ZipError(int code) { zip_error_init_with_code(&error_, code); }
  ZipError(const ZipError&) = delete;
  ZipError& operator=(const ZipError&) = delete;
  ~ZipError() { zip_error_fini(&error_); }
  zip_error_t* get() { return &error_; }
  std::string text() { return zip_error_strerror(&error_); }

 private:
  zip_error_t error_{};
};

// A handle of libzip is not for several threads, so every read opens its own on the bytes that all share.
Archive open_archive(std::span<const std::byte> bytes, const std::string& source) {
  // libzip takes nothing for an archive of nothing.
  if (bytes.empty()) throw Error(fmt::format("{}: 0 bytes are no npz file; copy or save it again", source));
  ZipError error;
  zip_source_t* buffer = zip_source_buffer_create(bytes.data(), bytes.size(), 0, error.get());
  zip_t* archive = buffer == nullptr ? nullptr : zip_open_from_source(buffer, ZIP_RDONLY, error.get());
  if (archive == nullptr) {
    zip_source_free(buffer);
    throw Error(
        fmt::format("{}: it is no npz file, or a damaged or truncated one ({}); copy or save it again",
                    source, error.text()));
  }
  return Archive(archive);
}

class NpzFile final : public TensorFile {
 public:
  explicit NpzFile(MappedFile file) : TensorFile(file.source()), file_(std::move(file)) {
    const Archive archive = open_archive(file_.bytes(), source());
    const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
    std::uint64_t packed = 0;
    for (zip_int64_t i = 0; i < count; ++i) list_entry(archive.get(), static_cast<zip_uint64_t>(i), packed);
  }

 private:
  struct Place {
    zip_uint64_t entry = 0;
    std::uint64_t data_begin = 0;  // within the decompressed entry
    std::uint64_t size = 0;        // of the decompressed entry
  };

  void list_entry(zip_t* archive, zip_uint64_t index, std::uint64_t& packed) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(archive, index, 0, &stat) != 0)
      throw Error(fmt::format("{}: entry {} of the archive cannot be read ({})", source(), index,
                              zip_strerror(archive)));
    constexpr zip_uint64_t kNeeded =
        ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((stat.valid & kNeeded) != kNeeded)
      throw Error(fmt::format("{}: entry {} of the archive has no name or size; save the file again",
                              source(), index));
    std::string name = stat.name;
    if (!name.ends_with(".npy")) return;
    const std::string what = fmt::format("{}: entry '{}'", source(), name);
    if ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && stat.encryption_method != ZIP_EM_NONE)
      throw Error(fmt::format("{}: it is encrypted; save the file again without a password", what));
    if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE)
      throw Error(
          fmt::format("{}: compression method {} is not supported; use np.savez or np.savez_compressed", what,
                      stat.comp_method));
    check_sizes(stat, what, packed);

    std::vector<std::byte> start(std::min<std::uint64_t>(stat.size, kLongestNpyHeader));
    const OpenEntry entry = open_entry(archive, index, what);
    read_fully(entry.get(), start, what);
    NpyHeader header = parse_npy_header(start, what);
    if (header.info.dtype != DType::unsupported && header.data_size != stat.size - header.data_begin)
      throw Error(
          fmt::format("{}: {} of shape {} takes {} bytes, but the entry holds {}; save the file again", what,
                      header.info.dtype_text, shape_text(header.info.shape), header.data_size,
                      stat.size - header.data_begin));
    name.resize(name.size() - std::string_view(".npy").size());
    header.info.name = std::move(name);
    places_.push_back({index, header.data_begin, stat.size});
    add_tensor(std::move(header.info));
  }

  // What a file cannot hold is refused before a byte of it is decompressed.
  void check_sizes(const zip_stat_t& stat, const std::string& what, std::uint64_t& packed) const {
    constexpr std::uint64_t kDeflateLimit =
        1032;  // one bit codes at most 258 bytes, so a byte makes 1032 at most
    if (__builtin_add_overflow(packed, stat.comp_size, &packed) || packed > file_.bytes().size())
      throw Error(
          fmt::format("{}: the entries claim more bytes than the file has; it is damaged or hostile", what));
    const bool possible = stat.comp_method == ZIP_CM_STORE ? stat.size == stat.comp_size
                                                           : stat.size / kDeflateLimit <= stat.comp_size;
    if (!possible)
      throw Error(
          fmt::format("{}: {} bytes cannot come out of {} compressed ones; the file is damaged or hostile",
                      what, stat.size, stat.comp_size));
  }

  static OpenEntry open_entry(zip_t* archive, zip_uint64_t index, const std::string& what) {
    OpenEntry entry(zip_fopen_index(archive, index, 0));
    if (!entry)
      throw Error(
          fmt::format("{}: it cannot be opened ({}); save the file again", what, zip_strerror(archive)));
    return entry;
  }

  static void read_fully(zip_file_t* entry, std::span<std::byte> out, const std::string& what) {
    while (!out.empty()) {
      const zip_int64_t got = zip_fread(entry, out.data(), out.size());
      if (got <= 0)
        throw Error(fmt::format("{}: its data is damaged or ends too early ({}); copy or save the file again",
                                what, got == 0 ? "end of data" : zip_file_strerror(entry)));
      out = out.subspan(static_cast<std::size_t>(got));
    }
  }

  bool is_sequential() const override { return true; }

  void stream(std::size_t tensor, std::uint64_t begin, std::uint64_t end, const Sink& sink) const override {
    const Place& place = places_[tensor];
    const std::string what = fmt::format("{}: tensor '{}'", source(), tensors()[tensor].name);
    const Archive archive = open_archive(file_.bytes(), source());
    const OpenEntry entry = open_entry(archive.get(), place.entry, what);
    std::vector<std::byte> chunk(std::min<std::uint64_t>(kChunk, place.size));
    const auto first = [&](std::uint64_t size) {
      return std::span(chunk).first(std::min<std::uint64_t>(size, chunk.size()));
    };
    for (std::uint64_t left = place.data_begin + begin; left > 0;) {
      const auto skipped = first(left);
      read_fully(entry.get(), skipped, what);
      left -= skipped.size();
    }
    for (std::uint64_t at = begin; at < end;) {
      const auto piece = first(end - at);
      read_fully(entry.get(), piece, what);
      sink(piece);
      at += piece.size();
    }
    // libzip compares the checksum when it meets the end, so go and meet it.
    if (place.data_begin + end == place.size) {
      std::byte more{};
      const zip_int64_t got = zip_fread(entry.get(), &more, 1);
      if (got != 0)
        throw Error(
            fmt::format("{}: {}; copy or save the file again", what,
                        got > 0 ? "it holds more data than announced" : zip_file_strerror(entry.get())));
    }
  }

  MappedFile file_;
  std::vector<Place> places_;
};

}  // namespace

std::unique_ptr<TensorFile> open_npz(const std::filesystem::path& file) {
  return open_npz(MappedFile(file, "npz file"));
}

std::unique_ptr<TensorFile> open_npz(MappedFile file) {
  return std::make_unique<NpzFile>(std::move(file));
}

void write_npz(const std::filesystem::path& file, std::span<const TensorView> tensors,
               Compression compression) {
  const auto fail = [&](const std::string& reason) {
    throw Error(fmt::format("{}: {}", file.string(), reason));
  };
  if (tensors.empty()) fail("there are no tensors to write");
  std::vector<std::string> headers;  // libzip reads them when the archive is closed
  std::set<std::string_view> names;
  headers.reserve(tensors.size());
  for (const TensorView& t : tensors) {
    if (!names.insert(t.name).second) fail(fmt::format("two tensors are named '{}'", t.name));
    try {
      headers.push_back(npy_header(t));
    } catch (const Error& e) {
      fail(e.what());
    }
  }
  // libzip writes to a temporary file beside this one and renames it in zip_close.
  int code = 0;
  Archive archive(zip_open(file.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code));
  if (!archive) fail(fmt::format("it cannot be written ({})", ZipError(code).text()));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::array<zip_buffer_fragment_t, 2> parts{
        {{reinterpret_cast<zip_uint8_t*>(headers[i].data()), headers[i].size()},
         // libzip's type is not const, but without `freep` it only reads.
         {const_cast<zip_uint8_t*>(reinterpret_cast<const zip_uint8_t*>(tensors[i].bytes.data())),
          tensors[i].bytes.size()}}};
    zip_source_t* source = zip_source_buffer_fragment(archive.get(), parts.data(), parts.size(), 0);
    const zip_int64_t index =
        source == nullptr
            ? -1
            : zip_file_add(archive.get(), (tensors[i].name + ".npy").c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      fail(fmt::format("tensor '{}': {}", tensors[i].name, zip_strerror(archive.get())));
    }
    const auto entry = static_cast<zip_uint64_t>(index);
    constexpr zip_uint16_t kFirstOfJanuary1980 = 1U << 5U | 1U;
    if (zip_set_file_compression(archive.get(), entry,
                                 compression == Compression::stored ? ZIP_CM_STORE : ZIP_CM_DEFLATE,
                                 0) != 0 ||
        zip_file_set_dostime(archive.get(), entry, 0, kFirstOfJanuary1980, 0) != 0)
      fail(zip_strerror(archive.get()));
  }
  if (zip_close(archive.get()) != 0)
    fail(fmt::format("it cannot be written ({})", zip_strerror(archive.get())));
  static_cast<void>(archive.release());  // closed: nothing is left to discard
}

}  // namespace olab

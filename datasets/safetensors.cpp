#include "datasets/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <ostream>

#include "core/error.hpp"
#include "datasets/atomic_file.hpp"

namespace olab {
namespace {

using nlohmann::json;

constexpr std::uint64_t kPrefix = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;

// Bits of one element, for all dtypes that the format knows.
struct Width {
  std::string_view name;
  std::uint64_t bits;
};
constexpr std::array<Width, 22> kWidths{
    {{"BOOL", 8},    {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8},     {"F8_E8M0", 8},     {"I16", 16},    {"U16", 16}, {"F16", 16},
     {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},    {"C64", 64}, {"F64", 64},
     {"I64", 64},    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"U64", 64}}};

struct Entry {
  TensorInfo info;
  std::uint64_t begin = 0;  // from the end of the header
  std::uint64_t end = 0;
};

struct Header {
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  std::uint64_t data = 0;  // where the data begins
};

// Takes the header's JSON event by event, so that a hostile header costs no more memory than its own size.
class HeaderEvents final : public json::json_sax_t {
 public:
  HeaderEvents(Header& out, const std::string& source) : out_(out), source_(source) {}

  bool null() override { return plain("null"); }
  bool boolean(bool) override { return plain("true or false"); }
  bool number_integer(number_integer_t value) override {
    if (skipped_ > 0) return plain("");
    if (place_ == Place::shape || place_ == Place::offsets) fail(fmt::format("{} is negative", value));
    return plain("a number");
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (skipped_ > 0) return true;
    if (place_ == Place::shape && in_list_) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<Index>::max()))
        fail(fmt::format("extent {} is too large", value));
      entry_.info.shape.push_back(static_cast<Index>(value));
      return true;
    }
    if (place_ == Place::offsets && in_list_) {
      if (offsets_ == 2) fail("data_offsets holds more than two numbers");
      (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return plain("a number");
  }
  bool number_float(number_float_t, const string_t& text) override {
    if (skipped_ > 0) return true;
    if (place_ == Place::shape || place_ == Place::offsets)
      fail(fmt::format("{} is no whole number of 64 bits", text));
    return plain("a number");
  }
  bool string(string_t& text) override {
    if (skipped_ > 0) return true;
    if (place_ == Place::metadata) {
      if (!out_.metadata.emplace(key_, text).second) fail(fmt::format("key '{}' stands twice", key_));
      return true;
    }
    if (place_ == Place::dtype) {
      entry_.info.dtype_text = text;
      place_ = Place::entry;
      return true;
    }
    return plain("a text");
  }
  bool binary(binary_t&) override { return plain("binary"); }
  bool start_object(std::size_t) override {
    if (skipped_ > 0) {
      ++skipped_;
    } else if (place_ == Place::outside) {
      place_ = Place::root;
    } else if (place_ == Place::root) {
      start_entry();
    } else if (place_ == Place::unknown) {
      skipped_ = 1;
    } else {
      fail("an object stands where a value was expected");
    }
    return true;
  }
  bool end_object() override {
    if (skipped_ > 0) {
      leave_skipped();
    } else if (place_ == Place::metadata) {
      tensor_.clear();
      place_ = Place::root;
    } else if (place_ == Place::entry) {
      finish_entry();
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (skipped_ > 0) {
      ++skipped_;
    } else if ((place_ == Place::shape || place_ == Place::offsets) && !in_list_) {
      in_list_ = true;
    } else if (place_ == Place::unknown) {
      skipped_ = 1;
    } else {
      fail("a list stands where something else was expected");
    }
    return true;
  }
  bool end_array() override {
    if (skipped_ > 0) {
      leave_skipped();
    } else {
      in_list_ = false;
      place_ = Place::entry;
    }
    return true;
  }
  bool key(string_t& text) override {
    if (skipped_ > 0) return true;
    key_ = text;
    if (place_ == Place::root && text.find('\0') != std::string::npos) fail("a tensor's name holds a NUL");
    if (place_ == Place::entry) entry_key();
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception& e) override {
    // The library counts from 1 within the header, and may quote as much of it as it likes.
    const std::string_view reason = std::string_view(e.what()).substr(0, 160);
    throw Error(fmt::format(
        "{}: byte {}: the header is no valid JSON ({}); the file is damaged or no safetensors file", source_,
        kPrefix + (position > 0 ? position - 1 : 0), reason));
  }

 private:
  enum class Place { outside, root, metadata, entry, dtype, shape, offsets, unknown };

  [[noreturn]] void fail(const std::string& message) const {
    const std::string where =
        tensor_.empty() ? std::string("header") : fmt::format("header, entry '{}'", tensor_);
    throw Error(fmt::format("{}: {}: {}; the file is damaged or was written by a faulty program", source_,
                            where, message));
  }
  // A value without parts.
  bool plain(std::string_view kind) {
    if (skipped_ > 0) return true;
    if (place_ == Place::unknown) {
      place_ = Place::entry;
      return true;
    }
    if (place_ == Place::root) fail(fmt::format("'{}' is {}; an object was expected", key_, kind));
    fail(fmt::format("'{}' is {}, which it must not be", key_, kind));
  }
  void leave_skipped() {
    if (--skipped_ == 0) place_ = Place::entry;
  }
  void start_entry() {
    tensor_ = key_;
    if (key_ == "__metadata__") {
      if (metadata_seen_) fail("key '__metadata__' stands twice");
      metadata_seen_ = true;
      place_ = Place::metadata;
      return;
    }
    entry_ = {};
    entry_.info.name = key_;
    seen_ = {};
    offsets_ = 0;
    place_ = Place::entry;
  }
  void entry_key() {
    constexpr std::array<std::pair<std::string_view, Place>, 3> kKeys{
        {{"dtype", Place::dtype}, {"shape", Place::shape}, {"data_offsets", Place::offsets}}};
    place_ = Place::unknown;
    for (std::size_t i = 0; i < kKeys.size(); ++i) {
      if (kKeys.at(i).first != key_) continue;
      if (seen_.at(i)) fail(fmt::format("key '{}' stands twice", key_));
      seen_.at(i) = true;
      place_ = kKeys.at(i).second;
    }
  }
  void finish_entry() {
    if (!seen_[0]) fail("dtype is missing");
    if (!seen_[1]) fail("shape is missing");
    if (!seen_[2] || offsets_ != 2) fail("data_offsets must be [begin, end]");
    check_size();
    out_.entries.push_back(std::move(entry_));
    tensor_.clear();
    place_ = Place::root;
  }
  // The bytes must be those of dtype and shape.
  void check_size() {
    TensorInfo& info = entry_.info;
    const auto width = std::ranges::find(kWidths, std::string_view(info.dtype_text), &Width::name);
    if (width == kWidths.end()) fail(fmt::format("dtype '{}' is not known", info.dtype_text));
    info.dtype = find_dtype(info.dtype_text);
    Index count = 0;
    std::uint64_t bits = 0;
    if (!element_count(info.shape, count) ||
        __builtin_mul_overflow(static_cast<std::uint64_t>(count), width->bits, &bits))
      fail(fmt::format("shape {} has more elements than 64 bits can count", shape_text(info.shape)));
    if (entry_.begin > entry_.end)
      fail(fmt::format("data_offsets [{}, {}] run backwards", entry_.begin, entry_.end));
    if (bits % 8 != 0 || entry_.end - entry_.begin != bits / 8)
      fail(fmt::format("data_offsets [{}, {}] span {} bytes, but {} of shape {} takes {}", entry_.begin,
                       entry_.end, entry_.end - entry_.begin, info.dtype_text, shape_text(info.shape),
                       (bits + 7) / 8));
  }

  Header& out_;
  const std::string& source_;
  Place place_ = Place::outside;
  std::string key_;
  std::string tensor_;  // the entry we are in, for messages
  Entry entry_;
  std::array<bool, 3> seen_{};
  int offsets_ = 0;
  bool in_list_ = false;
  bool metadata_seen_ = false;
  std::size_t skipped_ = 0;  // depth within a value that we ignore
};

// Sorted by offset, the tensors must cover the data without hole or overlap, from its first byte to its last:
// a byte that belongs to no tensor could hide another file in this one.
void check_layout(const Header& header, std::uint64_t file_size, const std::string& source) {
  const std::uint64_t data_size = file_size - header.data;
  std::uint64_t at = 0;
  std::string_view previous;
  for (const Entry& e : header.entries) {
    if (e.end > data_size)
      throw Error(
          fmt::format("{}: tensor '{}' ends at byte {}, but the file has only {}: it is truncated; copy or "
                      "download it again",
                      source, e.info.name, header.data + e.end, file_size));
    if (e.begin < at)
      throw Error(fmt::format("{}: tensors '{}' and '{}' overlap at byte {}; the file is damaged or hostile",
                              source, previous, e.info.name, header.data + e.begin));
    if (e.begin > at)
      throw Error(fmt::format("{}: the {} bytes from byte {} on belong to no tensor; save the file again",
                              source, e.begin - at, header.data + at));
    at = e.end;
    previous = e.info.name;
  }
  if (at != data_size)
    throw Error(fmt::format(
        "{}: {} bytes follow the last tensor, from byte {} on; save the file again, or cut it there "
        "if they are known to be padding",
        source, data_size - at, header.data + at));
}

Header parse_header(std::span<const std::byte> file, const std::string& source) {
  if (file.size() < kPrefix)
    throw Error(fmt::format("{}: {} bytes are too few for a safetensors file; copy or download it again",
                            source, file.size()));
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kLongestHeader)
    throw Error(
        fmt::format("{}: byte 0: a header of {} bytes is announced, the format allows {}; this is no "
                    "safetensors file",
                    source, length, kLongestHeader));
  if (length > file.size() - kPrefix)
    throw Error(fmt::format(
        "{}: the header of {} bytes ends beyond the file's {}: it is truncated; copy or download it "
        "again",
        source, length, file.size()));
  const auto bytes = file.subspan(kPrefix, length);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  // Checked here because the JSON library takes a NUL for the end of its input and would not look behind it.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw Error(
        fmt::format("{}: byte {}: a NUL stands in the header; pad it with spaces and save the file again",
                    source, kPrefix + nul));
  if (text.empty() || text.front() != '{')
    throw Error(fmt::format("{}: byte {}: the header must begin with '{{'; this is no safetensors file",
                            source, kPrefix));
  const std::size_t last = text.find_last_not_of(' ');
  if (text[last] != '}')
    throw Error(fmt::format("{}: byte {}: the header must end with '}}' and spaces", source, kPrefix + last));

  Header header;
  header.data = kPrefix + length;
  HeaderEvents events(header, source);
  json::sax_parse(text, &events, json::input_format_t::json, true);
  std::ranges::stable_sort(header.entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_layout(header, file.size(), source);
  return header;
}

class SafetensorsFile final : public TensorFile {
 public:
  explicit SafetensorsFile(MappedFile file) : TensorFile(file.source()), file_(std::move(file)) {
    Header header = parse_header(file_.bytes(), source());
    set_metadata(std::move(header.metadata));
    for (Entry& e : header.entries) {
      data_.push_back(header.data + e.begin);
      add_tensor(std::move(e.info));
    }
  }

 private:
  void stream(std::size_t tensor, std::uint64_t begin, std::uint64_t end, const Sink& sink) const override {
    file_.stream(data_[tensor] + begin, data_[tensor] + end, kChunk, sink);
  }
  void prefetch(std::size_t tensor, std::uint64_t bytes) const override {
    file_.prefetch(data_[tensor], data_[tensor] + bytes);
  }

  MappedFile file_;
  std::vector<std::uint64_t> data_;  // where each tensor begins in the file
};

std::string header_text(const std::vector<TensorView>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  json header = json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t at = 0;
  for (const TensorView& t : tensors) {
    check_view(t);
    if (t.name == "__metadata__" || t.name.find('\0') != std::string::npos)
      throw Error(fmt::format("'{}' cannot be the name of a tensor", t.name));
    if (header.contains(t.name)) throw Error(fmt::format("two tensors are named '{}'", t.name));
    header[t.name] = {
        {"dtype", dtype_name(t.dtype)}, {"shape", t.shape}, {"data_offsets", {at, at + t.bytes.size()}}};
    at += t.bytes.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& e) {
    throw Error(fmt::format("a name or a text is not valid UTF-8 ({})", e.what()));
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  if (text.size() > kLongestHeader) throw Error("there are too many tensors for one safetensors file");
  return text;
}

}  // namespace

std::unique_ptr<TensorFile> open_safetensors(const std::filesystem::path& file) {
  return open_safetensors(MappedFile(file, "safetensors file"));
}

std::unique_ptr<TensorFile> open_safetensors(MappedFile file) {
  return std::make_unique<SafetensorsFile>(std::move(file));
}

void write_safetensors(const std::filesystem::path& file, std::vector<TensorView> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::ranges::sort(tensors, [](const TensorView& a, const TensorView& b) {
    const std::size_t size_a = dtype_size(a.dtype);
    const std::size_t size_b = dtype_size(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  std::string header;
  try {
    header = header_text(tensors, metadata);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", file.string(), e.what()));
  }
  write_atomically(file, [&](std::ostream& out) {
    const std::uint64_t length = header.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << header;
    for (const TensorView& t : tensors)
      out.write(reinterpret_cast<const char*>(t.bytes.data()), static_cast<std::streamsize>(t.bytes.size()));
  });
}

SafetensorsSink::~SafetensorsSink() = default;

void SafetensorsSink::put(const std::string& name, const ConstMatrixRef& values) {
  entries_.push_back({name, DType::f32, {values.rows(), values.cols()}, encode(values, DType::f32)});
}

void SafetensorsSink::put(const std::string& name, std::span<const Index> values) {
  static_assert(sizeof(Index) == 8);
  const auto bytes = std::as_bytes(values);
  entries_.push_back({name,
                      DType::i64,
                      {static_cast<Index>(values.size())},
                      std::vector<std::byte>(bytes.begin(), bytes.end())});
}

void SafetensorsSink::write(const std::filesystem::path& file,
                            const std::map<std::string, std::string>& metadata) const {
  std::vector<TensorView> views;
  views.reserve(entries_.size());
  for (const Entry& e : entries_) views.push_back({e.name, e.dtype, e.shape, e.bytes});
  write_safetensors(file, std::move(views), metadata);
}

}  // namespace olab

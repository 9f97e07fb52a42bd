#include "datasets/npy.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <ostream>
#include <string_view>

#include "core/error.hpp"
#include "core/text.hpp"
#include "datasets/atomic_file.hpp"

namespace olab {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);

struct Descr {
  std::string_view text;
  DType dtype;
};
constexpr std::array<Descr, 7> kDescrs{{{"<f8", DType::f64},
                                        {"<f4", DType::f32},
                                        {"<f2", DType::f16},
                                        {"<i8", DType::i64},
                                        {"<i4", DType::i32},
                                        {"<i2", DType::i16},
                                        {"|i1", DType::i8}}};

// The dict of an npy header, character by character; never Python's grammar as a whole.
class HeaderText {
 public:
  HeaderText(std::string_view text, std::size_t offset, const std::string& source)
      : text_(text), offset_(offset), source_(source) {}

  TensorInfo parse() {
    if (text_.empty() || text_.back() != '\n') {
      at_ = text_.size();
      fail("the header must end with a newline");
    }
    text_.remove_suffix(1);
    TensorInfo out;
    bool descr = false;
    bool order = false;
    bool shape = false;
    expect('{');
    while (!next_is('}')) {
      const std::size_t start = at_;
      const std::string key = text();
      bool& seen = key == "descr" ? descr : key == "fortran_order" ? order : shape;
      if (key != "descr" && key != "fortran_order" && key != "shape") {
        at_ = start;
        fail(fmt::format("key '{}' is not known; descr, fortran_order and shape are", key));
      }
      if (seen) fail(fmt::format("key '{}' stands twice", key));
      seen = true;
      expect(':');
      if (&seen == &descr)
        out.dtype_text = dtype();
      else if (&seen == &order)
        out.fortran = boolean();
      else
        out.shape = tuple();
      if (!next_is(',')) {
        expect('}');
        break;
      }
    }
    if (!descr || !order || !shape)
      fail(fmt::format("key '{}' is missing", !descr ? "descr" : !order ? "fortran_order" : "shape"));
    skip_spaces();
    if (at_ != text_.size()) fail("only spaces may follow the closing brace");
    return out;
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(fmt::format("{}: byte {} of the npy header: {}; the file is damaged, or no array of numbers",
                            source_, offset_ + at_, message));
  }
  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool next_is(char c) {
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!next_is(c)) fail(fmt::format("'{}' was expected", c));
  }
  std::string text() {
    skip_spaces();
    const char quote = at_ < text_.size() ? text_[at_] : ' ';
    if (quote != '\'' && quote != '"') fail("a text in quotes was expected");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("a text is never closed");
    const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
    for (const char c : inside)
      if (c < ' ' || c > '~' || c == '\\') fail("a text holds a character other than plain ASCII");
    at_ = end + 1;
    return std::string(inside);
  }
  std::string dtype() {
    skip_spaces();
    if (at_ < text_.size() && text_[at_] == '[')
      fail("structured dtypes are not supported; save a plain array of floats");
    return text();
  }
  bool boolean() {
    skip_spaces();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    fail("True or False was expected");
  }
  Index integer() {
    skip_spaces();
    std::size_t end = at_;
    while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
    const std::string_view digits = text_.substr(at_, end - at_);
    std::int64_t value = 0;
    if (digits.empty()) fail("an extent must be a whole number, not negative");
    if (digits.size() > 1 && digits.front() == '0') fail("an extent begins with 0");
    if (!parse_integer(digits, value)) fail(fmt::format("extent {} is too large", digits));
    at_ = end;
    return value;
  }
  // "()", "(3,)", "(3, 4)", "(3, 4,)"; "(3)" is a number in Python.
  std::vector<Index> tuple() {
    std::vector<Index> out;
    expect('(');
    while (!next_is(')')) {
      out.push_back(integer());
      if (next_is(',')) continue;
      if (out.size() == 1) fail("',' was expected: (n,) is a tuple, (n) is not");
      expect(')');
      break;
    }
    return out;
  }

  std::string_view text_;
  std::size_t offset_;
  const std::string& source_;
  std::size_t at_ = 0;
};

class NpyFile final : public TensorFile {
 public:
  explicit NpyFile(MappedFile file) : TensorFile(file.source()), file_(std::move(file)) {
    NpyHeader header = parse_npy_header(file_.bytes(), source());
    const std::uint64_t left = file_.bytes().size() - header.data_begin;
    if (header.info.dtype != DType::unsupported) {
      if (header.data_size > left)
        throw Error(fmt::format(
            "{}: {} of shape {} takes {} bytes, but the file ends after {}: it is truncated; copy or "
            "save it again",
            source(), header.info.dtype_text, shape_text(header.info.shape), header.data_size, left));
      if (header.data_size < left)
        throw Error(
            fmt::format("{}: {} bytes follow the array, from byte {} on; save it again, one array a file",
                        source(), left - header.data_size, header.data_begin + header.data_size));
    }
    data_ = header.data_begin;
    header.info.name = std::filesystem::path(source()).stem().string();
    add_tensor(std::move(header.info));
  }

 private:
  void stream(std::size_t, std::uint64_t begin, std::uint64_t end, const Sink& sink) const override {
    file_.stream(data_ + begin, data_ + end, kChunk, sink);
  }
  void prefetch(std::size_t, std::uint64_t bytes) const override { file_.prefetch(data_, data_ + bytes); }

  MappedFile file_;
  std::uint64_t data_ = 0;  // where the array begins
};

}  // namespace

NpyHeader parse_npy_header(std::span<const std::byte> start, const std::string& source) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint64_t>(start[i]); };
  if (!text.starts_with(kMagic))
    throw Error(fmt::format("{}: byte 0: this is no npy data (its magic is missing)", source));
  const std::string truncated = fmt::format("{}: the npy header is truncated; copy or save it again", source);
  if (text.size() < 10) throw Error(truncated);
  const std::uint64_t version = byte(6);
  if (version < 1 || version > 3 || byte(7) != 0)
    throw Error(fmt::format("{}: byte 6: npy version {}.{} is not supported; 1.0, 2.0 and 3.0 are", source,
                            version, byte(7)));
  const std::size_t prefix = version == 1 ? 10 : 12;
  if (text.size() < prefix) throw Error(truncated);
  std::uint64_t length = byte(8) | byte(9) << 8U;
  if (version > 1) length |= byte(10) << 16U | byte(11) << 24U;
  if (prefix + length > kLongestNpyHeader - 12 + prefix)
    throw Error(fmt::format("{}: byte 8: a header of {} characters is announced; NumPy allows 10000", source,
                            length));
  if (text.size() - prefix < length) throw Error(truncated);

  NpyHeader out;
  out.info = HeaderText(text.substr(prefix, length), prefix, source).parse();
  out.data_begin = prefix + length;
  Index count = 0;
  const auto known = std::ranges::find(kDescrs, std::string_view(out.info.dtype_text), &Descr::text);
  if (known != kDescrs.end()) {
    out.info.dtype = known->dtype;
    out.info.dtype_text = dtype_name(known->dtype);
  }
  if (!element_count(out.info.shape, count) ||
      __builtin_mul_overflow(static_cast<std::uint64_t>(count), std::uint64_t{dtype_size(out.info.dtype)},
                             &out.data_size))
    throw Error(fmt::format("{}: shape {} has more elements than 64 bits can count; the file is damaged",
                            source, shape_text(out.info.shape)));
  return out;
}

std::string npy_header(const TensorView& tensor) {
  check_view(tensor);
  const auto descr = std::ranges::find(kDescrs, tensor.dtype, &Descr::dtype);
  if (descr == kDescrs.end())
    throw Error(fmt::format("tensor '{}': NumPy has no {}; write F32, or a safetensors file", tensor.name,
                            dtype_name(tensor.dtype)));
  const char* comma = tensor.shape.size() == 1 ? "," : "";
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", descr->text,
                                 fmt::join(tensor.shape, ", "), comma);
  constexpr std::size_t kPrefix = 10;
  dict.append((64 - (kPrefix + dict.size() + 1) % 64) % 64, ' ');
  dict += '\n';
  if (dict.size() > kLongestNpyHeader - 12)
    throw Error(fmt::format("tensor '{}': it has too many axes", tensor.name));
  std::string out(kMagic);
  out += {'\1', '\0', static_cast<char>(dict.size() & 0xFFU), static_cast<char>(dict.size() >> 8U)};
  return out + dict;
}

std::unique_ptr<TensorFile> open_npy(const std::filesystem::path& file) {
  return open_npy(MappedFile(file, "npy file"));
}

std::unique_ptr<TensorFile> open_npy(MappedFile file) {
  return std::make_unique<NpyFile>(std::move(file));
}

void write_npy(const std::filesystem::path& file, const TensorView& tensor) {
  std::string header;
  try {
    header = npy_header(tensor);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", file.string(), e.what()));
  }
  write_atomically(file, [&](std::ostream& out) {
    out << header;
    out.write(reinterpret_cast<const char*>(tensor.bytes.data()),
              static_cast<std::streamsize>(tensor.bytes.size()));
  });
}

}  // namespace olab

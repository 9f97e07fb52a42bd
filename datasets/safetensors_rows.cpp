#include "datasets/safetensors_rows.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "core/error.hpp"

namespace olab {
namespace fs = std::filesystem;
namespace {

constexpr std::uint64_t kPrefix = 8;
constexpr std::uint64_t kAlignment = 64;
// Values that are encoded at once: their copy stays small beside the matrix that they come from.
constexpr Index kChunkValues = Index{1} << 20;

// An open file that is closed in the end.
class Descriptor {
 public:
  Descriptor() = default;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }
  bool open(const fs::path& file, int flags) {
    close();
    constexpr int kMode = 0666;
    value_ = ::open(file.c_str(), flags | O_CLOEXEC, kMode);  // NOLINT(cppcoreguidelines-pro-type-vararg)
    return value_ >= 0;
  }
  // False, with errno, where the system could not write what it had taken.
  bool close() {
    if (value_ < 0) return true;
    return ::close(std::exchange(value_, -1)) == 0;
  }
  bool is_open() const { return value_ >= 0; }
  int value() const { return value_; }

 private:
  int value_ = -1;
};

std::string header_of(const std::string& tensor, DType dtype, Index rows, Index columns,
                      std::uint64_t data_bytes) {
  nlohmann::ordered_json entry;
  entry["dtype"] = dtype_name(dtype);
  entry["shape"] = {rows, columns};
  entry["data_offsets"] = {std::uint64_t{0}, data_bytes};
  std::string text;
  try {
    text = nlohmann::ordered_json{{tensor, entry}}.dump();
  } catch (const nlohmann::json::exception& e) {
    throw Error(fmt::format("the tensor's name is not valid UTF-8 ({})", e.what()));
  }
  const std::uint64_t total = (kPrefix + text.size() + kAlignment - 1) / kAlignment * kAlignment;
  text.resize(total - kPrefix, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

}  // namespace

struct SafetensorsRows::State {
  fs::path file;
  DType dtype = DType::f32;
  Index rows = 0;
  Index columns = 0;
  std::string header;
  Index written = 0;
  Descriptor descriptor;

  std::uint64_t row_bytes() const { return static_cast<std::uint64_t>(columns) * dtype_size(dtype); }
  std::uint64_t bytes(Index count) const {
    return header.size() + static_cast<std::uint64_t>(count) * row_bytes();
  }
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(fmt::format("{}: {}", file.string(), message));
  }
  [[noreturn]] void fail_to_write(int reason) {
    descriptor.close();
    fail(fmt::format("it cannot be written ({}); check the folder, its permissions and the disk's free space",
                     std::generic_category().message(reason)));
  }
  void write(const char* from, std::size_t count) {
    while (count > 0) {
      const ssize_t done = ::write(descriptor.value(), from, count);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail_to_write(errno);
      from += done;
      count -= static_cast<std::size_t>(done);
    }
  }
  // The first bytes of the file are this tensor's header.
  bool has_header(const Descriptor& of) const {
    std::string start(header.size(), '\0');
    std::size_t have = 0;
    while (have < start.size()) {
      const ssize_t got =
          ::pread(of.value(), start.data() + have, start.size() - have, static_cast<off_t>(have));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      have += static_cast<std::size_t>(got);
    }
    return start == header;
  }
};

SafetensorsRows::SafetensorsRows(fs::path file, const std::string& tensor, DType dtype, Index rows,
                                 Index columns)
    : state_(std::make_unique<State>()) {
  state_->file = std::move(file);
  state_->dtype = dtype;
  state_->rows = rows;
  state_->columns = columns;
  if (dtype == DType::unsupported) state_->fail("this dtype cannot be written");
  if (tensor.empty() || tensor == "__metadata__" || tensor.find('\0') != std::string::npos)
    state_->fail(fmt::format("'{}' cannot be the name of a tensor", tensor));
  const std::vector<Index> shape{rows, columns};
  Index count = 0;
  Index bytes = 0;
  if (rows < 1 || columns < 1 || !element_count(shape, count) ||
      __builtin_mul_overflow(count, static_cast<Index>(dtype_size(dtype)), &bytes))
    state_->fail(fmt::format("a tensor of shape {} cannot be written", shape_text(shape)));
  try {
    state_->header = header_of(tensor, dtype, rows, columns, static_cast<std::uint64_t>(bytes));
  } catch (const Error& e) {
    state_->fail(e.what());
  }
}

SafetensorsRows::~SafetensorsRows() = default;

void SafetensorsRows::create() {
  state_->written = 0;
  if (!state_->descriptor.open(state_->file, O_WRONLY | O_CREAT | O_TRUNC)) state_->fail_to_write(errno);
  state_->write(state_->header.data(), state_->header.size());
}

void SafetensorsRows::resume(Index written) {
  State& s = *state_;
  if (written < 0 || written > s.rows)
    s.fail(fmt::format("it is to go on behind row {}, but the tensor has {} rows", written, s.rows));
  if (!s.descriptor.open(s.file, O_RDWR))
    s.fail(fmt::format("it cannot be opened to go on with it ({})", std::generic_category().message(errno)));
  if (!s.has_header(s.descriptor)) {
    s.descriptor.close();
    s.fail("it holds another tensor than the one that was begun; remove it and begin anew");
  }
  const off_t size = ::lseek(s.descriptor.value(), 0, SEEK_END);
  const std::uint64_t wanted = s.bytes(written);
  if (size < 0 || static_cast<std::uint64_t>(size) < wanted) {
    s.descriptor.close();
    s.fail(fmt::format("{} rows were written, but its {} bytes hold fewer; remove it and begin anew", written,
                       static_cast<std::int64_t>(size)));
  }
  if (::ftruncate(s.descriptor.value(), static_cast<off_t>(wanted)) != 0 ||
      ::lseek(s.descriptor.value(), static_cast<off_t>(wanted), SEEK_SET) < 0)
    s.fail_to_write(errno);
  s.written = written;
}

void SafetensorsRows::append(const ConstMatrixRef& values) {
  State& s = *state_;
  if (!s.descriptor.is_open()) s.fail("rows are appended to a file that is not open");
  if (values.cols() != s.columns)
    s.fail(fmt::format("rows of {} values are appended to a tensor of {} columns", values.cols(), s.columns));
  if (values.rows() > s.rows - s.written)
    s.fail(fmt::format("{} rows are appended behind the first {}, but {} were announced", values.rows(),
                       s.written, s.rows));
  const Index step = std::max<Index>(1, kChunkValues / s.columns);
  for (Index row = 0; row < values.rows(); row += step) {
    const Index count = std::min(step, values.rows() - row);
    std::vector<std::byte> bytes;
    try {
      bytes = encode(values.middleRows(row, count), s.dtype);
    } catch (const Error& e) {
      s.descriptor.close();
      s.fail(fmt::format("in the rows from {} on: {}", s.written, e.what()));
    }
    s.write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    s.written += count;
  }
}

Index SafetensorsRows::written() const {
  return state_->written;
}

bool SafetensorsRows::complete() const {
  return state_->written == state_->rows;
}

void SafetensorsRows::finish() {
  State& s = *state_;
  if (!complete())
    s.fail(fmt::format("it holds {} rows, but {} were announced; append the others", s.written, s.rows));
  if (!s.descriptor.close()) s.fail_to_write(errno);
}

std::uint64_t SafetensorsRows::file_bytes() const {
  return state_->bytes(state_->rows);
}

bool SafetensorsRows::is_complete_on_disk() const {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(state_->file, error);
  if (error || size != file_bytes()) return false;
  Descriptor file;
  return file.open(state_->file, O_RDONLY) && state_->has_header(file);
}

}  // namespace olab

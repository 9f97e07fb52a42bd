// Tensors in files: what a header says, and any supported dtype as a matrix of floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/matrix.hpp"
#include "core/tensor_source.hpp"

namespace olab {

/// Element types that can be read as floats; the names are those of safetensors ("F32", "BF16", "I8").
/// `unsupported` stands for every other type that a header may name: such a tensor is listed, not read.
enum class DType { f64, f32, f16, bf16, i64, i32, i16, i8, unsupported };

std::string_view dtype_name(DType dtype);  ///< "F64" … "I8"; "?" for `unsupported`
std::size_t dtype_size(DType dtype);       ///< bytes of one element; 0 for `unsupported`
DType find_dtype(std::string_view name);   ///< `unsupported` where the name is none of ours
bool is_floating(DType dtype);

/// What a header says of one tensor.
struct TensorInfo {
  std::string name;
  DType dtype = DType::unsupported;
  std::string dtype_text;    ///< "F32", or as the header says it where unsupported ("F8_E4M3", "|b1")
  std::vector<Index> shape;  ///< every extent >= 0; empty: one value
  bool fortran = false;      ///< first index runs fastest
};

/// "[2, 3]".
std::string shape_text(std::span<const Index> shape);

/// The number of elements; false where the product does not fit an Index.
bool element_count(std::span<const Index> shape, Index& count);

/// Rows and columns of a tensor as a matrix: rank 2 as it is, rank 1 as one row, rank 3 with `slice` >= 0 as
/// its matrix number `slice`. Error, opened by `source`, for any other rank or a slice that does not exist.
std::pair<Index, Index> matrix_shape(const TensorInfo& info, Index slice, const std::string& source);

/// A tensor in memory, borrowed for the duration of a call: C order, little-endian.
struct TensorView {
  std::string name;
  DType dtype = DType::f32;
  std::vector<Index> shape;
  std::span<const std::byte> bytes;
};

/// Bytes of the view; throws Error where name, dtype, shape and byte count do not fit together.
void check_view(const TensorView& view);

/// The matrix's elements, row by row, as `dtype`. Floats are rounded to nearest even. Error where a finite
/// value does not fit (65536 as F16) or where an integer type is asked for a value that is no integer.
std::vector<std::byte> encode(const ConstMatrixRef& values, DType dtype);

/// A file with named tensors. Opening reads the header only. All members may be called from several threads.
class TensorFile : public TensorSource {
 public:
  explicit TensorFile(std::string source) : source_(std::move(source)) {}
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;
  ~TensorFile() override;

  const std::string& source() const override { return source_; }
  const std::vector<TensorInfo>& tensors() const { return tensors_; }  ///< in the order of the file
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  std::vector<std::string> names() const override;  ///< sorted
  bool contains(std::string_view name) const { return index_.contains(name); }
  /// Error with the nearest name where there is none of that name.
  const TensorInfo& at(std::string_view name) const;

  /// The first `row_limit` rows (0: all) of a tensor of rank 2, or of rank 1 as one row. Integers and F64 are
  /// rounded to float; Error where a finite F64 does not fit. NaN and infinity are handed on. Error on an
  /// unsupported dtype, another rank or a damaged file. Reads no more of the file than it must.
  Matrix read_matrix(std::string_view name, Index row_limit = 0) const;
  /// The same for matrix number `slice` of a tensor of rank 3.
  Matrix read_slice(std::string_view name, Index slice, Index row_limit = 0) const;
  /// Either of them (slice < 0: of rank 2 or 1) into memory that is there: the first out.rows() rows, which
  /// the tensor has, of its out.cols() columns. Rows of `out` follow one another without a gap.
  void read_into(std::string_view name, Index slice, MatrixRef out) const;

  Matrix matrix(std::string_view name) const override { return read_matrix(name); }
  std::vector<Index> indices(std::string_view name) const override;

  /// Has the system bring the tensor's first `row_limit` rows (0: all) into memory soon; returns at once.
  void prefetch(std::string_view name, Index row_limit = 0) const;

  /// 32 hexadecimal digits over dtype, order, shape and all bytes; the same tensor has the same hash in every
  /// format.
  std::string content_hash(std::string_view name) const;
  /// The same for one matrix of a tensor of rank 3, with its number.
  std::string content_hash(std::string_view name, Index slice) const;
  /// Of the whole file; Error where a tensor's dtype is not supported.
  std::string content_hash() const override;

 protected:
  using Sink = std::function<void(std::span<const std::byte>)>;
  /// Small enough to stay in a core's cache between two uses.
  static constexpr std::uint64_t kChunk = std::uint64_t{256} << 10;

  /// Hands bytes [begin, end) of a tensor's data to `sink` in pieces of kChunk, only the last one shorter.
  virtual void stream(std::size_t tensor, std::uint64_t begin, std::uint64_t end, const Sink& sink) const = 0;
  /// To stream from the middle costs as much as to stream everything before it.
  virtual bool is_sequential() const { return false; }
  virtual void prefetch(std::size_t /*tensor*/, std::uint64_t /*bytes*/) const {}

  /// For the constructor of a format. Error on a name that exists.
  void add_tensor(TensorInfo info);
  void set_metadata(std::map<std::string, std::string> metadata) { metadata_ = std::move(metadata); }

 private:
  std::size_t position(std::string_view name) const;
  Matrix read(std::string_view name, Index slice, Index row_limit) const;
  const TensorInfo& supported(std::string_view name, Index slice, std::string& what) const;
  std::string hash(std::string_view name, Index slice) const;

  std::string source_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::size_t, std::less<>> index_;
  std::map<std::string, std::string> metadata_;
};

/// Opens a .safetensors, .npy or .npz file by its extension; Error on any other.
std::unique_ptr<TensorFile> open_tensor_file(const std::filesystem::path& file);

}  // namespace olab

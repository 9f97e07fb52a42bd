#include "datasets/tensor.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/parallel.hpp"
#include "core/text.hpp"
#include "core/widen.hpp"
#include "datasets/npy.hpp"
#include "datasets/npz.hpp"
#include "datasets/safetensors.hpp"

namespace olab {
namespace {

// All three formats hold little-endian numbers, and they are copied as they are.
static_assert(std::endian::native == std::endian::little,
              "tensor files are read on little-endian machines only");

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<DTypeRow, 8> kDTypes{{{DType::f64, "F64", 8},
                                           {DType::f32, "F32", 4},
                                           {DType::f16, "F16", 2},
                                           {DType::bf16, "BF16", 2},
                                           {DType::i64, "I64", 8},
                                           {DType::i32, "I32", 4},
                                           {DType::i16, "I16", 2},
                                           {DType::i8, "I8", 1}}};

// Calls f with a value of the C++ type of `dtype`.
template <class F>
void with_type(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f64:
      return f(double{});
    case DType::f32:
      return f(float{});
    case DType::f16:
      return f(Eigen::half{});
    case DType::bf16:
      return f(Eigen::bfloat16{});
    case DType::i64:
      return f(std::int64_t{});
    case DType::i32:
      return f(std::int32_t{});
    case DType::i16:
      return f(std::int16_t{});
    case DType::i8:
      return f(std::int8_t{});
    case DType::unsupported:
      break;
  }
}

// Files promise no alignment.
template <class T>
T element(const std::byte* from) {
  if constexpr (std::is_arithmetic_v<T>) {
    T value{};
    std::memcpy(&value, from, sizeof value);
    return value;
  } else {
    return Eigen::numext::bit_cast<T>(element<std::uint16_t>(from));
  }
}

// A matrix that is filled from a stream of bytes of one tensor.
struct Target {
  MatrixRef& out;  // its rows may be fewer than the tensor's
  Index rows;      // of the tensor's matrix
  Index slices;    // Fortran order: matrices of a rank-3 tensor lie interleaved
  Index slice;     // which of them
  const std::string& what;
};

template <class T>
float as_float(T value, Index row, Index column, const std::string& what) {
  const auto narrow = static_cast<float>(value);
  if constexpr (std::is_same_v<T, double>) {
    if (std::isfinite(value) && !std::isfinite(narrow))
      throw Error(
          fmt::format("{}: {} at row {}, column {} does not fit a 32-bit float; rescale it or save it as F32",
                      what, value, row, column));
  }
  return narrow;
}

template <class T>
void copy_c_order(std::span<const std::byte> bytes, Index first, const Target& to) {
  float* const out = to.out.data() + first;
  const auto count = static_cast<Index>(bytes.size() / sizeof(T));
  if constexpr (std::is_same_v<T, float>) {
    std::memcpy(out, bytes.data(), bytes.size());
  } else if constexpr (std::is_same_v<T, Eigen::half>) {
    widen_f16(bytes.data(), count, out);
  } else if constexpr (std::is_same_v<T, Eigen::bfloat16>) {
    widen_bf16(bytes.data(), count, out);
  } else {
    for (Index i = 0; i < count; ++i)
      out[i] = as_float(element<T>(bytes.data() + i * static_cast<Index>(sizeof(T))),
                        (first + i) / to.out.cols(), (first + i) % to.out.cols(), to.what);
  }
}

// Element k of the stream is slice k % slices, row k / slices % rows, column k / slices / rows.
template <class T>
void copy_fortran_order(std::span<const std::byte> bytes, Index first, const Target& to) {
  const Index end = first + static_cast<Index>(bytes.size() / sizeof(T));
  Index k = first + (to.slice - first % to.slices + to.slices) % to.slices;
  while (k < end) {
    const Index row = k / to.slices % to.rows;
    const Index column = k / to.slices / to.rows;
    if (row >= to.out.rows()) {
      k += (to.rows - row) * to.slices;  // rows beyond the limit: their pages are never touched
      continue;
    }
    to.out(row, column) = as_float(element<T>(bytes.data() + (k - first) * static_cast<Index>(sizeof(T))),
                                   row, column, to.what);
    k += to.slices;
  }
}

[[noreturn]] void refuse_dtype(const std::string& what, const std::string& dtype) {
  std::string remedy = "save it as F32, F16 or BF16";
  if (dtype.find('O') != std::string::npos && dtype.size() <= 2)
    remedy = "it holds pickled Python objects, which are never loaded; save a plain array of floats";
  else if (dtype == "|V2" || dtype == "<V2")
    // NumPy has no BF16 and writes it as two bytes of no type. Taking that for BF16 would be a guess.
    remedy =
        "NumPy writes BF16 like this and forgets the type; save it as F32, or as BF16 in a safetensors file";
  else if (dtype.starts_with('>'))
    remedy = "it is big-endian; save it again on a little-endian machine or with .astype('<f4')";
  throw Error(fmt::format("{}: dtype {} is not supported (F64 F32 F16 BF16 I64 I32 I16 I8 are); {}", what,
                          dtype, remedy));
}

template <class T>
T encoded(float value, Index row, Index column, DType dtype) {
  if constexpr (std::is_integral_v<T>) {
    // Both bounds are powers of two, so they are exact floats.
    const auto low = static_cast<float>(std::numeric_limits<T>::min());
    if (!(value >= low && value < -low) || std::nearbyint(value) != value)
      throw Error(fmt::format("{} at row {}, column {} is no integer of type {}; use F32", value, row, column,
                              dtype_name(dtype)));
    return static_cast<T>(value);
  } else {
    const auto out = static_cast<T>(value);
    if (std::isfinite(value) && !std::isfinite(static_cast<float>(out)))
      throw Error(fmt::format("{} at row {}, column {} does not fit {}; use F32 or BF16", value, row, column,
                              dtype_name(dtype)));
    return out;
  }
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  for (const DTypeRow& row : kDTypes)
    if (row.dtype == dtype) return row.name;
  return "?";
}

std::size_t dtype_size(DType dtype) {
  for (const DTypeRow& row : kDTypes)
    if (row.dtype == dtype) return row.size;
  return 0;
}

DType find_dtype(std::string_view name) {
  for (const DTypeRow& row : kDTypes)
    if (row.name == name) return row.dtype;
  return DType::unsupported;
}

bool is_floating(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

std::string shape_text(std::span<const Index> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

bool element_count(std::span<const Index> shape, Index& count) {
  count = 1;
  // NOLINTNEXTLINE(readability-use-anyofallof): the product is the result, the test a by-product
  for (const Index extent : shape)
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) return false;
  return true;
}

std::pair<Index, Index> matrix_shape(const TensorInfo& info, Index slice, const std::string& source) {
  const std::vector<Index>& s = info.shape;
  if (slice >= 0) {
    if (s.size() != 3)
      throw Error(fmt::format("{}: tensor '{}' has shape {}; [layers, rows, columns] was expected", source,
                              info.name, shape_text(s)));
    if (slice >= s[0])
      throw Error(
          fmt::format("{}: tensor '{}' has shape {}, so there is no layer {} in it (they count from 0)",
                      source, info.name, shape_text(s), slice));
    return {s[1], s[2]};
  }
  if (s.size() == 1) return {1, s[0]};
  if (s.size() == 2) return {s[0], s[1]};
  throw Error(
      fmt::format("{}: tensor '{}' has shape {}; a matrix [rows, columns] was expected, so reshape it",
                  source, info.name, shape_text(s)));
}

void check_view(const TensorView& view) {
  Index count = 0;
  if (view.dtype == DType::unsupported)
    throw Error(fmt::format("tensor '{}': an unsupported dtype cannot be written", view.name));
  if (!element_count(view.shape, count) ||
      static_cast<std::uint64_t>(count) >
          std::numeric_limits<std::uint64_t>::max() / dtype_size(view.dtype) ||
      static_cast<std::uint64_t>(count) * dtype_size(view.dtype) != view.bytes.size())
    throw Error(fmt::format("tensor '{}': {} bytes are no {} of shape {}", view.name, view.bytes.size(),
                            dtype_name(view.dtype), shape_text(view.shape)));
}

std::vector<std::byte> encode(const ConstMatrixRef& values, DType dtype) {
  std::vector<std::byte> out(static_cast<std::size_t>(values.size()) * dtype_size(dtype));
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    std::byte* to = out.data();
    for (Index r = 0; r < values.rows(); ++r) {
      for (Index c = 0; c < values.cols(); ++c) {
        const T value = encoded<T>(values(r, c), r, c, dtype);
        std::memcpy(to, &value, sizeof value);
        to += sizeof value;
      }
    }
  });
  return out;
}

TensorFile::~TensorFile() = default;

void TensorFile::add_tensor(TensorInfo info) {
  if (!index_.emplace(info.name, tensors_.size()).second)
    throw Error(fmt::format("{}: two tensors are named '{}'", source_, info.name));
  tensors_.push_back(std::move(info));
}

std::size_t TensorFile::position(std::string_view name) const {
  const auto it = index_.find(name);
  if (it != index_.end()) return it->second;
  std::vector<std::string> known;
  for (const auto& [other, at] : index_) known.push_back(other);
  const std::string near = nearest(name, known);
  throw Error(fmt::format(
      "{}: there is no tensor '{}'{}", source_, name,
      near.empty() ? fmt::format(" among its {}", known.size()) : fmt::format("; did you mean '{}'?", near)));
}

const TensorInfo& TensorFile::at(std::string_view name) const {
  return tensors_[position(name)];
}

Matrix TensorFile::read_matrix(std::string_view name, Index row_limit) const {
  return read(name, -1, row_limit);
}

Matrix TensorFile::read_slice(std::string_view name, Index slice, Index row_limit) const {
  return read(name, std::max<Index>(slice, 0), row_limit);
}

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> out;
  for (const auto& [name, at] : index_) out.push_back(name);
  return out;
}

std::vector<Index> TensorFile::indices(std::string_view name) const {
  const std::size_t tensor = position(name);
  const TensorInfo& info = tensors_[tensor];
  if (info.dtype != DType::i64 || info.shape.size() != 1)
    throw Error(fmt::format("{}: tensor '{}' is {} of shape {}; a list of I64 was expected", source_, name,
                            info.dtype_text, shape_text(info.shape)));
  std::vector<Index> out;
  out.reserve(static_cast<std::size_t>(info.shape.front()));
  stream(tensor, 0, static_cast<std::uint64_t>(info.shape.front()) * sizeof(Index),
         [&](std::span<const std::byte> bytes) {
           for (std::size_t at = 0; at < bytes.size(); at += sizeof(Index))
             out.push_back(element<Index>(bytes.data() + at));
         });
  return out;
}

std::string TensorFile::content_hash() const {
  Hasher hasher;
  hasher.add(std::uint64_t{metadata_.size()});
  for (const auto& [key, text] : metadata_) hasher.add(key).add(text);
  for (const auto& [name, at] : index_) hasher.add(name).add(content_hash(name));
  return hasher.hex();
}

std::string TensorFile::content_hash(std::string_view name) const {
  return hash(name, -1);
}

std::string TensorFile::content_hash(std::string_view name, Index slice) const {
  return hash(name, std::max<Index>(slice, 0));
}

Matrix TensorFile::read(std::string_view name, Index slice, Index row_limit) const {
  std::string what;
  const auto [rows, columns] = matrix_shape(supported(name, slice, what), slice, source_);
  Matrix out = large_matrix(row_limit > 0 ? std::min(row_limit, rows) : rows, columns);
  read_into(name, slice, out);
  return out;
}

const TensorInfo& TensorFile::supported(std::string_view name, Index slice, std::string& what) const {
  const TensorInfo& info = tensors_[position(name)];
  what = fmt::format("{}: tensor '{}'", source_, name);
  if (slice >= 0) what += fmt::format(", layer {}", slice);
  if (info.dtype == DType::unsupported) refuse_dtype(what, info.dtype_text);
  return info;
}

// Writable views go by value in this project: a const reference would hide that they are written.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void TensorFile::read_into(std::string_view name, Index slice, MatrixRef out) const {
  const std::size_t tensor = position(name);
  std::string what;
  const TensorInfo& info = supported(name, slice, what);
  const auto [rows, columns] = matrix_shape(info, slice, source_);
  assert(out.rows() <= rows && out.cols() == columns && (out.rows() <= 1 || out.outerStride() == columns));
  if (out.size() == 0) return;

  const std::uint64_t size = dtype_size(info.dtype);
  const Index slices = slice >= 0 && info.fortran ? info.shape[0] : 1;
  // C order: the wanted rows are one run of bytes. Fortran order: they are spread over the whole tensor.
  const Index first = slice >= 0 && !info.fortran ? slice * rows * columns : 0;
  const Index count = info.fortran ? slices * rows * columns : out.size();
  const Target target{out, rows, slices, slices > 1 ? slice : 0, what};
  constexpr Index kPerTask = Index{1} << 21U;
  parallel_for(count, is_sequential() ? count : kPerTask, [&](Index begin, Index end) {
    Index done = begin;
    stream(tensor, static_cast<std::uint64_t>(first + begin) * size,
           static_cast<std::uint64_t>(first + end) * size, [&](std::span<const std::byte> bytes) {
             with_type(info.dtype, [&](auto type) {
               using T = decltype(type);
               if (info.fortran)
                 copy_fortran_order<T>(bytes, done, target);
               else
                 copy_c_order<T>(bytes, done, target);
             });
             done += static_cast<Index>(bytes.size() / size);
           });
  });
}

void TensorFile::prefetch(std::string_view name, Index row_limit) const {
  const std::size_t tensor = position(name);
  const TensorInfo& info = tensors_[tensor];
  Index count = 0;
  element_count(info.shape, count);
  if (row_limit > 0 && info.shape.size() == 2 && !info.fortran)
    count = std::min(row_limit, info.shape[0]) * info.shape[1];
  prefetch(tensor, static_cast<std::uint64_t>(count) * dtype_size(info.dtype));
}

std::string TensorFile::hash(std::string_view name, Index slice) const {
  const std::size_t tensor = position(name);
  const TensorInfo& info = tensors_[tensor];
  if (info.dtype == DType::unsupported)
    refuse_dtype(fmt::format("{}: tensor '{}'", source_, name), info.dtype_text);
  Hasher hasher;
  hasher.add(dtype_name(info.dtype))
      .add(info.fortran ? "Fortran" : "C")
      .add(std::uint64_t{info.shape.size()});
  for (const Index extent : info.shape) hasher.add(static_cast<std::uint64_t>(extent));
  Index count = 0;
  element_count(info.shape, count);
  Index first = 0;
  if (slice >= 0) {
    const auto [rows, columns] = matrix_shape(info, slice, source_);
    hasher.add(static_cast<std::uint64_t>(slice));
    if (!info.fortran) {
      count = rows * columns;
      first = slice * count;
    }
  }
  const std::uint64_t size = dtype_size(info.dtype);
  stream(tensor, static_cast<std::uint64_t>(first) * size, static_cast<std::uint64_t>(first + count) * size,
         [&](std::span<const std::byte> bytes) { hasher.add(bytes); });
  return hasher.hex();
}

std::unique_ptr<TensorFile> open_tensor_file(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  if (extension == ".safetensors") return open_safetensors(file);
  if (extension == ".npy") return open_npy(file);
  if (extension == ".npz") return open_npz(file);
  throw Error(fmt::format("{}: a .safetensors, .npy or .npz file was expected", file.string()));
}

}  // namespace olab

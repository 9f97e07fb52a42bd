// npy: one array, after a header that is a Python dict in text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "datasets/mapped_file.hpp"
#include "datasets/tensor.hpp"

namespace olab {

/// What an npy header says.
struct NpyHeader {
  TensorInfo info;               ///< without a name
  std::uint64_t data_begin = 0;  ///< bytes of magic, version, length and header
  std::uint64_t data_size = 0;   ///< bytes of the array; 0 where the dtype is unsupported
};

/// No header is longer: NumPy's own limit of 10,000 characters behind the longest prefix.
inline constexpr std::uint64_t kLongestNpyHeader = 12 + 10'000;

/// Parses the first bytes of an npy file or entry (all of it, or at least kLongestNpyHeader bytes). Versions
/// 1 to 3. Error with the byte's offset.
///
/// Stricter than NumPy on purpose, because each of these is a sign of a faulty or hostile writer: a shape
/// with a negative extent (NumPy 1.24 takes -1 for a wildcard), Python-2 (`2L`), hexadecimal, signed and
/// padded integers, a key that stands twice, a header without the newline at its end, other white space than
/// spaces, backslashes in texts, and descr without a byte order ("f4", "=f4", "|f4", "float32"). Structured
/// dtypes are refused. As in NumPy, the header must have exactly the keys descr, fortran_order and shape, in
/// any order.
NpyHeader parse_npy_header(std::span<const std::byte> start, const std::string& source);

/// Magic, version 1, length and header of a C-order array, padded to a multiple of 64 bytes. Error for BF16,
/// which NumPy does not have.
std::string npy_header(const TensorView& tensor);

/// Opens an npy file; its array stays on disk, mapped, as the one tensor named after the file's stem. Error
/// on a bad header, and where the array's size is not exactly what is left of the file (NumPy takes trailing
/// bytes; they are refused here, because they mean a wrong shape or several arrays in one file).
std::unique_ptr<TensorFile> open_npy(const std::filesystem::path& file);
std::unique_ptr<TensorFile> open_npy(MappedFile file);

/// Writes an npy file, version 1, C order. Error for BF16 and where the file cannot be written.
void write_npy(const std::filesystem::path& file, const TensorView& tensor);

}  // namespace olab

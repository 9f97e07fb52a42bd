// npz: a zip archive of npy arrays.
#pragma once

#include <filesystem>
#include <memory>
#include <span>

#include "datasets/mapped_file.hpp"
#include "datasets/tensor.hpp"

namespace olab {

/// Opens an npz file (stored or deflated entries, ZIP64 too). Entries whose names end in ".npy" are its
/// tensors; others are ignored. An array is decompressed when it is read, in pieces, no further than asked
/// for. Error on a damaged archive, an encrypted entry or another compression, two entries of one name, a bad
/// npy header, an entry whose size is not what its header says, and on what a zip bomb is made of: an entry
/// larger than deflate can make it out of its bytes, or entries that together claim more bytes than the file
/// has. The checksum of an entry is checked whenever it is read to its end.
std::unique_ptr<TensorFile> open_npz(const std::filesystem::path& file);
std::unique_ptr<TensorFile> open_npz(MappedFile file);

enum class Compression { stored, deflated };

/// Writes an npz file: npy version 1, C order, without a time stamp, so the same tensors give the same bytes.
/// Error on no tensors, on two equal names, for BF16, and where the file cannot be written.
void write_npz(const std::filesystem::path& file, std::span<const TensorView> tensors,
               Compression compression);

}  // namespace olab

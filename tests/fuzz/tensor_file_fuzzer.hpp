// What every tensor format must stand: any bytes give an Error or tensors that can be read.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "core/error.hpp"
#include "datasets/mapped_file.hpp"
#include "datasets/tensor.hpp"

namespace olab::fuzz {

/// A promise that was broken: libFuzzer keeps the input.
inline void require(bool promise) {
  if (!promise) std::abort();
}

/// Reads the tensor whole and in part; both must agree, and a hash must come out.
inline void read_tensor(const TensorFile& file, const TensorInfo& info) {
  const Index slice = info.shape.size() == 3 && info.shape[0] > 0 ? info.shape[0] - 1 : -1;
  const auto read = [&](Index rows) {
    return slice >= 0 ? file.read_slice(info.name, slice, rows) : file.read_matrix(info.name, rows);
  };
  try {
    const Matrix whole = read(0);
    const Matrix start = read(1);
    require(start.rows() <= 1 && start.cols() == whole.cols());
    for (Index c = 0; c < start.cols() && start.rows() == 1; ++c)
      require(start(0, c) == whole(0, c) || start(0, c) != start(0, c));
    require(file.content_hash(info.name).size() == 32);
  } catch (const Error& e) {
    require(*e.what() != '\0');
  }
}

/// Feeds `data` to `open` as a file in memory.
template <class Open>
int tensor_file(const std::uint8_t* data, std::size_t size, const Open& open) {
  try {
    const auto file = open(MappedFile(std::as_bytes(std::span(data, size)), "fuzz"));
    for (const TensorInfo& info : file->tensors()) read_tensor(*file, info);
  } catch (const Error& e) {
    require(*e.what() != '\0');
  }
  return 0;
}

}  // namespace olab::fuzz

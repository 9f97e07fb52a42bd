#include "datasets/safetensors.hpp"

#include "tensor_file_fuzzer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return olab::fuzz::tensor_file(
      data, size, [](olab::MappedFile file) { return olab::open_safetensors(std::move(file)); });
}

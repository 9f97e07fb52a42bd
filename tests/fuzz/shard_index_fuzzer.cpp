#include "models/checkpoint.hpp"
#include "tensor_file_fuzzer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    for (const auto& [tensor, file] :
         olab::parse_shard_index({reinterpret_cast<const char*>(data), size}, "fuzz")) {
      // No name leads out of the folder.
      const std::filesystem::path path(file);
      olab::fuzz::require(path.filename() == path && file != ".." && file != ".");
      olab::fuzz::require(file.find('\0') == std::string::npos);
    }
  } catch (const olab::Error& e) {
    olab::fuzz::require(*e.what() != '\0');
  }
  return 0;
}

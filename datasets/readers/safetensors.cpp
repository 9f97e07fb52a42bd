// A bare safetensors file with tensors "<layer>.x" and "<layer>.weight".
#include "datasets/safetensors.hpp"

#include "datasets/tensor_recording.hpp"

namespace olab {
namespace {

class SafetensorsReader final : public Reader {
 public:
  // By extension alone: a damaged file then gets the parser's own words.
  bool recognises(const std::filesystem::path& path) const override {
    std::error_code ignored;
    return path.extension() == ".safetensors" && !std::filesystem::is_directory(path, ignored);
  }
  std::unique_ptr<Recording> open(const std::filesystem::path& path) const override {
    const std::shared_ptr<const TensorFile> file = open_safetensors(path);
    return layers_by_name(file, file->metadata());
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(safetensors) {
  r.readers.add(olab::Schema<olab::SafetensorsReader>(
      "safetensors", "A .safetensors file with tensors '<layer>.x' and '<layer>.weight'",
      "huggingface/safetensors"));
}

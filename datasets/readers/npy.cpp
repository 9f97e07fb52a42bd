// A single .npy array: the activations of one layer, without weights.
#include "datasets/npy.hpp"

#include "datasets/tensor_recording.hpp"

namespace olab {
namespace {

class NpyReader final : public Reader {
 public:
  bool recognises(const std::filesystem::path& path) const override {
    std::error_code ignored;
    return path.extension() == ".npy" && !std::filesystem::is_directory(path, ignored);
  }
  std::unique_ptr<Recording> open(const std::filesystem::path& path) const override {
    const std::shared_ptr<const TensorFile> file = open_npy(path);
    LayerParts layer;
    layer.name = file->tensors().front().name;
    layer.x = part_of(file, layer.name);
    std::vector<LayerParts> layers;
    layers.push_back(std::move(layer));
    return std::make_unique<TensorRecording>(path.string(), std::move(layers),
                                             std::map<std::string, std::string>{});
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(npy) {
  r.readers.add(olab::Schema<olab::NpyReader>(
      "npy", "A .npy file [tokens, in_features]: X of one layer, named after the file",
      "NumPy format specification, versions 1.0 to 3.0"));
}

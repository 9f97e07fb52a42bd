// An npz of forward hooks: "<module>.input" and "<module>.output" of every module that ran.
#include "datasets/activation_names.hpp"

#include "datasets/npz.hpp"
#include "datasets/tensor_recording.hpp"

namespace olab {
namespace {

class ActivationDumpReader final : public Reader {
 public:
  bool recognises(const std::filesystem::path& path) const override { return is_activation_dump(path); }
  std::unique_ptr<Recording> open(const std::filesystem::path& path) const override {
    const std::shared_ptr<const TensorFile> file = open_npz(path);
    std::vector<LayerParts> layers;
    for (const TensorInfo& info : file->tensors()) {
      LayerParts layer;
      layer.name = dumped_layer(info);
      if (layer.name.empty()) continue;
      layer.x = part_of(file, info.name);
      layers.push_back(std::move(layer));
    }
    return std::make_unique<TensorRecording>(path.string(), std::move(layers),
                                             std::map<std::string, std::string>{});
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(activation_dump) {
  r.readers.add(olab::Schema<olab::ActivationDumpReader>(
      "activation_dump", "A .npz file of forward hooks: '<layer>.input' of linear layers, without weights"));
}

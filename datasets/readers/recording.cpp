// A folder with manifest.json and the tensor files that it names.
#include "datasets/recording.hpp"

#include <fmt/format.h>

#include <system_error>
#include <utility>

#include "core/config.hpp"
#include "datasets/manifest.hpp"
#include "datasets/tensor_recording.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;

// The files of a folder: each is opened once to learn its header and closed again, so that a recording of a
// thousand layers does not hold a thousand files open.
class Headers {
 public:
  explicit Headers(fs::path folder) : folder_(std::move(folder)) {}
  TensorPart part(const TensorPlace& place) {
    const fs::path file = folder_ / place.file;
    auto it = known_.find(file);
    if (it == known_.end()) {
      const auto opened = open_tensor_file(file);
      std::map<std::string, TensorInfo> tensors;
      for (const TensorInfo& info : opened->tensors()) tensors.emplace(info.name, info);
      it = known_.emplace(file, std::move(tensors)).first;
    }
    const auto tensor = it->second.find(place.tensor);
    TensorPart out;
    // `at` words the error of a missing tensor.
    out.info = tensor != it->second.end() ? tensor->second : open_tensor_file(file)->at(place.tensor);
    out.source = file.string();
    out.open = [file]() -> std::shared_ptr<const TensorFile> { return open_tensor_file(file); };
    return out;
  }

 private:
  fs::path folder_;
  std::map<fs::path, std::map<std::string, TensorInfo>> known_;
};

void compare(const fs::path& manifest, const ManifestLayer& layer, const TensorPart& part, Index rows,
             Index columns) {
  const auto [real_rows, real_columns] = matrix_shape(part.info, -1, part.source);
  if (real_rows == rows && real_columns == columns) return;
  throw Error(fmt::format(
      "{}: layer '{}': the manifest says [{}, {}], but tensor '{}' of {} is {}; one of the two files "
      "is not the one that was recorded",
      manifest.string(), layer.name, rows, columns, part.info.name, part.source,
      shape_text(part.info.shape)));
}

class RecordingReader final : public Reader {
 public:
  bool recognises(const fs::path& path) const override {
    std::error_code ignored;
    return path.filename() == "manifest.json" || fs::is_regular_file(path / "manifest.json", ignored);
  }
  std::unique_ptr<Recording> open(const fs::path& path) const override {
    const fs::path file = path.filename() == "manifest.json" ? path : path / "manifest.json";
    Manifest manifest = parse_manifest(read_text_file(file, "manifest"), file.string());
    Headers headers(file.parent_path());
    std::vector<LayerParts> layers;
    for (const ManifestLayer& layer : manifest.layers) {
      LayerParts parts;
      parts.name = layer.name;
      parts.x = headers.part(layer.x);
      compare(file, layer, parts.x, layer.tokens, layer.in_features);
      if (layer.weight) {
        parts.weight = headers.part(*layer.weight);
        compare(file, layer, *parts.weight, layer.out_features, layer.in_features);
      }
      layers.push_back(std::move(parts));
    }
    return std::make_unique<TensorRecording>(path.string(), std::move(layers), std::move(manifest.facts));
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(recording) {
  r.readers.add(olab::Schema<olab::RecordingReader>(
      "recording", "A folder with manifest.json and the tensor files that it names",
      "datasets/manifest.hpp"));
}

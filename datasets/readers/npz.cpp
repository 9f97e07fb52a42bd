// A bare npz file with arrays "<layer>.x" and "<layer>.weight".
#include "datasets/npz.hpp"

#include "datasets/activation_names.hpp"
#include "datasets/tensor_recording.hpp"

namespace olab {
namespace {

class NpzReader final : public Reader {
 public:
  // Every npz that is no activation dump, so that a damaged one gets the parser's own words.
  bool recognises(const std::filesystem::path& path) const override {
    std::error_code ignored;
    return path.extension() == ".npz" && !std::filesystem::is_directory(path, ignored) &&
           !is_activation_dump(path);
  }
  std::unique_ptr<Recording> open(const std::filesystem::path& path) const override {
    const std::shared_ptr<const TensorFile> file = open_npz(path);
    return layers_by_name(file, {});
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(npz) {
  r.readers.add(olab::Schema<olab::NpzReader>(
      "npz", "A .npz file with arrays '<layer>.x' and '<layer>.weight'", "NumPy savez, savez_compressed"));
}

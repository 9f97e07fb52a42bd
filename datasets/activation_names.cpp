#include "datasets/activation_names.hpp"

#include <algorithm>
#include <system_error>

#include "core/error.hpp"
#include "datasets/npz.hpp"
#include "datasets/recording.hpp"

namespace olab {

std::string dumped_layer(const TensorInfo& tensor) {
  constexpr std::string_view kInput = ".input";
  if (!tensor.name.ends_with(kInput) || !is_floating(tensor.dtype)) return {};
  std::string layer = tensor.name.substr(0, tensor.name.size() - kInput.size());
  const std::string kind = layer_kind(layer);
  if (!kind.ends_with("_proj") && kind != "fc1" && kind != "fc2" && kind != "lm_head") return {};
  return layer.starts_with("layers.") ? "model." + layer : layer;
}

bool is_activation_dump(const std::filesystem::path& path) {
  std::error_code ignored;
  if (path.extension() != ".npz" || !std::filesystem::is_regular_file(path, ignored)) return false;
  try {
    const auto file = open_npz(path);
    const auto& tensors = file->tensors();
    return std::ranges::any_of(tensors, [](const TensorInfo& t) { return !dumped_layer(t).empty(); }) &&
           std::ranges::none_of(tensors, [](const TensorInfo& t) { return t.name.ends_with(".x"); });
  } catch (const Error&) {
    return false;
  }
}

}  // namespace olab

#include "experiments/builtins.hpp"

#include "core/plugin.hpp"
#include "datasets/tensor.hpp"

namespace olab {

Registries make_registries(const std::vector<std::filesystem::path>& plugins) {
  Registries out;
  register_datasets(out);
  register_methods(out);
  register_metrics(out);
  register_results(out);
  register_models(out);
  out.open_tensors = open_tensor_file;
  for (const std::filesystem::path& file : plugins) load_plugin(file, out);
  return out;
}

}  // namespace olab

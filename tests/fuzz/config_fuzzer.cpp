#include "models/architecture.hpp"
#include "models/json_config.hpp"
#include "models/model_tensors.hpp"
#include "tensor_file_fuzzer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const olab::Registries registries = [] {
    olab::Registries r;
    olab::register_models(r);
    return r;
  }();
  olab::ConfigNode config;
  try {
    config = olab::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const olab::Error&) {
    return 0;
  }
  for (const std::string& name : registries.architectures.names()) {
    try {
      const olab::ModelSpec spec =
          registries.architectures.make(olab::Spec{name, {}}, registries)->read(config);
      // What was read is a model: every tensor of it has a size that can be counted.
      olab::fuzz::require(spec.layers > 0 && !spec.linears.empty() && spec.heads % spec.kv_heads == 0);
      olab::fuzz::require(!spec.rotary || spec.head_dim % 2 == 0);
      for (const auto& tensors : {olab::outer_tensors(spec), olab::block_tensors(spec, spec.layers - 1)})
        for (const olab::ModelTensor& tensor : tensors) {
          olab::Index count = 0;
          olab::fuzz::require(olab::element_count(tensor.shape, count) && count > 0);
        }
    } catch (const olab::Error& e) {
      olab::fuzz::require(*e.what() != '\0');
    }
  }
  return 0;
}

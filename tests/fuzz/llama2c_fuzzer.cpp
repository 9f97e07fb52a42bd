#include "models/llama2c.hpp"

#include <map>

#include "models/model_tensors.hpp"
#include "tensor_file_fuzzer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const olab::MappedFile file(std::as_bytes(std::span(data, size)), "fuzz");
    const olab::Llama2cModel model = olab::parse_llama2c(file);
    // Exactly the tensors of the model, each with its shape, and no more bytes than the file has.
    std::map<std::string, std::vector<olab::Index>> found;
    std::size_t bytes = 0;
    for (const olab::TensorView& view : model.tensors) {
      olab::check_view(view);
      olab::fuzz::require(found.emplace(view.name, view.shape).second);
      bytes += view.bytes.size();
    }
    olab::fuzz::require(bytes < size);
    std::vector<olab::ModelTensor> wanted = olab::outer_tensors(model.spec);
    for (olab::Index block = 0; block < model.spec.layers; ++block)
      for (olab::ModelTensor& tensor : olab::block_tensors(model.spec, block))
        wanted.push_back(std::move(tensor));
    olab::fuzz::require(wanted.size() == found.size());
    for (const olab::ModelTensor& tensor : wanted) olab::fuzz::require(found.at(tensor.name) == tensor.shape);
  } catch (const olab::Error& e) {
    olab::fuzz::require(*e.what() != '\0');
  }
  return 0;
}

#include "datasets/manifest.hpp"

#include "tensor_file_fuzzer.hpp"

namespace {

bool same(const olab::TensorPlace& a, const olab::TensorPlace& b) {
  return a.file == b.file && a.tensor == b.tensor;
}

bool same(const olab::ManifestLayer& a, const olab::ManifestLayer& b) {
  return a.name == b.name && a.tokens == b.tokens && a.in_features == b.in_features &&
         a.out_features == b.out_features && same(a.x, b.x) && a.weight.has_value() == b.weight.has_value() &&
         (!a.weight || same(*a.weight, *b.weight));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  olab::Manifest first;
  try {
    first = olab::parse_manifest({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const olab::Error&) {
    return 0;
  }
  // What was read can be written, and reads back equal; an Error here would be a bug.
  const olab::Manifest again = olab::parse_manifest(olab::manifest_text(first), "again");
  olab::fuzz::require(first.facts == again.facts && first.layers.size() == again.layers.size());
  for (std::size_t i = 0; i < first.layers.size(); ++i)
    olab::fuzz::require(same(first.layers[i], again.layers[i]));
  return 0;
}

#include "core/config.hpp"

#include "tensor_file_fuzzer.hpp"

namespace {

bool same(const olab::ConfigNode& a, const olab::ConfigNode& b) {
  if (a.kind != b.kind || a.scalar != b.scalar || a.items.size() != b.items.size() ||
      a.entries.size() != b.entries.size())
    return false;
  for (std::size_t i = 0; i < a.items.size(); ++i)
    if (!same(a.items[i], b.items[i])) return false;
  for (std::size_t i = 0; i < a.entries.size(); ++i)
    if (a.entries[i].first != b.entries[i].first || !same(a.entries[i].second, b.entries[i].second))
      return false;
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  olab::ConfigNode node;
  try {
    node = olab::parse_yaml({reinterpret_cast<const char*>(data), size}, "fuzz");
  } catch (const olab::Error&) {
    return 0;
  }
  // "Parses back to an equal tree": an Error here would be a bug.
  olab::fuzz::require(same(node, olab::parse_yaml(olab::to_yaml(node), "again")));
  return 0;
}

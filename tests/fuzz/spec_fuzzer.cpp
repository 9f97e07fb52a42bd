#include "core/registries.hpp"

#include "tensor_file_fuzzer.hpp"

namespace {

struct Probe {
  bool flag = false;
  std::int64_t count = 3;
  double ratio = 0.5;
  std::string text = "a";
  std::string mode = "one";
};

const olab::Schema<Probe>& probe() {
  static const olab::Schema<Probe> schema = [] {
    olab::Schema<Probe> s("probe", "Has a parameter of every type");
    s.param("flag", &Probe::flag, "yes or no")
        .param("count", &Probe::count, "a number of things", 0, 100)
        .also("all", 0)
        .param("ratio", &Probe::ratio, "a share", 0, 1)
        .param("text", &Probe::text, "anything")
        .choice("mode", &Probe::mode, "one of two", {"one", "two"});
    return s;
  }();
  return schema;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const olab::Registries registries;
  const olab::Info& info = probe().info();
  std::string canonical;
  try {
    const olab::Spec spec = olab::parse_spec({reinterpret_cast<const char*>(data), size});
    canonical = olab::canonical_text(info, olab::resolve_params(info, spec, registries));
  } catch (const olab::Error&) {
    return 0;
  }
  // The canonical text is a fixed point: it parses, and to itself.
  const olab::Params again = olab::resolve_params(info, olab::parse_spec(canonical), registries);
  olab::fuzz::require(olab::canonical_text(info, again) == canonical);
  return 0;
}

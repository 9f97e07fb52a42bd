#define BOOST_DLL_USE_STD_FS
#include "core/plugin.hpp"

#include <fmt/format.h>

#include <boost/dll/shared_library.hpp>
#include <utility>

namespace olab {

void load_plugin(const std::filesystem::path& file, Registries& registries) {
  namespace dll = boost::dll;
  if (!std::filesystem::exists(file))
    throw Error(fmt::format("plug-in {}: no such file; build it with olab_add_plugin (CONTRIBUTING.md)",
                            file.string()));
  // Registries and objects keep pointers into the library, so its handle lives as long as the process.
  auto library = std::make_unique<dll::shared_library>();
  try {
    // The throwing form: the error_code form loses what the dynamic linker said.
    library->load(file, dll::load_mode::rtld_now | dll::load_mode::rtld_local);
  } catch (const std::exception& e) {
    throw Error(fmt::format("plug-in {}: cannot be loaded: {}", file.string(), e.what()));
  }
  if (!library->has("olab_plugin_abi") || !library->has("olab_plugin_register"))
    throw Error(
        fmt::format("plug-in {}: it has no OLAB_REGISTER; build it with olab_add_plugin (CONTRIBUTING.md)",
                    file.string()));
  const std::string theirs = library->get<const char*()>("olab_plugin_abi")();
  if (theirs != abi_tag())
    throw Error(
        fmt::format("plug-in {}: it was built for [{}], this program is [{}]; build it again against the "
                    "installed headers",
                    file.string(), theirs, abi_tag()));
  library->get<void(Registries&)>("olab_plugin_register")(registries);
  (void)library.release();
}

const char* abi_tag() {
  return OLAB_ABI_TAG;
}

}  // namespace olab

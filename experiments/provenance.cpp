#include "experiments/provenance.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <string>

#include "core/cpu.hpp"
#include "core/text.hpp"
#include "core/version.hpp"
#include "olab_build_info.hpp"

namespace olab {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    const auto colon = line.find(':');
    if (colon != std::string::npos && trim(std::string_view(line).substr(0, colon)) == "model name")
      return std::string(trim(std::string_view(line).substr(colon + 1)));
  }
  return "unknown";
}

}  // namespace

Provenance make_provenance(int threads) {
  Provenance out;
  out.version = OLAB_VERSION;
  out.commit = OLAB_GIT_COMMIT;
  out.dirty = OLAB_GIT_DIRTY != 0;
  out.compiler = OLAB_COMPILER;
  out.flags = OLAB_FLAGS;
  out.host = host_name();
  out.cpu = cpu_model();
  out.kernel_level = cpu_level_name(cpu_level());
  out.threads = threads;
  return out;
}

std::string version_text() {
  return fmt::format("OutlierLab {} (commit {}{}, {})", OLAB_VERSION, OLAB_GIT_COMMIT,
                     OLAB_GIT_DIRTY != 0 ? ", with changes" : "", OLAB_COMPILER);
}

}  // namespace olab

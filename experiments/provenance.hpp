// Who computes, with what.
#pragma once

#include "results/store.hpp"

namespace olab {

/// Version, commit and flags of this build; host and CPU of this machine.
Provenance make_provenance(int threads);

/// "OutlierLab 0.1.0 (commit abc, GNU 12.2.0)": for --version.
std::string version_text();

}  // namespace olab

// Computes a stored run again and compares every bit.
#pragma once

#include <string>
#include <vector>

#include "core/registries.hpp"
#include "core/stop.hpp"
#include "results/store.hpp"

namespace olab {

struct VerifyReport {
  std::string study;
  std::size_t compared = 0;
  std::vector<std::string> differences;  ///< "output.nmse: stored 0.0312, now 0.0313"
  std::vector<std::string> notes;        ///< another commit, compiler or CPU than when it was stored
};

/// Error where no stored study leads to this run any more (its data moved, or the data changed).
VerifyReport verify_run(const Store& store, const RunRecord& run, const Registries& r,
                        const StopFlag* stop = nullptr);

}  // namespace olab

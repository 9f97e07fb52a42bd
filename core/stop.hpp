// A flag that says "please stop", handed down to every long computation.
#pragma once

#include <atomic>

#include "core/error.hpp"

namespace olab {

/// Set from a signal handler or another thread; read by workers. Never a global in the library: the program
/// owns one and passes it.
class StopFlag {
 public:
  void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
  bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }
  /// Throws Interrupted once a stop was requested.
  void check() const {
    if (requested()) throw Interrupted();
  }

 private:
  std::atomic<bool> requested_{false};
};

}  // namespace olab

// Threads through oneTBB, without its headers.
#pragma once

#include <functional>
#include <memory>

#include "core/matrix.hpp"

namespace olab {

/// Calls body(begin, end) over disjoint ranges that cover 0 … count-1. Ranges are cut every `grain` items,
/// whatever the number of threads, so a body whose ranges are independent gives the same bits always.
/// Never use it for a floating-point reduction across ranges.
void parallel_for(Index count, Index grain, const std::function<void(Index, Index)>& body);

/// While alive, all of the process uses at most `threads` threads (>= 1).
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads);
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;
  ~ThreadLimit();

 private:
  struct Control;
  std::unique_ptr<Control> control_;
};

/// Runs body on the calling thread; parallel_for inside of it uses at most `threads` threads (>= 1).
void with_threads(int threads, const std::function<void()>& body);

int hardware_threads();

}  // namespace olab

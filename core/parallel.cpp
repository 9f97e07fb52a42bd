#include "core/parallel.hpp"

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>

namespace olab {

void parallel_for(Index count, Index grain, const std::function<void(Index, Index)>& body) {
  if (count <= 0) return;
  const Index step = std::max<Index>(1, grain);
  const Index pieces = (count + step - 1) / step;
  if (pieces == 1) {
    body(0, count);
    return;
  }
  tbb::parallel_for(Index{0}, pieces, [&](Index piece) {
    const Index begin = piece * step;
    body(begin, std::min(count, begin + step));
  });
}

struct ThreadLimit::Control {
  explicit Control(int threads)
      : control(tbb::global_control::max_allowed_parallelism,
                static_cast<std::size_t>(std::max(1, threads))) {}
  tbb::global_control control;
};
ThreadLimit::ThreadLimit(int threads) : control_(std::make_unique<Control>(threads)) {}
ThreadLimit::~ThreadLimit() = default;

void with_threads(int threads, const std::function<void()>& body) {
  tbb::task_arena arena(std::max(1, threads));
  arena.execute(body);
}

int hardware_threads() {
  return tbb::info::default_concurrency();
}

}  // namespace olab

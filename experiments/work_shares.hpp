// What the time of a study goes into.
#pragma once

#include <atomic>
#include <chrono>

namespace olab {

/// Seconds of threads by what they did; added to from several threads.
struct WorkShares {
  std::atomic<double> load{0};
  std::atomic<double> calibrate{0};
  std::atomic<double> transform{0};
  std::atomic<double> quantize{0};
  std::atomic<double> product{0};
  std::atomic<double> measure{0};
};

/// Wall time of what it encloses, added to a share.
class Timer {
 public:
  explicit Timer(std::atomic<double>& share) : share_(share) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { (void)seconds(); }
  /// Ends the measurement.
  double seconds() {
    if (!done_) {
      seconds_ = std::chrono::duration<double>(Clock::now() - start_).count();
      share_.fetch_add(seconds_);
      done_ = true;
    }
    return seconds_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::atomic<double>& share_;
  Clock::time_point start_ = Clock::now();
  double seconds_ = 0;
  bool done_ = false;
};

}  // namespace olab

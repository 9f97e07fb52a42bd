// How far a long command is, on stderr.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <string>

namespace olab {

/// A bar with ETA on a terminal; elsewhere a plain line at most every ten seconds. Thread-safe. Silent where
/// `enabled` is false. Honours NO_COLOR.
class Progress {
 public:
  Progress(std::string what, std::size_t total, bool enabled);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  /// `count` more are done (0: only what is going on has changed, `now`).
  void advance(const std::string& now, std::size_t count = 1);
  /// A line above the bar.
  void message(const std::string& line);
  /// Clears the bar; called by the destructor too.
  void finish();

 private:
  void draw(const std::string& now);
  using Clock = std::chrono::steady_clock;
  std::mutex mutex_;
  std::string what_;
  std::size_t total_;
  std::size_t done_ = 0;
  bool enabled_;
  bool terminal_;
  bool color_;
  Clock::time_point start_;
  Clock::time_point last_;
  std::size_t width_ = 0;  // of the bar that is on the screen
};

}  // namespace olab

#include "experiments/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "core/text.hpp"

namespace olab {
namespace {

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 80;
}

void put(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(std::string what, std::size_t total, bool enabled)
    : what_(std::move(what)),
      total_(total),
      enabled_(enabled && total > 0),
      terminal_(isatty(STDERR_FILENO) != 0),
      color_(std::getenv("NO_COLOR") == nullptr),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  finish();
}

void Progress::draw(const std::string& now) {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const double eta =
      done_ == 0 ? -1 : elapsed / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  if (!terminal_) {
    put(fmt::format("{}: {}/{} done, {} left\n", what_, done_, total_, human_seconds(eta)));
    return;
  }
  constexpr std::size_t kBar = 24;
  const std::size_t filled = kBar * done_ / total_;
  std::string bar;
  for (std::size_t i = 0; i < kBar; ++i) bar += i < filled ? "█" : "░";
  const std::string head = fmt::format("{} {}/{} ", what_, done_, total_);
  const std::string tail = fmt::format(" {} left  ", human_seconds(eta));
  const std::size_t used = head.size() + kBar + tail.size();
  const std::size_t room = terminal_width() - 1;
  std::string rest = now;
  if (used + rest.size() > room) rest = used < room ? rest.substr(0, room - used) : std::string();
  put("\r\033[K" + head + (color_ ? "\033[36m" : "") + bar + (color_ ? "\033[0m" : "") + tail + rest);
  width_ = 1;
}

void Progress::advance(const std::string& now, std::size_t count) {
  const std::lock_guard lock(mutex_);
  done_ = std::min(total_, done_ + count);
  if (!enabled_) return;
  const auto time = Clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10'000);
  if (time - last_ < pause && (!terminal_ || done_ != total_)) return;
  last_ = time;
  draw(now);
}

void Progress::message(const std::string& line) {
  const std::lock_guard lock(mutex_);
  put((width_ > 0 ? "\r\033[K" : "") + line + "\n");
  width_ = 0;
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (width_ > 0) put("\r\033[K");
  width_ = 0;
}

}  // namespace olab

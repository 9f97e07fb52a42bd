// Where programs are found, changed for one test.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>

namespace olab::test {

class ScopedPath {
 public:
  explicit ScopedPath(const std::string& path) {
    const char* old = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
    if (old != nullptr) old_ = old;
    setenv("PATH", path.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  }
  ScopedPath(const ScopedPath&) = delete;
  ScopedPath& operator=(const ScopedPath&) = delete;
  ~ScopedPath() { setenv("PATH", old_.c_str(), 1); }  // NOLINT(concurrency-mt-unsafe)

 private:
  std::string old_;
};

inline bool have_gnuplot() {
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (access((std::filesystem::path(folder) / "gnuplot").c_str(), X_OK) == 0) return true;
  return false;
}

}  // namespace olab::test

#include "datasets/atomic_file.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "core/error.hpp"

namespace olab {
namespace {

// Removes the unfinished file unless it got its final name.
class Unfinished {
 public:
  explicit Unfinished(std::filesystem::path path) : path_(std::move(path)) {}
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

void write_atomically(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write) {
  // The process id keeps two programs that write the same file apart; the last to finish wins, whole.
  const Unfinished part(file.parent_path() /
                        fmt::format(".{}.{}.part", file.filename().string(), static_cast<long>(getpid())));
  const auto fail = [&] {
    const int reason = errno;
    throw Error(fmt::format(
        "{}: it cannot be written ({}); check the folder, its permissions and the disk's free space",
        file.string(), reason == 0 ? "unknown reason" : std::generic_category().message(reason)));
  };
  errno = 0;
  std::ofstream out(part.path(), std::ios::binary | std::ios::trunc);
  if (!out) fail();
  write(out);
  out.close();
  if (!out) fail();
  std::error_code error;
  std::filesystem::rename(part.path(), file, error);
  if (error) throw Error(fmt::format("{}: it cannot be put in place ({})", file.string(), error.message()));
}

}  // namespace olab

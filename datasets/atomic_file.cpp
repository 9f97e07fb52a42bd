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

// Removes the unfinished file or folder unless it got its final name.
class Unfinished {
 public:
  // The process id keeps two programs that write the same file apart; the last to finish wins, whole.
  explicit Unfinished(const std::filesystem::path& final_path)
      : path_(final_path.parent_path() /
              fmt::format(".{}.{}.part", final_path.filename().string(), static_cast<long>(getpid()))) {}
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  void put_in_place(const std::filesystem::path& final_path) const {
    std::error_code error;
    std::filesystem::rename(path_, final_path, error);
    if (error)
      throw Error(fmt::format("{}: it cannot be put in place ({})", final_path.string(), error.message()));
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

void write_atomically(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write) {
  const Unfinished part(file);
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
  part.put_in_place(file);
}

void require_no_content(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::exists(folder, error) && !(fs::is_directory(folder, error) && fs::is_empty(folder, error)))
    throw Error(fmt::format("{}: it exists and is not an empty folder; choose another name or remove it",
                            folder.string()));
}

void write_folder_atomically(const std::filesystem::path& folder,
                             const std::function<void(const std::filesystem::path&)>& write) {
  const std::filesystem::path target = folder.has_filename() ? folder : folder.parent_path();
  require_no_content(target);
  const Unfinished part(target);
  std::error_code error;
  std::filesystem::create_directories(part.path(), error);
  if (error) throw Error(fmt::format("{}: the folder cannot be made ({})", folder.string(), error.message()));
  write(part.path());
  part.put_in_place(target);
}

}  // namespace olab

#include "datasets/mapped_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>

#include "core/parallel.hpp"
#include "datasets/npy.hpp"
#include "messages.hpp"
#include "raw_formats.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::contains;
using test::error_of;
using test::TempDir;

std::string counted(std::size_t bytes) {
  std::string out(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(i * 131 >> 3U);
  return out;
}

std::string streamed(const MappedFile& file, std::uint64_t begin, std::uint64_t end, std::size_t piece) {
  std::string out;
  file.stream(begin, end, piece, [&](std::span<const std::byte> bytes) {
    EXPECT_EQ(bytes.size(), std::min<std::size_t>(piece, end - begin - out.size()));
    out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  });
  return out;
}

TEST(MappedFile, StreamsThePiecesOfWhatIsMapped) {
  const TempDir dir;
  const std::string content = counted(100'003);
  test::write_file(dir / "f", content);
  const MappedFile file(dir / "f", "test file");
  const MappedFile borrowed(std::as_bytes(std::span(content)), "bytes");
  for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, 100'003}, {17, 17}, {5, 70'000}}) {
    EXPECT_EQ(streamed(file, begin, end, 4096), content.substr(begin, end - begin));
    EXPECT_EQ(streamed(borrowed, begin, end, 4096), content.substr(begin, end - begin));
  }
  file.prefetch(0, content.size());
}

TEST(MappedFile, AFileThatBecameShorterIsAnErrorAndNoCrash) {
  const TempDir dir;
  test::write_file(dir / "f", counted(50'000));
  const MappedFile file(dir / "f", "test file");
  std::filesystem::resize_file(dir / "f", 20'000);
  const std::string message = error_of([&] { streamed(file, 10'000, 50'000, 4096); });
  EXPECT_TRUE(contains(message, "it ends at byte 20000 and had 50000 when it was opened")) << message;
}

// More values than one task reads, so that several threads read one tensor.
TEST(TensorFile, AMatrixReadByManyThreadsIsTheMatrix) {
  const TempDir dir;
  constexpr Index kRows = 5000;
  constexpr Index kColumns = 1000;
  const Matrix values = Matrix::Random(kRows, kColumns);
  const std::vector<std::byte> bytes = encode(values, DType::f32);
  write_npy(dir / "x.npy", {"x", DType::f32, {kRows, kColumns}, bytes});
  const auto file = open_tensor_file(dir / "x.npy");
  for (const int threads : {1, 4})
    with_threads(threads, [&] {
      EXPECT_EQ(file->read_matrix("x"), values);
      EXPECT_EQ(file->read_matrix("x", 4321), values.topRows(4321));
    });
  file->prefetch("x");
  file->prefetch("x", 7);
}

}  // namespace
}  // namespace olab

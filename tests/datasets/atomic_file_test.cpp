#include "datasets/atomic_file.hpp"

#include <gtest/gtest.h>

#include <ostream>

#include "core/error.hpp"
#include "datasets/path_suggestion.hpp"
#include "messages.hpp"
#include "temp_dir.hpp"

namespace {

namespace fs = std::filesystem;
using olab::test::error_of;
using olab::test::TempDir;
using olab::test::write_file;

void write_one(const fs::path& folder) {
  write_file(folder / "a", "1");
}

TEST(AtomicFolder, AppearsWithItsContent) {
  const TempDir dir;
  olab::write_folder_atomically(dir / "new/inner", [&](const fs::path& part) {
    EXPECT_NE(part, dir / "new/inner");
    write_one(part);
    EXPECT_FALSE(fs::exists(dir / "new/inner"));
  });
  EXPECT_EQ(olab::test::read_file(dir / "new/inner/a"), "1");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "new"), fs::directory_iterator()), 1);
}

TEST(AtomicFolder, LeavesNothingWhereItsWriterFails) {
  const TempDir dir;
  EXPECT_EQ(error_of([&] {
              olab::write_folder_atomically(dir / "new", [](const fs::path& part) {
                write_one(part);
                throw olab::Error("no");
              });
            }),
            "no");
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(AtomicFolder, TakesThePlaceOfAnEmptyFolderOnly) {
  const TempDir dir;
  fs::create_directory(dir / "there");
  olab::write_folder_atomically((dir / "there").string() + "/", write_one);
  EXPECT_TRUE(fs::exists(dir / "there/a"));
  const std::string refusal = ": it exists and is not an empty folder; choose another name or remove it";
  EXPECT_EQ(error_of([&] { olab::write_folder_atomically(dir / "there", write_one); }),
            (dir / "there").string() + refusal);
  // Filled by another program in the meantime.
  EXPECT_NE(error_of([&] {
              olab::write_folder_atomically(dir / "late", [&](const fs::path& part) {
                write_one(part);
                fs::create_directory(dir / "late");
                write_file(dir / "late/b", "2");
              });
            }),
            "");
  EXPECT_EQ(olab::test::read_file(dir / "late/b"), "2");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 2);
  write_file(dir / "file", "");
  EXPECT_EQ(error_of([&] { olab::require_no_content(dir / "file"); }), (dir / "file").string() + refusal);
}

TEST(PathSuggestion, TheNearestNameInTheFolderIsTold) {
  const TempDir dir;
  write_file(dir / "weights.bin", "");
  const std::string wanted = "; did you mean '" + (dir / "weights.bin").string() + "'?";
  EXPECT_EQ(olab::path_suggestion(dir / "weihts.bin"), wanted);
  EXPECT_EQ(olab::path_suggestion((dir / "weihts.bin").string() + "/"), wanted);
  EXPECT_EQ(olab::path_suggestion(dir / "something else"), "; check the path");
  EXPECT_EQ(olab::path_suggestion(dir / "missing/weights.bin"), "; check the path");
}

}  // namespace

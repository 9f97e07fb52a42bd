#include "datasets/safetensors_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "core/random.hpp"
#include "datasets/safetensors.hpp"
#include "matrices.hpp"
#include "messages.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::error_of;
using test::expect_contains;
using test::gaussian;
using test::TempDir;
namespace fs = std::filesystem;

constexpr Index kRows = 37;
constexpr Index kColumns = 5;

// Rows in pieces of these sizes, which add up to all.
std::string written_in(const fs::path& file, const Matrix& m, DType dtype, const std::vector<Index>& pieces) {
  SafetensorsRows rows(file, "x", dtype, m.rows(), m.cols());
  rows.create();
  for (const Index count : pieces) rows.append(m.middleRows(rows.written(), count));
  rows.finish();
  return test::read_file(file);
}

TEST(SafetensorsRows, AnySplitOfRowsGivesTheBytesOfOneWrite) {
  const TempDir dir;
  const Matrix m = gaussian(kRows, kColumns);
  RandomStream random(4);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64}) {
    const std::string whole = written_in(dir / "whole.safetensors", m, dtype, {kRows});
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<Index> pieces;
      for (Index left = kRows; left > 0; left -= pieces.back())
        pieces.push_back(std::min<Index>(left, static_cast<Index>(random.below(9))));
      EXPECT_EQ(written_in(dir / "split.safetensors", m, dtype, pieces), whole) << dtype_name(dtype);
    }
  }
}

TEST(SafetensorsRows, TheFileIsReadAsWhatWriteSafetensorsMakes) {
  const TempDir dir;
  const Matrix m = gaussian(kRows, kColumns);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    written_in(dir / "rows.safetensors", m, dtype, {10, 20, 7});
    write_safetensors(dir / "whole.safetensors", {{"x", dtype, {kRows, kColumns}, encode(m, dtype)}}, {});
    const auto rows = open_safetensors(dir / "rows.safetensors");
    const auto whole = open_safetensors(dir / "whole.safetensors");
    EXPECT_EQ(rows->names(), std::vector<std::string>{"x"});
    EXPECT_EQ(rows->content_hash("x"), whole->content_hash("x"));
  }
}

TEST(SafetensorsRows, MoreValuesThanOneChunkAreWrittenWhole) {
  const TempDir dir;
  const Matrix m = gaussian(700, 3001);
  written_in(dir / "x.safetensors", m, DType::f32, {1, 699});
  EXPECT_EQ(open_safetensors(dir / "x.safetensors")->read_matrix("x"), m);
}

TEST(SafetensorsRows, TheHeaderIsThatOfThePythonRecorder) {
  const TempDir dir;
  Matrix one(1, 1);
  one << 1.0F;
  const std::string bytes = written_in(dir / "x.safetensors", one, DType::f32, {1});
  std::string header = R"({"x":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}})";
  header.resize(64 - 8, ' ');
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x38\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(bytes.substr(8, 56), header);
  EXPECT_EQ(bytes.substr(64), std::string("\0\0\x80\x3F", 4));
}

TEST(SafetensorsRows, AFileWithMissingRowsIsRefusedByReaderAndWriter) {
  const TempDir dir;
  const Matrix m = gaussian(kRows, kColumns);
  const fs::path file = dir / "x.safetensors";
  SafetensorsRows rows(file, "x", DType::f32, kRows, kColumns);
  rows.create();
  rows.append(m.topRows(kRows - 1));
  EXPECT_FALSE(rows.complete());
  EXPECT_FALSE(rows.is_complete_on_disk());
  expect_contains(error_of([&] { rows.finish(); }),
                  file.string() + ": it holds 36 rows, but 37 were announced");
  expect_contains(error_of([&] { open_safetensors(file); }), "truncated");
  expect_contains(error_of([&] { rows.append(m.topRows(2)); }),
                  file.string() + ": 2 rows are appended behind the first 36, but 37 were announced");
  expect_contains(error_of([&] { rows.append(m.topRows(1).leftCols(2)); }),
                  "rows of 2 values are appended to a tensor of 5 columns");
  rows.append(m.bottomRows(1));
  rows.finish();
  EXPECT_TRUE(rows.is_complete_on_disk());
  EXPECT_EQ(fs::file_size(file), rows.file_bytes());
}

TEST(SafetensorsRows, APartialFileGoesOnBehindAnyRow) {
  const TempDir dir;
  const Matrix m = gaussian(kRows, kColumns);
  const fs::path file = dir / "x.safetensors";
  const std::string whole = written_in(dir / "whole.safetensors", m, DType::bf16, {kRows});
  for (Index kept = 0; kept <= kRows; ++kept) {
    {
      SafetensorsRows first(file, "x", DType::bf16, kRows, kColumns);
      first.create();
      first.append(m.topRows(kept));
      if (kept < kRows) first.append(gaussian(1, kColumns, 9));  // a row that was not to count
    }
    if (kept < kRows) test::write_file(dir / "y", test::read_file(file) + "abc");  // and half of another
    if (kept < kRows) fs::rename(dir / "y", file);
    SafetensorsRows second(file, "x", DType::bf16, kRows, kColumns);
    second.resume(kept);
    EXPECT_EQ(second.written(), kept);
    second.append(m.bottomRows(kRows - kept));
    second.finish();
    EXPECT_EQ(test::read_file(file), whole) << kept;
  }
}

TEST(SafetensorsRows, OnlyAFileOfTheSameTensorWithEnoughRowsGoesOn) {
  const TempDir dir;
  const Matrix m = gaussian(kRows, kColumns);
  const fs::path file = dir / "x.safetensors";
  const auto resumed = [&](const char* name, DType dtype, Index rows, Index at) {
    return error_of([&] { SafetensorsRows(file, name, dtype, rows, kColumns).resume(at); });
  };
  expect_contains(resumed("x", DType::f32, kRows, 0), file.string() + ": it cannot be opened to go on with");
  {
    SafetensorsRows rows(file, "x", DType::f32, kRows, kColumns);
    rows.create();
    rows.append(m.topRows(4));
  }
  expect_contains(resumed("x", DType::f32, kRows, 5), file.string() + ": 5 rows were written, but its 208");
  expect_contains(resumed("x", DType::f32, kRows, kRows + 1),
                  "to go on behind row 38, but the tensor has 37");
  EXPECT_EQ(resumed("x", DType::f32, kRows, 4), "");
  const std::string other = file.string() + ": it holds another tensor";
  expect_contains(resumed("y", DType::f32, kRows, 4), other);
  expect_contains(resumed("x", DType::f16, kRows, 4), other);
  expect_contains(resumed("x", DType::f32, kRows + 1, 4), other);
  test::write_file(file, "");
  expect_contains(resumed("x", DType::f32, kRows, 0), other);
}

TEST(SafetensorsRows, WhatCannotBeWrittenIsAnErrorThatNamesTheFile) {
  const TempDir dir;
  const fs::path file = dir / "x.safetensors";
  const auto made = [&](const std::string& name, DType dtype, Index rows, Index columns) {
    return error_of([&] { SafetensorsRows(file, name, dtype, rows, columns); });
  };
  expect_contains(made("x", DType::unsupported, 1, 1), file.string() + ": this dtype cannot be written");
  expect_contains(made("", DType::f32, 1, 1), file.string() + ": '' cannot be the name of a tensor");
  expect_contains(made("__metadata__", DType::f32, 1, 1), "cannot be the name of a tensor");
  expect_contains(made("\xFF", DType::f32, 1, 1), "the tensor's name is not valid UTF-8");
  expect_contains(made("x", DType::f32, 0, 1), "a tensor of shape [0, 1] cannot be written");
  expect_contains(made("x", DType::f32, Index{1} << 40, Index{1} << 30), "cannot be written");

  SafetensorsRows nowhere(dir / "missing" / "x.safetensors", "x", DType::f32, 1, 1);
  expect_contains(error_of([&] { nowhere.create(); }),
                  (dir / "missing" / "x.safetensors").string() + ": it cannot be written (No such file");
  expect_contains(error_of([&] { nowhere.append(Matrix::Zero(1, 1)); }), "not open");

  SafetensorsRows narrow(file, "x", DType::f16, 4, 2);
  narrow.create();
  narrow.append(Matrix::Ones(1, 2));
  Matrix large = Matrix::Ones(2, 2);
  large(1, 0) = 70000.0F;
  expect_contains(error_of([&] { narrow.append(large); }),
                  file.string() + ": in the rows from 1 on: 70000 at row 1, column 0 does not fit F16");
  expect_contains(error_of([&] { narrow.append(large); }), "not open");
  narrow.resume(1);
  narrow.append(Matrix::Ones(3, 2));
  narrow.finish();
  EXPECT_EQ(open_safetensors(file)->read_matrix("x"), Matrix::Ones(4, 2));
}

}  // namespace
}  // namespace olab

#include "datasets/npz.hpp"

#include <gtest/gtest.h>

#include "datasets/npy.hpp"
#include "datasets/safetensors.hpp"
#include "messages.hpp"
#include "raw_formats.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::bytes_of;
using test::contains;
using test::error_of;
using test::floats;
using test::raw_npy;
using test::TempDir;

std::unique_ptr<TensorFile> open_bytes(const std::string& bytes) {
  return open_npz(MappedFile(std::as_bytes(std::span(bytes)), "x.npz"));
}

std::string open_error(const std::string& bytes) {
  return error_of([&] { open_bytes(bytes); });
}

// CRC-32 as zip wants it, bit by bit.
std::uint32_t crc32(std::string_view data) {
  std::uint32_t crc = ~0U;
  for (const char c : data) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

struct RawEntry {
  std::string name;
  std::string packed;
  std::uint32_t size = 0;
  std::uint32_t crc = 0;
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
};

RawEntry stored(const std::string& name, const std::string& data) {
  return {name, data, static_cast<std::uint32_t>(data.size()), crc32(data), 0, 0};
}

// A zip archive by hand; sizes and checksums are taken as they are given.
std::string raw_zip(const std::vector<RawEntry>& entries) {
  std::string out;
  std::string directory;
  for (const RawEntry& e : entries) {
    const auto offset = static_cast<std::uint32_t>(out.size());
    const std::string common = bytes_of(e.flags) + bytes_of(e.method) + bytes_of(std::uint32_t{0x00210000}) +
                               bytes_of(e.crc) + bytes_of(static_cast<std::uint32_t>(e.packed.size())) +
                               bytes_of(e.size) + bytes_of(static_cast<std::uint16_t>(e.name.size())) +
                               bytes_of(std::uint16_t{0});
    out += "PK\x03\x04" + bytes_of(std::uint16_t{20}) + common + e.name + e.packed;
    directory += "PK\x01\x02" + bytes_of(std::uint16_t{20}) + bytes_of(std::uint16_t{20}) + common +
                 bytes_of(std::uint16_t{0}) + bytes_of(std::uint16_t{0}) + bytes_of(std::uint16_t{0}) +
                 bytes_of(std::uint32_t{0}) + bytes_of(offset) + e.name;
  }
  const auto count = static_cast<std::uint16_t>(entries.size());
  const auto start = static_cast<std::uint32_t>(out.size());
  return out + directory + "PK\x05\x06" + bytes_of(std::uint32_t{0}) + bytes_of(count) + bytes_of(count) +
         bytes_of(static_cast<std::uint32_t>(directory.size())) + bytes_of(start) +
         bytes_of(std::uint16_t{0});
}

std::string two_floats() {
  return raw_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", floats(1, 2));
}

Matrix counting(Index rows, Index columns) {
  Matrix m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(i % 251 - 125);
  return m;
}

TEST(Npz, EveryDtypeComesBackStoredAndDeflated) {
  const TempDir dir;
  const Matrix m = counting(7, 9);
  for (const Compression compression : {Compression::stored, Compression::deflated}) {
    for (const char* name : {"F64", "F32", "F16", "I64", "I32", "I16", "I8"}) {
      const DType dtype = find_dtype(name);
      const auto bytes = encode(m, dtype);
      const std::vector<TensorView> tensors{{"layer.x", dtype, {7, 9}, bytes},
                                            {"layer.weight", dtype, {9, 7}, bytes}};
      write_npz(dir / "a.npz", tensors, compression);
      const auto file = open_npz(dir / "a.npz");
      ASSERT_EQ(file->tensors().size(), 2U);
      EXPECT_EQ(file->tensors()[0].name, "layer.x");
      EXPECT_EQ(file->read_matrix("layer.x"), m) << name;
      EXPECT_EQ(file->read_matrix("layer.x", 2), m.topRows(2)) << name;
      EXPECT_EQ(file->at("layer.weight").shape, (std::vector<Index>{9, 7}));
    }
  }
}

TEST(Npz, TheSameTensorHasTheSameHashInEveryFormat) {
  const TempDir dir;
  const Matrix m = counting(900, 700);  // several pieces
  const auto bytes = encode(m, DType::f32);
  const std::vector<TensorView> tensors{{"t", DType::f32, {900, 700}, bytes}};
  write_npz(dir / "s.npz", tensors, Compression::stored);
  write_npz(dir / "d.npz", tensors, Compression::deflated);
  write_npy(dir / "t.npy", tensors[0]);
  write_safetensors(dir / "t.safetensors", tensors, {});
  const std::string hash = open_tensor_file(dir / "t.safetensors")->content_hash("t");
  for (const char* other : {"s.npz", "d.npz", "t.npy"}) {
    const auto file = open_tensor_file(dir / other);
    EXPECT_EQ(file->content_hash("t"), hash) << other;
    EXPECT_EQ(file->read_matrix("t"), m) << other;
  }
  EXPECT_TRUE(contains(error_of([&] { open_tensor_file(dir / "t.pt"); }),
                       "a .safetensors, .npy or .npz file was expected"));
}

TEST(Npz, TheSameTensorsGiveTheSameBytes) {
  const TempDir dir;
  const auto bytes = encode(counting(3, 3), DType::f32);
  const std::vector<TensorView> tensors{{"a", DType::f32, {3, 3}, bytes}};
  write_npz(dir / "1.npz", tensors, Compression::deflated);
  write_npz(dir / "2.npz", tensors, Compression::deflated);
  EXPECT_EQ(test::read_file(dir / "1.npz"), test::read_file(dir / "2.npz"));
}

TEST(Npz, TheWriterRefusesWhatCannotBeRead) {
  const TempDir dir;
  const auto bytes = encode(counting(1, 2), DType::f32);
  const TensorView t{"a", DType::f32, {1, 2}, bytes};
  EXPECT_TRUE(contains(error_of([&] {
                         write_npz(dir / "a.npz", std::vector{t, t}, Compression::stored);
                       }),
                       "two tensors are named 'a'"));
  EXPECT_TRUE(contains(error_of([&] { write_npz(dir / "a.npz", {}, Compression::stored); }),
                       "there are no tensors to write"));
  const TensorView brain{"a", DType::bf16, {1, 4}, bytes};
  EXPECT_TRUE(contains(error_of([&] { write_npz(dir / "a.npz", std::vector{brain}, Compression::stored); }),
                       "NumPy has no BF16"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_TRUE(
      contains(error_of([&] { write_npz(dir / "no/such/a.npz", std::vector{t}, Compression::stored); }),
               "cannot be written"));
}

TEST(Npz, HandMadeArchivesAreReadAndOtherEntriesIgnored) {
  const std::string file = raw_zip({stored("readme.txt", "hello"), stored("a.npy", two_floats())});
  const auto opened = open_bytes(file);
  ASSERT_EQ(opened->tensors().size(), 1U);
  EXPECT_EQ(opened->read_matrix("a"), (Matrix(1, 2) << 1, 2).finished());
}

TEST(Npz, FortranOrderAndSlicesWorkInArchives) {
  const std::string fortran =
      raw_npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", floats(1, 4, 2, 5, 3, 6));
  const std::string stacked =
      raw_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1, 2), }", floats(1, 2, 3, 4, 5, 6));
  const std::string file = raw_zip({stored("f.npy", fortran), stored("s.npy", stacked)});
  const auto opened = open_bytes(file);
  EXPECT_EQ(opened->read_matrix("f"), (Matrix(2, 3) << 1, 2, 3, 4, 5, 6).finished());
  EXPECT_EQ(opened->read_slice("s", 1), (Matrix(1, 2) << 3, 4).finished());
  EXPECT_EQ(opened->read_slice("s", 2), (Matrix(1, 2) << 5, 6).finished());
}

TEST(Npz, DeclaredSizesMustMatchTheHeaders) {
  const std::string one_too_many = two_floats() + "x";
  EXPECT_TRUE(contains(open_error(raw_zip({stored("a.npy", one_too_many)})),
                       "entry 'a.npy': F32 of shape [1, 2] takes 8 bytes, but the entry holds 9"));
  const std::string lying =
      raw_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000), }", floats(1));
  EXPECT_TRUE(contains(open_error(raw_zip({stored("a.npy", lying)})),
                       "takes 4000000000000 bytes, but the entry holds 4"));
  EXPECT_TRUE(contains(open_error(raw_zip({stored("a.npy", "no npy at all")})),
                       "entry 'a.npy': byte 0: this is no npy data"));
  EXPECT_TRUE(contains(open_error(raw_zip({stored("a.npy", "")})), "this is no npy data"));
}

TEST(Npz, WhatABombIsMadeOfIsRefused) {
  RawEntry bomb = stored("a.npy", two_floats());
  bomb.method = 8;
  bomb.size = 0x7FFFFFFF;
  EXPECT_TRUE(contains(open_error(raw_zip({bomb})), "2147483647 bytes cannot come out of"));
  RawEntry longer = stored("a.npy", two_floats());
  longer.size += 1;
  EXPECT_TRUE(contains(open_error(raw_zip({longer})), "cannot come out of"));
  // Two entries that claim the same bytes: the second central record points at the first one's data.
  std::string twice = raw_zip({stored("a.npy", two_floats())});
  const std::size_t record = twice.find("PK\x01\x02");
  const std::size_t end = twice.find("PK\x05\x06");
  std::string second = twice.substr(record, end - record);
  second[46] = 'b';
  const std::uint16_t count = 40;
  std::string many = twice.substr(0, end);
  for (int i = 1; i < count; ++i) {
    second[46] = static_cast<char>('b' + i);
    many += second;
  }
  many += "PK\x05\x06" + bytes_of(std::uint32_t{0}) + bytes_of(count) + bytes_of(count) +
          bytes_of(static_cast<std::uint32_t>(many.size() - record)) +
          bytes_of(static_cast<std::uint32_t>(record)) + bytes_of(std::uint16_t{0});
  EXPECT_TRUE(contains(open_error(many), "the entries claim more bytes than the file has"))
      << open_error(many);
}

TEST(Npz, EncryptedAndExoticEntriesAreRefused) {
  RawEntry entry = stored("a.npy", two_floats());
  entry.flags = 1;
  EXPECT_TRUE(contains(open_error(raw_zip({entry})), "it is encrypted"));
  entry.flags = 0;
  entry.method = 12;  // bzip2
  EXPECT_TRUE(contains(open_error(raw_zip({entry})), "compression method 12 is not supported"));
}

TEST(Npz, TwoEntriesOfOneNameAreRefused) {
  const std::string error =
      open_error(raw_zip({stored("a.npy", two_floats()), stored("a.npy", two_floats())}));
  EXPECT_EQ(error, "x.npz: two tensors are named 'a'");
}

TEST(Npz, ADamagedByteIsFoundByTheChecksum) {
  std::string file = raw_zip({stored("a.npy", two_floats())});
  file[file.find(floats(2)) + 1] ^= 1;
  const auto opened = open_bytes(file);
  EXPECT_TRUE(contains(error_of([&] { opened->read_matrix("a"); }), "x.npz: tensor 'a':"));
  EXPECT_TRUE(contains(error_of([&] { opened->content_hash("a"); }), "CRC"));
}

TEST(Npz, EveryTruncationIsAnError) {
  const TempDir dir;
  const auto bytes = encode(counting(5, 5), DType::f32);
  for (const Compression compression : {Compression::stored, Compression::deflated}) {
    write_npz(dir / "a.npz", std::vector<TensorView>{{"a", DType::f32, {5, 5}, bytes}}, compression);
    const std::string whole = test::read_file(dir / "a.npz");
    ASSERT_EQ(open_error(whole), "");
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_NE(open_error(whole.substr(0, size)), "") << size << " bytes";
  }
}

TEST(Npz, ObjectsAndForeignDtypesAreListedAndRefusedWhenRead) {
  const std::string object =
      raw_npy(1, "{'descr': '|O', 'fortran_order': False, 'shape': (), }", "\x80\x04N.");
  const std::string file = raw_zip({stored("o.npy", object), stored("a.npy", two_floats())});
  const auto opened = open_bytes(file);
  EXPECT_TRUE(contains(error_of([&] { opened->read_matrix("o"); }),
                       "pickled Python objects, which are never loaded"));
  EXPECT_EQ(opened->read_matrix("a")(0, 1), 2.0F);
}

TEST(Npz, RealFilesOfNumpyAreRead) {
  const std::filesystem::path file =
      std::filesystem::path(OLAB_SHARED_DATA) / "16_reference_hadamard/hadamard_matrices_int8.npz";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the shared data is not on this machine";
  const auto opened = open_npz(file);
  ASSERT_FALSE(opened->tensors().empty());
  for (const TensorInfo& info : opened->tensors()) {
    EXPECT_EQ(info.dtype, DType::i8);
    const Matrix h = opened->read_matrix(info.name);
    ASSERT_EQ(h.rows(), h.cols());
    const Matrix product = h * h.transpose();
    EXPECT_EQ(product, Matrix(Matrix::Identity(h.rows(), h.rows()) * static_cast<float>(h.rows())))
        << info.name;
  }
}

}  // namespace
}  // namespace olab

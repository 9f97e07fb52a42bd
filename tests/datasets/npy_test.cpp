#include "datasets/npy.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "messages.hpp"
#include "raw_formats.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::contains;
using test::error_of;
using test::floats;
using test::raw_npy;
using test::TempDir;

std::unique_ptr<TensorFile> open_bytes(const std::string& bytes) {
  return open_npy(MappedFile(std::as_bytes(std::span(bytes)), "x.npy"));
}

std::string open_error(const std::string& bytes) {
  return error_of([&] { open_bytes(bytes); });
}

Matrix counting(Index rows, Index columns) {
  Matrix m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(i - 3);
  return m;
}

std::string as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(Npy, EveryDtypeComesBackAsWritten) {
  const TempDir dir;
  const Matrix m = counting(4, 3);
  for (const char* name : {"F64", "F32", "F16", "I64", "I32", "I16", "I8"}) {
    const DType dtype = find_dtype(name);
    write_npy(dir / "layer.npy", {"any", dtype, {4, 3}, encode(m, dtype)});
    const auto file = open_npy(dir / "layer.npy");
    ASSERT_EQ(file->tensors().size(), 1U);
    EXPECT_EQ(file->tensors()[0].name, "layer");
    EXPECT_EQ(file->tensors()[0].dtype_text, name);
    EXPECT_EQ(file->read_matrix("layer"), m) << name;
    EXPECT_EQ(file->read_matrix("layer", 2), m.topRows(2)) << name;
  }
}

TEST(Npy, NumpyItselfWouldWriteTheSameBytes) {
  // numpy.save of np.array([[1, 2]], dtype='<f4'): 128 bytes of header.
  const TempDir dir;
  write_npy(dir / "a.npy", {"a", DType::f32, {1, 2}, encode(counting(1, 2), DType::f32)});
  const std::string bytes = test::read_file(dir / "a.npy");
  ASSERT_EQ(bytes.size(), 128U + 8U);
  EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_EQ(bytes.substr(10, 59), "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }");
  EXPECT_EQ(bytes[127], '\n');
}

TEST(Npy, AllThreeVersionsAreRead) {
  for (const int version : {1, 2, 3}) {
    const std::string bytes =
        raw_npy(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", floats(1, 2, 3, 4));
    EXPECT_EQ(open_bytes(bytes)->read_matrix("x"), (Matrix(2, 2) << 1, 2, 3, 4).finished()) << version;
  }
}

TEST(Npy, HeadersNeedNeitherPaddingNorOrderNorAlignment) {
  for (const char* dict : {"{'descr':'<f4','fortran_order':False,'shape':(2,1)}",
                           "{ 'shape' : ( 2 , 1 , ) ,'descr': \"<f4\",'fortran_order': False , }   ",
                           "{'fortran_order': False, 'shape': (2, 1), 'descr': '<f4'}                "}) {
    const std::string bytes = raw_npy(1, dict, floats(5, 6));
    EXPECT_EQ(open_bytes(bytes)->read_matrix("x"), (Matrix(2, 1) << 5, 6).finished()) << dict;
  }
}

TEST(Npy, FortranOrderIsTurnedIntoRows) {
  // [[1, 2, 3], [4, 5, 6]] column by column.
  const std::string bytes =
      raw_npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", floats(1, 4, 2, 5, 3, 6));
  const auto file = open_bytes(bytes);
  EXPECT_TRUE(file->tensors()[0].fortran);
  EXPECT_EQ(file->read_matrix("x"), (Matrix(2, 3) << 1, 2, 3, 4, 5, 6).finished());
  EXPECT_EQ(file->read_matrix("x", 1), (Matrix(1, 3) << 1, 2, 3).finished());
  const std::string c_order =
      raw_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", floats(1, 4, 2, 5, 3, 6));
  EXPECT_NE(file->content_hash("x"), open_bytes(c_order)->content_hash("x"));
}

TEST(Npy, FortranOrderLargerThanOnePieceIsReadInEveryDtype) {
  const Matrix m = Matrix::NullaryExpr(
      700, 900, [](Index r, Index c) { return static_cast<float>((r * 7 + c * 3) % 101 - 50); });
  Matrix transposed(900, 700);
  for (Index r = 0; r < 700; ++r)
    for (Index c = 0; c < 900; ++c) transposed(c, r) = m(r, c);
  for (const auto& [descr, dtype] :
       {std::pair("<f8", DType::f64), std::pair("<f4", DType::f32), std::pair("<f2", DType::f16)}) {
    const std::string bytes =
        raw_npy(2, "{'descr': '" + std::string(descr) + "', 'fortran_order': True, 'shape': (700, 900), }",
                as_text(encode(transposed, dtype)));
    EXPECT_EQ(open_bytes(bytes)->read_matrix("x"), m) << descr;
    EXPECT_EQ(open_bytes(bytes)->read_matrix("x", 13), m.topRows(13)) << descr;
  }
}

TEST(Npy, SlicesOfRankThreeAreReadInBothOrders) {
  // a[l, r, c] = 100 l + 10 r + c, shape [2, 2, 3].
  std::string c_order;
  std::string fortran;
  for (int l = 0; l < 2; ++l)
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < 3; ++c) c_order += floats(100 * l + 10 * r + c);
  for (int c = 0; c < 3; ++c)
    for (int r = 0; r < 2; ++r)
      for (int l = 0; l < 2; ++l) fortran += floats(100 * l + 10 * r + c);
  Matrix second(2, 3);
  second << 100, 101, 102, 110, 111, 112;
  const std::string a = raw_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3), }", c_order);
  const std::string b = raw_npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2, 3), }", fortran);
  for (const std::string& bytes : {a, b}) {
    EXPECT_EQ(open_bytes(bytes)->read_slice("x", 1), second);
    EXPECT_EQ(open_bytes(bytes)->read_slice("x", 1, 1), second.topRows(1));
  }
}

TEST(Npy, OneAxisIsOneRow) {
  const std::string bytes =
      raw_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", floats(1, 2, 3));
  EXPECT_EQ(open_bytes(bytes)->read_matrix("x"), (Matrix(1, 3) << 1, 2, 3).finished());
}

TEST(Npy, BadHeadersAreRefusedWithTheirByte) {
  const std::vector<std::pair<std::string, std::string>> lies{
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }",
       "an extent must be a whole number, not negative"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1)}", "(n,) is a tuple, (n) is not"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': [1]}", "'(' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1L,)}", "',' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0x1,)}", "',' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (01,)}", "an extent begins with 0"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1.0,)}", "',' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", "an extent must be a whole number"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,,)}", "an extent must be a whole number"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}", "',' was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "is too large"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
       "more elements than 64 bits"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807,)}",
       "more elements than 64 bits"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", "True or False was expected"},
      {"{'descr': '<f4', 'fortran_order': False}", "key 'shape' is missing"},
      {"{'fortran_order': False, 'shape': (1,)}", "key 'descr' is missing"},
      {"{'descr': '<f4', 'shape': (1,)}", "key 'fortran_order' is missing"},
      {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "key 'descr' stands twice"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
       "byte 66 of the npy header: key 'x' is not known"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
       "structured dtypes are not supported"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "only spaces may follow"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "'}' was expected"},
      {"{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}", "'}' was expected"},
      {"{'descr': '<f4\\x00', 'fortran_order': False, 'shape': (1,)}", "other than plain ASCII"},
      {"{descr: '<f4'}", "a text in quotes was expected"},
      {"{'descr", "a text is never closed"},
      {"__import__('os')", "'{' was expected"},
      {"", "'{' was expected"},
  };
  for (const auto& [dict, message] : lies) {
    const std::string error = open_error(raw_npy(1, dict, floats(1)));
    EXPECT_TRUE(contains(error, message)) << dict << "\n  gave: " << error;
    EXPECT_TRUE(error.starts_with("x.npy: ")) << error;
  }
  const std::string with_nul("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)\0}", 56);
  EXPECT_TRUE(contains(open_error(raw_npy(1, with_nul, floats(1))), "'}' was expected"));
}

TEST(Npy, MagicVersionAndLengthAreChecked) {
  const std::string good = raw_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", floats(1));
  ASSERT_EQ(open_error(good), "");
  std::string bad = good;
  bad[0] = 'x';
  EXPECT_TRUE(contains(open_error(bad), "this is no npy data"));
  bad = good;
  bad[6] = 4;
  EXPECT_TRUE(contains(open_error(bad), "byte 6: npy version 4.0 is not supported"));
  bad = good;
  bad[7] = 1;
  EXPECT_TRUE(contains(open_error(bad), "npy version 1.1 is not supported"));
  bad = good;
  bad[9] = '\x7F';
  EXPECT_TRUE(contains(open_error(bad), "NumPy allows 10000"));
  bad = good;
  bad[bad.find('\n')] = ' ';
  EXPECT_TRUE(contains(open_error(bad), "the header must end with a newline"));
  const std::string huge =
      std::string("\x93NUMPY\x02\x00", 8) + std::string(4, '\xFF') + std::string(50, ' ');
  EXPECT_TRUE(contains(open_error(huge), "a header of 4294967295 characters"));
}

TEST(Npy, TheArrayMustFillTheFileExactly) {
  const std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}";
  EXPECT_EQ(open_error(raw_npy(1, dict, floats(1))),
            "x.npy: F32 of shape [2] takes 8 bytes, but the file ends after 4: it is truncated; copy or save "
            "it again");
  EXPECT_TRUE(
      contains(open_error(raw_npy(1, dict, floats(1, 2, 3))), "4 bytes follow the array, from byte 74 on"));
  const std::string whole = raw_npy(1, dict, floats(1, 2));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(open_error(whole.substr(0, size)), "") << size << " bytes";
}

TEST(Npy, UnsupportedDtypesSayWhatToDo) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"|O", "pickled Python objects, which are never loaded"},
      {">f4", "it is big-endian"},
      {"<V2", "NumPy writes BF16 like this"},
      {"|V2", "NumPy writes BF16 like this"},
      {"|b1", "dtype |b1 is not supported"},
      {"=f4", "dtype =f4 is not supported"},
      {"f4", "dtype f4 is not supported"},
      {"|u1", "dtype |u1 is not supported"},
      {"<f1", "dtype <f1 is not supported"}};
  for (const auto& [descr, message] : cases) {
    const std::string bytes =
        raw_npy(1, "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (1, 1)}", "abcd");
    const auto file = open_bytes(bytes);
    EXPECT_EQ(file->tensors()[0].dtype, DType::unsupported);
    const std::string error = error_of([&] { file->read_matrix("x"); });
    EXPECT_TRUE(contains(error, message)) << error;
  }
}

TEST(Npy, BF16CannotBeWritten) {
  const TempDir dir;
  const std::string error = error_of([&] {
    write_npy(dir / "a.npy", {"a", DType::bf16, {1, 2}, encode(counting(1, 2), DType::bf16)});
  });
  EXPECT_TRUE(contains(error, "NumPy has no BF16")) << error;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace olab

#include "datasets/safetensors.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "messages.hpp"
#include "raw_formats.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::contains;
using test::error_of;
using test::floats;
using test::raw_safetensors;
using test::TempDir;
namespace fs = std::filesystem;

std::string open_error(const std::string& bytes) {
  return error_of([&] { open_safetensors(MappedFile(std::as_bytes(std::span(bytes)), "f.safetensors")); });
}

std::string header_error(std::string_view header, std::size_t data_bytes) {
  return open_error(raw_safetensors(header, std::string(data_bytes, '\0')));
}

// Exact in every dtype, the integers too.
Matrix small_integers() {
  Matrix m(3, 5);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(i * 8 - 60);
  return m;
}

TEST(Safetensors, EveryDtypeComesBackAsWritten) {
  const TempDir dir;
  const Matrix m = small_integers();
  for (const char* name : {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8"}) {
    const DType dtype = find_dtype(name);
    const auto bytes = encode(m, dtype);
    EXPECT_EQ(bytes.size(), 15 * dtype_size(dtype)) << name;
    write_safetensors(dir / "a.safetensors", {{"t", dtype, {3, 5}, bytes}}, {});
    const auto file = open_safetensors(dir / "a.safetensors");
    EXPECT_EQ(file->at("t").dtype_text, name);
    EXPECT_EQ(file->at("t").shape, (std::vector<Index>{3, 5}));
    EXPECT_EQ(file->read_matrix("t"), m) << name;
    EXPECT_EQ(file->read_matrix("t", 2), m.topRows(2)) << name;
    EXPECT_EQ(file->read_matrix("t", 99), m) << name;
  }
}

TEST(Safetensors, HalfPrecisionBitsAreReadByTheirDefinition) {
  // F16: 0x3C00 = 1, 0x3555 = 0.333251953125, 0x0001 = 2^-24, 0xFBFF = -65504. BF16: 0x3F80 = 1, 0xC049 =
  // -3.140625.
  const std::string halves("\x00\x3C\x55\x35\x01\x00\xFF\xFB", 8);
  const std::string brains("\x80\x3F\x49\xC0", 4);
  const TempDir dir;
  test::write_file(dir / "a.safetensors",
                   raw_safetensors(R"({"h":{"dtype":"F16","shape":[1,4],"data_offsets":[0,8]},)"
                                   R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]}})",
                                   halves + brains));
  const auto file = open_safetensors(dir / "a.safetensors");
  Matrix h(1, 4);
  h << 1.0F, 0.333251953125F, std::ldexp(1.0F, -24), -65504.0F;
  EXPECT_EQ(file->read_matrix("h"), h);
  Matrix b(1, 2);
  b << 1.0F, -3.140625F;
  EXPECT_EQ(file->read_matrix("b"), b);  // rank 1 is one row
}

TEST(Safetensors, RoundingWhenWritingIsToNearestEven) {
  Matrix m(1, 3);
  m << 1.0F + std::ldexp(1.0F, -11), 1.0F + 3 * std::ldexp(1.0F, -11), 2049.0F;
  const auto bytes = encode(m, DType::f16);
  const std::string header = R"({"h":{"dtype":"F16","shape":[1,3],"data_offsets":[0,6]}})";
  const std::string file =
      raw_safetensors(header, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  Matrix rounded(1, 3);
  rounded << 1.0F, 1.0F + std::ldexp(1.0F, -9), 2048.0F;  // ties go to the even neighbour
  EXPECT_EQ(open_safetensors(MappedFile(std::as_bytes(std::span(file)), "f"))->read_matrix("h"), rounded);
}

TEST(Safetensors, ValuesThatDoNotFitTheirDtypeAreRefused) {
  Matrix m = Matrix::Zero(2, 3);
  m(1, 2) = 70000.0F;
  EXPECT_EQ(error_of([&] { encode(m, DType::f16); }),
            "70000 at row 1, column 2 does not fit F16; use F32 or BF16");
  EXPECT_EQ(error_of([&] { encode(m, DType::i16); }),
            "70000 at row 1, column 2 is no integer of type I16; use F32");
  m(1, 2) = 0.5F;
  EXPECT_TRUE(contains(error_of([&] { encode(m, DType::i64); }), "is no integer of type I64"));
  m(1, 2) = 128.0F;
  EXPECT_TRUE(contains(error_of([&] { encode(m, DType::i8); }), "is no integer of type I8"));
  m(1, 2) = -128.0F;
  EXPECT_EQ(encode(m, DType::i8).back(), std::byte{0x80});
  m(1, 2) = std::numeric_limits<float>::infinity();
  EXPECT_NO_THROW(encode(m, DType::f16));  // infinity is infinity in every float type
  EXPECT_FALSE(error_of([&] { encode(m, DType::i32); }).empty());
}

TEST(Safetensors, A64BitFloatBeyondTheRangeOf32BitsIsNamed) {
  const std::string data = test::bytes_of(1.5) + test::bytes_of(1e300);
  const std::string file =
      raw_safetensors(R"({"d":{"dtype":"F64","shape":[2,1],"data_offsets":[0,16]}})", data);
  const auto opened = open_safetensors(MappedFile(std::as_bytes(std::span(file)), "f"));
  EXPECT_EQ(opened->read_matrix("d", 1)(0, 0), 1.5F);
  EXPECT_EQ(
      error_of([&] { opened->read_matrix("d"); }),
      "f: tensor 'd': 1e+300 at row 1, column 0 does not fit a 32-bit float; rescale it or save it as F32");
}

TEST(Safetensors, WrittenFilesAreAlignedSortedAndTheSameEveryTime) {
  const TempDir dir;
  const std::vector<std::byte> one(1);
  const std::vector<std::byte> eight(8);
  const std::vector<TensorView> tensors{
      {"a", DType::i8, {1}, one}, {"z", DType::f64, {1}, eight}, {"m", DType::f32, {2}, eight}};
  write_safetensors(dir / "1", tensors, {{"model", "x"}});
  write_safetensors(dir / "2", {tensors[2], tensors[0], tensors[1]}, {{"model", "x"}});
  const std::string bytes = test::read_file(dir / "1");
  EXPECT_EQ(bytes, test::read_file(dir / "2"));
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  EXPECT_EQ(length % 8, 0U);
  EXPECT_TRUE(std::string_view(bytes).substr(8).starts_with(
      R"({"__metadata__":{"model":"x"},"a":{"data_offsets":[16,17],"dtype":"I8","shape":[1]},"m":{"data_offsets":[8,16])"))
      << bytes;
  EXPECT_EQ(open_safetensors(dir / "1")->metadata().at("model"), "x");
}

TEST(Safetensors, TheWriterRefusesWhatNoReaderWouldTake) {
  const TempDir dir;
  const std::vector<std::byte> four(4);
  const fs::path file = dir / "a";
  EXPECT_TRUE(
      contains(error_of([&] {
                 write_safetensors(file, {{"t", DType::f32, {1}, four}, {"t", DType::f32, {1}, four}}, {});
               }),
               "two tensors are named 't'"));
  EXPECT_TRUE(contains(error_of([&] {
                         write_safetensors(file, {{"t", DType::f32, {2}, four}}, {});
                       }),
                       "4 bytes are no F32 of shape [2]"));
  EXPECT_TRUE(contains(error_of([&] {
                         write_safetensors(file, {{"__metadata__", DType::f32, {1}, four}}, {});
                       }),
                       "cannot be the name of a tensor"));
  EXPECT_TRUE(contains(error_of([&] {
                         write_safetensors(file, {{"\xFF", DType::f32, {1}, four}}, {});
                       }),
                       "not valid UTF-8"));
  EXPECT_TRUE(fs::is_empty(dir.path()));  // nothing half-written is left
  const std::string missing = error_of([&] { write_safetensors(dir / "no/such/a", {}, {}); });
  EXPECT_TRUE(contains(missing, "cannot be written")) << missing;
}

TEST(Safetensors, TheSinkKeepsMatricesAndIndices) {
  const TempDir dir;
  SafetensorsSink sink;
  sink.put("rotation", small_integers());
  const std::vector<Index> permutation{2, 0, 1};
  sink.put("permutation", permutation);
  sink.write(dir / "t.safetensors", {{"method", "duquant"}});
  const auto file = open_safetensors(dir / "t.safetensors");
  EXPECT_EQ(file->read_matrix("rotation"), small_integers());
  EXPECT_EQ(file->at("permutation").dtype, DType::i64);
  EXPECT_EQ(file->read_matrix("permutation"), (Matrix(1, 3) << 2, 0, 1).finished());
}

TEST(Safetensors, EmptyFilesTensorsAndScalarsAreLegal) {
  const std::string none = raw_safetensors("{}", "");
  EXPECT_TRUE(open_safetensors(MappedFile(std::as_bytes(std::span(none)), "f"))->tensors().empty());
  const std::string file = raw_safetensors(R"({"e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
                                           R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   )",
                                           floats(3));
  const auto opened = open_safetensors(MappedFile(std::as_bytes(std::span(file)), "f"));
  EXPECT_EQ(opened->read_matrix("e").rows(), 0);
  EXPECT_EQ(opened->read_matrix("e").cols(), 7);
  EXPECT_TRUE(contains(error_of([&] { opened->read_matrix("s"); }),
                       "has shape []; a matrix [rows, columns] was expected"));
}

TEST(Safetensors, UnknownKeysOfATensorAreIgnored) {
  const std::string file = raw_safetensors(
      R"({"t":{"note":{"deep":[1,{"dtype":"I8"}],"n":null},"dtype":"F32","x":-1.5,"y":[[],[2]],"shape":[1],"z":"s","data_offsets":[0,4]}})",
      floats(3));
  EXPECT_EQ(open_safetensors(MappedFile(std::as_bytes(std::span(file)), "f"))->read_matrix("t")(0, 0), 3.0F);
}

TEST(Safetensors, SlicesOfStackedWeightsAreMatrices) {
  const std::string file =
      raw_safetensors(R"({"w":{"dtype":"F32","shape":[2,1,2],"data_offsets":[0,16]}})", floats(1, 2, 3, 4));
  const auto opened = open_safetensors(MappedFile(std::as_bytes(std::span(file)), "f"));
  EXPECT_EQ(opened->read_slice("w", 1), (Matrix(1, 2) << 3, 4).finished());
  EXPECT_EQ(error_of([&] { opened->read_slice("w", 2); }),
            "f: tensor 'w' has shape [2, 1, 2], so there is no layer 2 in it (they count from 0)");
  EXPECT_TRUE(contains(error_of([&] { opened->read_matrix("w"); }), "has shape [2, 1, 2]; a matrix"));
  EXPECT_NE(opened->content_hash("w", 0), opened->content_hash("w", 1));
}

TEST(Safetensors, UnsupportedDtypesAreListedAndRefusedWhenRead) {
  const std::string file = raw_safetensors(R"({"m":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},)"
                                           R"("f":{"dtype":"F4","shape":[4],"data_offsets":[2,4]}})",
                                           "abcd");
  const auto opened = open_safetensors(MappedFile(std::as_bytes(std::span(file)), "f"));
  EXPECT_EQ(opened->at("m").dtype_text, "BOOL");
  EXPECT_EQ(error_of([&] { opened->read_matrix("m"); }),
            "f: tensor 'm': dtype BOOL is not supported (F64 F32 F16 BF16 I64 I32 I16 I8 are); save it as "
            "F32, F16 or BF16");
  EXPECT_TRUE(contains(error_of([&] { opened->content_hash("f"); }), "dtype F4 is not supported"));
}

TEST(Safetensors, AMissingTensorIsAnsweredWithTheNearestName) {
  const std::string file =
      raw_safetensors(R"({"q_proj.x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", floats(3));
  const auto opened = open_safetensors(MappedFile(std::as_bytes(std::span(file)), "f"));
  EXPECT_EQ(error_of([&] { opened->read_matrix("q_prj.x"); }),
            "f: there is no tensor 'q_prj.x'; did you mean 'q_proj.x'?");
}

TEST(Safetensors, MissingEmptyAndIrregularFilesAreNamed) {
  const TempDir dir;
  EXPECT_TRUE(contains(error_of([&] { open_safetensors(dir / "no"); }), "does not exist"));
  test::write_file(dir / "empty", "");
  EXPECT_TRUE(contains(error_of([&] { open_safetensors(dir / "empty"); }), "is empty (0 bytes)"));
  EXPECT_TRUE(contains(error_of([&] { open_safetensors(dir.path()); }), "is no regular file"));
}

struct Lie {
  std::string header;
  std::size_t data_bytes;
  std::string message;
};

TEST(Safetensors, HeadersThatLieAreRefusedByName) {
  const std::vector<Lie> lies{
      // Overlap, hole, data before and after.
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
       12, "tensors 'a' and 'b' overlap at byte"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
       8, "tensors 'a' and 'b' overlap at byte"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
       12, "the 4 bytes from byte"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
       "the 4 bytes from byte 62 on belong to no tensor"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8,
       "4 bytes follow the last tensor, from byte 66 on"},
      {R"({})", 1, "1 bytes follow the last tensor, from byte 10 on"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7,
       "tensor 'a' ends at byte 70, but the file has only 69: it is truncated"},
      {R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[9,9]}})", 0, "truncated"},
      // Shapes.
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
       "entry 'a': data_offsets [0, 8] span 8 bytes, but F32 of shape [3] takes 12"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "more elements than 64 bits"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0,
       "more elements than 64 bits"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4,0],"data_offsets":[0,0]}})", 0,
       "more elements than 64 bits"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})", 4,
       "extent 9223372036854775808 is too large"},
      {R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}})", 4,
       "is no whole number of 64 bits"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "-1 is negative"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4, "1.0 is no whole number"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "a list stands where"},
      {R"({"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}})", 4, "'shape' is a text"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "'shape' is a number"},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, "takes 2"},
      // Offsets.
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "data_offsets [4, 0] run backwards"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551616]}})", 4,
       "is no whole number"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "data_offsets must be [begin, end]"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4, "more than two numbers"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets must be [begin, end]"},
      {R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 4, "dtype is missing"},
      {R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4, "shape is missing"},
      {R"({"a":{"dtype":"FLOAT","shape":[1],"data_offsets":[0,4]}})", 4, "dtype 'FLOAT' is not known"},
      {R"({"a":{"dtype":{},"shape":[1],"data_offsets":[0,4]}})", 4, "an object stands where"},
      // Duplicates.
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "two tensors are named 'a'"},
      {R"({"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4,
       "key 'dtype' stands twice"},
      {R"({"__metadata__":{"k":"1","k":"2"}})", 0, "key 'k' stands twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "key '__metadata__' stands twice"},
      // Not what it should be.
      {R"({"__metadata__":{"k":1}})", 0, "entry '__metadata__': 'k' is a number"},
      {R"({"__metadata__":{"k":{}}})", 0, "an object stands where"},
      {R"({"__metadata__":[]})", 0, "a list stands where"},
      {R"({"a":["F32",[1],[0,4]]})", 4, "a list stands where"},
      {R"({"a":3})", 0, "'a' is a number; an object was expected"},
      {R"({"a\u0000b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4, "a tensor's name holds a NUL"},
      {R"([])", 0, "the header must begin with '{'"},
      {R"( {})", 0, "byte 8: the header must begin with '{'"},
      {"{}\n", 0, "byte 10: the header must end with '}' and spaces"},
      {std::string("{}\0\0", 4), 0, "byte 10: a NUL stands in the header"},
      {"", 0, "the header must begin with '{'"},
      {R"({"a":})", 0, "the header is no valid JSON"},
      {R"({"a":{}}})", 0, "dtype is missing"},
      {R"({}})", 0, "the header is no valid JSON"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},})", 4, "the header is no valid JSON"},
      {"{\"\xFF\":1}", 0, "the header is no valid JSON"},
      {R"(/**/{})", 0, "must begin with"},
      {R"({"a":1e999})", 0, "the header is no valid JSON"},
  };
  for (const Lie& lie : lies) {
    const std::string error = header_error(lie.header, lie.data_bytes);
    EXPECT_TRUE(contains(error, lie.message)) << lie.header << "\n  gave: " << error;
    EXPECT_TRUE(error.starts_with("f.safetensors: ")) << error;
  }
}

TEST(Safetensors, TheAnnouncedHeaderMustFitTheFile) {
  const std::string tail = "{}";
  EXPECT_TRUE(contains(open_error("1234567"), "7 bytes are too few"));
  EXPECT_TRUE(contains(open_error(test::bytes_of(std::uint64_t{3}) + tail), "ends beyond the file's 10"));
  EXPECT_TRUE(
      contains(open_error(test::bytes_of(std::uint64_t{100'000'001}) + tail), "the format allows 100000000"));
  EXPECT_TRUE(contains(open_error(test::bytes_of(~std::uint64_t{0}) + tail), "the format allows 100000000"));
  EXPECT_TRUE(
      contains(open_error(test::bytes_of(~std::uint64_t{0} - 7) + tail), "the format allows 100000000"));
}

TEST(Safetensors, DeepNestingIsNoDanger) {
  const std::string deep(200'000, '[');
  EXPECT_TRUE(contains(header_error(R"({"t":{"note":)" + deep + "}", 0), "no valid JSON"));
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string whole =
      raw_safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", floats(1, 2));
  ASSERT_EQ(open_error(whole), "");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(open_error(whole.substr(0, size)), "") << size << " bytes";
}

TEST(Safetensors, TheHashFollowsBytesShapeAndDtypeAndNotTheName) {
  const TempDir dir;
  Matrix m = small_integers();
  const auto hash = [&](const Matrix& values, DType dtype, std::vector<Index> shape,
                        const std::string& name) {
    const auto bytes = encode(values, dtype);
    write_safetensors(dir / name, {{name, dtype, std::move(shape), bytes}}, {});
    return open_safetensors(dir / name)->content_hash(name);
  };
  const std::string base = hash(m, DType::f32, {3, 5}, "a");
  EXPECT_EQ(base.size(), 32U);
  EXPECT_EQ(hash(m, DType::f32, {3, 5}, "other"), base);
  EXPECT_NE(hash(m, DType::f32, {5, 3}, "a"), base);
  EXPECT_NE(hash(m, DType::f64, {3, 5}, "a"), base);
  EXPECT_NE(hash(m, DType::i32, {3, 5}, "a"), base);
  m(2, 4) += 8.0F;
  EXPECT_NE(hash(m, DType::f32, {3, 5}, "a"), base);
}

TEST(Safetensors, TheLastTensorOfAHugeFileIsReadWithoutTheRest) {
  const TempDir dir;
  constexpr std::uint64_t kBig = std::uint64_t{3} << 30U;
  const std::string header =
      R"({"big":{"dtype":"I8","shape":[3,1073741824],"data_offsets":[0,3221225472]},)"
      R"("last":{"dtype":"F32","shape":[1,2],"data_offsets":[3221225472,3221225480]}})";
  const fs::path path = dir / "huge.safetensors";
  test::write_file(path, raw_safetensors(header, ""));
  fs::resize_file(path, 8 + header.size() + kBig);  // a hole: no disk is used
  {
    std::ofstream out(path, std::ios::binary | std::ios::app);
    out << floats(1.5, -2);
  }
  const auto resident = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;  // KiB
  };
  const long before = resident();
  const auto file = open_safetensors(path);
  EXPECT_EQ(file->read_matrix("last"), (Matrix(1, 2) << 1.5F, -2.0F).finished());
  EXPECT_LT(resident() - before, 64 * 1024);
}

}  // namespace
}  // namespace olab

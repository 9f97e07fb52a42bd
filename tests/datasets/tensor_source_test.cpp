// Tensor files as what core/tensor_source.hpp promises.
#include "core/tensor_source.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "datasets/safetensors.hpp"
#include "messages.hpp"
#include "raw_formats.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::error_of;
using test::TempDir;

Matrix two_by_three() {
  Matrix out(2, 3);
  out << 1, 2, 3, 4, 5, 6.5F;
  return out;
}

struct Written {
  TempDir dir;
  std::vector<Index> list{3, 0, -1, (Index{1} << 53) + 1, std::numeric_limits<Index>::max()};
  std::map<std::string, std::string> metadata{{"k", "v"}, {"a", ""}};
  Matrix matrix = two_by_three();

  std::unique_ptr<TensorSource> open() const {
    SafetensorsSink sink;
    sink.put("z", matrix);
    sink.put("list", std::span<const Index>(list));
    sink.write(dir / "t.safetensors", metadata);
    return open_tensor_file(dir / "t.safetensors");
  }
};

TEST(TensorSource, GivesBackWhatASinkWasGiven) {
  const Written written;
  const auto file = written.open();
  EXPECT_EQ(file->source(), (written.dir / "t.safetensors").string());
  EXPECT_EQ(file->metadata(), written.metadata);
  EXPECT_EQ(file->names(), (std::vector<std::string>{"list", "z"}));
  EXPECT_EQ(file->matrix("z"), written.matrix);
  EXPECT_EQ(file->indices("list"), written.list) << "beyond what a float or a double holds";
}

TEST(TensorSource, ALongListComesInPieces) {
  Written written;
  written.list.resize(100'000);
  for (std::size_t i = 0; i < written.list.size(); ++i) written.list[i] = static_cast<Index>(7 * i);
  EXPECT_EQ(written.open()->indices("list"), written.list);
}

TEST(TensorSource, RefusesWhatIsNoListOfIntegers) {
  const Written written;
  const auto file = written.open();
  EXPECT_NE(error_of([&] {
              (void)file->indices("z");
            }).find("tensor 'z' is F32 of shape [2, 3]; a list of I64 was expected"),
            std::string::npos);
  EXPECT_NE(error_of([&] { (void)file->indices("lst"); }).find("did you mean 'list'?"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)file->matrix("nothing"); }).find("there is no tensor 'nothing'"),
            std::string::npos);
}

TEST(TensorSource, TheHashChangesWithEverythingAndWithNothingElse) {
  const std::string base = Written().open()->content_hash();
  EXPECT_EQ(base.size(), 32U);
  EXPECT_EQ(Written().open()->content_hash(), base) << "another folder";
  Written value;
  value.matrix(1, 2) = 6.0F;
  EXPECT_NE(value.open()->content_hash(), base);
  Written list;
  list.list[0] = 4;
  EXPECT_NE(list.open()->content_hash(), base);
  Written shape;
  shape.matrix.resize(3, 2);
  shape.matrix << 1, 2, 3, 4, 5, 6.5F;
  EXPECT_NE(shape.open()->content_hash(), base);
  Written text;
  text.metadata["k"] = "w";
  EXPECT_NE(text.open()->content_hash(), base);
  Written key;
  key.metadata = {{"k", "v"}, {"b", ""}};
  EXPECT_NE(key.open()->content_hash(), base);
}

}  // namespace
}  // namespace olab

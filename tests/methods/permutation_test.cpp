#include "methods/common/permutation.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "methods_layers.hpp"

namespace olab {
namespace {

std::vector<Index> order(const std::string& strategy, const Matrix& x, Index block, std::uint64_t seed = 1) {
  const Registries r = test::method_registries();
  return r.permutations.make(strategy, r)->order(x, block, RandomStream(seed), nullptr);
}

TEST(Permutations, AreRegistered) {
  EXPECT_EQ(test::method_registries().permutations.names(),
            (std::vector<std::string>{"absmax", "random", "zigzag"}));
}

TEST(Permutations, AreOrdersOfAllChannels) {
  const Registries r = test::method_registries();
  for (const std::string& name : r.permutations.names()) {
    for (const Index block : {1, 3, 8, 24}) {
      const test::Layer layer = test::make_layer(5, 24, 1, static_cast<std::uint64_t>(block));
      std::vector<Index> found = order(name, layer.x, block);
      std::ranges::sort(found);
      for (Index j = 0; j < 24; ++j) EXPECT_EQ(found[static_cast<std::size_t>(j)], j) << name;
    }
  }
}

TEST(Zigzag, DealsSortedChannelsBackAndForth) {
  Matrix x(2, 6);
  x << 1, -6, 2, 0, 5, 1,  //
      0, 3, -4, 3, 0, -0.5F;
  // Maxima 1 6 4 3 5 1, sorted 1 4 2 3 0 5 (a tie keeps the order). Two blocks: 1 | 4, then 3 | 2, then 0
  // | 5.
  EXPECT_EQ(order("zigzag", x, 3), (std::vector<Index>{1, 3, 0, 4, 2, 5}));
  // Three blocks of two: 1 | 4 | 2, then 5 | 0 | 3.
  EXPECT_EQ(order("zigzag", x, 2), (std::vector<Index>{1, 5, 4, 0, 2, 3}));
  // One block, and blocks of one channel: sorted.
  EXPECT_EQ(order("zigzag", x, 6), (std::vector<Index>{1, 4, 2, 3, 0, 5}));
  EXPECT_EQ(order("zigzag", x, 1), (std::vector<Index>{1, 4, 2, 3, 0, 5}));
}

TEST(AbsMax, SortsDescendingWithStableTies) {
  Matrix x(1, 5);
  x << 2, -7, 2, 0, 7;
  EXPECT_EQ(order("absmax", x, 1), (std::vector<Index>{1, 4, 0, 2, 3}));
}

TEST(RandomPermutation, DependsOnTheStreamAlone) {
  const test::Layer a = test::make_layer(3, 64, 1, 1);
  const test::Layer b = test::make_layer(9, 64, 1, 2);
  EXPECT_EQ(order("random", a.x, 8, 5), order("random", b.x, 16, 5));
  EXPECT_NE(order("random", a.x, 8, 5), order("random", a.x, 8, 6));
}

TEST(PermutationNames, AreNormalisedOrRefusedWithTheNearest) {
  const Registries r = test::method_registries();
  EXPECT_EQ(normalize_permutation("none", r), "none");
  EXPECT_EQ(normalize_permutation("zigzag()", r), "zigzag");
  EXPECT_EQ(test::error_of([&] { normalize_permutation("zigzga", r); }),
            "no permutation is called 'zigzga'; did you mean 'zigzag'? Known: none, absmax, random, zigzag");
}

}  // namespace
}  // namespace olab

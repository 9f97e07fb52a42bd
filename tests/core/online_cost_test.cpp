#include "core/online_cost.hpp"

#include <gtest/gtest.h>

#include "core/random.hpp"

namespace olab {
namespace {

OnlineCostSettings small(int repeats) {
  OnlineCostSettings out;
  out.tokens = 32;
  out.repeats = repeats;
  return out;
}

TEST(OnlineCost, OfNoTransformIsNothing) {
  const OnlineCost cost = OnlineLayer(256, 64, small(5)).measure({});
  EXPECT_EQ(cost.overhead.median, 0);
  EXPECT_EQ(cost.overhead.low, 0);
  EXPECT_EQ(cost.overhead.high, 0);
  EXPECT_GT(cost.quantize.median, 0);
  EXPECT_GT(cost.product.median, 0);
}

TEST(OnlineCost, GrowsWithTheWorkOfTheTransform) {
  // 16 times the multiply-adds of a layer that is narrow on the other side: no clock is that coarse.
  RandomStream random(1);
  Matrix dense(512, 512);
  random.fill_normal(dense);
  const OnlineLayer layer(512, 32, small(5));
  const OnlineCost cost = layer.measure({OnlineStage::rotate({dense})});
  EXPECT_GT(cost.transform.median, cost.quantize.median);
  EXPECT_GT(cost.overhead.median, 0.2);
  EXPECT_LE(cost.overhead.low, cost.overhead.median);
  EXPECT_LE(cost.overhead.median, cost.overhead.high);
}

TEST(OnlineCost, TakesTheMiddleOfTheRounds) {
  for (const int repeats : {1, 2, 3, 4}) {
    const OnlineCost cost = OnlineLayer(128, 16, small(repeats)).measure({});
    EXPECT_LE(cost.product.low, cost.product.median) << repeats;
    EXPECT_LE(cost.product.median, cost.product.high) << repeats;
  }
}

}  // namespace
}  // namespace olab

#include "methods/common/hadamard_matrix.hpp"

#include <gtest/gtest.h>

#include "core/random.hpp"

namespace olab {
namespace {

TEST(HadamardOrders, ArePowersOfTwoTimesAPaleyOrder) {
  EXPECT_EQ(find_hadamard_order(1).core, 1);
  EXPECT_EQ(find_hadamard_order(4096).core, 1);
  EXPECT_EQ(find_hadamard_order(4096).doublings, 12);
  for (const Index paley : {12, 20, 28, 36, 44, 60, 76, 84, 108, 140, 148, 180})
    EXPECT_EQ(find_hadamard_order(paley).core, paley) << paley;
  EXPECT_EQ(find_hadamard_order(40).core, 20);
  EXPECT_EQ(find_hadamard_order(40).doublings, 1);
  EXPECT_EQ(find_hadamard_order(768).core, 12);
  for (const Index none : {0, 3, 6, 10, 52, 92, 100, 116, 156, 172, 11008})
    EXPECT_FALSE(find_hadamard_order(none)) << none;
}

TEST(HadamardCores, ConsistOfSignsAndHaveOrthogonalRows) {
  for (Index order = 1; order <= 300; ++order) {
    const HadamardOrder found = find_hadamard_order(order);
    if (found.core != order) continue;
    const Matrix h = hadamard_core(order);
    ASSERT_TRUE((h.array().abs() == 1.0F).all()) << order;
    const Matrix gram = h * h.transpose();
    EXPECT_EQ(gram, static_cast<float>(order) * Matrix::Identity(order, order)) << order;
  }
}

TEST(HadamardBlocks, ListTheDivisorsThatHaveAMatrix) {
  EXPECT_EQ(hadamard_blocks(48), (std::vector<Index>{2, 4, 8, 12, 16, 24, 48}));
  EXPECT_EQ(hadamard_blocks(11008).back(), 256);
  EXPECT_TRUE(hadamard_blocks(45).empty());
}

TEST(FastHadamard, EqualsTheDenseProduct) {
  for (const Index order : {1, 2, 8, 12, 24, 80, 128, 896}) {
    const HadamardOrder found = find_hadamard_order(order);
    ASSERT_TRUE(found) << order;
    const Matrix core = hadamard_core(found.core);
    // core ⊗ Sylvester by its definition: (-1)^(number of common bits).
    const Index inner = Index{1} << found.doublings;
    Eigen::MatrixXd dense(order, order);
    for (Index i = 0; i < order; ++i)
      for (Index j = 0; j < order; ++j)
        dense(i, j) =
            static_cast<double>(core(i / inner, j / inner)) *
            (__builtin_popcountll(static_cast<unsigned long long>((i % inner) & (j % inner))) % 2 == 0 ? 1
                                                                                                       : -1) /
            std::sqrt(static_cast<double>(order));
    Matrix x(1, order);
    RandomStream(3).fill_normal(x);
    const Eigen::RowVectorXd want = x.row(0).cast<double>() * dense;
    hadamard_transform({x.data(), static_cast<std::size_t>(order)}, core);
    EXPECT_LT((x.row(0).cast<double>() - want).cwiseAbs().maxCoeff(), 2e-6) << order;
  }
}

}  // namespace
}  // namespace olab

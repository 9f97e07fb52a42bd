#include "methods/common/hadamard_matrix.hpp"

#include <gtest/gtest.h>

#include <cstdint>

#include "core/random.hpp"

namespace olab {
namespace {

TEST(HadamardOrders, HaveTheSmallestCoreThatCanBeBuilt) {
  EXPECT_EQ(find_hadamard_order(1).core, 1);
  EXPECT_EQ(find_hadamard_order(4096).core, 1);
  EXPECT_EQ(find_hadamard_order(4096).doublings, 12);
  for (const Index paley : {12, 20, 28, 36, 44, 60, 76, 84, 108, 140, 148, 180})
    EXPECT_EQ(find_hadamard_order(paley).core, paley) << paley;
  EXPECT_EQ(find_hadamard_order(40).core, 20);
  EXPECT_EQ(find_hadamard_order(40).doublings, 1);
  EXPECT_EQ(find_hadamard_order(768).core, 12);
  for (const Index none : {0, 3, 6, 10, 268, 292, 412, 668}) EXPECT_FALSE(find_hadamard_order(none)) << none;
}

TEST(HadamardOrders, CoverEveryMultipleOfFourUpTo300ButTwo) {
  std::vector<Index> missing;
  for (Index order = 4; order <= 300; order += 4)
    if (!find_hadamard_order(order)) missing.push_back(order);
  EXPECT_EQ(missing, (std::vector<Index>{268, 292}));
}

TEST(HadamardOrders, CoverTheWidthsOfModels) {
  const auto core = [](Index width) { return find_hadamard_order(width).core; };
  EXPECT_EQ(core(11008), 172);  // LLaMA-2-7B
  EXPECT_EQ(core(13824), 108);  // LLaMA-2-13B
  EXPECT_EQ(core(14336), 28);   // LLaMA-3-8B, Mistral-7B
  EXPECT_EQ(core(28672), 28);   // LLaMA-3-70B
  EXPECT_EQ(core(18944), 148);  // Qwen2.5-7B
  EXPECT_EQ(core(29568), 924);  // Qwen2.5-72B
  EXPECT_EQ(core(17408), 68);   // Qwen3-14B
  EXPECT_EQ(core(25600), 100);  // Qwen3-32B
  EXPECT_EQ(core(4864), 76);    // Qwen2.5-0.5B
  EXPECT_EQ(core(9728), 76);    // Qwen3-4B
  EXPECT_EQ(core(5376), 84);    // Gemma-3-27B
  EXPECT_EQ(core(21504), 84);   // Gemma-3-27B
  EXPECT_EQ(core(8960), 140);   // Qwen2.5-1.5B
  EXPECT_EQ(core(13696), 428);  // Qwen-7B
}

TEST(HadamardOrders, TellTheirConstruction) {
  EXPECT_EQ(hadamard_construction(1), "Sylvester");
  EXPECT_EQ(hadamard_construction(12), "Paley I");    // q = 11
  EXPECT_EQ(hadamard_construction(28), "Paley II");   // q = 13, a prime, before q = 27 of Paley I
  EXPECT_EQ(hadamard_construction(52), "Paley II");   // q = 25
  EXPECT_EQ(hadamard_construction(244), "Paley I");   // q = 243
  EXPECT_EQ(hadamard_construction(344), "Paley I");   // q = 343
  EXPECT_EQ(hadamard_construction(100), "Paley II");  // q = 49
  for (const Index order : {92, 116, 188, 236, 260, 356, 428})
    EXPECT_EQ(hadamard_construction(order), "Turyn") << order;
  EXPECT_EQ(hadamard_construction(156), "Williamson");
  EXPECT_EQ(hadamard_construction(172), "Williamson");
  EXPECT_EQ(hadamard_construction(2), "");
  EXPECT_EQ(hadamard_construction(268), "");
}

/// In integers, so that nothing is rounded.
bool is_hadamard(const Matrix& h) {
  using Integers = Eigen::Matrix<std::int32_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  if (!(h.array().abs() == 1.0F).all()) return false;
  const Integers signs = h.cast<std::int32_t>();
  const Integers gram = signs * signs.transpose();
  return gram == static_cast<std::int32_t>(h.rows()) * Integers::Identity(h.rows(), h.rows());
}

TEST(HadamardCores, ConsistOfSignsAndHaveOrthogonalRows) {
  int built = 0;
  for (Index order = 1; order <= 436; ++order) {
    if (hadamard_construction(order).empty()) continue;
    EXPECT_TRUE(is_hadamard(hadamard_core(order))) << order;
    ++built;
  }
  EXPECT_GT(built, 70);
  for (const Index order : {724, 924, 1020}) EXPECT_TRUE(is_hadamard(hadamard_core(order))) << order;
  Matrix spoilt = hadamard_core(92);
  spoilt(50, 60) = -spoilt(50, 60);
  EXPECT_FALSE(is_hadamard(spoilt));
}

TEST(HadamardBlocks, ListTheDivisorsThatHaveAMatrix) {
  EXPECT_EQ(hadamard_blocks(48), (std::vector<Index>{2, 4, 8, 12, 16, 24, 48}));
  EXPECT_EQ(hadamard_blocks(11008),
            (std::vector<Index>{2, 4, 8, 16, 32, 64, 128, 172, 256, 344, 688, 1376, 2752, 5504, 11008}));
  EXPECT_TRUE(hadamard_blocks(45).empty());
}

TEST(FastHadamard, EqualsTheDenseProduct) {
  for (const Index order : {1, 2, 8, 12, 24, 80, 128, 184, 344, 896}) {
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

// Scores of predictions against sums in double.
#include <gtest/gtest.h>

#include <cmath>

#include "core/parallel.hpp"
#include "matrices.hpp"
#include "models/decoder.hpp"

namespace olab {
namespace {

using test::gaussian;

Head random_head(Index vocabulary, Index channels) {
  Head head;
  head.weight = gaussian(vocabulary, channels, 1);
  return head;
}

std::vector<TokenId> some_ids(Index tokens, Index vocabulary) {
  std::vector<TokenId> ids;
  for (Index t = 0; t < tokens; ++t) ids.push_back(static_cast<TokenId>((t * 31 + 5) % vocabulary));
  return ids;
}

/// Row by row, log of the softmax.
Eigen::MatrixXd log_shares(const Head& head, const Matrix& normed) {
  Eigen::MatrixXd out = normed.cast<double>() * head.weight.cast<double>().transpose();
  for (Index t = 0; t < out.rows(); ++t) {
    double sum = 0;
    for (Index j = 0; j < out.cols(); ++j) sum += std::exp(out(t, j));
    for (Index j = 0; j < out.cols(); ++j) out(t, j) -= std::log(sum);
  }
  return out;
}

TEST(ScoreWindow, IsTheMeanOfWhatEveryTokenSaysOfTheNext) {
  // More tokens than logits are made for at a time.
  constexpr Index kTokens = 600;
  constexpr Index kVocabulary = 37;
  const Head head = random_head(kVocabulary, 8);
  const Matrix normed = gaussian(kTokens, 8, 2);
  const Matrix original = normed + 0.3F * gaussian(kTokens, 8, 3);
  const std::vector<TokenId> ids = some_ids(kTokens, kVocabulary);
  const Eigen::MatrixXd q = log_shares(head, normed);
  const Eigen::MatrixXd p = log_shares(head, original);
  double nll = 0;
  double kl = 0;
  double agreement = 0;
  for (Index t = 0; t + 1 < kTokens; ++t) {
    nll -= q(t, ids[static_cast<std::size_t>(t + 1)]);
    for (Index j = 0; j < kVocabulary; ++j) kl += std::exp(p(t, j)) * (p(t, j) - q(t, j));
    Index most_p = 0;
    Index most_q = 0;
    p.row(t).maxCoeff(&most_p);
    q.row(t).maxCoeff(&most_q);
    agreement += most_p == most_q ? 1 : 0;
  }
  const WindowScore score = score_window(head, ids, normed, original);
  EXPECT_EQ(score.predictions, kTokens - 1);
  EXPECT_NEAR(score.nll, nll / (kTokens - 1), 1e-6);
  EXPECT_NEAR(score.kl, kl / (kTokens - 1), 1e-6);
  EXPECT_GT(score.kl, 0.01);
  EXPECT_DOUBLE_EQ(score.agreement, agreement / (kTokens - 1));
  EXPECT_GT(score.agreement, 0.2);
  EXPECT_LT(score.agreement, 1);

  const WindowScore alone = score_window(head, ids, normed, Matrix(0, 8));
  EXPECT_EQ(alone.nll, score.nll);
  EXPECT_EQ(alone.kl, 0);
  EXPECT_EQ(alone.agreement, 0);
}

TEST(ScoreWindow, OfAModelAgainstItselfHasNoDivergenceAtAll) {
  const Head head = random_head(101, 16);
  const Matrix normed = 5.0F * gaussian(40, 16, 4);
  const WindowScore score = score_window(head, some_ids(40, 101), normed, normed);
  EXPECT_EQ(score.kl, 0);
  EXPECT_EQ(score.agreement, 1);
}

TEST(ScoreWindow, StandsLogitsThatWouldOverflowExponentials) {
  Head head;
  head.weight = Matrix::Identity(3, 3) * 1000.0F;
  const Matrix normed = Matrix::Identity(3, 3);  // token t is sure of t
  const Matrix other = -normed;
  const WindowScore right = score_window(head, std::vector<TokenId>{2, 0, 1}, normed, normed);
  EXPECT_EQ(right.nll, 0);
  const WindowScore wrong = score_window(head, std::vector<TokenId>{2, 1, 2}, normed, other);
  EXPECT_EQ(wrong.nll, 1000);
  // The other gives halves to the two that are not t, and this 0 and −1000: log ½ + 1000.
  EXPECT_NEAR(wrong.kl, 1000 - std::log(2.0), 1e-9);
  EXPECT_EQ(wrong.agreement, 0);
}

TEST(ScoreWindow, OfOneTokenPredictsNothing) {
  const Head head = random_head(10, 4);
  const WindowScore score = score_window(head, std::vector<TokenId>{3}, gaussian(1, 4, 5), gaussian(1, 4, 6));
  EXPECT_EQ(score.predictions, 0);
  EXPECT_EQ(score.nll, 0);
  EXPECT_EQ(score_window(head, {}, Matrix(0, 4), Matrix(0, 4)).predictions, 0);
}

TEST(ScoreWindow, HasTheSameBitsForAnyNumberOfThreads) {
  const Head head = random_head(1000, 64);
  const Matrix normed = gaussian(500, 64, 7);
  const Matrix original = gaussian(500, 64, 8);
  const std::vector<TokenId> ids = some_ids(500, 1000);
  WindowScore one;
  WindowScore two;
  with_threads(1, [&] { one = score_window(head, ids, normed, original); });
  with_threads(2, [&] { two = score_window(head, ids, normed, original); });
  EXPECT_EQ(one.nll, two.nll);
  EXPECT_EQ(one.kl, two.kl);
  EXPECT_EQ(one.agreement, two.agreement);
}

}  // namespace
}  // namespace olab

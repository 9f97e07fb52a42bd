#include "methods/common/hadamard_matrix.hpp"

#include <algorithm>
#include <cassert>

#include "core/hadamard.hpp"
#include "methods/common/divisors.hpp"

namespace olab {
namespace {

/// A core is applied as a dense matrix, so a large one would cost more than it gives.
constexpr Index kLargestCore = 1024;

bool is_prime(Index n) {
  if (n < 2) return false;
  for (Index d = 2; d * d <= n; ++d)
    if (n % d == 0) return false;
  return true;
}

bool is_paley_one(Index order) {
  return order % 4 == 0 && is_prime(order - 1);
}

bool is_paley_two(Index order) {
  const Index q = order / 2 - 1;
  return order % 4 == 0 && q % 4 == 1 && is_prime(q);
}

/// χ(j − i) for all i, j: 0 on the diagonal, 1 for squares modulo the prime q, −1 otherwise.
Matrix jacobsthal(Index q) {
  std::vector<float> chi(static_cast<std::size_t>(q), -1.0F);
  chi[0] = 0.0F;
  for (Index a = 1; a < q; ++a) chi[static_cast<std::size_t>(a * a % q)] = 1.0F;
  Matrix out(q, q);
  for (Index i = 0; i < q; ++i)
    for (Index j = 0; j < q; ++j) out(i, j) = chi[static_cast<std::size_t>((j - i + q) % q)];
  return out;
}

Matrix paley_one(Index order) {
  const Index q = order - 1;
  Matrix h(order, order);
  h.row(0).setOnes();
  h.col(0).tail(q).setConstant(-1.0F);
  h.bottomRightCorner(q, q) = jacobsthal(q) + Matrix::Identity(q, q);
  return h;
}

Matrix paley_two(Index order) {
  const Index half = order / 2;
  Matrix conference = Matrix::Zero(half, half);
  conference.row(0).tail(half - 1).setOnes();
  conference.col(0).tail(half - 1).setOnes();
  conference.bottomRightCorner(half - 1, half - 1) = jacobsthal(half - 1);
  Matrix h(order, order);
  for (Index i = 0; i < half; ++i) {
    for (Index j = 0; j < half; ++j) {
      const float c = conference(i, j);
      const float d = i == j ? 1.0F : 0.0F;
      h(2 * i, 2 * j) = c + d;
      h(2 * i, 2 * j + 1) = c - d;
      h(2 * i + 1, 2 * j) = c - d;
      h(2 * i + 1, 2 * j + 1) = -c - d;
    }
  }
  return h;
}

}  // namespace

HadamardOrder find_hadamard_order(Index order) {
  if (order < 1) return {};
  Index core = order;
  int doublings = 0;
  while (core % 2 == 0) {
    core /= 2;
    ++doublings;
  }
  if (core == 1) return {1, doublings};
  for (; core <= kLargestCore && doublings >= 0; core *= 2, --doublings)
    if (is_paley_one(core) || is_paley_two(core)) return {core, doublings};
  return {};
}

Matrix hadamard_core(Index core) {
  if (core == 1) return Matrix::Ones(1, 1);
  assert(is_paley_one(core) || is_paley_two(core));
  return is_paley_one(core) ? paley_one(core) : paley_two(core);
}

std::vector<Index> hadamard_blocks(Index channels) {
  std::vector<Index> out;
  for (const Index block : divisors(channels))
    if (find_hadamard_order(block)) out.push_back(block);
  return out;
}

void hadamard_transform(std::span<float> values, const ConstMatrixRef& core) {
  const auto n = static_cast<Index>(values.size());
  FastHadamard(n, OddFactor::signs(core), {}).apply(Eigen::Map<Matrix>(values.data(), 1, n));
}

}  // namespace olab

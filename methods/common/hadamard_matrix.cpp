#include "methods/common/hadamard_matrix.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <string_view>

#include "core/hadamard.hpp"
#include "methods/common/divisors.hpp"
#include "methods/common/finite_field.hpp"

namespace olab {
namespace {

constexpr Index kLargestCore = 1024;

bool is_prime(Index n) {
  if (n < 2) return false;
  for (Index d = 2; d * d <= n; ++d)
    if (n % d == 0) return false;
  return true;
}

// ---- Paley

/// χ(j − i) for all elements i, j of GF(q): 0 on the diagonal, 1 for squares, −1 otherwise.
Matrix jacobsthal(Index q) {
  const FiniteField field(q);
  Matrix out(q, q);
  for (Index i = 0; i < q; ++i)
    for (Index j = 0; j < q; ++j)
      out(i, j) = static_cast<float>(field.quadratic_character(field.subtract(j, i)));
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

// ---- four circulant matrices

/// First rows of four circulant n × n matrices of ±1 whose Gram matrices add up to 4n I.
using FourRows = std::array<std::vector<int>, 4>;

/// Turyn-type sequences X, Y, Z of length n and W of length n − 1: N_X + N_Y + 2 N_Z + 2 N_W = 0, N the
/// autocorrelation at every shift but 0. In the notation of their sources: digit i has the i-th entries of
/// X, Y, Z, W as bits from the highest, set for −1; the last digit has no W.
constexpr std::array<std::string_view, 7> kTurynType{"06e5c4d1",
                                                     "0001f4a961",
                                                     "0000778e52de5561",
                                                     "000038e2739c7a0b6951",
                                                     "00000f702c71a9ad565961",
                                                     "000000f70b106f9d427a25e9a96951",
                                                     "060989975b685d8fc80750b21c0212eceb26"};

/// The sequences for four matrices of this order, or an empty text.
std::string_view turyn_type(Index circulant) {
  for (const std::string_view digits : kTurynType)
    if (circulant == 3 * static_cast<Index>(digits.size()) - 1) return digits;
  return {};
}

/// (Z, W, X), (Z, W, −X), (Z, −W, Y), (Z, −W, −Y): what crosses between the parts cancels, and the sum of the
/// autocorrelations is twice that of X, Y, Z, Z, W, W.
FourRows turyn_rows(std::string_view digits) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<std::vector<int>, 4> sequences;  // X, Y, Z, W
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool last = i + 1 == digits.size();
    const std::size_t bits = kDigits.find(digits[i]) << (last ? 1U : 0U);
    for (std::size_t s = 0; s < (last ? 3U : 4U); ++s)
      sequences[s].push_back((bits >> (3 - s) & 1U) == 0 ? 1 : -1);
  }
  const auto& [x, y, z, w] = sequences;
  const auto append = [](std::vector<int>& row, const std::vector<int>& part, int sign) {
    for (const int value : part) row.push_back(sign * value);
  };
  FourRows out;
  for (std::size_t k = 0; k < 4; ++k) {
    append(out[k], z, 1);
    append(out[k], w, k < 2 ? 1 : -1);
    append(out[k], k < 2 ? x : y, k % 2 == 0 ? 1 : -1);
  }
  return out;
}

/// Williamson's symmetric first rows: entry 0 is 1, entries j and n − j are −1 where bit j − 1 is set. Found
/// by an exact search over rows whose spectra do not exceed 4n.
struct SymmetricRows {
  Index circulant;
  std::array<std::uint32_t, 4> minus;
};
constexpr std::array<SymmetricRows, 2> kWilliamson{
    {{39, {0x26b7e, 0x2fb92, 0x15e6e, 0x6317d}}, {43, {0x099790, 0x1e559c, 0x0c6d0a, 0x0450f9}}}};

const SymmetricRows* williamson(Index circulant) {
  for (const SymmetricRows& rows : kWilliamson)
    if (rows.circulant == circulant) return &rows;
  return nullptr;
}

FourRows williamson_rows(const SymmetricRows& found) {
  FourRows out;
  for (std::size_t k = 0; k < 4; ++k) {
    for (Index j = 0; j < found.circulant; ++j) {
      const Index bit = std::min(j, found.circulant - j) - 1;
      out[k].push_back(j > 0 && (found.minus[k] >> bit & 1U) != 0 ? -1 : 1);
    }
  }
  return out;
}

/// A circulant matrix of the first row `row` at (i, j).
float circulant(const std::vector<int>& row, Index i, Index j) {
  const auto n = static_cast<Index>(row.size());
  return static_cast<float>(row[static_cast<std::size_t>((j - i + n) % n)]);
}

using Signs = std::array<std::array<float, 4>, 4>;

/// Which of the four matrices stands where, in both arrays.
constexpr std::array<std::array<std::size_t, 4>, 4> kPart{
    {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}}};

/// 4 × 4 blocks of order n: block (p, q) is its sign times `entry` of its row, p, q and the place in the
/// block.
template <class Entry>
Matrix array_of_four(const FourRows& rows, const Signs& signs, const Entry& entry) {
  const auto n = static_cast<Index>(rows[0].size());
  Matrix h(4 * n, 4 * n);
  for (std::size_t p = 0; p < 4; ++p)
    for (std::size_t q = 0; q < 4; ++q)
      for (Index i = 0; i < n; ++i)
        for (Index j = 0; j < n; ++j)
          h(static_cast<Index>(p) * n + i, static_cast<Index>(q) * n + j) =
              signs[p][q] * entry(rows[kPart[p][q]], p, q, i, j);
  return h;
}

/// With A, B, C, D circulant and symmetric:
///    A   B   C   D
///   −B   A  −D   C
///   −C   D   A  −B
///   −D  −C   B   A
Matrix williamson_array(const FourRows& rows) {
  constexpr Signs kSign{{{1, 1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}}};
  return array_of_four(rows, kSign,
                       [](const std::vector<int>& row, std::size_t, std::size_t, Index i, Index j) {
                         return circulant(row, i, j);
                       });
}

/// With A, B, C, D circulant, and R the exchange of first and last:
///    A    BR    CR    DR
///   −BR   A     DᵀR  −CᵀR
///   −CR  −DᵀR   A     BᵀR
///   −DR   CᵀR  −BᵀR   A
Matrix goethals_seidel_array(const FourRows& rows) {
  constexpr Signs kSign{{{1, 1, 1, 1}, {-1, 1, 1, -1}, {-1, -1, 1, 1}, {-1, 1, -1, 1}}};
  const auto n = static_cast<Index>(rows[0].size());
  return array_of_four(rows, kSign,
                       [&](const std::vector<int>& row, std::size_t p, std::size_t q, Index i, Index j) {
                         const Index column = p == q ? j : n - 1 - j;
                         const bool transposed = p != q && p > 0 && q > 0;
                         return transposed ? circulant(row, column, i) : circulant(row, i, column);
                       });
}

// ---- all of them

enum class Construction { none, sylvester, paley_one, paley_two, turyn, williamson };

Construction find_construction(Index core) {
  if (core == 1) return Construction::sylvester;
  if (core < 4 || core % 4 != 0) return Construction::none;
  const Index one = core - 1;      // = 3 mod 4
  const Index two = core / 2 - 1;  // = 1 mod 4 where core / 2 is even once
  // Primes before their powers: the matrices that were there first keep their places.
  if (is_prime(one)) return Construction::paley_one;
  if (two % 4 == 1 && is_prime(two)) return Construction::paley_two;
  if (is_prime_power(one)) return Construction::paley_one;
  if (two % 4 == 1 && is_prime_power(two)) return Construction::paley_two;
  if (!turyn_type(core / 4).empty()) return Construction::turyn;
  if (williamson(core / 4) != nullptr) return Construction::williamson;
  return Construction::none;
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
  for (; core <= kLargestCore && doublings >= 0; core *= 2, --doublings)
    if (find_construction(core) != Construction::none) return {core, doublings};
  return {};
}

std::string hadamard_construction(Index core) {
  switch (find_construction(core)) {
    case Construction::none:
      return {};
    case Construction::sylvester:
      return "Sylvester";
    case Construction::paley_one:
      return "Paley I";
    case Construction::paley_two:
      return "Paley II";
    case Construction::turyn:
      return "Turyn";
    case Construction::williamson:
      return "Williamson";
  }
  return {};
}

Matrix hadamard_core(Index core) {
  const Construction construction = find_construction(core);
  assert(construction != Construction::none);
  switch (construction) {
    case Construction::none:
    case Construction::sylvester:
      return Matrix::Ones(1, 1);
    case Construction::paley_one:
      return paley_one(core);
    case Construction::paley_two:
      return paley_two(core);
    case Construction::turyn:
      return goethals_seidel_array(turyn_rows(turyn_type(core / 4)));
    case Construction::williamson:
      return williamson_array(williamson_rows(*williamson(core / 4)));
  }
  return {};
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

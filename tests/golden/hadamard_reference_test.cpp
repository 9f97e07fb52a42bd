// The Hadamard matrices and transforms that the released QuaRot code and Brevitas use
// (OLAB_SHARED_DATA/16_reference_hadamard) against ours. Two Hadamard matrices of one order may differ by the
// order and the signs of their rows and columns, and from order 16 on by more.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/hadamard.hpp"
#include "core/matrix.hpp"
#include "datasets/npz.hpp"
#include "methods/common/hadamard_matrix.hpp"

namespace olab {
namespace {

std::filesystem::path folder() {
  return std::filesystem::path(OLAB_SHARED_DATA) / "16_reference_hadamard";
}

std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

/// A ±1 matrix as a graph: every row and every column stands twice, once with either sign (+ at 2 i, − at
/// 2 i + 1; columns behind the rows), joined to its other self, and to what it agrees with. Graphs that are
/// one up to names are matrices that are one up to order and signs of rows and columns.
class SignGraph {
 public:
  explicit SignGraph(Matrix h) : n_(h.rows()), h_(std::move(h)) {}
  std::size_t size() const { return static_cast<std::size_t>(4 * n_); }

  std::vector<std::uint64_t> start() const {
    std::vector<std::uint64_t> colours(size(), 1);
    std::fill(colours.begin() + 2 * n_, colours.end(), 2);
    return colours;
  }

  /// Colours by the colours of neighbours, until no class splits any more.
  void refine(std::vector<std::uint64_t>& colours) const {
    for (std::size_t classes = count(colours);;) {
      std::vector<std::uint64_t> next(size());
      for (std::size_t v = 0; v < size(); ++v) next[v] = mixed(colours[v] * 3 + mixed(colours[v ^ 1U]));
      for (Index i = 0; i < n_; ++i) {
        for (Index j = 0; j < n_; ++j) {
          const auto row = static_cast<std::size_t>(2 * i);
          const auto column = static_cast<std::size_t>(2 * (n_ + j)) + (h_(i, j) > 0 ? 0U : 1U);
          next[row] += mixed(colours[column]);
          next[row + 1] += mixed(colours[column ^ 1U]);
          next[column] += mixed(colours[row]);
          next[column ^ 1U] += mixed(colours[row + 1]);
        }
      }
      for (std::uint64_t& colour : next) colour = mixed(colour);
      colours = next;
      const std::size_t now = count(colours);
      if (now == classes) return;
      classes = now;
    }
  }

  static std::size_t count(std::vector<std::uint64_t> colours) {
    std::ranges::sort(colours);
    return static_cast<std::size_t>(std::unique(colours.begin(), colours.end()) - colours.begin());
  }

 private:
  Index n_;
  Matrix h_;
};

/// Whether b is a with rows and columns reordered and multiplied by ±1.
class Equivalence {
 public:
  Equivalence(const Matrix& a, const Matrix& b) : a_(a), b_(b), graph_a_(a), graph_b_(b) {}
  /// May give up, and then says no.
  bool found() { return search(graph_a_.start(), graph_b_.start()); }

 private:
  using Colours = std::vector<std::uint64_t>;
  static constexpr int kMostTries = 3000;

  bool search(Colours of_a, Colours of_b) {
    if (++tries_ >= kMostTries) return false;
    graph_a_.refine(of_a);
    graph_b_.refine(of_b);
    Colours sorted_a = of_a;
    Colours sorted_b = of_b;
    std::ranges::sort(sorted_a);
    std::ranges::sort(sorted_b);
    if (sorted_a != sorted_b) return false;
    std::map<std::uint64_t, std::size_t> sizes;
    for (const std::uint64_t colour : of_a) ++sizes[colour];
    std::size_t chosen = of_a.size();
    // Rows first: three of them tell all others apart by their sums over eight classes of columns.
    for (std::size_t v = 0; v < of_a.size() / 2; ++v)
      if (sizes[of_a[v]] > 1 && (chosen == of_a.size() || sizes[of_a[v]] < sizes[of_a[chosen]])) chosen = v;
    if (chosen == of_a.size()) return is_map(of_a, of_b);
    const std::uint64_t colour = of_a[chosen];
    of_a[chosen] = 7;
    for (std::size_t v = 0; v < of_b.size(); ++v) {
      if (of_b[v] != colour) continue;
      of_b[v] = 7;
      if (search(of_a, of_b)) return true;
      of_b[v] = colour;
    }
    return false;
  }

  bool is_map(const Colours& of_a, const Colours& of_b) const {
    std::map<std::uint64_t, std::size_t> where;
    for (std::size_t v = 0; v < of_b.size(); ++v) where[of_b[v]] = v;
    const Index n = a_.rows();
    const auto image = [&](Index part, Index i) {
      return static_cast<Index>(where.at(of_a[static_cast<std::size_t>(2 * (part * n + i))])) - 2 * part * n;
    };
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < n; ++j) {
        const Index row = image(0, i);
        const Index column = image(1, j);
        const float sign = (row + column) % 2 == 0 ? 1.0F : -1.0F;
        if (a_(i, j) != sign * b_(row / 2, column / 2)) return false;
      }
    return true;
  }

  Matrix a_;
  Matrix b_;
  SignGraph graph_a_;
  SignGraph graph_b_;
  int tries_ = 0;
};

/// How often |Σ_c h_ic h_jc h_kc h_lc| takes each value over all sets of four rows: the same for equivalent
/// matrices.
std::map<int, long> profile(const Matrix& h) {
  const Index n = h.rows();
  constexpr std::size_t kWords = 4;
  using Bits = std::array<std::uint64_t, kWords>;
  std::vector<Bits> rows(static_cast<std::size_t>(n), Bits{});
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j)
      if (h(i, j) < 0)
        rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j / 64)] |= std::uint64_t{1} << (j % 64);
  std::vector<long> count(static_cast<std::size_t>(n) + 1, 0);
  const auto differing = [](const Bits& a, const Bits& b) {
    Bits out;
    for (std::size_t w = 0; w < kWords; ++w) out[w] = a[w] ^ b[w];
    return out;
  };
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::size_t j = i + 1; j < rows.size(); ++j) {
      const Bits two = differing(rows[i], rows[j]);
      for (std::size_t k = j + 1; k < rows.size(); ++k) {
        const Bits three = differing(two, rows[k]);
        for (std::size_t l = k + 1; l < rows.size(); ++l) {
          int minus = 0;
          for (std::size_t w = 0; w < kWords; ++w) minus += __builtin_popcountll(three[w] ^ rows[l][w]);
          ++count[static_cast<std::size_t>(std::abs(n - 2 * minus))];
        }
      }
    }
  std::map<int, long> out;
  for (std::size_t v = 0; v < count.size(); ++v)
    if (count[v] > 0) out[static_cast<int>(v)] = count[v];
  return out;
}

/// core ⊗ Sylvester.
Matrix hadamard_of(Index order) {
  const HadamardOrder found = find_hadamard_order(order);
  Matrix out = hadamard_core(found.core);
  for (int k = 0; k < found.doublings; ++k) {
    Matrix twice(2 * out.rows(), 2 * out.rows());
    for (Index i = 0; i < twice.rows(); ++i)
      for (Index j = 0; j < twice.cols(); ++j)
        twice(i, j) = out(i / 2, j / 2) * (i % 2 == 1 && j % 2 == 1 ? -1.0F : 1.0F);
    out = twice;
  }
  return out;
}

Matrix shuffled(const Matrix& h) {
  Matrix out(h.rows(), h.cols());
  for (Index i = 0; i < h.rows(); ++i)
    for (Index j = 0; j < h.cols(); ++j)
      out(i, j) = h((i * 5 + 3) % h.rows(), (j * 7 + 1) % h.cols()) * (i % 3 == 0 ? -1.0F : 1.0F) *
                  (j % 4 == 1 ? -1.0F : 1.0F);
  return out;
}

TEST(Equivalence, OfHadamardMatricesIsFoundAndMissed) {
  for (const Index order : {12, 24, 60}) {
    const Matrix paley = hadamard_core(order);
    EXPECT_TRUE(Equivalence(paley, shuffled(paley)).found()) << order;
    EXPECT_EQ(profile(paley), profile(shuffled(paley))) << order;
    Matrix spoilt = shuffled(paley);
    spoilt(2, 3) = -spoilt(2, 3);
    EXPECT_FALSE(Equivalence(paley, spoilt).found()) << order;
  }
  // Of order 24 there are 60 classes; Paley's and the doubled one of order 12 are two of them.
  EXPECT_NE(profile(hadamard_core(24)), profile(hadamard_of(24)));
}

TEST(HadamardReference, MatricesAreOursUpToOrderAndSignsWhereTheConstructionIsTheSame) {
  const auto file = folder() / "hadamard_matrices_int8.npz";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the shared data is not on this machine";
  const auto opened = open_npz(file);
  std::map<Index, std::string> outcome;
  for (const TensorInfo& info : opened->tensors()) {
    const Matrix reference = opened->read_matrix(info.name);
    const Index order = reference.rows();
    // Orders that the reference has, we have.
    ASSERT_TRUE(find_hadamard_order(order)) << order;
    std::vector<Matrix> ours{hadamard_of(order)};
    if (find_hadamard_order(order).core != order && !hadamard_construction(order).empty())
      ours.push_back(hadamard_core(order));
    std::string& found = outcome[order];
    for (const Matrix& h : ours) {
      ASSERT_EQ(Matrix(h * h.transpose()),
                Matrix(static_cast<float>(order) * Matrix::Identity(order, order)));
      const auto of_reference = profile(reference);
      if (profile(h) != of_reference && profile(h.transpose()) != of_reference) continue;
      found = "same profile";
      if (Equivalence(reference, h).found() || Equivalence(reference, h.transpose()).found()) {
        found = "equal";
        break;
      }
    }
    if (found.empty()) found = "other class";
  }
  for (const auto& [k, v] : outcome) std::printf("%ld %s\n", k, v.c_str());
}

TEST(HadamardReference, TransformsOfPowersOfTwoAreOurs) {
  const auto file = folder() / "quarot_matmul_hadU_reference.npz";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the shared data is not on this machine";
  const auto opened = open_npz(file);
  for (const TensorInfo& info : opened->tensors()) std::printf("%s\n", info.name.c_str());
}

}  // namespace
}  // namespace olab

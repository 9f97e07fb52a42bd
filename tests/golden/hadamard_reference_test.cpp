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

#include "core/matrix.hpp"
#include "datasets/npz.hpp"
#include "methods/common/hadamard_matrix.hpp"
#include "methods/common/transform.hpp"

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

/// What reordering rows and columns and multiplying them by ±1 leaves: how often |Σ_c h_ic h_jc h_kc h_lc|
/// takes each value over all sets of four rows; and for each pair of rows a number that stands for the same
/// over the sets that it is in.
struct Profile {
  std::map<int, long> counts;
  std::vector<std::uint64_t> pairs;  ///< n × n
};

Profile profile_of(const Matrix& h) {
  const Index n = h.rows();
  const auto size = static_cast<std::size_t>(n);
  constexpr std::size_t kWords = 4;
  using Bits = std::array<std::uint64_t, kWords>;
  std::vector<Bits> rows(size, Bits{});
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < n; ++j)
      if (h(i, j) < 0)
        rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(j / 64)] |= std::uint64_t{1} << (j % 64);
  const auto differing = [](const Bits& a, const Bits& b) {
    Bits out;
    for (std::size_t w = 0; w < kWords; ++w) out[w] = a[w] ^ b[w];
    return out;
  };
  std::vector<std::uint64_t> weights(size + 1);
  for (std::size_t v = 0; v <= size; ++v) weights[v] = mixed(v);
  std::vector<long> count(size + 1, 0);
  Profile out;
  out.pairs.assign(size * size, 0);
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = i + 1; j < size; ++j) {
      const Bits two = differing(rows[i], rows[j]);
      for (std::size_t k = j + 1; k < size; ++k) {
        const Bits three = differing(two, rows[k]);
        std::uint64_t sum = 0;
        for (std::size_t l = k + 1; l < size; ++l) {
          Index minus = 0;
          for (std::size_t w = 0; w < kWords; ++w) minus += __builtin_popcountll(three[w] ^ rows[l][w]);
          const auto value = static_cast<std::size_t>(std::abs(n - 2 * minus));
          ++count[value];
          sum += weights[value];
          for (const std::size_t other : {i, j, k}) out.pairs[other * size + l] += weights[value];
        }
        out.pairs[i * size + j] += sum;
        out.pairs[i * size + k] += sum;
        out.pairs[j * size + k] += sum;
      }
    }
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = 0; j < i; ++j) out.pairs[i * size + j] = out.pairs[j * size + i];
  for (std::size_t v = 0; v < count.size(); ++v)
    if (count[v] > 0) out.counts[static_cast<int>(v)] = count[v];
  return out;
}

/// A ±1 matrix as a graph: every row and every column stands twice, once with either sign (+ at 2 i, − at
/// 2 i + 1; columns behind the rows), joined to its other self, and to what it agrees with. Graphs that are
/// one up to names are matrices that are one up to order and signs of rows and columns.
class SignGraph {
 public:
  SignGraph(Matrix h, std::vector<std::uint64_t> pairs)
      : n_(h.rows()), h_(std::move(h)), pairs_(std::move(pairs)) {}
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
          if (i == j) continue;
          // Pairs of rows have colours of their own, whatever the signs.
          const auto other = static_cast<std::size_t>(2 * j);
          const std::uint64_t pair = pairs_[static_cast<std::size_t>(i * n_ + j)];
          const std::uint64_t seen = mixed(pair ^ (mixed(colours[other]) + mixed(colours[other + 1])));
          next[row] += seen;
          next[row + 1] += seen;
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
  std::vector<std::uint64_t> pairs_;
};

/// Whether b is a with rows and columns reordered and multiplied by ±1.
class Equivalence {
 public:
  Equivalence(const Matrix& a, const Profile& of_a, const Matrix& b, const Profile& of_b)
      : a_(a), b_(b), graph_a_(a, of_a.pairs), graph_b_(b, of_b.pairs) {}
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
      out(i, j) = h((i * 7 + 3) % h.rows(), (j * 11 + 1) % h.cols()) * (i % 3 == 0 ? -1.0F : 1.0F) *
                  (j % 4 == 1 ? -1.0F : 1.0F);
  return out;
}

bool equivalent(const Matrix& a, const Matrix& b) {
  const Profile of_a = profile_of(a);
  const Profile of_b = profile_of(b);
  return of_a.counts == of_b.counts && Equivalence(a, of_a, b, of_b).found();
}

TEST(Equivalence, OfHadamardMatricesIsFoundAndMissed) {
  for (const Index order : {12, 24, 60}) {
    const Matrix paley = hadamard_core(order);
    EXPECT_TRUE(equivalent(paley, shuffled(paley))) << order;
    Matrix spoilt = shuffled(paley);
    spoilt(2, 3) = -spoilt(2, 3);
    EXPECT_FALSE(equivalent(paley, spoilt)) << order;
  }
  // Of order 24 there are 60 classes; Paley's and the doubled one of order 12 are two of them.
  EXPECT_FALSE(equivalent(hadamard_core(24), hadamard_of(24)));
}

TEST(HadamardReference, MatricesAreOursUpToOrderAndSignsWhereTheConstructionIsTheSame) {
  const auto file = folder() / "hadamard_matrices_int8.npz";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the shared data is not on this machine";
  const auto opened = open_npz(file);
  std::vector<Index> equal;
  std::vector<Index> others;
  for (const TensorInfo& info : opened->tensors()) {
    const Matrix reference = opened->read_matrix(info.name);
    const Index order = reference.rows();
    // Orders that the reference has, we have.
    ASSERT_TRUE(find_hadamard_order(order)) << order;
    const Matrix ours = hadamard_of(order);
    EXPECT_EQ(Matrix(ours * ours.transpose()),
              Matrix(static_cast<float>(order) * Matrix::Identity(order, order)));
    // 152 = 76 · 2 here, and Paley's I of 151 there; 156 is ours transposed.
    const bool other_core = find_hadamard_order(order).core != order && !hadamard_construction(order).empty();
    const bool found = equivalent(reference, ours) ||
                       (other_core && equivalent(reference, hadamard_core(order))) ||
                       (order == 156 && equivalent(reference, ours.transpose()));
    (found ? equal : others).push_back(order);
  }
  std::ranges::sort(equal);
  EXPECT_EQ(equal, (std::vector<Index>{12, 20, 28, 36, 40, 60, 108, 140, 152, 156, 172}));
  // Williamson's of order 52 there, Paley's II over GF(25) here.
  EXPECT_EQ(others, std::vector<Index>{52});
}

TEST(HadamardReference, TransformsOfPowersOfTwoAreOurs) {
  const auto file = folder() / "quarot_matmul_hadU_reference.npz";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the shared data is not on this machine";
  const auto opened = open_npz(file);
  std::vector<Index> checked;
  for (const TensorInfo& info : opened->tensors()) {
    if (!info.name.ends_with(".x")) continue;
    Matrix x = opened->read_matrix(info.name);
    if (find_hadamard_order(x.cols()).core != 1) continue;
    const std::string stem = info.name.substr(0, info.name.size() - 2);
    const Matrix want = opened->read_matrix(stem + ".hadU");
    make_hadamard(x.cols(), x.cols(), {})->apply_to_activations(x);
    EXPECT_LT((x - want).cwiseAbs().maxCoeff(), 1e-5F * want.cwiseAbs().maxCoeff()) << stem;
    checked.push_back(x.cols());
  }
  std::ranges::sort(checked);
  EXPECT_EQ(checked, (std::vector<Index>{128, 256, 512, 2048, 4096}));
}

}  // namespace
}  // namespace olab

// What predictions are worth.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "core/library_product.hpp"
#include "core/parallel.hpp"
#include "models/decoder.hpp"

namespace olab {
namespace {

constexpr Index kTokensATime = 256;

/// What logits say in double: log Σ exp, and which is the largest (the first of equals).
struct Normaliser {
  double log_sum = 0;
  Index largest = 0;
};

Normaliser normaliser(const float* logits, Index n) {
  Normaliser out;
  out.largest = std::max_element(logits, logits + n) - logits;
  const auto maximum = static_cast<double>(logits[out.largest]);
  double sum = 0;
  for (Index j = 0; j < n; ++j) sum += std::exp(static_cast<double>(logits[j]) - maximum);
  out.log_sum = maximum + std::log(sum);
  return out;
}

/// Σ p (log p − log q) with p of `original`.
double divergence(const float* original, const Normaliser& p, const float* logits, const Normaliser& q,
                  Index n) {
  double sum = 0;
  for (Index j = 0; j < n; ++j) {
    const double log_p = static_cast<double>(original[j]) - p.log_sum;
    const double share = std::exp(log_p);
    if (share != 0) sum += share * (log_p - (static_cast<double>(logits[j]) - q.log_sum));
  }
  return sum;
}

struct Prediction {
  double nll = 0;
  double kl = 0;
  double agrees = 0;
};

}  // namespace

WindowScore score_window(const Head& head, std::span<const TokenId> ids, const ConstMatrixRef& normed,
                         const ConstMatrixRef& original) {
  assert(static_cast<Index>(ids.size()) == normed.rows());
  assert(original.rows() == 0 || original.rows() == normed.rows());
  const Index vocabulary = head.weight.rows();
  const Index predictions = std::max<Index>(0, normed.rows() - 1);
  std::vector<Prediction> all(static_cast<std::size_t>(predictions));
  for (Index begin = 0; begin < predictions; begin += kTokensATime) {
    const Index rows = std::min(kTokensATime, predictions - begin);
    Matrix logits = large_matrix(rows, vocabulary);
    library_multiply_transposed(normed.middleRows(begin, rows), head.weight, logits);
    Matrix wanted;
    if (original.rows() > 0) {
      wanted = large_matrix(rows, vocabulary);
      library_multiply_transposed(original.middleRows(begin, rows), head.weight, wanted);
    }
    parallel_for(rows, 4, [&](Index first, Index last) {
      for (Index t = first; t < last; ++t) {
        const float* const row = logits.row(t).data();
        const Normaliser own = normaliser(row, vocabulary);
        const TokenId next = ids[static_cast<std::size_t>(begin + t + 1)];
        assert(next >= 0 && next < vocabulary);
        Prediction& p = all[static_cast<std::size_t>(begin + t)];
        p.nll = own.log_sum - static_cast<double>(row[next]);
        if (wanted.rows() == 0) continue;
        const Normaliser theirs = normaliser(wanted.row(t).data(), vocabulary);
        p.kl = divergence(wanted.row(t).data(), theirs, row, own, vocabulary);
        p.agrees = own.largest == theirs.largest ? 1 : 0;
      }
    });
  }
  WindowScore out;
  out.predictions = predictions;
  if (predictions == 0) return out;
  for (const Prediction& p : all) {
    out.nll += p.nll;
    out.kl += p.kl;
    out.agreement += p.agrees;
  }
  const auto count = static_cast<double>(predictions);
  out.nll /= count;
  out.kl /= count;
  out.agreement /= count;
  return out;
}

}  // namespace olab

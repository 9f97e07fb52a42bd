#include "methods/common/rotation_search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "methods/common/block_size.hpp"
#include "methods/common/hadamard_matrix.hpp"
#include "methods/common/row_scorer.hpp"

namespace olab {
namespace {

bool greedy(const RotationSettings& settings) {
  return settings.search == "exact" || settings.search == "sample";
}

/// E_p M E_p with E_p the exchange of positions 0 and p.
void exchange(Matrix& m, Index p) {
  if (p == 0) return;
  m.row(0).swap(m.row(p));
  m.col(0).swap(m.col(p));
}

/// The released code compares |max| and |min| and takes the minimum's row on a tie.
Index exchange_index(const Extremes& extremes, bool by_row) {
  if (!by_row) return extremes.channel;
  return std::abs(extremes.high) > std::abs(extremes.low) ? extremes.high_row : extremes.low_row;
}

/// Keeps the best of one search.
class Best {
 public:
  Best(Index block, bool peak_to_peak) : peak_to_peak_(peak_to_peak) {
    found_.rotation = Matrix::Identity(block, block);
  }
  float least() const { return least_; }
  /// True where the scored product is the best so far; equal ones leave the first.
  bool add(const Extremes& extremes) {
    const float score = peak_to_peak_ ? extremes.peak_to_peak() : extremes.absmax();
    found_.scores.push_back(score);
    if (!(score < least_)) return false;
    least_ = score;
    return true;
  }
  void add_worse() { found_.scores.push_back(std::numeric_limits<float>::infinity()); }
  RotationSearch& found() { return found_; }

 private:
  bool peak_to_peak_;
  float least_ = std::numeric_limits<float>::infinity();
  RotationSearch found_;
};

RotationSearch search_greedily(RowScorer& scorer, const RotationSettings& settings, const StepRotation& steps,
                               const StopFlag* stop) {
  const Index b = settings.block_size;
  const bool by_row = settings.pivot == "row";
  const ScoreAims aims{settings.score == "peak-to-peak", !by_row};
  // A fresh matrix costs as much as a light step, so it is made beside the scoring of the step before.
  const Index together = settings.fresh_q == "per-step" ? 1 : 2;
  Matrix product = Matrix::Identity(b, b);
  std::vector<Index> exchanges;
  Best best(b, aims.both);
  for (Index k = 0;; ++k) {
    if (stop != nullptr) stop->check();
    Extremes extremes;
    Matrix step;
    parallel_for(2, together, [&](Index begin, Index end) {
      for (Index part = begin; part < end; ++part) {
        if (part == 1 && k < settings.steps) step = steps(k);
        if (part == 0 && k == 0) extremes = scorer.score_unrotated();
        if (part == 0 && k > 0) scorer.score(product, aims, extremes);
      }
    });
    if (best.add(extremes)) {
      best.found().rotation = product;
      best.found().exchanges = exchanges;
      best.found().kept = k;
    }
    if (k == settings.steps) return std::move(best.found());

    assert(step.rows() == b && step.cols() == b);
    exchanges.push_back(exchange_index(extremes, by_row));
    exchange(step, exchanges.back() % b);
    rotate_blocks(product, step);
  }
}

/// Products of the steps as they come, or each step alone.
RotationSearch search_blindly(RowScorer& scorer, const RotationSettings& settings, const StepRotation& steps,
                              const StopFlag* stop) {
  const Index b = settings.block_size;
  const bool alone = settings.search == "hadamards";
  const Index count = alone ? settings.candidates : settings.steps;
  const ScoreAims aims{settings.score == "peak-to-peak", false};
  Matrix product = Matrix::Identity(b, b);
  Best best(b, aims.both);
  best.add(scorer.score_unrotated());
  const Index together = !alone && settings.fresh_q == "per-step" ? 1 : 2;
  Matrix next = count > 0 ? steps(0) : Matrix();
  for (Index k = 1; k <= count; ++k) {
    if (stop != nullptr) stop->check();
    if (alone)
      product = next;
    else
      rotate_blocks(product, next);
    Extremes extremes;
    bool better = false;
    parallel_for(2, together, [&](Index begin, Index end) {
      for (Index part = begin; part < end; ++part) {
        if (part == 0) better = scorer.score(product, aims, extremes, best.least());
        if (part == 1 && k < count) next = steps(k);
      }
    });
    if (!better) {
      best.add_worse();
    } else if (best.add(extremes)) {
      best.found().rotation = product;
      best.found().kept = k;
    }
  }
  return std::move(best.found());
}

/// What the sample's search found, where it lowers the score of all rows too.
RotationSearch search_on_sample(RowScorer& scorer, const RotationSettings& settings,
                                const StepRotation& steps, const StopFlag* stop) {
  scorer.use_longest(settings.sample_rows);
  RotationSearch found = search_greedily(scorer, settings, steps, stop);
  if (found.kept == 0) return found;
  scorer.use_longest(scorer.rows());
  const bool peak_to_peak = settings.score == "peak-to-peak";
  const Extremes unrotated = scorer.score_unrotated();
  Extremes rotated;
  if (!scorer.score(found.rotation, {peak_to_peak, false}, rotated,
                    peak_to_peak ? unrotated.peak_to_peak() : unrotated.absmax())) {
    found.rotation.setIdentity();
    found.exchanges.clear();
    found.kept = 0;
  }
  return found;
}

/// diag(d) H / sqrt(b) with b signs d drawn a candidate.
StepRotation sign_hadamards(Index b, RandomStream random) {
  const HadamardOrder order = find_hadamard_order(b);
  assert(order);
  const Matrix core = hadamard_core(order.core);
  Matrix hadamard = Matrix::Identity(b, b);
  for (Index i = 0; i < b; ++i)
    hadamard_transform({hadamard.row(i).data(), static_cast<std::size_t>(b)}, core);
  const auto shared = std::make_shared<const Matrix>(std::move(hadamard));
  const auto stream = std::make_shared<RandomStream>(std::move(random));
  return [=](Index /*candidate*/) {
    Matrix out(b, b);
    for (Index i = 0; i < b; ++i) out.row(i) = shared->row(i) * stream->sign();
    return out;
  };
}

/// The block with the largest |x|; ties: the first.
Index largest_block(const ConstMatrixRef& x, Index b) {
  Index channel = 0;
  channel_absmax(x).maxCoeff(&channel);
  return channel / b;
}

}  // namespace

RotationSettings at_width(const RotationSettings& settings, Index channels) {
  RotationSettings out = settings;
  out.block_size = resolve_block(settings.block_size, channels);
  return out;
}

Matrix base_rotation(Index n) {
  assert(n >= 1);
  Eigen::MatrixXd r = Eigen::MatrixXd::Identity(n, n);
  for (Index i = 0; i + 1 < n; ++i) {
    const double cosine = 1.0 / std::sqrt(static_cast<double>(i + 2));
    const double sine = std::sqrt(static_cast<double>(i + 1)) * cosine;
    const Eigen::RowVectorXd upper = r.row(i);
    const Eigen::RowVectorXd lower = r.row(i + 1);
    r.row(i) = cosine * upper - sine * lower;
    r.row(i + 1) = sine * upper + cosine * lower;
  }
  r.row(0).swap(r.row(n - 1));
  r.col(0).swap(r.col(n - 1));
  return r.cast<float>();
}

void check_search(const RotationSettings& settings, const std::string& who) {
  if (settings.search != "hadamards" || find_hadamard_order(settings.block_size)) return;
  throw Error(
      fmt::format("{}: search=hadamards needs a Hadamard matrix, and there is none of order {} here; "
                  "choose another block_size (any power of two has one) or search=random-pivot",
                  who, settings.block_size));
}

void refuse_unused(const RotationSettings& settings, const std::string& who) {
  const RotationSettings defaults;
  const bool greedy = settings.search == "exact" || settings.search == "sample";
  const bool steps = settings.search == "hadamards" &&
                     (settings.steps != defaults.steps || settings.fresh_q != defaults.fresh_q);
  if (greedy || (settings.pivot == defaults.pivot && !steps)) return;
  throw Error(
      fmt::format("{}: {} with search={}; add search=exact, or leave them out", who,
                  steps ? "greedy steps and their random matrices have no meaning" : "a pivot has no meaning",
                  settings.search));
}

StepRotation random_steps(const RotationSettings& settings, RandomStream random) {
  const Index b = settings.block_size;
  if (settings.search == "hadamards") return sign_hadamards(b, random.fork("signs"));
  const bool per_step = settings.fresh_q == "per-step";
  const bool pivots = settings.search == "random-pivot";
  const auto base = std::make_shared<const Matrix>(base_rotation(b));
  const auto pivot_stream = std::make_shared<RandomStream>(random.fork("pivots"));
  const auto stream = std::make_shared<RandomStream>(std::move(random));
  const auto current = std::make_shared<Matrix>();
  return [=](Index /*step*/) -> Matrix {
    if (per_step || current->size() == 0) {
      Matrix q = Matrix::Identity(b, b);
      if (b > 1) q.bottomRightCorner(b - 1, b - 1) = random_orthogonal(b - 1, *stream);
      current->resize(b, b);
      multiply(*base, q, *current);
    }
    if (!pivots) return *current;
    Matrix exchanged = *current;
    exchange(exchanged, pivot_stream->below(b));
    return exchanged;
  };
}

RotationSearch search_rotation(const ConstMatrixRef& x, const RotationSettings& settings,
                               const StepRotation& steps, const StopFlag* stop) {
  RowScorer scorer(x, settings.block_size);
  if (settings.search == "sample") return search_on_sample(scorer, settings, steps, stop);
  return greedy(settings) ? search_greedily(scorer, settings, steps, stop)
                          : search_blindly(scorer, settings, steps, stop);
}

SearchedRotation search_block_rotation(const ConstMatrixRef& x, const RotationSettings& settings,
                                       const std::function<StepRotation(Index block)>& steps_of,
                                       const StopFlag* stop) {
  const Index b = settings.block_size;
  check_block_size(x.cols(), b, "rotation search");
  check_search(settings, "rotation search");
  SearchedRotation out;
  if (settings.share_rotation) {
    const ConstMatrixRef rows =
        settings.search_on == "largest-block" ? x.middleCols(largest_block(x, b) * b, b) : x;
    out.searches.push_back(search_rotation(rows, settings, steps_of(0), stop));
  } else {
    const Index blocks = x.cols() / b;
    out.searches.resize(static_cast<std::size_t>(blocks));
    parallel_for(blocks, 1, [&](Index begin, Index end) {
      for (Index k = begin; k < end; ++k)
        out.searches[static_cast<std::size_t>(k)] =
            search_rotation(x.middleCols(k * b, b), settings, steps_of(k), stop);
    });
  }
  std::vector<Matrix> rotations;
  rotations.reserve(out.searches.size());
  for (const RotationSearch& search : out.searches) rotations.push_back(search.rotation);
  out.transform = make_block_rotation(x.cols(), rotations);
  return out;
}

std::function<StepRotation(Index block)> random_block_steps(const RotationSettings& settings,
                                                            const RandomStream& random) {
  const std::uint64_t seed = random.seed();
  return [settings, seed](Index block) {
    RandomStream own(seed);
    if (settings.share_rotation) return random_steps(settings, std::move(own));
    return random_steps(settings, own.fork(fmt::format("block {}", block)));
  };
}

std::string describe(const RotationSettings& settings) {
  std::string out =
      fmt::format("block_size={}, steps={}, pivot={}, fresh_q={}, score={}, share_rotation={}, search={}",
                  settings.block_size, settings.steps, settings.pivot, settings.fresh_q, settings.score,
                  settings.share_rotation, settings.search);
  if (settings.share_rotation && settings.search_on != RotationSettings{}.search_on)
    out += fmt::format(", search_on={}", settings.search_on);
  if (settings.search == "hadamards") out += fmt::format(", candidates={}", settings.candidates);
  if (settings.search == "sample") out += fmt::format(", sample_rows={}", settings.sample_rows);
  return out;
}

double search_work(const RotationSettings& settings, Index tokens, Index channels) {
  const auto b = static_cast<double>(settings.block_size);
  const auto steps = static_cast<double>(settings.steps);
  const double searches = settings.share_rotation ? 1.0 : static_cast<double>(channels) / b;
  const bool one_block = !settings.share_rotation || settings.search_on == "largest-block";
  const double rows = static_cast<double>(tokens) * (one_block ? 1.0 : static_cast<double>(channels) / b);
  // Integers of 8 bits do four multiply-adds in the time of one in float.
  constexpr double kInteger = 0.25;
  // The share of the rows that is looked at before a step is left: measured on Gaussian data.
  constexpr double kUntilLeft = 0.15;
  if (settings.search == "hadamards")
    return searches * static_cast<double>(settings.candidates) * kUntilLeft * kInteger * rows * b * b;
  // Reflections in double, with the normal numbers behind them.
  constexpr double kDraw = 6.0;
  const double draws = settings.fresh_q == "per-step" ? steps : 1.0;
  const double matrices = steps * b * b * b + draws * kDraw * b * b * b;
  double looked_at = rows;
  if (settings.search == "sample") looked_at = std::min(rows, static_cast<double>(settings.sample_rows));
  if (settings.search == "random-pivot") looked_at = kUntilLeft * rows;
  return searches * (steps * looked_at * kInteger * b * b + matrices);
}

}  // namespace olab

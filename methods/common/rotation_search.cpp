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

namespace olab {
namespace {

constexpr Index kTokensPerTask = 32;

/// The extreme values of rows of b channels and where they are.
struct Extremes {
  float max = -std::numeric_limits<float>::infinity();
  float min = std::numeric_limits<float>::infinity();
  Index max_row = 0;      ///< first row with the maximum
  Index min_row = 0;      ///< first row with the minimum
  Vector channel_absmax;  ///< 1 × b

  void add_row(const ConstVectorRef& row, Index number) {
    const float high = row.maxCoeff();
    const float low = row.minCoeff();
    if (high > max) {
      max = high;
      max_row = number;
    }
    if (low < min) {
      min = low;
      min_row = number;
    }
    channel_absmax = channel_absmax.cwiseMax(row.cwiseAbs());
  }
  /// `later` covers rows behind all of ours, so that ties stay with the first row.
  void add(const Extremes& later) {
    if (later.max > max) {
      max = later.max;
      max_row = later.max_row;
    }
    if (later.min < min) {
      min = later.min;
      min_row = later.min_row;
    }
    channel_absmax = channel_absmax.cwiseMax(later.channel_absmax);
  }
  float absmax() const { return std::max(std::abs(max), std::abs(min)); }
};

Extremes find_extremes(const ConstMatrixRef& x, Index b) {
  const Index blocks = x.cols() / b;
  Extremes all;
  all.channel_absmax = Vector::Zero(b);
  std::vector<Extremes> parts(static_cast<std::size_t>((x.rows() + kTokensPerTask - 1) / kTokensPerTask),
                              all);
  parallel_for(x.rows(), kTokensPerTask, [&](Index begin, Index end) {
    Extremes& part = parts[static_cast<std::size_t>(begin / kTokensPerTask)];
    for (Index t = begin; t < end; ++t)
      for (Index k = 0; k < blocks; ++k)
        part.add_row(Eigen::Map<const Vector>(x.row(t).data() + k * b, b), t * blocks + k);
  });
  for (const Extremes& part : parts) all.add(part);
  return all;
}

/// The released code compares |max| and |min| and takes the minimum's row on a tie.
Index exchange_index(const Extremes& extremes, bool by_row) {
  if (by_row) return std::abs(extremes.max) > std::abs(extremes.min) ? extremes.max_row : extremes.min_row;
  Index channel = 0;
  extremes.channel_absmax.maxCoeff(&channel);
  return channel;
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

StepRotation random_steps(const RotationSettings& settings, RandomStream random) {
  const Index b = settings.block_size;
  const bool per_step = settings.fresh_q == "per-step";
  const auto base = std::make_shared<const Matrix>(base_rotation(b));
  const auto stream = std::make_shared<RandomStream>(std::move(random));
  const auto current = std::make_shared<Matrix>();
  return [=](Index /*step*/) -> Matrix {
    if (!per_step && current->size() > 0) return *current;
    Matrix q = Matrix::Identity(b, b);
    if (b > 1) q.bottomRightCorner(b - 1, b - 1) = random_orthogonal(b - 1, *stream);
    current->resize(b, b);
    multiply(*base, q, *current);
    return *current;
  };
}

RotationSearch search_rotation(const ConstMatrixRef& x, const RotationSettings& settings,
                               const StepRotation& steps, const StopFlag* stop) {
  const Index b = settings.block_size;
  const bool by_row = settings.pivot == "row";
  const bool peak_to_peak = settings.score == "peak-to-peak";
  assert(x.rows() > 0 && x.cols() % b == 0);

  Matrix rotated = x;
  Matrix product = Matrix::Identity(b, b);
  RotationSearch best;
  best.rotation = product;
  std::vector<Index> exchanges;
  float least = std::numeric_limits<float>::infinity();
  for (Index k = 0;; ++k) {
    if (stop != nullptr) stop->check();
    const Extremes extremes = find_extremes(rotated, b);
    const float score = peak_to_peak ? extremes.max - extremes.min : extremes.absmax();
    best.scores.push_back(score);
    if (score < least) {
      least = score;
      best.rotation = product;
      best.exchanges = exchanges;
    }
    if (k == settings.steps) return best;

    const Index exchange = exchange_index(extremes, by_row);
    exchanges.push_back(exchange);
    Matrix step = steps(k);
    assert(step.rows() == b && step.cols() == b);
    if (const Index p = exchange % b; p != 0) {
      step.row(0).swap(step.row(p));
      step.col(0).swap(step.col(p));
    }
    rotate_blocks(rotated, step);
    rotate_blocks(product, step);
  }
}

SearchedRotation search_block_rotation(const ConstMatrixRef& x, const RotationSettings& settings,
                                       const std::function<StepRotation(Index block)>& steps_of,
                                       const StopFlag* stop) {
  const Index b = settings.block_size;
  check_block_size(x.cols(), b, "rotation search");
  SearchedRotation out;
  if (settings.share_rotation) {
    out.searches.push_back(search_rotation(x, settings, steps_of(0), stop));
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
  out.transform = make_block_rotation(x.cols(), std::move(rotations));
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
  return fmt::format("block_size={}, steps={}, pivot={}, fresh_q={}, score={}, share_rotation={}",
                     settings.block_size, settings.steps, settings.pivot, settings.fresh_q, settings.score,
                     settings.share_rotation);
}

double search_work(const RotationSettings& settings, Index tokens, Index channels) {
  const auto b = static_cast<double>(settings.block_size);
  const auto steps = static_cast<double>(settings.steps);
  const double searches = settings.share_rotation ? 1.0 : static_cast<double>(channels) / b;
  // A QR in double with its Q costs about 8/3 b³ multiply-adds, at a fraction of the product kernel's speed.
  constexpr double kQr = 8.0;
  const double draws = settings.fresh_q == "per-step" ? steps : 1.0;
  return steps * static_cast<double>(tokens) * static_cast<double>(channels) * b +
         searches * draws * kQr * b * b * b;
}

}  // namespace olab

#include "methods/common/row_scorer.hpp"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cfloat>
#include <cmath>
#include <utility>

#include "core/parallel.hpp"

namespace olab {
namespace {

constexpr Index kPadding = 16;  // what pad_columns pads to
constexpr Index kTokensPerTask = 16;
constexpr Index kBlocksPerTask = 16;
/// Rows that are scored in float before anything is asked of the filter.
constexpr Index kFirstRows = 8;
/// So few rows are faster scored than filtered, some at a time.
constexpr Index kFewRows = 128;
constexpr Index kSomeRows = 16;

/// The next larger float; finite and >= 0 only.
float above(double value) {
  const auto nearest = static_cast<float>(value);
  if (!std::isfinite(nearest)) return nearest;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(nearest) + 1U);
}

/// Row numbers sorted by falling norm, equal ones as they come; the norms are sorted with them. Radix sort:
/// the bits of floats that are not negative rise with their values.
void sort_by_norm(std::vector<Index>& numbers, std::vector<float>& norms) {
  constexpr unsigned kBits = 11;
  constexpr std::size_t kBuckets = std::size_t{1} << kBits;
  const auto digit = [](float norm, unsigned pass) {
    return (~std::bit_cast<std::uint32_t>(norm) >> (pass * kBits)) & (kBuckets - 1);
  };
  std::vector<Index> other_numbers(numbers.size());
  std::vector<float> other_norms(norms.size());
  for (unsigned pass = 0; pass < 3; ++pass) {
    std::array<std::size_t, kBuckets> place{};
    for (const float norm : norms) ++place[digit(norm, pass)];
    std::size_t sum = 0;
    for (std::size_t& p : place) sum += std::exchange(p, sum);
    for (std::size_t i = 0; i < norms.size(); ++i) {
      const std::size_t to = place[digit(norms[i], pass)]++;
      other_numbers[to] = numbers[i];
      other_norms[to] = norms[i];
    }
    numbers.swap(other_numbers);
    norms.swap(other_norms);
  }
}

}  // namespace

/// The extremes so far, of all threads: whoever reads an old value looks at a few rows more.
struct RowScorer::Running {
  Running(bool both_extremes, float give_up_at) : both(both_extremes), give_up(give_up_at) {}

  const bool both;
  const float give_up;
  std::atomic<float> high{-std::numeric_limits<float>::infinity()};
  std::atomic<float> low{std::numeric_limits<float>::infinity()};
  std::atomic<bool> over{false};  ///< the score has reached give_up

  void add(float row_low, float row_high) {
    float h = high.load(std::memory_order_relaxed);
    while (row_high > h && !high.compare_exchange_weak(h, row_high, std::memory_order_relaxed)) {
    }
    float l = low.load(std::memory_order_relaxed);
    while (row_low < l && !low.compare_exchange_weak(l, row_low, std::memory_order_relaxed)) {
    }
  }
  /// What a row must reach to count; equal values do, because the first row wins.
  RowRange limits() const {
    const float h = high.load(std::memory_order_relaxed);
    const float l = low.load(std::memory_order_relaxed);
    if (both) return {l, h};
    const float most = std::max(h, -l);
    return {-most, most};
  }
  /// What a norm must reach.
  float least_limit() const {
    const RowRange limit = limits();
    return std::min(limit.high, -limit.low);
  }
  /// Rounding is monotone, so the score can only rise from here.
  void check_score() {
    const float h = high.load(std::memory_order_relaxed);
    const float l = low.load(std::memory_order_relaxed);
    if ((both ? h - l : std::max(std::abs(h), std::abs(l))) >= give_up)
      over.store(true, std::memory_order_relaxed);
  }
};

/// What one task found.
struct RowScorer::Part {
  Extremes extremes;
  float absmax = -1;
  std::vector<Index> leaders;  ///< rows with that absolute value
  Index tiles = 0;
  Index second = 0;     ///< tiles that the filter had to finish
  Index filtered = 0;   ///< rows
  Index survivors = 0;  ///< rows that the filter let through

  void add(Index row, const RowRange& range) {
    add_high(row, range.high);
    add_low(row, range.low);
    const float most = std::max(std::abs(range.high), std::abs(range.low));
    if (most > absmax) {
      absmax = most;
      leaders.clear();
    }
    if (most == absmax) leaders.push_back(row);
  }
  void add(const Part& other) {
    add_high(other.extremes.high_row, other.extremes.high);
    add_low(other.extremes.low_row, other.extremes.low);
    if (other.absmax > absmax) {
      absmax = other.absmax;
      leaders = other.leaders;
    } else if (other.absmax == absmax) {
      leaders.insert(leaders.end(), other.leaders.begin(), other.leaders.end());
    }
    tiles += other.tiles;
    second += other.second;
    filtered += other.filtered;
    survivors += other.survivors;
  }

 private:
  void add_high(Index row, float value) {
    if (value > extremes.high || (value == extremes.high && row < extremes.high_row)) {
      extremes.high = value;
      extremes.high_row = row;
    }
  }
  void add_low(Index row, float value) {
    if (value < extremes.low || (value == extremes.low && row < extremes.low_row)) {
      extremes.low = value;
      extremes.low_row = row;
    }
  }
};

RowScorer::RowScorer(const ConstMatrixRef& x, Index block, CpuLevel level)
    : x_(x), block_(block), blocks_(x.cols() / block), rows_(x.rows() * blocks_), level_(level) {
  assert(rows_ > 0 && x.cols() % block == 0);
  const double unit = static_cast<double>(block) * 0x1.0p-24;
  rounding_ = unit / (1.0 - unit);

  std::vector<float> norms(static_cast<std::size_t>(rows_));
  std::vector<Part> parts(static_cast<std::size_t>((x.rows() + kTokensPerTask - 1) / kTokensPerTask));
  parallel_for(x.rows(), kTokensPerTask, [&](Index begin, Index end) {
    Part& part = parts[static_cast<std::size_t>(begin / kTokensPerTask)];
    std::vector<RowFacts> facts(static_cast<std::size_t>(blocks_));
    for (Index t = begin; t < end; ++t) {
      measure_rows(x_.data() + t * x_.outerStride(), block_, blocks_, block_, facts.data(), level_);
      for (Index k = 0; k < blocks_; ++k) {
        const RowFacts& f = facts[static_cast<std::size_t>(k)];
        part.add(t * blocks_ + k, {f.low, f.high});
        norms[static_cast<std::size_t>(t * blocks_ + k)] =
            f.square_sum > 0 ? above(std::sqrt(f.square_sum)) : 0.0F;
      }
    }
  });
  Part all;
  for (const Part& part : parts) all.add(part);
  unrotated_ = all.extremes;
  unrotated_.channel = block_;
  for (const Index number : all.leaders)
    for (Index j = 0; j < unrotated_.channel; ++j)
      if (std::abs(row(number)[j]) == all.absmax) unrotated_.channel = j;

  order_.reserve(norms.size());
  norm_.reserve(norms.size());
  for (Index i = 0; i < rows_; ++i) {
    const float norm = norms[static_cast<std::size_t>(i)];
    if (norm > 0) {
      order_.push_back(i);
      norm_.push_back(norm);
    } else if (first_zero_row_ < 0) {
      first_zero_row_ = i;
    }
  }
  sort_by_norm(order_, norm_);
  zero_row_ = first_zero_row_;
  used_ = static_cast<Index>(order_.size());
}

void RowScorer::use_longest(Index count) {
  assert(count >= 1);
  const auto longer = static_cast<Index>(order_.size());
  used_ = std::min(count, longer);
  zero_row_ = count > longer ? first_zero_row_ : -1;
}

Extremes RowScorer::score_unrotated() const {
  if (used_ == static_cast<Index>(order_.size()) && zero_row_ == first_zero_row_) return unrotated_;
  Part part;
  for (Index i = 0; i < used_; ++i) {
    const Index number = order_[static_cast<std::size_t>(i)];
    RowFacts facts;
    measure_rows(row(number), block_, 1, block_, &facts, level_);
    part.add(number, {facts.low, facts.high});
  }
  Extremes out = part.extremes;
  out.channel = block_;
  for (const Index number : part.leaders)
    for (Index j = 0; j < out.channel; ++j)
      if (std::abs(row(number)[j]) == part.absmax) out.channel = j;
  return out;
}

/// Rows of the order whose norm allows an entry of `limit`, given ‖r_j‖ of the longest column.
Index RowScorer::reachable(float limit) const {
  const double slack = static_cast<double>(block_) * 0x1.0p-149;  // of products that underflow
  const double reach = longest_column_ * (1.0 + rounding_) * (1.0 + 1e-9);
  if (!(reach > 0)) return used_;
  const double least = (static_cast<double>(limit) - slack) / reach;
  const auto end = norm_.begin() + used_;
  return std::partition_point(norm_.begin(), end,
                              [&](float norm) { return static_cast<double>(norm) >= least; }) -
         norm_.begin();
}

void RowScorer::encode_until(Index count) {
  if (count <= encoded_) return;
  const Index groups = code_groups(block_);
  const Index block_bytes = groups * kCodeRows * 4;
  const auto rows = static_cast<Index>(order_.size());
  if (codes_.size() == 0) codes_.resize((rows + kCodeRows - 1) / kCodeRows * block_bytes);
  const Index first = encoded_ / kCodeRows;
  const Index last = (count + kCodeRows - 1) / kCodeRows;
  coded_.resize(static_cast<std::size_t>(last));
  bounds_.resize(static_cast<std::size_t>(last));
  const double kappa = rounding_ + 0x1.0p-17;
  parallel_for(last - first, 1, [&](Index begin, Index end) {
    for (Index k = first + begin; k < first + end; ++k) {
      CodedRows& coded = coded_[static_cast<std::size_t>(k)];
      RowBounds& bounds = bounds_[static_cast<std::size_t>(k)];
      coded.codes = codes_.data() + k * block_bytes;
      const Index size = std::min(kCodeRows, rows - k * kCodeRows);
      std::array<const float*, kCodeRows> pointers{};
      for (Index i = 0; i < size; ++i)
        pointers[static_cast<std::size_t>(i)] = row(order_[static_cast<std::size_t>(k * kCodeRows + i)]);
      encode_rows(pointers.data(), size, block_, coded, level_);
      bounds.error.fill(0);
      bounds.length.fill(0);
      bounds.inverse_step.fill(0);
      for (Index i = 0; i < size; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const auto norm = static_cast<double>(norm_[static_cast<std::size_t>(k * kCodeRows + i)]);
        const double residual = coded.residual[at];
        bounds.error[at] = above(residual + kappa * (norm + residual));
        bounds.length[at] = above((norm + residual) * (1.0 + kappa));
        // Outside of this range products of steps and codes could underflow or overflow.
        if (!(norm > 1e-26 && norm < 1e36)) bounds.error[at] = std::numeric_limits<float>::infinity();
        bounds.inverse_step[at] = coded.step[at] > 0 ? 1.0F / coded.step[at] : 0.0F;
      }
    }
  });
  encoded_ = std::min(last * kCodeRows, rows);
}

void RowScorer::score_exactly(const Index* numbers, Index count, const Matrix& padded, Part& part,
                              Running& running) const {
  std::array<const float*, kCodeRows> pointers;
  std::array<RowRange, kCodeRows> ranges;
  for (Index begin = 0; begin < count; begin += kCodeRows) {
    const Index size = std::min(kCodeRows, count - begin);
    for (Index i = 0; i < size; ++i) pointers[static_cast<std::size_t>(i)] = row(numbers[begin + i]);
    score_rows(pointers.data(), size, padded, ranges.data(), level_);
    for (Index i = 0; i < size; ++i) {
      const RowRange& range = ranges[static_cast<std::size_t>(i)];
      part.add(numbers[begin + i], range);
      running.add(range.low, range.high);
    }
    running.check_score();
  }
}

void RowScorer::filter_block(Index block, Index end, const Matrix& padded, Part& part,
                             Running& running) const {
  const CodedRows& coded = coded_[static_cast<std::size_t>(block)];
  const RowBounds& bounds = bounds_[static_cast<std::size_t>(block)];
  // A hair above the norms: what set_limits may round.
  const auto norm = static_cast<float>(std::max(matrix_.norm * (1.0 + 0x1.0p-18), double{FLT_MIN}));
  const auto residual = static_cast<float>(matrix_.residual * (1.0 + 0x1.0p-18) + matrix_.norm * 0x1.0p-20);
  const auto skip = static_cast<std::size_t>(matrix_.skip == 0 ? 0 : matrix_.skip / skip_unit(block_));
  FilterLimits limits;
  set_limits(bounds, coded.rest[skip], running.limits(), norm, residual, matrix_.step, limits, level_);
  const std::uint8_t* const next =
      (block + 1) * kCodeRows < encoded_ ? coded_[static_cast<std::size_t>(block + 1)].codes : coded.codes;
  std::uint64_t found = filter_rows({coded.codes, next, &limits}, matrix_, part.second, level_);
  const Index size = std::min(kCodeRows, end - block * kCodeRows);
  if (size < kCodeRows) found &= (std::uint64_t{1} << static_cast<unsigned>(size)) - 1;
  part.tiles += static_cast<Index>(matrix_.rest.size());
  part.filtered += size;
  std::array<Index, kCodeRows> numbers;
  Index count = 0;
  for (; found != 0; found &= found - 1)
    numbers[static_cast<std::size_t>(count++)] =
        order_[static_cast<std::size_t>(block * kCodeRows + std::countr_zero(found))];
  part.survivors += count;
  if (count > 0) score_exactly(numbers.data(), count, padded, part, running);
}

void RowScorer::score_many(Index end, bool filter, const Matrix& padded, Part& all, Running& running) {
  const Index blocks = (end + kCodeRows - 1) / kCodeRows;
  std::vector<Part> parts(static_cast<std::size_t>((blocks + kBlocksPerTask - 1) / kBlocksPerTask));
  parallel_for(blocks, kBlocksPerTask, [&](Index first, Index last) {
    Part& part = parts[static_cast<std::size_t>(first / kBlocksPerTask)];
    for (Index block = first; block < last; ++block) {
      // Rows get shorter and the extremes wider.
      if (running.over.load(std::memory_order_relaxed)) return;
      const Index here = std::min(end, reachable(running.least_limit()));
      if (here <= block * kCodeRows) return;
      if (filter)
        filter_block(block, here, padded, part, running);
      else
        score_exactly(order_.data() + block * kCodeRows, std::min(kCodeRows, here - block * kCodeRows),
                      padded, part, running);
    }
  });
  for (const Part& part : parts) all.add(part);
}

Index RowScorer::first_channel(const Part& all, const Matrix& padded) const {
  Index channel = block_;
  Vector y(padded.cols());
  for (const Index number : all.leaders) {
    row_product(row(number), padded, y.data(), level_);
    for (Index j = 0; j < channel; ++j)
      if (std::abs(y[j]) == all.absmax) channel = j;
  }
  return channel;
}

/// Lets the filter look earlier while few tiles need their second part, and leaves it out for a while where
/// it holds back too little.
void RowScorer::learn(const Part& all) {
  if (all.filtered < kFewRows) return;
  if (skip_unit(block_) > 0) {
    const double second = static_cast<double>(all.second) / static_cast<double>(all.tiles);
    if (second < 0.1 && skip_ + 1 < kSkips) ++skip_;
    if (second > 0.25 && skip_ > 0) --skip_;
  }
  constexpr Index kMatricesToWait = 16;
  if (2 * all.survivors > all.filtered) filter_again_after_ = kMatricesToWait;
}

bool RowScorer::score(const Matrix& rotation, ScoreAims aims, Extremes& out, float give_up) {
  assert(rotation.rows() == block_ && rotation.cols() == block_);
  const bool padding = rotation.cols() % kPadding != 0;
  if (padding) padded_ = pad_columns(rotation);
  const Matrix& padded = padding ? padded_ : rotation;
  longest_column_ = longest_column(padded, level_);
  Running running(aims.both, give_up);
  Part all;
  if (zero_row_ >= 0) {
    all.add(zero_row_, {0.0F, 0.0F});
    running.add(0.0F, 0.0F);
    running.check_score();
  }
  Index done = std::min(used_, kFirstRows);
  score_exactly(order_.data(), done, padded, all, running);
  while (done < used_ && !running.over.load(std::memory_order_relaxed)) {
    const Index end = reachable(running.least_limit());
    if (end <= done) break;
    if (end - done <= kFewRows) {
      const Index next = std::min(end, done + kSomeRows);
      score_exactly(order_.data() + done, next - done, padded, all, running);
      done = next;
      continue;
    }
    // Beyond these norms, products of steps and codes could underflow or overflow.
    const bool filter = filter_again_after_ == 0 && longest_column_ > 1e-3 && longest_column_ < 1e3;
    if (filter) {
      encode_until(end);
      encode_matrix(padded, skip_, matrix_, level_);
    } else if (filter_again_after_ > 0) {
      --filter_again_after_;
    }
    score_many(end, filter, padded, all, running);
    learn(all);
    break;
  }
  if (running.over.load(std::memory_order_relaxed)) return false;
  out = all.extremes;
  out.channel = aims.channel ? first_channel(all, padded) : 0;
  return true;
}

}  // namespace olab

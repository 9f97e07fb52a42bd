// The extremes of X·R over rows of b channels for many b × b matrices R in turn: exact, and fast because most
// rows cannot hold one.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/cpu.hpp"
#include "core/matrix.hpp"
#include "core/row_scores.hpp"

namespace olab {

/// Which extremes of X·R must come out exactly.
struct ScoreAims {
  /// Both the largest and the smallest entry; else only the one with the larger absolute value.
  bool both = true;
  /// The channel of the largest absolute value.
  bool channel = true;
};

/// What a product holds. With !ScoreAims::both, the extreme of smaller absolute value is a bound only: it
/// lies between 0 and the true one, or is the true one.
struct Extremes {
  float high = -std::numeric_limits<float>::infinity();
  float low = std::numeric_limits<float>::infinity();
  Index high_row = 0;  ///< first row with the largest entry
  Index low_row = 0;   ///< first row with the smallest entry
  Index channel = 0;   ///< first channel with the largest absolute value of all rows; 0 where not asked for

  float absmax() const { return std::max(std::abs(high), std::abs(low)); }
  float peak_to_peak() const { return high - low; }
};

/// The rows of one search: x (tokens × K·b) read as tokens · K rows of b channels; row number = token · K +
/// block. The entries of X·R are those of one product x · R, each summed over k in rising order
/// (core/linalg): that is the definition of every result, and what follows is only about which rows need not
/// be looked at.
///
/// Rows are sorted by their norm once. For a matrix the longest rows are scored first; a row whose norm times
/// the longest column of R lies below the extremes so far ends the search, as all later rows are shorter.
/// What is left is scored in 8-bit integers, with a bound on their error, and only rows that may reach the
/// extremes are scored in float. All bounds allow for the rounding of the float products: a sum of b products
/// is off by at most b 2^-24 / (1 − b 2^-24) of Σ |x_k r_k| (Higham 2002, Accuracy and Stability, Eq. (3.5)),
/// and that sum by ‖x‖ ‖r‖. So the result does not depend on the filter, on the level, or on the number of
/// threads.
///
/// x must outlive the scorer. Not for several threads at once; it uses all threads itself.
class RowScorer {
 public:
  RowScorer(const ConstMatrixRef& x, Index block, CpuLevel level = cpu_level());

  Index rows() const { return rows_; }

  /// Limits score() to the `count` rows of largest norm (ties: the first rows); >= 1. All rows at first.
  void use_longest(Index count);

  /// The extremes of X·R. `give_up` >= 0: stops as soon as the score (absmax, or peak to peak where
  /// aims.both) is known to be at least that, and returns false; which rows were looked at by then is not
  /// told.
  bool score(const Matrix& rotation, ScoreAims aims, Extremes& out,
             float give_up = std::numeric_limits<float>::infinity());

  /// The extremes of X itself, both of them.
  Extremes score_unrotated() const;

 private:
  struct Running;
  struct Part;
  const float* row(Index number) const {
    return x_.data() + number / blocks_ * x_.outerStride() + number % blocks_ * block_;
  }
  Index reachable(float limit) const;
  void encode_until(Index count);
  void score_exactly(const Index* numbers, Index count, const Matrix& padded, Part& part,
                     Running& running) const;
  void filter_block(Index block, Index end, const Matrix& padded, Part& part, Running& running) const;
  void score_many(Index end, bool filter, const Matrix& padded, Part& all, Running& running);
  Index first_channel(const Part& all, const Matrix& padded) const;
  void learn(const Part& all);

  ConstMatrixRef x_;
  Index block_;
  Index blocks_;
  Index rows_;
  CpuLevel level_;
  double rounding_ = 0;        ///< a float product is off by at most this times ‖x‖ ‖r‖
  Extremes unrotated_;         ///< of all rows
  std::vector<Index> order_;   ///< row numbers by falling norm, without rows of zeros
  std::vector<float> norm_;    ///< in that order, rounded up
  Index first_zero_row_ = -1;  ///< -1: none
  Index used_ = 0;             ///< rows of order_ that count
  Index zero_row_ = -1;        ///< first_zero_row_ where it counts, else -1

  Index encoded_ = 0;  ///< rows of order_ that have codes
  Eigen::Matrix<std::uint8_t, Eigen::Dynamic, 1> codes_;
  std::vector<CodedRows> coded_;
  std::vector<RowBounds> bounds_;  ///< with all rounding
  Matrix padded_;                  ///< the matrix that is scored, where it needs padding
  double longest_column_ = 0;      ///< of it
  CodedMatrix matrix_;             ///< its codes
  Index skip_ = 0;                 ///< in units
  Index filter_again_after_ = 0;   ///< matrices
};

}  // namespace olab

// DuQuant's greedy search for an orthogonal matrix that flattens outliers (Lin et al. 2024, Eq. (2),
// Algorithm 1), as the paper has it and as the released code has it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "core/registry.hpp"
#include "core/stop.hpp"
#include "methods/common/transform.hpp"

namespace olab {

/// How to search. The defaults are the paper's (but for search_on); "row", "per-search", "peak-to-peak" are
/// the released code's (commit 62c5844, quantizer.py: rotation).
struct RotationSettings {
  Index block_size = 128;  ///< b, channels per block
  Index steps = 256;       ///< N >= 0, greedy steps that are tried
  /// Which position is exchanged with the first one in a step. "channel": that of the largest |x|, Eq. (2).
  /// "row": the row number of the largest |x|, modulo b, as in the released code, which mixes up r and c.
  std::string pivot = "channel";
  /// A new Q' in every step (Algorithm 1) or one for the whole search (released code).
  std::string fresh_q = "per-step";
  /// What is minimised over 0 … N steps: "absmax" = max |x| (Algorithm 1), "peak-to-peak" = max x − min x.
  std::string score = "absmax";
  /// One matrix for all blocks (paper and released code), or one per block.
  bool share_rotation = true;
  /// Where blocks share: the rows that their matrix is searched on. "all-blocks": those of all blocks
  /// together (released code), so that no block gets worse unseen. "largest-block": those of the block with
  /// the largest |x| (Remark 2 of the paper; ties: the first). The default differs from the paper: on one
  /// block, the others can only hope.
  std::string search_on = "all-blocks";
  /// Which rotations are tried:
  /// "exact": the greedy search of Algorithm 1.
  /// "random-pivot": the same steps, but each exchanges a random channel, so that a product is left as soon
  /// as its score is known not to be the least. `pivot` is without effect. "hadamards": `candidates` Hadamard
  /// matrices behind random signs, each alone. `pivot`, `fresh_q` and `steps` are without effect. Needs a
  /// Hadamard matrix of the block's order. "sample": the greedy search on the `sample_rows` rows of largest
  /// norm; what it finds is kept only where it lowers the score of all rows.
  std::string search = "exact";
  Index candidates = 33;    ///< >= 1, "hadamards" only
  Index sample_rows = 512;  ///< >= 1, "sample" only
};

/// Error where the settings, with block_size as a number, cannot be used: "hadamards" on a block without a
/// Hadamard matrix.
void check_search(const RotationSettings& settings, const std::string& who);
/// Error where a pivot is asked for that the search ignores ("random-pivot", "hadamards"), or steps or
/// fresh_q of one's own ("hadamards").
void refuse_unused(const RotationSettings& settings, const std::string& who);

/// The settings with block_size as a number: kFullBlock and kAutoBlock (block_size.hpp) resolved for a width.
RotationSettings at_width(const RotationSettings& settings, Index channels);

/// Declares the toggles of the search, for methods that derive from RotationSettings.
template <class T>
Schema<T>& add_search_toggles(Schema<T>& schema) {
  return schema
      .choice("pivot", &T::pivot,
              "which index a step exchanges: the outlier's channel (paper) or row (released code)",
              {"channel", "row"})
      .choice("fresh_q", &T::fresh_q,
              "new random matrix per step (Algorithm 1) or per search (released code)",
              {"per-step", "per-search"})
      .choice("score", &T::score, "what the search minimises: max |x| (paper) or max - min (released code)",
              {"absmax", "peak-to-peak"})
      .param("share_rotation", static_cast<bool T::*>(&T::share_rotation),
             "one matrix for all blocks (paper and released code) or one per block")
      .choice("search_on", &T::search_on,
              "what a shared matrix is searched on: all blocks as rows (released code) or the block with the "
              "largest |x| (paper, Remark 2)",
              {"all-blocks", "largest-block"})
      .choice("search", &T::search,
              "which rotations are tried: the greedy search on all rows, with random exchanges, Hadamard "
              "matrices behind random signs, or the greedy search on the longest rows",
              {"exact", "random-pivot", "hadamards", "sample"})
      .param("candidates", static_cast<Index T::*>(&T::candidates),
             "Hadamard matrices that are tried (search: hadamards only)", 1, 1000000)
      .param("sample_rows", static_cast<Index T::*>(&T::sample_rows),
             "longest rows that are searched on (search: sample only)", 1, 1e9);
}

/// Gives the matrix of step k = 0, 1, … of one search, b × b and orthogonal: Rt·Q before the exchange
/// ("exact", "sample"), Rt·Q after it ("random-pivot"), or a whole candidate ("hadamards"). Called once a
/// step, in order, for all steps, perhaps ahead of their use and on another thread.
using StepRotation = std::function<Matrix(Index step)>;

/// Result of one search.
struct RotationSearch {
  Matrix rotation;  ///< b × b product of the kept steps; the identity where no step helped
  /// "exact", "sample": one per kept step, the channel within the block, or the raw row number; else empty.
  std::vector<Index> exchanges;
  Index kept = 0;  ///< steps in the product, or the number of the Hadamard candidate, from 1; 0: the identity
  /// steps (candidates) + 1: score before the first step, after each step. Infinite where a step was left
  /// once it could not be the best. Of the sample where only that was searched.
  std::vector<float> scores;
};

/// Rt: orthogonal n × n with a flat first row (all 1/sqrt(n)), the product of the Givens rotations of the
/// released get_rot.py, then first and last row and column exchanged. In double, rounded to float. n >= 1.
Matrix base_rotation(Index n);

/// "exact", "sample": steps Rt·diag(1, Q') with Q' Haar-random from `random`, drawn in the order of the
/// steps. The first draw of per-step mode is the draw of per-search mode, and a shorter search draws a prefix
/// of a longer one's. "random-pivot": the same ones, with positions 0 and p exchanged on both sides, p drawn
/// from the fork "pivots". "hadamards": diag(d) H / sqrt(b) with b signs d a candidate, from the fork
/// "signs".
StepRotation random_steps(const RotationSettings& settings, RandomStream random);

/// Every setting that the result depends on, as text.
std::string describe(const RotationSettings& settings);

/// Multiply-adds of one search on tokens × channels, the making of the random matrices included, for
/// estimates of time. Of "exact" that of all rows, as on data without outliers; outliers make it up to 30
/// times less.
double search_work(const RotationSettings& settings, Index tokens, Index channels);

/// The search. x (tokens × K·b) is read as tokens·K rows of b channels; row number = token · K + block. Step
/// k exchanges positions 0 and p on both sides of its matrix (p: see `pivot`; ties: the first), and R_k =
/// R_{k−1} times it, rounded as rotate_blocks does. Its score is that of x · R_k, and the product is cut
/// where the score was least (ties: the first; 0 steps = the identity). All of it is exact: which rows need
/// no look is RowScorer's business. (The released code multiplies x step after step, so its scores differ
/// from these in their last bits, and its exchanges where two entries tie to float rounding.) With equal
/// steps, equal bits for any number of threads and on every level. share_rotation and search_on are not
/// looked at.
RotationSearch search_rotation(const ConstMatrixRef& x, const RotationSettings& settings,
                               const StepRotation& steps, const StopFlag* stop);

/// A block rotation of all of x with the searches behind it (one, or one per block).
struct SearchedRotation {
  std::shared_ptr<const Transform> transform;
  std::vector<RotationSearch> searches;
};

/// Searches once on all blocks or on the largest, or once a block; `steps_of(block)` gives each search its
/// steps (block 0 where they share). Error where the block size does not divide x's columns.
SearchedRotation search_block_rotation(const ConstMatrixRef& x, const RotationSettings& settings,
                                       const std::function<StepRotation(Index block)>& steps_of,
                                       const StopFlag* stop);

/// The random steps of search_block_rotation: `random` itself where blocks share, else forked by "block <i>".
std::function<StepRotation(Index block)> random_block_steps(const RotationSettings& settings,
                                                            const RandomStream& random);

}  // namespace olab

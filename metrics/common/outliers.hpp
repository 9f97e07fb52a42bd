// Normal and massive outliers of a layer's activations, told apart.
//
// Normal outliers stay in a few channels over all tokens; massive ones sit in a few tokens, "often surpassing
// 100 and being approximately 1000 times greater than the median" (DuQuant, arXiv:2406.01721, section 1,
// after Sun et al. 2024, arXiv:2402.17762).
#pragma once

#include <vector>

#include "metrics/common/metric.hpp"

namespace olab {

/// The thresholds are conventions, so they are printed beside every count.
struct OutlierRules {
  /// An entry is massive where |x| > massive_absolute and |x| > massive_ratio · median |x| (all entries).
  double massive_absolute = 100;
  double massive_ratio = 1000;
  /// A channel j is a normal outlier where both hold:
  ///   O_j = max_t |x_tj| >= normal_ratio · median of O over the channels that are not all zero, and
  ///   |x_tj| > normal_ratio · median |x| in more than the share `persistence` of the tokens.
  /// The second keeps out a channel that only one massive token hits. With the default share of one half it
  /// says that the channel's median magnitude is normal_ratio times the median magnitude of all entries; a
  /// share near one would miss channels that merely change sign.
  double normal_ratio = 6;
  double persistence = 0.5;
};

/// A channel or a token with its largest magnitude.
struct OutlierPeak {
  Index index = 0;
  double magnitude = 0;
};

struct OutlierReport {
  OutlierRules rules;
  double abs_median = 0;      ///< median |x|; NaN for an empty matrix
  double channel_median = 0;  ///< median of O_j over channels that are not all zero; NaN where none is
  double massive_limit = 0;   ///< entries beyond it are massive
  double channel_limit = 0;   ///< O_j of a normal outlier is at least this
  double token_limit = 0;     ///< and most of its entries lie beyond this
  Index massive_entries = 0;
  Index massive_tokens = 0;               ///< rows that hold at least one massive entry
  Index massive_channels = 0;             ///< columns that hold at least one massive entry
  std::vector<Index> normal_channels;     ///< ascending
  std::vector<OutlierPeak> top_channels;  ///< largest first, equal ones by index
  std::vector<OutlierPeak> top_tokens;    ///< largest first, equal ones by index

  bool has_massive() const { return massive_entries > 0; }
  bool has_normal() const { return !normal_channels.empty(); }
};

/// Classifies the outliers of a matrix (tokens × channels) and names the `top` largest channels and tokens. A
/// matrix may hold both kinds. "All tokens" and "few tokens" are the same thing in a matrix of one token, so
/// there a massive entry makes its channel a normal outlier as well.
OutlierReport classify_outliers(const Observation& observation, const OutlierRules& rules = {},
                                Index top = 5);
OutlierReport classify_outliers(const ConstMatrixRef& x, const OutlierRules& rules = {}, Index top = 5);

}  // namespace olab

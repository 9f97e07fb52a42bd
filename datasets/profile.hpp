// Outlier profiles: facts about a model's activations, and the generator that turns them into layers.
//
// What is generated: x_tj = s_j · a_t · e_tj, rounded to the profile's dtype, with a channel's scale s_j from
// the profile's quantiles and its list of largest channels, a token's amplitude a_t, and independent entries
// e_tj that are Gaussian or Student t; then single massive entries take their values. So channels and tokens
// have the magnitudes of the model, one by one, and NOT its correlations: channels are independent of one
// another, the sign of an outlier channel is random, and W knows nothing of X. What depends on correlations
// (the rank of X, the output error of a method that uses the Hessian XᵀX) is that of independent channels.
// Where a profile states channel maxima, no entry passes its channel's maximum (but for rounding), and within
// the profile's `tokens` tokens 99 channels in 100 reach it. datasets/profile_facts.hpp explains the keys of
// a profile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "datasets/recording.hpp"

namespace olab {

/// How much of a profile to generate. Zeros mean: as in the profile.
struct GenerateOptions {
  std::uint64_t seed = 0;
  Index tokens = 2048;
  Index in_features = 0;   ///< of all layers: narrower or wider, with the same distribution of channels
  Index out_features = 0;  ///< of all layers: fewer (or more) output channels of W
  /// Tokens of one text: what a profile says of positions (massive tokens, the starting token) happens again
  /// in every sequence, as in a recording of several texts. 0: all tokens are one sequence.
  Index sequence_length = 0;
};

/// A profile as a recording whose layers are generated when they are loaded: deterministic in the profile's
/// text, the options and the layer's name; a layer's token t does not depend on how many tokens are loaded,
/// nor on options.tokens. Layers with the same input (q_proj, k_proj and v_proj of one layer) have the same
/// X. Generated data has the marginal statistics of the model (per channel, per token) and not its
/// correlations. `name_or_file`: a shipped profile ("llama2-7b") or a path to a .yaml file. Error with the
/// nearest name.
std::unique_ptr<Recording> open_profile(const std::string& name_or_file, const GenerateOptions& options);

/// Names of the shipped profiles, sorted.
std::vector<std::string> profile_names();

/// The shipped profile's one-line description.
std::string profile_summary(const std::string& name);

}  // namespace olab

// Outlier profiles: facts about a model's activations, and the generator that turns them into layers.
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
  Index in_features = 0;   ///< narrower or wider layers with the same distribution of channels
  Index out_features = 0;  ///< fewer output channels of W
};

/// A profile as a recording whose layers are generated when they are loaded: deterministic in the profile's
/// text, the options and the layer's name; a layer's token t does not depend on how many tokens are loaded.
/// Generated data has the marginal statistics of the model (per channel, per token) and not its correlations.
/// `name_or_file`: a shipped profile ("llama2-7b") or a path to a .yaml file. Error with the nearest name.
std::unique_ptr<Recording> open_profile(const std::string& name_or_file, const GenerateOptions& options);

/// Names of the shipped profiles, sorted.
std::vector<std::string> profile_names();

/// The shipped profile's one-line description.
std::string profile_summary(const std::string& name);

}  // namespace olab

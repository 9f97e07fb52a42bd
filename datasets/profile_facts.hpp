// The facts of an outlier profile, as its YAML file states them.
//
// A profile:
//
//   model: llama3.2-1b
//   summary: one line for listings
//   source: where the facts come from, what is measured and what is assumed
//   dtype: BF16                 # F32, F16 or BF16: generated values are rounded to it
//   tokens: 2048                # length of X; channel maxima reach their quantiles within so many tokens
//   layers: 16
//   probabilities: [0, 0.5, 1]  # at these, all `quantiles` are given
//   inputs:                     # kinds of layer with the same input get the same X
//     mlp_hidden:
//       in_features: 8192
//       statistic: absmax       # of a channel: absmax, or rms (root mean square over tokens)
//       tail: 3                 # entries are Student t with so many degrees of freedom; absent: Gaussian
//       rectified: true         # negative entries are zero, as after a ReLU
//       groups:                 # layers with facts of their own; absent: one group of all layers
//         - layers: 1-3         # every layer in exactly one group
//           scale: 2            # multiplies quantiles and top
//           quantiles: [0.1, 0.5, 2.6]      # statistic of the channels that are not in `top`
//           top: {113: 13.9, 6540: 5.22}    # channel: statistic
//           dead: 0.1                       # part of the channels that are zero at every token
//           token_spread: 0.3               # standard deviation of the logarithm of a token's amplitude (rms
//           only) token_scales: {0: 0.05}         # amplitude of single tokens (rms only) massive: # single
//           entries of X, repeated `every` so many tokens
//             - {token: 0, every: 512, channel: 1417, value: 623.5}
//   kinds:                      # linear layers in model order
//     - name: model.layers.{layer}.mlp.down_proj
//       input: mlp_hidden
//       out_features: 2048
//       weight: {gain: 1, spread: 0.2, tail: 8}   # gain / sqrt(in_features) × log-normal spread over rows ×
//       N or t
//
// quantiles, top and dead may stand in the input and then hold for its groups that have none of their own.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/config.hpp"
#include "core/matrix.hpp"

namespace olab {

/// One large entry of X: x[token + k·every][channel] = value for k = 0, 1, … (every = 0: once).
struct MassiveEntry {
  Index token = 0;
  Index every = 0;
  Index channel = 0;
  double value = 0;
};

/// What holds for the layers first … last of one input.
struct ProfileGroup {
  Index first = 0;
  Index last = 0;
  double scale = 1;
  double dead = 0;  ///< part of all channels, 0 … 1
  double token_spread = 0;
  std::vector<double> quantiles;              ///< at Profile::probabilities; never falling
  std::vector<std::pair<Index, double>> top;  ///< (channel, statistic), as in the file
  std::vector<std::pair<Index, double>> token_scales;
  std::vector<MassiveEntry> massive;
};

enum class ChannelStatistic { absmax, rms };

struct ProfileInput {
  std::string name;
  Index in_features = 0;
  ChannelStatistic statistic = ChannelStatistic::rms;
  std::optional<double> tail;  ///< degrees of freedom; nothing: Gaussian
  bool rectified = false;
  std::vector<ProfileGroup> groups;  ///< in the order of layers; they cover each layer once
};

struct ProfileKind {
  std::string name;       ///< with "{layer}"
  std::size_t input = 0;  ///< index into Profile::inputs
  Index out_features = 0;
  double weight_gain = 1;
  double weight_spread = 0;
  std::optional<double> weight_tail;
};

struct Profile {
  std::string model;
  std::string summary;
  std::string source;
  std::string dtype;
  Index tokens = 0;
  Index layers = 0;
  std::vector<double> probabilities;  ///< rising from 0 to 1
  std::vector<ProfileInput> inputs;
  std::vector<ProfileKind> kinds;
};

/// Reads and checks a profile. Error with file, line and column on an unknown key, a wrong type, a value out
/// of range, a layer that no group or two groups cover.
Profile parse_profile(const ConfigNode& root);

}  // namespace olab

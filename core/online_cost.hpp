// What a transform costs at inference, measured: a quantized linear layer with it against the layer without.
#pragma once

#include <memory>
#include <vector>

#include "core/online.hpp"

namespace olab {

struct OnlineCostSettings {
  Index tokens = 2048;                    ///< of one call
  int bits = 4;                           ///< of activations and weights, 2 to 8
  Precision precision = Precision::fp32;  ///< of dense rotations
  int repeats = 7;                        ///< >= 1
};

/// Median, smallest and largest of the repeats.
struct Spread {
  double median = 0;
  double low = 0;
  double high = 0;
};

/// CPU seconds of one thread for all tokens, and ratios of them taken round by round.
struct OnlineCost {
  Spread quantize;   ///< tokens to integers, nothing else: round-to-nearest
  Spread transform;  ///< the stages and then integers, in one pass
  Spread product;    ///< integers times integers, zero points and scales in the epilogue
  Spread overhead;   ///< (transform − quantize) / (quantize + product)
};

/// A layer of in × out with random weights, against which transforms are measured on this machine.
class OnlineLayer {
 public:
  OnlineLayer(Index in_features, Index out_features, const OnlineCostSettings& settings);
  OnlineLayer(const OnlineLayer&) = delete;
  OnlineLayer& operator=(const OnlineLayer&) = delete;
  ~OnlineLayer();
  /// The three parts one after the other, `repeats` rounds after one that is not counted, on one thread.
  /// Stages must fit in_features. Error where this CPU lacks the precision.
  OnlineCost measure(const std::vector<OnlineStage>& stages) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace olab

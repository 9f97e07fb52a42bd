// A method: a recipe that turns calibration data into a chain of transforms.
#pragma once

#include <string_view>

#include "core/random.hpp"
#include "core/registries.hpp"
#include "core/stop.hpp"
#include "methods/common/transform.hpp"

namespace olab {

/// What a method may look at. It never sees evaluation tokens.
struct Calibration {
  ConstMatrixRef x;                ///< calibration tokens × channels, finite, at least one token
  ConstMatrixRef w;                ///< out × channels, finite; 0 rows where the recording has no weights
  const RandomStream& random;      ///< fork it by label: random.fork("rotation 1")
  const Registries& registries;    ///< for methods made of others
  const StopFlag* stop = nullptr;  ///< check it in long loops; may be null
  const Chain* before =
      nullptr;  ///< what already happened to x and w (a pipeline's earlier steps); may be null

  void check_stop() const {
    if (stop != nullptr) stop->check();
  }

  /// 1 + the number of transforms of this kind in `before`: the first rotation of a chain is "rotation 1",
  /// the second "rotation 2", whichever methods they come from. Random streams are forked by such labels and
  /// by nothing else, so that runs which share a prefix of steps share its random numbers ("rotation 1",
  /// "permutation 1", "signs 1").
  Index number_of(std::string_view kind) const;
};

class Method {
 public:
  Method() = default;
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;
  virtual ~Method();

  /// Throws Error where the parameters do not fit a layer of this width (a block size that does not divide
  /// it). Called while planning and before calibrate.
  virtual void check(Index channels, const Registries& registries) const;

  /// The block that the method works on, for block metrics of its runs; 0: it has none. Of a pipeline: that
  /// of its last step that has one.
  virtual Index block_size(Index channels) const;

  /// Multiply-adds of calibrate, roughly, for the plan's estimate of time; the default is a few passes over
  /// x.
  virtual double calibration_work(Index tokens, Index channels, const Registries& registries) const;

  /// Deterministic in x, w and random. Error where it cannot work on this layer.
  virtual Chain calibrate(const Calibration& calibration) const = 0;
};

}  // namespace olab

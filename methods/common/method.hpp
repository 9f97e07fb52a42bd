// A method: a recipe that turns calibration data into a chain of transforms.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/random.hpp"
#include "core/registries.hpp"
#include "core/stop.hpp"
#include "methods/common/transform.hpp"

namespace olab {

/// Transforms that methods which begin alike find in the same way: each is found once. Thread-safe. One
/// object serves runs with the same X, W and random stream.
class SharedSteps {
 public:
  using Find = std::function<std::shared_ptr<const Transform>()>;
  SharedSteps();
  SharedSteps(const SharedSteps&) = delete;
  SharedSteps& operator=(const SharedSteps&) = delete;
  ~SharedSteps();
  /// The transform under `key`. The first caller finds it, others wait for it; nothing is kept where `find`
  /// throws.
  std::shared_ptr<const Transform> get(const std::string& key, const Find& find);
  /// What is kept, sorted.
  std::vector<std::string> keys() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One of the layers that read one input: its weights are rows of Calibration::w.
struct LayerRows {
  std::string name;  ///< as in the recording: "model.layers.1.self_attn.q_proj"
  Index first = 0;
  Index count = 0;
};

/// What a method may look at. It never sees evaluation tokens.
struct Calibration {
  ConstMatrixRef x;                ///< calibration tokens × channels, finite, at least one token
  ConstMatrixRef w;                ///< out × channels, finite, of all layers that share a transform; 0 rows
                                   ///< where the recording has no weights
  const RandomStream& random;      ///< fork it by label: random.fork("rotation 1")
  const Registries& registries;    ///< for methods made of others
  const StopFlag* stop = nullptr;  ///< check it in long loops; may be null
  const Chain* before =
      nullptr;  ///< what already happened to x and w (a pipeline's earlier steps); may be null
  SharedSteps* shared = nullptr;       ///< may be null: then every step is found anew
  std::vector<std::string> path = {};  ///< what already happened, as Method::steps tells it
  std::vector<LayerRows> layers = {};  ///< of w, from its first row on; empty: their names are not known

  void check_stop() const {
    if (stop != nullptr) stop->check();
  }

  /// 1 + the number of transforms of this kind in `before`: the first rotation of a chain is "rotation 1",
  /// the second "rotation 2", whichever methods they come from. Random streams are forked by such labels and
  /// by nothing else, so that runs which share a prefix of steps share its random numbers ("rotation 1",
  /// "permutation 1", "signs 1").
  Index number_of(std::string_view kind) const;

  /// The transform of `step` behind `path`: from `shared` where another run has found it.
  std::shared_ptr<const Transform> find_step(const std::string& step, const SharedSteps::Find& find) const;
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

  /// Appends what calibrate does, a text a transform, to the texts of what already happened. Equal texts
  /// behind equal paths stand for equal transforms (of one X, W and seed), so they are found once: calibrate
  /// asks find_step with these texts. A method that appends nothing shares nothing.
  virtual void steps(Index channels, const Registries& registries, std::vector<std::string>& path) const;

  /// Deterministic in x, w and random. Error where it cannot work on this layer.
  virtual Chain calibrate(const Calibration& calibration) const = 0;
};

}  // namespace olab

// A method out of tree: multiplies channels by random signs.
#include "methods/common/method.hpp"

namespace {

class Signs final : public olab::Transform {
 public:
  explicit Signs(olab::Vector signs) : signs_(std::move(signs)) {}
  std::string kind() const override { return "signs"; }
  olab::Index channels() const override { return signs_.size(); }
  void apply_to_activations(olab::MatrixRef x) const override {
    for (olab::Index t = 0; t < x.rows(); ++t) x.row(t).array() *= signs_.array();
  }
  void apply_to_weights(olab::MatrixRef w) const override { apply_to_activations(w); }
  olab::Cost online_cost() const override { return {.multiply_adds = 0, .bytes = 0, .foldable = true}; }
  void save(olab::TensorSink& sink, const std::string& prefix) const override {
    sink.put(prefix + "signs", signs_);
  }

 private:
  olab::Vector signs_;
};

class FlipSigns final : public olab::Method {
 public:
  double share = 0.5;  // of the channels
  olab::Chain calibrate(const olab::Calibration& c) const override {
    olab::RandomStream random = c.random.fork("flip");
    olab::Vector signs(c.x.cols());
    for (float& s : signs) s = random.uniform() < share ? -1.0F : 1.0F;
    olab::Chain chain;
    chain.add(std::make_shared<Signs>(signs));
    return chain;
  }
};

}  // namespace

OLAB_REGISTER(flip_signs) {
  r.methods.add(olab::Schema<FlipSigns>("flip_signs", "Random signs", "an example")
                    .param("share", &FlipSigns::share, "share of channels that are flipped", 0, 1));
}

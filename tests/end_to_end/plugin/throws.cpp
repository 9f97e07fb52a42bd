#include "methods/common/method.hpp"

namespace {
class Throws final : public olab::Method {
 public:
  olab::Chain calibrate(const olab::Calibration& /*c*/) const override {
    throw olab::Error("thrown in a plug-in");
  }
};
}  // namespace

OLAB_REGISTER(throws) {
  r.methods.add(olab::Schema<Throws>("throws", "Always fails"));
}

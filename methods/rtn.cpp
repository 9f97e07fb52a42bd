// Round to nearest: no transform at all, the baseline of every table.
#include "core/registries.hpp"
#include "methods/common/method.hpp"

namespace olab {
namespace {

class Rtn final : public Method {
 public:
  Chain calibrate(const Calibration& /*calibration*/) const override { return {}; }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(rtn) {
  using namespace olab;
  r.methods.add(Schema<Rtn>("rtn", "Round to nearest: quantizes the layer as it is"));
}

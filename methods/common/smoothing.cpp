#include "methods/common/smoothing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

namespace olab {

Vector smoothing_scale(const ConstMatrixRef& x, const ConstMatrixRef& w, double alpha) {
  constexpr float kLeastMaximum = 1e-5F;
  constexpr float kLeastScale = 1e-2F;
  assert(w.rows() == 0 || w.cols() == x.cols());
  const Vector x_max = channel_absmax(x);
  const Vector w_max = w.rows() > 0 ? channel_absmax(w) : Vector(Vector::Ones(x.cols()));
  Vector scale(x.cols());
  for (Index j = 0; j < scale.size(); ++j) {
    const double up = std::pow(std::max(x_max[j], kLeastMaximum), alpha);
    const double down = std::pow(std::max(w_max[j], kLeastMaximum), 1.0 - alpha);
    scale[j] = std::max(static_cast<float>(up / down), kLeastScale);
  }
  return scale;
}

std::string smoothing_step(double alpha) {
  return fmt::format("smooth({})", alpha);
}

std::shared_ptr<const Transform> find_smoothing(const Calibration& calibration, double alpha) {
  return calibration.find_step(smoothing_step(alpha), [&] {
    return make_channel_scale(smoothing_scale(calibration.x, calibration.w, alpha));
  });
}

}  // namespace olab

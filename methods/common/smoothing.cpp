#include "methods/common/smoothing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <string_view>

namespace olab {
namespace {

/// s where s and 1 / s are ordinary numbers, else 1.
float usable(float s) {
  return s > 0.0F && std::isnormal(s) && std::isnormal(1.0F / s) ? s : 1.0F;
}

}  // namespace

Vector smoothing_scale(const ConstMatrixRef& x, const ConstMatrixRef& w, const SmoothingSettings& settings) {
  assert(w.rows() == 0 || w.cols() == x.cols());
  const bool clamped = settings.clamps == "released";
  const float least_maximum = clamped ? 1e-5F : 0.0F;
  constexpr float kLeastScale = 1e-2F;
  const Vector x_max = channel_absmax(x);
  const Vector w_max = w.rows() > 0 ? channel_absmax(w) : Vector(Vector::Ones(x.cols()));
  Vector scale(x.cols());
  for (Index j = 0; j < scale.size(); ++j) {
    const double up = std::pow(std::max(x_max[j], least_maximum), settings.alpha);
    const double down = std::pow(std::max(w_max[j], least_maximum), 1.0 - settings.alpha);
    const auto quotient = static_cast<float>(up / down);
    scale[j] = clamped ? std::max(quotient, kLeastScale) : usable(quotient);
  }
  return scale;
}

ConstMatrixRef smoothing_weights(const Calibration& calibration, const SmoothingSettings& settings) {
  if (settings.weights == "one-layer") {
    for (const std::string_view kind : {"q_proj", "up_proj"})
      for (const LayerRows& layer : calibration.layers)
        if (std::string_view(layer.name).ends_with(kind))
          return calibration.w.middleRows(layer.first, layer.count);
  }
  return calibration.w;
}

std::string smoothing_step(const SmoothingSettings& settings) {
  const SmoothingSettings usual;
  std::string out = fmt::format("smooth({}", settings.alpha);
  if (settings.direction != usual.direction) out += fmt::format(", direction={}", settings.direction);
  if (settings.weights != usual.weights) out += fmt::format(", weights={}", settings.weights);
  if (settings.clamps != usual.clamps) out += fmt::format(", clamps={}", settings.clamps);
  return out + ")";
}

std::shared_ptr<const Transform> find_smoothing(const Calibration& calibration,
                                                const SmoothingSettings& settings) {
  return calibration.find_step(smoothing_step(settings), [&] {
    Vector scale = smoothing_scale(calibration.x, smoothing_weights(calibration, settings), settings);
    if (settings.direction == "multiply") scale = scale.cwiseInverse().eval();
    return make_channel_scale(scale);
  });
}

}  // namespace olab

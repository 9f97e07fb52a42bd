// SmoothQuant's scales, shared by every method that smooths.
#pragma once

#include <memory>
#include <string>

#include "core/registry.hpp"
#include "methods/common/method.hpp"

namespace olab {

/// How to smooth. The defaults are SmoothQuant's, with the guards of the released DuQuant code (commit
/// 62c5844) against scales that are next to nothing.
struct SmoothingSettings {
  double alpha = 0.5;
  /// "divide": x_j / s_j and w_j · s_j (SmoothQuant, and the released code). "multiply": x_j · s_j and w_j /
  /// s_j, as the DuQuant paper prints it, (X Λ)(Λ⁻¹ W), with the same Λ: outliers then grow.
  std::string direction = "divide";
  /// Whose max|w_j| counts where several layers read one input. "all-layers" (SmoothQuant), or "one-layer":
  /// q_proj of q, k and v, and up_proj of gate and up (released code). Where no layer has such a name, all.
  std::string weights = "all-layers";
  /// "released": both maxima are at least 1e-5, and scales below 1e-2 are lifted to 1e-2. "none" (paper): the
  /// formula alone; 1 where it gives no scale, as for a channel of zeros.
  std::string clamps = "released";
};

/// Declares what SmoothingSettings has beside alpha, for methods that derive from it.
template <class T>
Schema<T>& add_smoothing_toggles(Schema<T>& schema, const std::string& prefix = {}) {
  return schema
      .choice(prefix + "direction", &T::direction,
              "activations are divided by the scales (SmoothQuant, released DuQuant code) or multiplied (as "
              "the DuQuant paper prints it)",
              {"divide", "multiply"})
      .choice(prefix + "weights", &T::weights,
              "max|w| of all layers that share the input, or of q_proj (of q, k, v) and up_proj (of gate, "
              "up) alone (released DuQuant code); differs with data.share_inputs only",
              {"all-layers", "one-layer"})
      .choice(prefix + "clamps", &T::clamps,
              "released: maxima are at least 1e-5, scales at least 1e-2 (released DuQuant code); none: the "
              "formula (paper)",
              {"released", "none"});
}

/// s_j = max|x_j|^alpha / max|w_j|^(1 − alpha) for every channel j (Xiao et al. 2023, Eq. (4)), under
/// settings.clamps. Without weights (w has no rows) every max|w_j| counts as 1. x: tokens × channels, w: out
/// × channels. settings.direction and settings.weights are not looked at.
Vector smoothing_scale(const ConstMatrixRef& x, const ConstMatrixRef& w, const SmoothingSettings& settings);

/// The rows of calibration.w whose maxima count.
ConstMatrixRef smoothing_weights(const Calibration& calibration, const SmoothingSettings& settings);

/// The step of Method::steps that smoothing is, and the transform that it finds.
std::string smoothing_step(const SmoothingSettings& settings);
std::shared_ptr<const Transform> find_smoothing(const Calibration& calibration,
                                                const SmoothingSettings& settings);

}  // namespace olab

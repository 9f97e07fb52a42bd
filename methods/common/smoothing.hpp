// SmoothQuant's scales, shared by every method that smooths.
#pragma once

#include <memory>
#include <string>

#include "methods/common/method.hpp"

namespace olab {

/// s_j = max|x_j|^alpha / max|w_j|^(1 − alpha) for every channel j (Xiao et al. 2023, Eq. (4)), as the
/// released DuQuant code has it: both maxima are at least 1e-5, and scales below 1e-2 are lifted to 1e-2.
/// Without weights (w has no rows) every max|w_j| counts as 1. x: tokens × channels, w: out × channels.
Vector smoothing_scale(const ConstMatrixRef& x, const ConstMatrixRef& w, double alpha);

/// The step of Method::steps that smoothing is, and the transform that it finds.
std::string smoothing_step(double alpha);
std::shared_ptr<const Transform> find_smoothing(const Calibration& calibration, double alpha);

}  // namespace olab

// Small layers with outliers, and what a method must keep of them.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "core/registries.hpp"
#include "messages.hpp"
#include "methods/common/method.hpp"

namespace olab::test {

inline Registries method_registries() {
  Registries r;
  register_methods(r);
  return r;
}

struct Layer {
  Matrix x;  ///< tokens × channels
  Matrix w;  ///< out × channels; may have no rows
};

/// Gaussian activations with a few large channels, one massive value and one dead channel; small weights.
inline Layer make_layer(Index tokens, Index channels, Index out, std::uint64_t seed) {
  RandomStream random(seed);
  Layer layer{Matrix(tokens, channels), Matrix(out, channels)};
  random.fill_normal(layer.x);
  for (int k = 0; k < 4; ++k) layer.x.col(random.below(channels)) *= 20.0F;
  layer.x(random.below(tokens), random.below(channels)) = 900.0F;
  layer.x.col(random.below(channels)).setZero();
  random.fill_normal(layer.w);
  layer.w *= 0.05F;
  return layer;
}

inline Chain calibrate(const std::string& spec, const Layer& layer, const Registries& r,
                       std::uint64_t seed = 7) {
  const RandomStream random(seed);
  return r.methods.make(spec, r)->calibrate({layer.x, layer.w, random, r});
}

/// ‖(xT)(wT⁻ᵀ)ᵀ − xwᵀ‖_F / ‖xwᵀ‖_F, the products in double.
inline double product_error(const Layer& layer, const Chain& chain) {
  Layer after = layer;
  chain.apply_to_activations(after.x);
  chain.apply_to_weights(after.w);
  const Eigen::MatrixXd want = layer.x.cast<double>() * layer.w.cast<double>().transpose();
  const Eigen::MatrixXd got = after.x.cast<double>() * after.w.cast<double>().transpose();
  return (got - want).norm() / want.norm();
}

/// T itself: what the chain makes of the identity.
inline Matrix as_matrix(const Chain& chain, Index channels) {
  Matrix t = Matrix::Identity(channels, channels);
  chain.apply_to_activations(t);
  return t;
}

}  // namespace olab::test

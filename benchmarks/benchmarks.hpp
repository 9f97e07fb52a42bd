// Each file adds its benchmarks in a loop over what is registered: a new method is measured without a new
// line.
#pragma once

#include "core/matrix.hpp"
#include "core/random.hpp"

namespace olab {

void register_product_benchmarks();
void register_library_product_benchmarks();
void register_decoder_benchmarks();
void register_quantize_benchmarks();
void register_method_benchmarks();
void register_rotation_benchmarks();
void register_search_benchmarks();
void register_study_benchmarks();

/// tokens × channels with six channels twenty times larger than the others.
inline Matrix outlier_matrix(Index tokens, Index channels, std::uint64_t seed) {
  Matrix x(tokens, channels);
  RandomStream random(seed);
  random.fill_normal(x);
  for (Index j = 0; j < 6 && j < channels; ++j) x.col(j * channels / 6) *= 20.0F;
  return x;
}

}  // namespace olab

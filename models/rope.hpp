// Rotary positions (Su et al. 2021, arXiv:2104.09864).
#pragma once

#include <vector>

#include "models/model_spec.hpp"

namespace olab {

/// Radians a position, of the head_dim / 2 pairs of a head: θ^(−2i / head_dim), as `rope.kind` changes it.
/// linear (Chen et al. 2023, arXiv:2306.15595): divided by factor. llama3 (as Hugging Face transformers
/// computes it): wavelengths (2π / frequency) below original_max_positions / high_freq_factor stay, those
/// above original_max_positions / low_freq_factor are divided by factor, and between them the frequency is
/// (1 − s) f / factor + s f with s = (original / wavelength − low) / (high − low).
std::vector<double> inverse_frequencies(const RopeSpec& rope, Index head_dim);

/// Cosines and sines of position × frequency, computed in double: positions × head_dim / 2.
struct RotaryTables {
  Matrix cosines;
  Matrix sines;
};
RotaryTables rotary_tables(const RopeSpec& rope, Index head_dim, Index positions);

/// Turns the heads of x (tokens × heads · head_dim, head_dim twice the tables' columns) in place; row t is
/// position t, for which the tables must have a row. Channel i of a head is paired with i + head_dim / 2:
/// (a, b) ← (a cos − b sin, b cos + a sin).
void rotate_heads(const RotaryTables& tables, MatrixRef x);

}  // namespace olab

// Hadamard matrices: which orders can be built. The fast transform by them is core/hadamard.hpp.
#pragma once

#include <span>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// order = core · 2^doublings, with the smallest core that can be built: 1 (Sylvester alone) or a Paley
/// order.
struct HadamardOrder {
  Index core = 0;  ///< 0: no construction here has this order
  int doublings = 0;

  explicit operator bool() const { return core > 0; }
};

HadamardOrder find_hadamard_order(Index order);

/// The ±1 matrix of a Paley order (or the 1 × 1 matrix of order 1). For a prime q: I of order q + 1 where q
/// mod 4 = 3, II of order 2 (q + 1) where q mod 4 = 1 (Paley 1933). Asserts that find_hadamard_order gave
/// `core`.
Matrix hadamard_core(Index core);

/// The block sizes >= 2 that divide `channels` and have a Hadamard matrix, rising.
std::vector<Index> hadamard_blocks(Index channels);

/// values ← values · H / sqrt(n) in place, n = values.size() = core.rows() · 2^doublings, H = core ⊗
/// Sylvester. For one vector; FastHadamard (core/hadamard.hpp) does many.
void hadamard_transform(std::span<float> values, const ConstMatrixRef& core);

}  // namespace olab

// Hadamard matrices: which orders can be built. The fast transform by them is core/hadamard.hpp.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// order = core · 2^doublings, with the smallest core that can be built: 1 (Sylvester alone), or an order of
/// hadamard_core.
struct HadamardOrder {
  Index core = 0;  ///< 0: no construction here has this order
  int doublings = 0;

  explicit operator bool() const { return core > 0; }
};

/// Cores go up to 1024: one is applied as a dense matrix, so a larger one would cost more than it gives.
HadamardOrder find_hadamard_order(Index order);

/// How hadamard_core builds this order: "Sylvester", "Paley I", "Paley II", "Turyn", "Williamson"; empty
/// where it cannot.
std::string hadamard_construction(Index core);

/// The ±1 matrix of order `core`, built anew at each call:
///   1: Sylvester's first.
///   q + 1, q = 3 mod 4, and 2 (q + 1), q = 1 mod 4, q a prime power: I and II of Paley 1933, primes first.
///   4 (3 n − 1), n = 8, 10, 16, 20, 22, 30, 36 (92, 116, 188, 236, 260, 356, 428): four circulant matrices
///     from Turyn-type sequences of length n (Best, Đoković, Kharaghani, Ramp 2013, arXiv:1206.4107;
///     Kharaghani, Tayfeh-Rezaie 2005, J. Combin. Des. 13) in the array of Goethals and Seidel 1967.
///   156 and 172: four symmetric circulant matrices in the array of Williamson 1944, Duke Math. J. 11.
/// Asserts that hadamard_construction(core) is not empty.
Matrix hadamard_core(Index core);

/// The block sizes >= 2 that divide `channels` and have a Hadamard matrix, rising.
std::vector<Index> hadamard_blocks(Index channels);

/// values ← values · H / sqrt(n) in place, n = values.size() = core.rows() · 2^doublings, H = core ⊗
/// Sylvester. For one vector; FastHadamard (core/hadamard.hpp) does many.
void hadamard_transform(std::span<float> values, const ConstMatrixRef& core);

}  // namespace olab

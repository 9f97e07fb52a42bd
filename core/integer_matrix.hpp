// Quantized values as the integers that they are.
#pragma once

#include <cstdint>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// rows × cols values (codes[t, j] − zero[t]) · step[t]: one scale and one zero point a row (a token of
/// activations, an output channel of weights). A row of equal values v that is kept as it is has codes 1,
/// zero 0, step v.
struct IntegerMatrix {
  Index rows = 0;
  Index cols = 0;
  std::vector<std::uint8_t> codes;  ///< rows × cols, row-major
  std::vector<float> step;          ///< one a row
  std::vector<float> zero;          ///< one a row: an integer, |zero| <= kLargestZero

  /// Beyond it, code − zero is no longer exact in float, and the integers are not what fake quantization
  /// rounds to.
  static constexpr float kLargestZero = 1 << 22;

  /// Makes room for rows × cols values; what they are is not said. Large ones lie on huge pages
  /// (core/memory.hpp).
  void resize(Index new_rows, Index new_cols);

  const std::uint8_t* row(Index t) const { return codes.data() + t * cols; }
  std::uint8_t* row(Index t) { return codes.data() + t * cols; }
};

/// The values of rows `first` … first + out.rows() − 1 in float32: (code − zero) · step.
void dequantize_rows(const IntegerMatrix& codes, Index first, MatrixRef out);

}  // namespace olab

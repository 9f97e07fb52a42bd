// Number formats: maps of a matrix to its nearest representable values.
#pragma once

#include <memory>
#include <string>

#include "core/integer_matrix.hpp"
#include "core/matrix.hpp"
#include "core/registries.hpp"

namespace olab {

enum class Role { activation, weight };

/// Maps a matrix to its nearest representable values, kept in float ("fake quantization").
class Quantizer {
 public:
  Quantizer() = default;
  Quantizer(const Quantizer&) = delete;
  Quantizer& operator=(const Quantizer&) = delete;
  virtual ~Quantizer();

  /// Throws Error where the settings do not fit the role or width (a group size that does not divide it).
  /// quantize and bits_per_value check the same.
  virtual void check(Role role, Index channels) const = 0;
  /// True where it changes nothing (16 bits).
  virtual bool is_identity() const = 0;
  /// out ← representable values of in (finite); same shape, may be the same matrix. Returns how many values
  /// lay beyond the grid's ends and were clipped to them. The same bits for any number of threads.
  virtual Index quantize(Role role, const ConstMatrixRef& in, MatrixRef out) const = 0;
  /// The same rounding as integers: fills `out` where every value that `quantize` writes is exactly
  /// (code − zero) · step in float32 with one step and zero point a row, and returns true; else returns false
  /// and `out` is unspecified (16 bits, groups, one scale a column). `clipped`: as `quantize` returns it. A
  /// format without integers inherits this one, which returns false.
  virtual bool quantize_to_codes(Role role, const ConstMatrixRef& in, IntegerMatrix& out,
                                 Index& clipped) const;
  /// Stored bits for each value, scales and zero points included (fp16 scale, zero point of `bits` bits).
  virtual double bits_per_value(Role role, Index rows, Index channels) const = 0;
};

}  // namespace olab

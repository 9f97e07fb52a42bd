// Finite fields of any prime power order, by small tables.
#pragma once

#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// n = p^k with p prime and k >= 1.
bool is_prime_power(Index n);

/// GF(p^k). Elements are the numbers 0 … q − 1: digit i of an element in base p is its coefficient of x^i, so
/// for a prime q they are the integers modulo q.
class FiniteField {
 public:
  /// Asserts that `order` is a prime power. Finds a primitive polynomial of degree k over GF(p) (the first by
  /// the number of its coefficients), so that the powers of x are all elements but 0.
  explicit FiniteField(Index order);

  Index order() const { return order_; }
  Index subtract(Index a, Index b) const;
  Index multiply(Index a, Index b) const;
  /// χ(a): 0 for 0, 1 for a square, −1 otherwise. Of a field of odd order.
  int quadratic_character(Index a) const;

 private:
  bool fill_powers(Index polynomial);

  Index order_;
  Index prime_;
  std::vector<Index> powers_;     ///< of x: 1, x, x², … x^(q−2)
  std::vector<Index> logarithm_;  ///< of every element but 0, to base x
};

}  // namespace olab

#include "methods/common/finite_field.hpp"

#include <gtest/gtest.h>

#include <set>

namespace olab {
namespace {

TEST(PrimePowers, AreToldFromOtherNumbers) {
  for (const Index yes : {2, 3, 4, 9, 25, 27, 49, 81, 101, 125, 243, 343, 961, 1021})
    EXPECT_TRUE(is_prime_power(yes)) << yes;
  for (const Index no : {0, 1, 6, 12, 45, 91, 100, 1001, 1022}) EXPECT_FALSE(is_prime_power(no)) << no;
}

TEST(FiniteField, OfAPrimeAreTheIntegersModuloIt) {
  for (const Index p : {3, 7, 13}) {
    const FiniteField field(p);
    std::set<Index> squares;
    for (Index a = 1; a < p; ++a) squares.insert(a * a % p);
    for (Index a = 0; a < p; ++a) {
      for (Index b = 0; b < p; ++b) {
        EXPECT_EQ(field.multiply(a, b), a * b % p);
        EXPECT_EQ(field.subtract(a, b), (a - b + p) % p);
      }
      EXPECT_EQ(field.quadratic_character(a), a == 0 ? 0 : squares.contains(a) ? 1 : -1) << a;
    }
  }
}

TEST(FiniteField, OfNineIsPolynomialsModuloAPrimitiveOne) {
  // The first primitive polynomial by its number is x² = 1 + x (4 = 1 + 1·3): x, 1 + x, 1 + 2x, 2, 2x, ….
  const FiniteField field(9);
  const Index x = 3;
  EXPECT_EQ(field.multiply(x, x), 1 + 3);
  EXPECT_EQ(field.multiply(x, 1 + 3), 1 + 2 * 3);
  EXPECT_EQ(field.multiply(x, 1 + 2 * 3), 2);
  EXPECT_EQ(field.subtract(1 + 3, 2 + 2 * 3), 2 + 2 * 3);  // (1 − 2) + (1 − 2) x
  EXPECT_EQ(field.quadratic_character(x), -1);
  EXPECT_EQ(field.quadratic_character(2), 1);  // x⁴ = −1 is the square of x²
}

TEST(FiniteField, KeepsTheLawsOfAField) {
  for (const Index q : {9, 25, 27, 49, 81, 125, 343}) {
    const FiniteField field(q);
    Index squares = 0;
    std::set<Index> products;
    for (Index a = 0; a < q; ++a) {
      squares += field.quadratic_character(a) == 1 ? 1 : 0;
      EXPECT_EQ(field.subtract(a, 0), a);
      EXPECT_EQ(field.subtract(a, a), 0);
      EXPECT_EQ(field.multiply(a, 1), a);
      products.insert(field.multiply(a, q - 1));
      // A square is what it says.
      EXPECT_EQ(field.quadratic_character(field.multiply(a, a)), a == 0 ? 0 : 1);
      const Index b = (a * 31 + 7) % q;
      const Index c = (a * 17 + 5) % q;
      EXPECT_EQ(field.multiply(a, field.subtract(b, c)),
                field.subtract(field.multiply(a, b), field.multiply(a, c)))
          << q << ": " << a;
      EXPECT_EQ(field.quadratic_character(field.multiply(a, b)),
                field.quadratic_character(a) * field.quadratic_character(b));
    }
    EXPECT_EQ(squares, (q - 1) / 2) << q;
    EXPECT_EQ(static_cast<Index>(products.size()), q) << q;
  }
}

}  // namespace
}  // namespace olab

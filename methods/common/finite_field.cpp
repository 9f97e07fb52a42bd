#include "methods/common/finite_field.hpp"

#include <cassert>

namespace olab {
namespace {

Index least_factor(Index n) {
  for (Index d = 2; d * d <= n; ++d)
    if (n % d == 0) return d;
  return n;
}

/// a + factor · b, digit by digit modulo p.
Index add_multiple(Index a, Index factor, Index b, Index p) {
  Index out = 0;
  for (Index place = 1; a != 0 || b != 0; place *= p, a /= p, b /= p)
    out += (a % p + factor * (b % p)) % p * place;
  return out;
}

}  // namespace

bool is_prime_power(Index n) {
  if (n < 2) return false;
  const Index p = least_factor(n);
  while (n % p == 0) n /= p;
  return n == 1;
}

FiniteField::FiniteField(Index order)
    : order_(order), prime_(least_factor(order)), logarithm_(static_cast<std::size_t>(order), 0) {
  assert(is_prime_power(order));
  Index polynomial = 1;
  while (!fill_powers(polynomial)) {
    ++polynomial;
    assert(polynomial < order_);
  }
  for (std::size_t i = 0; i < powers_.size(); ++i)
    logarithm_[static_cast<std::size_t>(powers_[i])] = static_cast<Index>(i);
}

/// The powers of x where x^k = `polynomial`. False where they come round before they have been everywhere.
bool FiniteField::fill_powers(Index polynomial) {
  const Index leading = order_ / prime_;  // of x^(k−1)
  powers_.assign(1, 1);
  while (static_cast<Index>(powers_.size()) < order_ - 1) {
    const Index last = powers_.back();
    const Index next = add_multiple(last % leading * prime_, last / leading, polynomial, prime_);
    if (next <= 1) return false;
    powers_.push_back(next);
  }
  // x^(q−1) must be 1: then nothing came twice, as multiplying by x can be undone.
  const Index last = powers_.back();
  return add_multiple(last % leading * prime_, last / leading, polynomial, prime_) == 1;
}

Index FiniteField::subtract(Index a, Index b) const {
  return add_multiple(a, prime_ - 1, b, prime_);
}

Index FiniteField::multiply(Index a, Index b) const {
  if (a == 0 || b == 0) return 0;
  const Index sum = logarithm_[static_cast<std::size_t>(a)] + logarithm_[static_cast<std::size_t>(b)];
  return powers_[static_cast<std::size_t>(sum % (order_ - 1))];
}

int FiniteField::quadratic_character(Index a) const {
  if (a == 0) return 0;
  return logarithm_[static_cast<std::size_t>(a)] % 2 == 0 ? 1 : -1;
}

}  // namespace olab

// Seeded random streams on Boost.Random: the same numbers on every machine, for any number of threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// A stream of random numbers (boost::random::mt19937_64). A stream is identified by its seed; `fork` derives
/// an independent stream from seed and label alone, whatever was drawn before, so the order in which parts of
/// a program ask for numbers never changes a result.
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed);
  RandomStream(RandomStream&&) noexcept;
  RandomStream& operator=(RandomStream&&) noexcept;
  RandomStream(const RandomStream&) = delete;
  RandomStream& operator=(const RandomStream&) = delete;
  ~RandomStream();

  RandomStream fork(std::string_view label) const;
  std::uint64_t seed() const { return seed_; }

  std::uint64_t bits();                         ///< 64 uniform bits
  double uniform();                             ///< in [0, 1)
  double normal();                              ///< mean 0, variance 1
  double student_t(double degrees_of_freedom);  ///< heavy-tailed, unit scale
  Index below(Index bound);                     ///< uniform in 0 … bound-1; bound >= 1
  float sign();                                 ///< +1 or -1
  void fill_normal(MatrixRef x);
  std::vector<Index> permutation(Index n);  ///< uniform shuffle of 0 … n-1 (Fisher-Yates)

 private:
  struct Engine;
  std::uint64_t seed_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace olab

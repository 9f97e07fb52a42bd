#include "core/random.hpp"

#include <boost/random/mersenne_twister.hpp>
#include <boost/random/normal_distribution.hpp>
#include <boost/random/student_t_distribution.hpp>
#include <boost/random/uniform_int_distribution.hpp>
#include <utility>

#include "core/hash.hpp"

namespace olab {

struct RandomStream::Engine {
  explicit Engine(std::uint64_t seed) : generator(seed) {}
  boost::random::mt19937_64 generator;
  boost::random::normal_distribution<double> normal;
};

RandomStream::RandomStream(std::uint64_t seed) : seed_(seed), engine_(std::make_unique<Engine>(seed)) {}
RandomStream::RandomStream(RandomStream&&) noexcept = default;
RandomStream& RandomStream::operator=(RandomStream&&) noexcept = default;
RandomStream::~RandomStream() = default;

RandomStream RandomStream::fork(std::string_view label) const {
  return RandomStream(hash64(label, seed_));
}

std::uint64_t RandomStream::bits() {
  return engine_->generator();
}
double RandomStream::uniform() {
  return static_cast<double>(bits() >> 11U) * 0x1.0p-53;
}
double RandomStream::normal() {
  return engine_->normal(engine_->generator);
}
double RandomStream::student_t(double degrees_of_freedom) {
  return boost::random::student_t_distribution<double>(degrees_of_freedom)(engine_->generator);
}
Index RandomStream::below(Index bound) {
  return boost::random::uniform_int_distribution<Index>(0, bound - 1)(engine_->generator);
}
float RandomStream::sign() {
  return (bits() >> 63U) != 0 ? -1.0F : 1.0F;
}

void RandomStream::fill_normal(MatrixRef x) {
  for (Index i = 0; i < x.rows(); ++i)
    for (Index j = 0; j < x.cols(); ++j) x(i, j) = static_cast<float>(normal());
}

std::vector<Index> RandomStream::permutation(Index n) {
  std::vector<Index> out(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) out[static_cast<std::size_t>(i)] = i;
  for (Index i = n - 1; i > 0; --i)
    std::swap(out[static_cast<std::size_t>(i)], out[static_cast<std::size_t>(below(i + 1))]);
  return out;
}

}  // namespace olab

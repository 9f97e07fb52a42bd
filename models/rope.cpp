#include "models/rope.hpp"

#include <cassert>
#include <cmath>
#include <numbers>

#include "core/parallel.hpp"

namespace olab {
namespace {

constexpr Index kRowsATask = 32;

double llama3_frequency(const RopeSpec& rope, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(rope.original_max_positions);
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth =
      (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

}  // namespace

std::vector<double> inverse_frequencies(const RopeSpec& rope, Index head_dim) {
  std::vector<double> out;
  for (Index i = 0; i < head_dim / 2; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(head_dim);
    const double frequency = 1 / std::pow(rope.theta, exponent);
    switch (rope.kind) {
      case RopeSpec::Kind::standard:
        out.push_back(frequency);
        break;
      case RopeSpec::Kind::linear:
        out.push_back(frequency / rope.factor);
        break;
      case RopeSpec::Kind::llama3:
        out.push_back(llama3_frequency(rope, frequency));
        break;
    }
  }
  return out;
}

RotaryTables rotary_tables(const RopeSpec& rope, Index head_dim, Index positions) {
  const std::vector<double> frequencies = inverse_frequencies(rope, head_dim);
  RotaryTables out{Matrix(positions, head_dim / 2), Matrix(positions, head_dim / 2)};
  parallel_for(positions, kRowsATask, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t)
      for (Index i = 0; i < head_dim / 2; ++i) {
        const double angle = static_cast<double>(t) * frequencies[static_cast<std::size_t>(i)];
        out.cosines(t, i) = static_cast<float>(std::cos(angle));
        out.sines(t, i) = static_cast<float>(std::sin(angle));
      }
  });
  return out;
}

void rotate_heads(const RotaryTables& tables, MatrixRef x) {
  const Index half = tables.cosines.cols();
  assert(x.rows() <= tables.cosines.rows() && x.cols() % (2 * half) == 0);
  parallel_for(x.rows(), kRowsATask, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t) {
      const float* const cosine = tables.cosines.row(t).data();
      const float* const sine = tables.sines.row(t).data();
      float* const row = x.row(t).data();
      for (Index head = 0; head < x.cols(); head += 2 * half)
        for (Index i = 0; i < half; ++i) {
          const float a = row[head + i];
          const float b = row[head + half + i];
          row[head + i] = a * cosine[i] - b * sine[i];
          row[head + half + i] = b * cosine[i] + a * sine[i];
        }
    }
  });
}

}  // namespace olab

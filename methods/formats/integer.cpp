// Uniform integers of 2 to 8 bits, as the released DuQuant code has them (commit 62c5844, quantizer.py:
// per_token_dynamic_calibration and fake_quant; Lin et al. 2024, arXiv:2406.01721, Eq. (1)).
//
// For each group of values with minimum lo and maximum hi, both multiplied by `clip`, in float32:
//   asymmetric  step = (hi - lo) / (2^b - 1),               zero = round(-lo / step)
//   symmetric   step = max(|lo|, |hi|) / (2^(b-1) - 1),     zero = 2^(b-1) - 1
//   step is kept within [1e-5, 1e4];  code = clamp(round(x / step) + zero, 0, 2^b - 1);  x^ = (code - zero)
//   step
// Rounding is half to even. The symmetric grid reaches from -(2^(b-1) - 1) to 2^(b-1) steps; its last code is
// used only by values that clipping left outside. `clip` scales both ends towards zero, so it cuts a group
// that lies far from zero more than one around it.
//
// numerics "exact" differs from "released" in three points, none of which matters while 0 lies near the
// range:
//   - a group of equal values (a constant or an all-zero row, a single value) is kept as it is, whatever
//   `clip`;
//   - the zero point is not cut to [-1e4, 1e4];
//   - round(x / step) is not passed through fp16, which is exact only up to 2048.
// In the released code the last two turn a row that is far from zero for its range (a constant row of 2.5,
// say) into a value outside of that range (0.10).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "core/parallel.hpp"
#include "core/registries.hpp"
#include "methods/common/divisors.hpp"
#include "methods/common/quantizer.hpp"

namespace olab {
namespace {

constexpr Index kUnquantized = 16;
constexpr Index kNoGroups = 0;
constexpr Index kValuesPerTask = 32768;
constexpr Index kColumnsPerTask = 256;
constexpr double kScaleBits = 16;

using Row = Eigen::Array<float, 1, Eigen::Dynamic>;
using RowView = Eigen::Map<Row>;
using ConstRowView = Eigen::Map<const Row>;

/// What shares one scale.
enum class Sharing { tensor, row, column, group };

float through_half(float value) {
  return static_cast<float>(Eigen::half(value));
}

/// Scale and zero point of one group of values.
struct Grid {
  float step = 1;
  float zero = 0;
  bool constant = false;  ///< all values are equal and kept as they are
};

class Integer final : public Quantizer {
 public:
  Index bits = 4;
  std::string granularity = "auto";
  Index group_size = kNoGroups;
  bool symmetric = false;
  double clip = 1.0;
  std::string numerics = "exact";

  bool is_identity() const override { return bits == kUnquantized; }

  void check(Role role, Index channels) const override {
    const Sharing sharing = sharing_of(role);
    if (sharing == Sharing::group && channels % group_size != 0)
      throw Error(fmt::format("integer: group size {} does not divide the {} channels; sizes that do: {}",
                              group_size, channels, join_sizes(divisors(channels))));
  }

  Index quantize(Role role, const ConstMatrixRef& in, MatrixRef out) const override {
    assert(in.rows() == out.rows() && in.cols() == out.cols());
    check(role, in.cols());
    if (is_identity()) {
      out = in;
      return 0;
    }
    if (in.size() == 0) return 0;
    switch (sharing_of(role)) {
      case Sharing::tensor:
        return quantize_tensor(in, out);
      case Sharing::column:
        return quantize_columns(in, out);
      case Sharing::row:
        return quantize_groups(in, out, in.cols());
      case Sharing::group:
        break;
    }
    return quantize_groups(in, out, group_size);
  }

  double bits_per_value(Role role, Index rows, Index channels) const override {
    check(role, channels);
    if (is_identity()) return static_cast<double>(bits);
    double values_per_scale = 0;
    switch (sharing_of(role)) {
      case Sharing::tensor:
        values_per_scale = static_cast<double>(rows) * static_cast<double>(channels);
        break;
      case Sharing::column:
        values_per_scale = static_cast<double>(rows);
        break;
      case Sharing::row:
        values_per_scale = static_cast<double>(channels);
        break;
      case Sharing::group:
        values_per_scale = static_cast<double>(group_size);
        break;
    }
    const auto b = static_cast<double>(bits);
    return b + (kScaleBits + (symmetric ? 0.0 : b)) / values_per_scale;
  }

 private:
  Sharing sharing_of(Role role) const {
    if (granularity == "per-group" && group_size == kNoGroups)
      throw Error("integer: granularity per-group needs a group_size, for example group_size=128");
    if (granularity != "per-group" && granularity != "auto" && group_size != kNoGroups)
      throw Error(
          fmt::format("integer: group_size {} has no meaning with granularity {}; write per-group, or leave "
                      "group_size out",
                      group_size, granularity));
    if (group_size != kNoGroups) return Sharing::group;
    if (granularity == "per-tensor") return Sharing::tensor;
    if (granularity == "per-token") {
      if (role == Role::weight)
        throw Error(
            "integer: granularity per-token is for activations; weights are per-tensor, per-channel or "
            "per-group");
      return Sharing::row;
    }
    // A weight's channel is its output channel, a row; an activation's is its input channel, a column.
    return granularity == "per-channel" && role == Role::activation ? Sharing::column : Sharing::row;
  }

  bool released() const { return numerics == "released"; }
  float last_code() const { return static_cast<float>((1 << bits) - 1); }

  Grid grid_of(float low, float high) const {
    constexpr float kLeastStep = 1e-5F;
    constexpr float kLargestStep = 1e4F;
    constexpr float kLargestZero = 1e4F;
    Grid grid;
    grid.constant = !released() && low == high;
    const auto ratio = static_cast<float>(clip);
    low *= ratio;
    high *= ratio;
    if (symmetric) {
      const auto largest = static_cast<float>((1 << (bits - 1)) - 1);
      grid.step = std::clamp(std::max(std::abs(low), std::abs(high)) / largest, kLeastStep, kLargestStep);
      grid.zero = largest;
      return grid;
    }
    grid.step = std::clamp((high - low) / last_code(), kLeastStep, kLargestStep);
    const float zero = -low / grid.step;
    grid.zero = std::nearbyint(released() ? std::clamp(zero, -kLargestZero, kLargestZero) : zero);
    return grid;
  }

  /// Returns how many codes were outside of the grid. `codes` is scratch of the same size.
  template <class Step, class Zero>
  Index round_values(const ConstRowView& in, const Step& step, const Zero& zero, RowView out,
                     Row& codes) const {
    codes = (in / step).rint();
    if (released()) codes = codes.unaryExpr([](float code) { return through_half(code); });
    codes += zero;
    const float last = last_code();
    const Index outside = (codes < 0.0F || codes > last).count();
    out = (codes.max(0.0F).min(last) - zero) * step;
    return outside;
  }

  Index round_values(const ConstRowView& in, const Grid& grid, RowView out, Row& codes) const {
    if (grid.constant) {
      out = in;
      return 0;
    }
    codes.resize(in.size());
    return round_values(in, Row::Constant(in.size(), grid.step), Row::Constant(in.size(), grid.zero), out,
                        codes);
  }

  /// Calls body(row, codes) for every row, in parallel; the sum of what it returns.
  template <class Body>
  static Index sum_over_rows(Index rows, Index columns, const Body& body) {
    const Index grain = std::max<Index>(1, kValuesPerTask / std::max<Index>(1, columns));
    std::vector<Index> counts(static_cast<std::size_t>((rows + grain - 1) / grain), 0);
    parallel_for(rows, grain, [&](Index begin, Index end) {
      Row codes;
      Index count = 0;
      for (Index t = begin; t < end; ++t) count += body(t, codes);
      counts[static_cast<std::size_t>(begin / grain)] = count;
    });
    return std::accumulate(counts.begin(), counts.end(), Index{0});
  }

  /// One scale for every `size` neighbours of a row.
  Index quantize_groups(const ConstMatrixRef& in, MatrixRef& out, Index size) const {
    return sum_over_rows(in.rows(), in.cols(), [&](Index t, Row& codes) {
      Index outside = 0;
      for (Index from = 0; from < in.cols(); from += size) {
        const ConstRowView values(in.row(t).data() + from, size);
        outside += round_values(values, grid_of(values.minCoeff(), values.maxCoeff()),
                                RowView(out.row(t).data() + from, size), codes);
      }
      return outside;
    });
  }

  Index quantize_tensor(const ConstMatrixRef& in, MatrixRef& out) const {
    const Grid grid = grid_of(in.minCoeff(), in.maxCoeff());
    return sum_over_rows(in.rows(), in.cols(), [&](Index t, Row& codes) {
      return round_values(ConstRowView(in.row(t).data(), in.cols()), grid,
                          RowView(out.row(t).data(), in.cols()), codes);
    });
  }

  Index quantize_columns(const ConstMatrixRef& in, MatrixRef& out) const {
    Row low = in.row(0).array();
    Row high = low;
    parallel_for(in.cols(), kColumnsPerTask, [&](Index begin, Index end) {
      for (Index t = 1; t < in.rows(); ++t) {
        const ConstRowView values(in.row(t).data() + begin, end - begin);
        low.segment(begin, end - begin) = low.segment(begin, end - begin).min(values);
        high.segment(begin, end - begin) = high.segment(begin, end - begin).max(values);
      }
    });
    Row steps(in.cols());
    Row zeros(in.cols());
    std::vector<Index> constant;
    for (Index j = 0; j < in.cols(); ++j) {
      const Grid grid = grid_of(low[j], high[j]);
      steps[j] = grid.step;
      zeros[j] = grid.zero;
      if (grid.constant) constant.push_back(j);
    }
    return sum_over_rows(in.rows(), in.cols(), [&](Index t, Row& codes) {
      const ConstRowView values(in.row(t).data(), in.cols());
      RowView rounded(out.row(t).data(), in.cols());
      codes.resize(in.cols());
      Index outside = round_values(values, steps, zeros, rounded, codes);
      for (const Index j : constant) {
        const float code = codes[j];
        if (code < 0.0F || code > last_code()) --outside;
        rounded[j] = low[j];
      }
      return outside;
    });
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(integer) {
  using namespace olab;
  r.quantizers.add(
      Schema<Integer>("integer", "Uniform integers of 2 to 8 bits; 16 leaves values as they are",
                      "Lin et al. 2024, arXiv:2406.01721, Eq. (1)")
          .param("bits", &Integer::bits, "bits per value", 2, 8)
          .also("16", kUnquantized)
          .choice("granularity", &Integer::granularity,
                  "what shares a scale. activations: per-token a row, per-channel an input channel (column), "
                  "per-group group_size neighbours of a token; weights: per-channel an output channel (row), "
                  "per-group group_size input channels of a row, per-token none; auto: per-group where "
                  "group_size "
                  "is given, else per-token for activations and per-channel for weights",
                  {"auto", "per-tensor", "per-token", "per-channel", "per-group"})
          .param("group_size", &Integer::group_size, "values per group", 2, 65536)
          .also("none", kNoGroups)
          .param("symmetric", &Integer::symmetric,
                 "zero point in the middle instead of a range from min to max")
          .param("clip", &Integer::clip, "ratio by which min and max are multiplied", 1e-6, 1.0)
          .choice("numerics", &Integer::numerics,
                  "exact, or as the released DuQuant code: fp16 codes, zero point within 1e4, constant rows "
                  "rounded",
                  {"exact", "released"}));
}

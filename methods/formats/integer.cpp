// Uniform integers of 2 to 8 bits, as the released DuQuant code has them (commit 62c5844, quantizer.py:
// per_token_dynamic_calibration and fake_quant; Lin et al. 2024, arXiv:2406.01721, Eq. (1)). The formulas
// stand in core/quantize.hpp.
//
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

#include <cassert>
#include <string>

#include "core/quantize.hpp"
#include "core/registries.hpp"
#include "methods/common/divisors.hpp"
#include "methods/common/quantizer.hpp"

namespace olab {
namespace {

constexpr Index kUnquantized = 16;
constexpr Index kNoGroups = 0;
constexpr double kScaleBits = 16;

/// What shares one scale.
enum class Sharing { tensor, row, column, group };

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
        return round_matrix(in, rule(), out);
      case Sharing::column:
        return round_columns(in, rule(), out);
      case Sharing::row:
        return round_groups(in, in.cols(), rule(), out);
      case Sharing::group:
        break;
    }
    return round_groups(in, group_size, rule(), out);
  }

  bool quantize_to_codes(Role role, const ConstMatrixRef& in, IntegerMatrix& out,
                         Index& clipped) const override {
    check(role, in.cols());
    if (is_identity()) return false;
    switch (sharing_of(role)) {
      case Sharing::tensor:
        return matrix_to_codes(in, rule(), out, clipped);
      case Sharing::column:
        return false;
      case Sharing::group:
        if (group_size != in.cols()) return false;
        break;
      case Sharing::row:
        break;
    }
    return rows_to_codes(in, rule(), out, clipped);
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

  IntegerRule rule() const {
    return {static_cast<int>(bits), symmetric, static_cast<float>(clip), numerics == "released"};
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

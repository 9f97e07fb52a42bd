#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/parallel.hpp"
#include "methods/common/quantizer.hpp"
#include "methods_layers.hpp"

namespace olab {
namespace {

using test::error_of;

std::unique_ptr<Quantizer> make(const std::string& spec) {
  const Registries r = test::method_registries();
  return r.quantizers.make(spec, r);
}

Matrix quantized(const std::string& spec, const Matrix& in, Role role = Role::activation) {
  Matrix out(in.rows(), in.cols());
  make(spec)->quantize(role, in, out);
  return out;
}

Matrix row(std::initializer_list<float> values) {
  Matrix out(1, static_cast<Index>(values.size()));
  Index j = 0;
  for (const float v : values) out(0, j++) = v;
  return out;
}

double squared_error(const Matrix& a, const Matrix& b) {
  return (a - b).cast<double>().squaredNorm();
}

TEST(Integer, RoundsAsymmetricallyToTheStepsFromMinimumToMaximum) {
  // 2 bits: step (5 - -1) / 3 = 2, zero = round(0.5) = 0: the grid is 0, 2, 4, 6; ties go to the even code.
  EXPECT_EQ(quantized("integer(bits=2)", row({-1, 0.5F, 1, 3, 5})), row({0, 0, 0, 4, 4}));
  // step 1, zero 1.
  EXPECT_EQ(quantized("integer(bits=2)", row({-1, 0.4F, 0.6F, 2})), row({-1, 0, 1, 2}));
}

TEST(Integer, RoundsSymmetricallyAroundZero) {
  // 3 bits: step 6 / 3 = 2, codes -3 … 4.
  EXPECT_EQ(quantized("integer(bits=3,symmetric=true)", row({-6, -3.2F, 1, 3, 5.5F})),
            row({-6, -4, 0, 4, 6}));
}

TEST(Integer, ClipsBothEndsAndCountsWhatLiesBeyond) {
  // Range -8 … 7 halved: step 7.5 / 15 = 0.5, zero 8: the grid is -4 … 3.5.
  const Matrix in = row({-8, 7, 3.6F, -4.2F, 0.3F, 4});
  Matrix out(1, 6);
  EXPECT_EQ(make("integer(bits=4,clip=0.5)")->quantize(Role::activation, in, out), 3);
  EXPECT_EQ(out, row({-4, 3.5F, 3.5F, -4, 0.5F, 3.5F}));
  // Symmetric: step 4 / 7; only there the code beyond 2^(b-1) - 1 is used.
  EXPECT_EQ(make("integer(bits=4,clip=0.5,symmetric=true)")
                ->quantize(Role::activation, row({8, -1}), out.leftCols(2)),
            1);
  EXPECT_FLOAT_EQ(out(0, 0), 8 * (4.0F / 7.0F));
}

TEST(Integer, MayWorkInPlace) {
  const test::Layer layer = test::make_layer(9, 32, 1, 3);
  for (const char* granularity : {"per-tensor", "per-token", "per-channel"}) {
    const std::string spec = std::string("integer(bits=3,clip=0.9,granularity=") + granularity + ")";
    Matrix both = layer.x;
    make(spec)->quantize(Role::activation, both, both);
    EXPECT_EQ(both, quantized(spec, layer.x)) << granularity;
  }
}

TEST(Integer, KeepsConstantGroupsToTheBit) {
  for (const char* spec :
       {"integer(bits=2)", "integer(bits=4,clip=0.8)", "integer(bits=4,clip=0.8,symmetric=true)",
        "integer(bits=8,granularity=per-tensor)", "integer(bits=3,granularity=per-channel)",
        "integer(bits=3,group_size=4)"}) {
    for (const float value : {0.0F, 2.5F, -1e-7F, 3e4F, -7e8F}) {
      const Matrix in = Matrix::Constant(3, 8, value);
      EXPECT_EQ(quantized(spec, in), in) << spec << " " << value;
    }
  }
  Matrix mixed = Matrix::Ones(3, 4);
  mixed.row(1) << 1, 2, 3, 4;
  const Matrix out = quantized("integer(bits=4)", mixed);
  EXPECT_EQ(out.row(0), mixed.row(0));
  EXPECT_EQ(out.row(2), mixed.row(2));
}

TEST(Integer, KeepsAConstantColumnWhereChannelsHaveTheScales) {
  Matrix in(3, 2);
  in << 0.3F, 1,  //
      0.3F, 2,    //
      0.3F, 9;
  Matrix out(3, 2);
  EXPECT_EQ(make("integer(bits=2,granularity=per-channel,clip=0.9)")->quantize(Role::activation, in, out), 1);
  EXPECT_EQ(out.col(0), in.col(0));
}

TEST(Integer, OneTokenAndOneValueAreFine) {
  EXPECT_EQ(quantized("integer(bits=4,granularity=per-channel)", row({3, -4})), row({3, -4}));
  EXPECT_EQ(quantized("integer(bits=4)", row({-5})), row({-5}));
  EXPECT_EQ(quantized("integer(bits=4)", Matrix(0, 4)).rows(), 0);
}

TEST(Integer, StaysWithinHalfAStepInsideTheRange) {
  const test::Layer layer = test::make_layer(12, 64, 1, 5);
  for (int bits = 2; bits <= 8; ++bits) {
    for (const float offset : {0.0F, 50.0F, -3000.0F}) {
      const Matrix in = layer.x.array() + offset;
      const std::string b = std::to_string(bits);
      const Matrix asymmetric = quantized("integer(bits=" + b + ")", in);
      const Matrix symmetric = quantized("integer(symmetric=true,bits=" + b + ")", in);
      for (Index t = 0; t < in.rows(); ++t) {
        const float range = in.row(t).maxCoeff() - in.row(t).minCoeff();
        const float largest = in.row(t).cwiseAbs().maxCoeff();
        const float step = range / static_cast<float>((1 << bits) - 1);
        const float symmetric_step = largest / static_cast<float>((1 << (bits - 1)) - 1);
        // A few roundings of x / step and of zero · step, relative to the row's largest value.
        const float slack = 4e-7F * largest;
        EXPECT_LE((in - asymmetric).row(t).cwiseAbs().maxCoeff(), 0.5F * step + slack)
            << bits << " " << offset;
        EXPECT_LE((in - symmetric).row(t).cwiseAbs().maxCoeff(), 0.5F * symmetric_step + slack)
            << bits << " " << offset;
      }
    }
  }
}

TEST(Integer, IsIdempotentWithoutClipping) {
  const test::Layer layer = test::make_layer(12, 64, 1, 6);
  for (const char* symmetric : {"false", "true"}) {
    for (const char* rest : {"", ",granularity=per-tensor", ",granularity=per-channel", ",group_size=16"}) {
      for (int bits = 2; bits <= 8; ++bits) {
        const std::string spec =
            "integer(bits=" + std::to_string(bits) + ",symmetric=" + symmetric + std::string(rest) + ")";
        const Matrix once = quantized(spec, layer.x);
        const Matrix twice = quantized(spec, once);
        // Equal codes; the step itself is found again up to its last bits.
        EXPECT_LT((twice - once).cwiseAbs().maxCoeff(), 1e-6F * once.cwiseAbs().maxCoeff()) << spec;
      }
    }
  }
}

TEST(Integer, MoreBitsNeverHurt) {
  const test::Layer layer = test::make_layer(24, 128, 1, 7);
  for (const char* rest :
       {"", ",symmetric=true", ",granularity=per-tensor", ",granularity=per-channel", ",group_size=32"}) {
    double before = INFINITY;
    for (int bits = 2; bits <= 8; ++bits) {
      const double error = squared_error(
          layer.x, quantized("integer(bits=" + std::to_string(bits) + std::string(rest) + ")", layer.x));
      EXPECT_LT(error, before) << bits << rest;
      before = error;
    }
  }
}

TEST(Integer, SharesScalesByRoleAndGranularity) {
  const test::Layer layer = test::make_layer(6, 12, 1, 8);
  const Matrix rows = quantized("integer(bits=3,granularity=per-token)", layer.x);
  EXPECT_EQ(quantized("integer(bits=3)", layer.x), rows);
  EXPECT_EQ(quantized("integer(bits=3)", layer.x, Role::weight), rows);
  EXPECT_EQ(quantized("integer(bits=3,granularity=per-channel)", layer.x, Role::weight), rows);
  for (Index t = 0; t < 6; ++t) EXPECT_EQ(quantized("integer(bits=3)", layer.x.row(t)), rows.row(t));

  const Matrix columns = quantized("integer(bits=3,granularity=per-channel)", layer.x);
  const Matrix turned = layer.x.transpose();
  EXPECT_EQ(columns, Matrix(quantized("integer(bits=3)", turned).transpose()));

  const Matrix groups = quantized("integer(bits=3,granularity=per-group,group_size=4)", layer.x);
  EXPECT_EQ(quantized("integer(bits=3,group_size=4)", layer.x, Role::weight), groups);
  for (Index g = 0; g < 3; ++g)
    EXPECT_EQ(quantized("integer(bits=3)", layer.x.middleCols(4 * g, 4)),
              Matrix(groups.middleCols(4 * g, 4)));

  Matrix flat = layer.x;
  flat.resize(1, flat.size());
  Matrix tensor = quantized("integer(bits=3)", flat);
  tensor.resize(6, 12);
  EXPECT_EQ(quantized("integer(bits=3,granularity=per-tensor)", layer.x), tensor);
}

TEST(Integer, ReadsBlocksOfColumnsInPlace) {
  const test::Layer layer = test::make_layer(6, 32, 1, 9);
  Matrix out = Matrix::Zero(6, 32);
  make("integer(bits=3)")->quantize(Role::activation, layer.x.middleCols(8, 16), out.middleCols(8, 16));
  EXPECT_EQ(Matrix(out.middleCols(8, 16)), quantized("integer(bits=3)", layer.x.middleCols(8, 16)));
  EXPECT_EQ(out.leftCols(8).cwiseAbs().maxCoeff(), 0.0F);
}

TEST(Integer, SixteenBitsChangeNothing) {
  const test::Layer layer = test::make_layer(3, 8, 1, 10);
  EXPECT_TRUE(make("integer(bits=16)")->is_identity());
  EXPECT_FALSE(make("integer(bits=8)")->is_identity());
  Matrix out(3, 8);
  EXPECT_EQ(make("integer(bits=16,clip=0.5)")->quantize(Role::activation, layer.x, out), 0);
  EXPECT_EQ(out, layer.x);
}

TEST(Integer, CountsScalesAndZeroPointsAmongTheBits) {
  EXPECT_DOUBLE_EQ(make("integer(bits=4)")->bits_per_value(Role::activation, 10, 100), 4 + 20.0 / 100);
  EXPECT_DOUBLE_EQ(make("integer(bits=4,symmetric=true)")->bits_per_value(Role::weight, 10, 100),
                   4 + 16.0 / 100);
  EXPECT_DOUBLE_EQ(make("integer(bits=3,group_size=20)")->bits_per_value(Role::weight, 10, 100),
                   3 + 19.0 / 20);
  EXPECT_DOUBLE_EQ(make("integer(bits=8,granularity=per-tensor)")->bits_per_value(Role::weight, 10, 100),
                   8 + 24.0 / 1000);
  EXPECT_DOUBLE_EQ(make("integer(bits=8,granularity=per-channel)")->bits_per_value(Role::activation, 10, 100),
                   8 + 24.0 / 10);
  EXPECT_DOUBLE_EQ(make("integer(bits=16)")->bits_per_value(Role::weight, 10, 100), 16);
}

TEST(Integer, IsTheSameForAnyNumberOfThreads) {
  const test::Layer layer = test::make_layer(700, 384, 1, 11);
  for (const char* rest : {"", ",granularity=per-tensor", ",granularity=per-channel", ",group_size=128"}) {
    std::vector<Matrix> results;
    std::vector<Index> counts;
    for (const int threads : {1, 2}) {
      const ThreadLimit limit(threads);
      Matrix out(700, 384);
      counts.push_back(make("integer(bits=4,clip=0.7" + std::string(rest) + ")")
                           ->quantize(Role::activation, layer.x, out));
      results.push_back(out);
    }
    EXPECT_EQ(results[0], results[1]) << rest;
    EXPECT_EQ(counts[0], counts[1]) << rest;
    EXPECT_GT(counts[0], 0) << rest;
  }
}

TEST(Integer, ReleasedNumericsDifferOnlyFarFromZero) {
  const test::Layer layer = test::make_layer(20, 64, 1, 12);
  for (int bits = 2; bits <= 8; ++bits) {
    const std::string b = std::to_string(bits);
    EXPECT_EQ(quantized("integer(clip=0.9,bits=" + b + ")", layer.x),
              quantized("integer(clip=0.9,numerics=released,bits=" + b + ")", layer.x));
  }
  // (15 + 1e4) · 1e-5: the zero point is cut to -1e4 and the code of 2.5 overflows fp16.
  EXPECT_FLOAT_EQ(quantized("integer(bits=4,numerics=released)", row({2.5F, 2.5F}))(0, 0), 0.10015F);
  // 3000 steps from zero fp16 holds every second integer, ties to even: 3001 becomes 3000.
  EXPECT_EQ(quantized("integer(bits=4,numerics=released)", row({3000, 3001, 3015})), row({3000, 3000, 3015}));
  EXPECT_EQ(quantized("integer(bits=4)", row({3000, 3001, 3015})), row({3000, 3001, 3015}));
}

TEST(Integer, AsCodesIsTheSameAsRounded) {
  Matrix in = test::make_layer(20, 96, 1, 13).x;
  in.row(3).setConstant(-0.7F);
  in.row(4).setZero();
  in.row(5).array() += 40.0F;
  in(6, 0) = 3000;
  const auto check = [&](const std::string& spec, Role role) {
    const auto format = make(spec);
    Matrix rounded(in.rows(), in.cols());
    const Index clipped = format->quantize(role, in, rounded);
    IntegerMatrix codes;
    Index clipped_codes = -1;
    ASSERT_TRUE(format->quantize_to_codes(role, in, codes, clipped_codes)) << spec;
    EXPECT_EQ(clipped_codes, clipped) << spec;
    for (Index t = 0; t < in.rows(); ++t) {
      const auto row = static_cast<std::size_t>(t);
      EXPECT_LE(std::abs(codes.zero[row]), IntegerMatrix::kLargestZero);
      for (Index j = 0; j < in.cols(); ++j)
        ASSERT_EQ((static_cast<float>(codes.row(t)[j]) - codes.zero[row]) * codes.step[row], rounded(t, j))
            << spec << " at " << t << ", " << j;
    }
  };
  for (int bits = 2; bits <= 8; ++bits)
    for (const char* symmetric : {"false", "true"})
      for (const char* numerics : {"exact", "released"})
        for (const char* clip : {"1", "0.85"}) {
          const std::string rest = ",bits=" + std::to_string(bits) + ",symmetric=" + symmetric +
                                   ",numerics=" + numerics + ",clip=" + clip + ")";
          check("integer(granularity=per-token" + rest, Role::activation);
          check("integer(granularity=per-tensor" + rest, Role::activation);
          check("integer(granularity=per-channel" + rest, Role::weight);
          check("integer(granularity=auto" + rest, Role::weight);
          check("integer(group_size=96" + rest, Role::weight);
        }
}

TEST(Integer, HasNoCodesWhereARowHasMoreThanOneScaleOrAZeroPointTooFar) {
  const Matrix in = test::make_layer(4, 32, 1, 14).x;
  IntegerMatrix codes;
  Index clipped = 0;
  const auto has_codes = [&](const std::string& spec, Role role, const Matrix& x) {
    return make(spec)->quantize_to_codes(role, x, codes, clipped);
  };
  EXPECT_FALSE(has_codes("integer(bits=16)", Role::activation, in));
  EXPECT_FALSE(has_codes("integer(group_size=16)", Role::activation, in));
  EXPECT_FALSE(has_codes("integer(granularity=per-channel)", Role::activation, in));
  EXPECT_TRUE(has_codes("integer(group_size=32)", Role::activation, in));
  const Matrix far = in.array() * 1e-4F + 4000.0F;
  EXPECT_FALSE(has_codes("integer(bits=8)", Role::activation, far));
  EXPECT_FALSE(has_codes("integer(bits=8,granularity=per-tensor)", Role::activation, far));
  EXPECT_TRUE(has_codes("integer(bits=8,symmetric=true)", Role::activation, far));
  EXPECT_EQ(error_of([&] { has_codes("integer(group_size=48)", Role::weight, in); }).substr(0, 22),
            "integer: group size 48");
}

TEST(Integer, RefusesWhatItCannotDo) {
  EXPECT_EQ(error_of([] { make("integer(bits=9)"); }), "integer.bits: 9 is outside 2 to 8 or '16'");
  EXPECT_EQ(error_of([] { make("integer(bits=1)"); }), "integer.bits: 1 is outside 2 to 8 or '16'");
  EXPECT_EQ(error_of([] { make("integer(clip=0)"); }), "integer.clip: 0 is outside 1e-06 to 1");
  EXPECT_EQ(error_of([] { make("integer(clip=1.1)"); }), "integer.clip: 1.1 is outside 1e-06 to 1");
  EXPECT_EQ(error_of([] { make("integer(granularity=per-row)"); }).substr(0, 52),
            "integer.granularity: 'per-row' is no choice; known: ");
  EXPECT_EQ(
      error_of([] { make("integer(granularity=per-token)")->check(Role::weight, 8); }),
      "integer: granularity per-token is for activations; weights are per-tensor, per-channel or per-group");
  EXPECT_EQ(error_of([] { make("integer(granularity=per-group)")->check(Role::weight, 8); }),
            "integer: granularity per-group needs a group_size, for example group_size=128");
  EXPECT_EQ(error_of([] { make("integer(granularity=per-token,group_size=4)")->check(Role::activation, 8); }),
            "integer: group_size 4 has no meaning with granularity per-token; write per-group, or leave "
            "group_size out");
  EXPECT_EQ(error_of([] { make("integer(group_size=48)")->check(Role::weight, 64); }),
            "integer: group size 48 does not divide the 64 channels; sizes that do: 2, 4, 8, 16, 32, 64");
  EXPECT_EQ(error_of([] { quantized("integer(group_size=48)", Matrix::Zero(1, 64)); }),
            "integer: group size 48 does not divide the 64 channels; sizes that do: 2, 4, 8, 16, 32, 64");
}

}  // namespace
}  // namespace olab

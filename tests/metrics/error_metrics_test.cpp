// mse, nmse, sqnr, cosine, max_error, clipped_fraction.
#include <cmath>
#include <limits>

#include "collect.hpp"

namespace olab {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

Collect compare(const std::string& spec, const Matrix& x, const Matrix& reference) {
  return collect(spec, Observation(Stage::quantized, x, reference, 0, -1));
}
double error_value(const std::string& name, const Matrix& x, const Matrix& reference) {
  return compare(name, x, reference).at(name);
}

// Errors 0 1 0 4: Σ = 17; Σ r² = 12; Σ x² = 39; Σ x r = 17.
Matrix estimate() {
  return matrix({{1, 2}, {3, 5}});
}
Matrix reference() {
  return matrix({{1, 1}, {3, 1}});
}

TEST(ErrorMetrics, AreThoseOfAHandComputedPair) {
  EXPECT_DOUBLE_EQ(error_value("mse", estimate(), reference()), 17.0 / 4);
  EXPECT_DOUBLE_EQ(error_value("nmse", estimate(), reference()), 17.0 / 12);
  EXPECT_DOUBLE_EQ(compare("nmse", estimate(), reference()).at("nmse.token_mean"), (1.0 / 2 + 16.0 / 10) / 2);
  EXPECT_DOUBLE_EQ(error_value("sqnr", estimate(), reference()), 10 * std::log10(12.0 / 17));
  EXPECT_DOUBLE_EQ(error_value("cosine", estimate(), reference()), 17 / std::sqrt(39.0 * 12));
  EXPECT_DOUBLE_EQ(error_value("max_error", estimate(), reference()), 4);
}

TEST(ErrorMetrics, AreRelativeToTheReferenceNotToTheEstimate) {
  EXPECT_DOUBLE_EQ(error_value("nmse", reference(), estimate()), 17.0 / 39);
}

TEST(ErrorMetrics, OfAnExactCopyAreTheirBestValues) {
  const Matrix x = gaussian(7, 37);
  EXPECT_EQ(error_value("mse", x, x), 0);
  EXPECT_EQ(error_value("nmse", x, x), 0);
  EXPECT_EQ(compare("nmse", x, x).at("nmse.token_mean"), 0);
  EXPECT_EQ(error_value("sqnr", x, x), kInf);
  EXPECT_NEAR(error_value("cosine", x, x), 1, 1e-15);
  EXPECT_LE(error_value("cosine", x, x), 1);
  EXPECT_EQ(error_value("max_error", x, x), 0);
}

TEST(ErrorMetrics, AZeroMatrixReproducedExactlyHasNoError) {
  const Matrix zero = Matrix::Zero(3, 4);
  EXPECT_EQ(error_value("nmse", zero, zero), 0);
  EXPECT_EQ(error_value("sqnr", zero, zero), kInf);
  EXPECT_TRUE(std::isnan(error_value("cosine", zero, zero)));
}

TEST(ErrorMetrics, AnEstimateOfAZeroMatrixIsInfinitelyWrong) {
  EXPECT_EQ(error_value("nmse", matrix({{1, 0}}), matrix({{0, 0}})), kInf);
  EXPECT_EQ(error_value("sqnr", matrix({{1, 0}}), matrix({{0, 0}})), -kInf);
}

TEST(ErrorMetrics, AZeroEstimateHasAllOfTheError) {
  const Matrix r = gaussian(5, 9);
  const Matrix zero = Matrix::Zero(5, 9);
  EXPECT_DOUBLE_EQ(error_value("nmse", zero, r), 1);
  EXPECT_DOUBLE_EQ(error_value("sqnr", zero, r), 0);
  EXPECT_TRUE(std::isnan(error_value("cosine", zero, r)));
}

TEST(ErrorMetrics, TheTokenMeanIsNotDominatedByAMassiveToken) {
  // The massive token is exact, the other one is lost.
  const Matrix r = matrix({{1000, 0}, {1, 1}});
  const Matrix x = matrix({{1000, 0}, {0, 0}});
  EXPECT_NEAR(error_value("nmse", x, r), 2e-6, 1e-10);
  EXPECT_DOUBLE_EQ(compare("nmse", x, r).at("nmse.token_mean"), 0.5);
}

TEST(ErrorMetrics, OfOneTokenTheTokenMeanIsTheWhole) {
  const Matrix r = gaussian(1, 33);
  const Matrix x = r + 0.1F * gaussian(1, 33, 2);
  EXPECT_DOUBLE_EQ(error_value("nmse", x, r), compare("nmse", x, r).at("nmse.token_mean"));
}

TEST(ErrorMetrics, SqnrIsNmseInDecibels) {
  const Matrix r = gaussian(20, 30);
  const Matrix x = r + 0.1F * gaussian(20, 30, 2);
  EXPECT_NEAR(error_value("sqnr", x, r), -10 * std::log10(error_value("nmse", x, r)), 1e-12);
  EXPECT_NEAR(error_value("sqnr", x, r), 20, 0.5) << "noise of a tenth is 20 dB down";
}

TEST(ErrorMetrics, CosineIgnoresScaleAndSeesSign) {
  const Matrix r = gaussian(6, 11);
  EXPECT_NEAR(error_value("cosine", 3.0F * r, r), 1, 1e-7);
  EXPECT_NEAR(error_value("cosine", -r, r), -1, 1e-15);
  EXPECT_EQ(error_value("cosine", matrix({{1, 0}}), matrix({{0, 1}})), 0);
}

TEST(ErrorMetrics, WithoutAReferenceNothingIsKnown) {
  const Matrix x = gaussian(3, 4);
  for (const std::string name : {"mse", "nmse", "sqnr", "cosine", "max_error"}) {
    const Collect out = collect(name, Observation(Stage::quantized, x, std::nullopt, 0, -1));
    for (const auto& [value, v] : out.values) EXPECT_TRUE(std::isnan(v)) << value;
  }
}

TEST(ErrorMetrics, ANaNInTheEstimateGivesNaN) {
  Matrix x = gaussian(3, 4);
  const Matrix r = x;
  x(1, 2) = std::numeric_limits<float>::quiet_NaN();
  for (const std::string name : {"mse", "nmse", "sqnr", "cosine", "max_error"})
    EXPECT_TRUE(std::isnan(error_value(name, x, r))) << name;
}

TEST(ClippedFraction, IsTheShareOfAllValues) {
  const Matrix x = gaussian(4, 5);
  const auto fraction = [&](Index clipped) {
    return collect("clipped_fraction", Observation(Stage::quantized, x, x, 0, clipped))
        .at("clipped_fraction");
  };
  EXPECT_DOUBLE_EQ(fraction(3), 0.15);
  EXPECT_EQ(fraction(0), 0);
  EXPECT_TRUE(std::isnan(fraction(-1)));
}

}  // namespace
}  // namespace olab

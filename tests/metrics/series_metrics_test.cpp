// surface, channel_profile, histogram, block_profile.
#include <algorithm>
#include <cmath>
#include <limits>

#include "collect.hpp"

namespace olab {
namespace {

double largest(const Series& s) {
  return *std::max_element(s.values.begin(), s.values.end());
}

TEST(Surface, OfASmallMatrixIsItsMagnitudes) {
  const Series s = series_of("surface", matrix({{1, -2, 3}, {-4, 0, 6}}));
  EXPECT_EQ(s.rows, 2);
  EXPECT_EQ(s.columns, 3);
  EXPECT_EQ(s.values, (std::vector<double>{1, 2, 3, 4, 0, 6}));
  EXPECT_EQ(s.facts.at("tokens"), "2");
  EXPECT_EQ(s.facts.at("channels"), "3");
  EXPECT_EQ(s.facts.at("pooled_tokens"), "2");
  EXPECT_EQ(s.facts.at("pooled_channels"), "3");
}

TEST(Surface, OfALargeMatrixIsPooledByMaximum) {
  Matrix x = Matrix::Zero(128, 192);
  x(127, 191) = -5;
  x(64, 2) = 3;
  x(65, 3) = 4;
  const Series s = series_of("surface", x);
  EXPECT_EQ(s.rows, 64);
  EXPECT_EQ(s.columns, 96);
  EXPECT_EQ(s.values[63 * 96 + 95], 5);
  EXPECT_EQ(s.values[32 * 96 + 1], 4);
  EXPECT_EQ(std::count(s.values.begin(), s.values.end(), 0.0), 64 * 96 - 2);
}

TEST(Surface, EveryEntryLiesInOneCellAndTheMaximumSurvivesExactly) {
  for (const auto& [rows, columns] :
       {std::pair<Index, Index>{1, 1}, {65, 97}, {100, 172}, {127, 191}, {300, 50}}) {
    Matrix x = Matrix::Zero(rows, columns);
    // A lone spike anywhere must show in exactly one cell.
    for (const auto& [t, j] :
         {std::pair<Index, Index>{0, 0}, {rows - 1, columns - 1}, {rows / 2, columns / 3}}) {
      x(t, j) = -1234.567F;
      const Series s = series_of("surface", x);
      EXPECT_EQ(largest(s), static_cast<double>(1234.567F));
      EXPECT_EQ(std::count(s.values.begin(), s.values.end(), 0.0), s.rows * s.columns - 1);
      x(t, j) = 0;
    }
  }
}

TEST(Surface, OfANonFiniteMatrixIsNotDrawn) {
  const Matrix x = matrix({{1, std::numeric_limits<float>::infinity()}});
  for (const std::string name : {"surface", "channel_profile", "histogram", "block_profile"})
    EXPECT_TRUE(collect(name, Observation(Stage::original, x, std::nullopt, 0, -1)).all_series.empty())
        << name;
}

TEST(ChannelProfile, SortsChannelsAndKeepsTheirMeans) {
  const Series s = series_of("channel_profile", matrix({{1, -9, 2, 9}, {-3, 1, 2, 0}}));
  EXPECT_EQ(s.rows, 3);
  EXPECT_EQ(s.columns, 4);
  EXPECT_EQ(s.values,
            (std::vector<double>{1, 2, 3, 4,       // rank
                                 9, 9, 3, 2,       // maxima
                                 5, 4.5, 2, 2}));  // means of the same channels; equal maxima by index
  EXPECT_EQ(s.facts.at("rows"), "rank,absmax,absmean");
}

TEST(ChannelProfile, OfAWideLayerKeepsTheFirstRanksAndTheLast) {
  Matrix x(1, 11008);
  for (Index j = 0; j < x.cols(); ++j) x(0, j) = static_cast<float>(j + 1);
  const Series s = series_of("channel_profile", x);
  EXPECT_LE(s.columns, 512);
  EXPECT_GT(s.columns, 400);
  for (Index i = 0; i < 64; ++i) EXPECT_EQ(s.values[i], static_cast<double>(i + 1));
  EXPECT_EQ(s.values[s.columns - 1], 11008);
  for (Index i = 0; i < s.columns; ++i) {
    if (i > 0) {
      EXPECT_GT(s.values[i], s.values[i - 1]);
    }
    EXPECT_EQ(s.values[s.columns + i], 11009 - s.values[i]) << "value at the rank that it claims";
    EXPECT_EQ(s.values[2 * s.columns + i], 11009 - s.values[i]);
  }
}

TEST(ChannelProfile, AllRanksAreKeptUpTo512) {
  const Series s = series_of("channel_profile", gaussian(2, 512));
  EXPECT_EQ(s.columns, 512);
  const Series wider = series_of("channel_profile", gaussian(2, 513));
  EXPECT_LE(wider.columns, 512);
  EXPECT_EQ(wider.values[wider.columns - 1], 513);
}

TEST(Histogram, CountsEveryEntryOnce) {
  const Matrix x = gaussian(33, 172);
  const Series s = series_of("histogram", x);
  EXPECT_EQ(s.rows, 1);
  EXPECT_EQ(s.columns, 121);
  double all = 0;
  for (const double c : s.values) all += c;
  EXPECT_EQ(all, 33 * 172);
}

TEST(Histogram, PutsValuesWhereTheDefinitionSays) {
  // Bins of width 2 over [-121, 121]: zero in the middle of bin 60, edges to the bin above.
  const Series s = series_of("histogram", matrix({{-121, 121, 0, 0.9F, 1.1F, -1.1F, 119, 118.9F}}));
  EXPECT_EQ(s.values[0], 1);
  EXPECT_EQ(s.values[120], 2) << "121 and 119";
  EXPECT_EQ(s.values[119], 1);
  EXPECT_EQ(s.values[60], 2);
  EXPECT_EQ(s.values[61], 1);
  EXPECT_EQ(s.values[59], 1);
  EXPECT_EQ(s.facts.at("absmax"), "121");
}

TEST(Histogram, OfAZeroMatrixHasOneBar) {
  const Series s = series_of("histogram", Matrix::Zero(3, 4));
  EXPECT_EQ(s.values[60], 12);
  EXPECT_EQ(s.facts.at("absmax"), "0");
}

TEST(BlockProfile, HoldsMeanAndMaximumAndMassOfEveryBlock) {
  const Series s = series_of("block_profile", matrix({{1, -3, 4, -1}, {0, 2, 3, 10}}), 2);
  EXPECT_EQ(s.rows, 3);
  EXPECT_EQ(s.columns, 2);
  EXPECT_EQ(s.values, (std::vector<double>{2, 7, 3, 10, 3, 9}));
  EXPECT_EQ(s.facts.at("block_size"), "2");
  EXPECT_EQ(s.facts.at("blocks"), "2");
  EXPECT_EQ(s.facts.at("rows"), "absmax_mean,absmax_max,l1_mass");
}

TEST(BlockProfile, OfManyBlocksIsPooledByMaximum) {
  Matrix x = Matrix::Zero(1, 1031);
  x(0, 700) = 8;
  const Series s = series_of("block_profile(block_size=1)", x);
  EXPECT_EQ(s.columns, 512);
  EXPECT_EQ(s.facts.at("blocks"), "1031");
  for (Index row = 0; row < 3; ++row)
    EXPECT_EQ(std::count(s.values.begin() + row * 512, s.values.begin() + (row + 1) * 512, 8.0), 1);
}

}  // namespace
}  // namespace olab

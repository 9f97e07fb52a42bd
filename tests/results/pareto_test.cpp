#include <fmt/format.h>
#include <gtest/gtest.h>
#include <temp_dir.hpp>

#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "results/chart.hpp"
#include "scoped_path.hpp"
#include "synthetic_study.hpp"

namespace olab {
namespace {

using test::have_gnuplot;
using test::read_file;
using test::TempDir;

using Params = std::map<std::string, std::string, std::less<>>;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// A study of one's own: cost and error of methods over layers, seeds and quantizers.
class ParetoChart : public ::testing::Test {
 protected:
  ParetoChart() { register_results(registries_); }

  struct Row {
    std::string label;
    double cost = 0;  ///< NaN: the value is not stored
    double error = 0;
    std::string layer = "a";
    std::uint64_t seed = 0;
    Params params = {};
    bool failed = false;
  };
  Figure draw(const std::vector<Row>& rows, const std::string& options = "") {
    return chart(options)->draw(input(rows)).at(0);
  }
  DrawnFigure render(const std::vector<Row>& rows, const std::string& options = "") {
    return draw_chart(*chart(options), input(rows)).at(0);
  }
  std::string script(const std::vector<Row>& rows, const std::string& options = "") {
    return read_file(draw(rows, options).script);
  }
  std::string error_of(const std::vector<Row>& rows, const std::string& options = "") {
    try {
      draw(rows, options);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  std::map<std::string, std::string, std::less<>> better_;

 private:
  std::unique_ptr<Chart> chart(const std::string& options) {
    return registries_.charts.make("pareto(x=online.cost" + (options.empty() ? "" : ", " + options) + ")",
                                   registries_);
  }
  ChartInput input(const std::vector<Row>& rows) {
    store_.reset();
    const auto file = dir_ / fmt::format("runs{}.db", ++files_);
    store_.emplace(file);
    const std::int64_t study = store_->put_study("trade", "study: trade\n");
    std::int64_t position = 0;
    for (const Row& row : rows) {
      RunRecord run;
      run.key = std::to_string(position);
      run.recording = "test data";
      run.layer = row.layer;
      run.method = row.label.substr(0, row.label.find('('));
      run.method_text = run.label = row.label;
      run.params = row.params;
      run.seed = row.seed;
      const std::int64_t id = store_->begin(run);
      std::map<std::string, double, std::less<>> values;
      if (!std::isnan(row.cost)) values["online.cost"] = row.cost;
      if (!std::isnan(row.error)) values["output.nmse"] = row.error;
      if (row.failed) {
        store_->fail(id, "no");
      } else {
        store_->finish(id, values, {}, std::vector<std::string>{"nmse"});
      }
      store_->link(study, id, position++, row.label);
    }
    runs_ = store_->runs({"trade", "", "", ""});
    return {"trade", runs_, *store_, dir_.path(), "01", {{"nmse", "the formula of NMSE"}}, better_};
  }

  Registries registries_;
  TempDir dir_;
  std::optional<Store> store_;
  std::vector<RunRecord> runs_;
  int files_ = 0;
};

/// The lines of a data block; "" where there is no such block.
std::string block(const std::string& script, const std::string& name) {
  const std::string begin = fmt::format("${} << EOD\n", name);
  const auto at = script.find(begin);
  if (at == std::string::npos) return {};
  const auto from = at + begin.size();
  return script.substr(from, script.find("EOD", from) - from);
}

std::string front_of(const Figure& figure) {
  const auto at = figure.caption.find("): ");
  return figure.caption.substr(at + 3, figure.caption.find('.', at) - at - 3);
}

TEST_F(ParetoChart, FillsWhatNobodyBeatsAndDrawsStairsThroughIt) {
  const std::string s =
      script({{"cheap", 1, 8}, {"middle", 2, 4}, {"beaten", 3, 5}, {"dear", 4, 2}, {"worst", 4, 8}});
  EXPECT_EQ(block(s, "front0"), "1 8\n2 4\n4 2\n");
  EXPECT_EQ(block(s, "dominated0"), "3 5\n4 8\n");
  // The range ends 0.09 of the span above the largest value: x from 0 (1 is near enough to it), y too.
  EXPECT_EQ(block(s, "stairs0"), "1 8.72\n1 8\n2 8\n2 4\n4 4\n4 2\n4.36 2\n");
  EXPECT_NE(s.find("$front0 using 1:2 with points pt 7 "), std::string::npos) << s;
  EXPECT_NE(s.find("$dominated0 using 1:2 with points pt 6 "), std::string::npos) << s;
}

TEST_F(ParetoChart, TakesTheDirectionFromTheFacts) {
  better_ = {{"nmse", "higher"}, {"online.cost", "lower"}};
  const Figure figure = draw({{"cheap", 1, 5}, {"middle", 2, 8}, {"beaten", 3, 7}});
  const std::string s = read_file(figure.script);
  EXPECT_EQ(block(s, "front0"), "1 5\n2 8\n");
  EXPECT_EQ(block(s, "dominated0"), "3 7\n");
  // Stairs upwards: from below the first to the right of the last (5 is not near enough to 0: 5 − 0.06 · 3).
  EXPECT_EQ(block(s, "stairs0"), "1 4.82\n1 5\n2 5\n2 8\n3.27 8\n");
  EXPECT_NE(figure.caption.find("lower online.cost and higher output.nmse are better"), std::string::npos)
      << figure.caption;
}

TEST_F(ParetoChart, EqualInOneValueIsBeatenByTheBetterInTheOther) {
  EXPECT_EQ(front_of(draw({{"a", 1, 5}, {"b", 1, 4}, {"c", 2, 4}})), "b");
  // Twins beat nobody, neither do they beat one another.
  EXPECT_EQ(front_of(draw({{"a", 1, 5}, {"b", 1, 5}, {"c", 1, 5}})), "a; b; c");
}

TEST_F(ParetoChart, AveragesLayersThenShowsTheDeviationOverSeeds) {
  // Per seed, over two layers: error 2, 4, 6: mean 4, sample deviation 2; cost 10, 20, 30: 20 ± 10.
  std::vector<Row> rows{{"other", 25, 5, "a"}, {"other", 25, 5, "b"}};
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const double step = static_cast<double>(seed) + 1;
    rows.push_back({"m", 10 * step, 2 * step - 1, "a", seed});
    rows.push_back({"m", 10 * step, 2 * step + 1, "b", seed});
  }
  const Figure figure = draw(rows);
  EXPECT_EQ(block(read_file(figure.script), "bars0"), "20 4 10 30 2 6\n");
  EXPECT_EQ(block(read_file(figure.script), "front0"), "20 4\n");
  EXPECT_NE(figure.caption.find("mean over 2 layers (test data); bars: ± sd over up to 3 seeds"),
            std::string::npos)
      << figure.caption;
  EXPECT_NE(figure.caption.find("output.nmse = the formula of NMSE."), std::string::npos) << figure.caption;
}

TEST_F(ParetoChart, NeverAveragesOverQuantizersNorComparesThem) {
  const auto bits = [](const char* n) { return Params{{"activation.bits", n}, {"weight.bits", "4"}}; };
  std::vector<Row> rows{{"rtn", 1, 8, "a", 0, bits("4")},
                        {"rtn", 1, 2, "a", 0, bits("8")},
                        {"rot", 2, 3, "a", 0, bits("4")},
                        {"rot", 2, 3, "a", 0, bits("8")}};
  std::string s = script(rows);
  EXPECT_EQ(block(s, "front0"), "1 8\n2 3\n");
  EXPECT_EQ(block(s, "front1"), "1 2\n");
  EXPECT_EQ(block(s, "dominated1"), "2 3\n");
  EXPECT_NE(s.find("'activation.bits=4'"), std::string::npos) << s;
  EXPECT_EQ(s.find("weight.bits=4"), std::string::npos) << "what is the same everywhere tells nothing";
  // Methods that do not meet at any quantizer are kept apart too.
  rows = {{"rtn", 1, 8, "a", 0, bits("4")}, {"rot", 2, 9, "a", 0, bits("8")}};
  EXPECT_EQ(front_of(draw(rows)), "rtn (activation");
  // Named in `series`, the quantizer is part of the point, and all have one front.
  s = script(rows, "series=[method,activation.bits]");
  EXPECT_EQ(block(s, "front0"), "1 8\n");
  EXPECT_EQ(block(s, "dominated0"), "2 9\n");
  EXPECT_NE(s.find("'rot, 8'"), std::string::npos) << s;
}

TEST_F(ParetoChart, OtherParametersThatDifferJoinTheName) {
  const std::string s = script(
      {{"m(n=1)", 1, 8, "a", 0, {{"n", "1"}}}, {"m(n=2)", 2, 4, "a", 0, {{"n", "2"}}}}, "series=method_name");
  EXPECT_EQ(block(s, "front0"), "1 8\n2 4\n");
  EXPECT_NE(s.find("'m, n=1'"), std::string::npos) << s;
}

TEST_F(ParetoChart, ZerosHaveTheirPlaceOnALogarithmicAxis) {
  const std::string s = script({{"free", 0, 8}, {"some", 0.01, 4}, {"dear", 1, 2}});
  EXPECT_NE(s.find("set logscale x"), std::string::npos) << s;
  EXPECT_EQ(s.find("set logscale y"), std::string::npos);
  // 0.16 of the two decades below the smallest positive value: 0.01 · 10^-0.32.
  EXPECT_EQ(block(s, "front0"), "0.00478630092 8\n0.01 4\n1 2\n");
  EXPECT_NE(s.find("set xtics ('0' 0.00478630092 0, '0.01' 0.01 0,"), std::string::npos) << s;
  EXPECT_EQ(script({{"free", 0, 8}, {"some", 0.01, 4}, {"dear", 1, 2}}, "log=none").find("set logscale"),
            std::string::npos);
  // A negative value has no place at all: the axis stays linear even where it is asked for.
  EXPECT_EQ(script({{"a", -1, 8}, {"b", 100, 4}}, "log=x").find("set logscale x"), std::string::npos);
  // All zero.
  EXPECT_EQ(block(script({{"a", 0, 0}, {"b", 0, 0}}, "log=xy"), "front0"), "0 0\n0 0\n");
}

TEST_F(ParetoChart, MeansThatLackARunStayOffTheFront) {
  std::vector<Row> rows{{"whole", 5, 5, "a"}, {"whole", 5, 5, "b"}, {"half", 1, 1, "a"}, {"half", 1, 1, "b"}};
  EXPECT_EQ(front_of(draw(rows)), "half");
  rows[3].failed = true;
  Figure figure = draw(rows);
  EXPECT_EQ(front_of(figure), "whole");
  EXPECT_NE(read_file(figure.script).find("'half (1 of 2 runs)'"), std::string::npos);
  EXPECT_NE(figure.caption.find("Means over fewer runs or layers"), std::string::npos) << figure.caption;
  rows.pop_back();
  figure = draw(rows);
  EXPECT_EQ(front_of(figure), "whole");
  EXPECT_NE(read_file(figure.script).find("'half (1 of 2 layers)'"), std::string::npos);
}

TEST_F(ParetoChart, MeansOfBothValuesAreOfTheSameRuns) {
  const Figure figure = draw({{"m", 2, 4, "a"}, {"m", kNone, 100, "b"}, {"n", kNone, 1, "a"}});
  EXPECT_EQ(block(read_file(figure.script), "dominated0"), "2 4\n");
  EXPECT_NE(figure.caption.find("Not drawn, no finite values of both: n."), std::string::npos)
      << figure.caption;
}

TEST_F(ParetoChart, SaysWhatIsMissing) {
  EXPECT_NE(error_of({{"m", kNone, 1}}).find("no finished run has the value 'online.cost'"),
            std::string::npos);
  EXPECT_NE(error_of({{"m", 1, 1}}, "y=output.nmsee").find("did you mean 'output.nmse'?"), std::string::npos);
  EXPECT_NE(error_of({{"m", 1, 1}}, "series=metod").find("did you mean 'method'?"), std::string::npos);
  EXPECT_EQ(error_of({{"m", kNone, 1, "a"}, {"m", 1, kNone, "b"}}),
            "pareto: no run of study 'trade' has finite values of both 'online.cost' and 'output.nmse'");
  EXPECT_NE(error_of({{"m", 1, 1, "a", 0, {}, true}}).find("is finished"), std::string::npos);
}

TEST_F(ParetoChart, LongNamesGoIntoANumberedList) {
  std::vector<Row> rows;
  for (int i = 0; i < 25; ++i)
    rows.push_back({fmt::format("duquant(block_size={}, permutation=zigzag, max_rotation_step=256)", 100 + i),
                    std::pow(1.3, i), std::pow(1.4, -i) * (i % 3 == 0 ? 1 : 2)});
  const std::string s = script(rows);
  EXPECT_NE(s.find("'1  duquant(block\\_size=100, permutation=zigzag, max\\_rotation\\_step=256)'"),
            std::string::npos)
      << s;
  EXPECT_NE(s.find("'25  duquant(block\\_size=124,"), std::string::npos);
  EXPECT_NE(s.find("'25' at graph"), std::string::npos);
  // Two short names stand beside their points.
  const std::string few = script({{"rtn", 1, 8}, {"rot", 2, 4}});
  EXPECT_NE(few.find("'rtn' at graph"), std::string::npos) << few;
  EXPECT_EQ(few.find("'1' at graph"), std::string::npos);
}

TEST_F(ParetoChart, TextsDoNotCoverOneAnother) {
  // Ten names on the same spot, and five nearby.
  std::vector<Row> rows;
  for (int i = 0; i < 15; ++i)
    rows.push_back({fmt::format("method{}", i), i < 10 ? 1 : 1 + 0.01 * i, i < 10 ? 1 : 1 + 0.02 * i});
  rows.push_back({"far", 3, 0.2});
  const std::string s = script(rows);
  struct Text {
    double left, right, middle;
  };
  std::vector<Text> texts;
  for (auto at = s.find("' at graph "); at != std::string::npos; at = s.find("' at graph ", at + 1)) {
    const auto begin = s.rfind('\'', at - 1);
    const double letters = static_cast<double>(at - begin - 1);
    double x = 0;
    double y = 0;
    ASSERT_EQ(std::sscanf(s.c_str() + at, "' at graph %lf,%lf", &x, &y), 2);
    // The frame is 538 × 300 points.
    texts.push_back({x * 538, x * 538 + 5.5 * letters, y * 300});
  }
  ASSERT_EQ(texts.size(), 16U);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_LE(texts[i].right, 538);
    for (std::size_t j = 0; j < i; ++j)
      EXPECT_FALSE(texts[i].left < texts[j].right && texts[j].left < texts[i].right &&
                   std::abs(texts[i].middle - texts[j].middle) < 12)
          << i << " and " << j;
  }
}

TEST_F(ParetoChart, NeverLeavesOutTheFront) {
  std::vector<Row> rows;
  for (int i = 0; i < 6; ++i) rows.push_back({fmt::format("bad{}", i), 10.0 + i, 10.0 + i});
  rows.push_back({"good", 1, 1});
  const Figure figure = draw(rows, "points=3");
  const std::string s = read_file(figure.script);
  EXPECT_EQ(block(s, "front0"), "1 1\n");
  EXPECT_EQ(block(s, "dominated0"), "10 10\n11 11\n");
  EXPECT_NE(figure.caption.find("Drawn: 3 of 7 points (all of the front)"), std::string::npos)
      << figure.caption;
}

TEST_F(ParetoChart, OddStudiesCanBeDrawn) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const double infinite = std::numeric_limits<double>::infinity();
  const std::vector<std::vector<Row>> studies{
      {{"alone", 0.3, 0.1}},
      {{"alone", 0, 0}},
      {{"twin", 1, 1}, {"twin2", 1, 1}},
      {{"free", 0, 0}, {"some", 1e-7, 1e-9}, {"dear", 1e6, 1e3}},
      {{"gone", infinite, 1}, {"there", 1, 1}},
      {{"minus", -3, 1}, {"plus", 200, -1}},
      {{"a", 1, 2, "a", 0}, {"a", 1, 400, "a", 1}, {"b", 1, 3, "a", 0}},
  };
  for (const auto& rows : studies)
    for (const char* options : {"", "log=xy", "log=none"}) {
      const DrawnFigure drawn = render(rows, options);
      EXPECT_TRUE(drawn.ok) << rows[0].label << " " << options << ": " << drawn.message;
      EXPECT_EQ(drawn.message, "") << rows[0].label << " " << options;
    }
}

}  // namespace
}  // namespace olab

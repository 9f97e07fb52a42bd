#include "results/chart.hpp"

#include <gtest/gtest.h>
#include <temp_dir.hpp>

#include <string>
#include <vector>

#include "core/error.hpp"
#include "results/plot_script.hpp"
#include "scoped_path.hpp"
#include "synthetic_study.hpp"

namespace fs = std::filesystem;

namespace olab {
namespace {

using test::have_gnuplot;
using test::read_file;
using test::TempDir;

/// A store, its runs and the registries, for the tests that draw.
class Charts : public ::testing::Test {
 protected:
  Charts() { register_results(registries_); }

  Store& store() {
    if (!store_) store_ = testing_store();
    return *store_;
  }
  std::vector<Figure> draw(const std::string& spec) {
    return registries_.charts.make(spec, registries_)->draw(input());
  }
  std::vector<DrawnFigure> render(const std::string& spec) {
    const auto chart = registries_.charts.make(spec, registries_);
    return draw_chart(*chart, input());
  }
  ChartInput input() {
    runs_ = store().runs({"ablation", "", "", ""});
    return {"ablation", runs_, store(), dir_.path(), "01", {{"nmse", "the formula of NMSE"}}};
  }
  std::string error_of(const std::string& spec) {
    try {
      draw(spec);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  /// Replaces the study by runs of one's own: (layer, label, params, seed, value of output.nmse).
  struct Row {
    std::string layer;
    std::string method;
    std::string label;
    std::map<std::string, std::string, std::less<>> params;
    std::uint64_t seed;
    double value;
    std::vector<Series> series;
  };
  void use(const std::vector<Row>& rows) {
    store_.emplace(dir_ / "own.db");
    const std::int64_t study = store_->put_study("ablation", "study: ablation\n");
    std::int64_t position = 0;
    for (const Row& row : rows) {
      RunRecord run;
      run.key = std::to_string(position);
      run.recording = "test data";
      run.layer = row.layer;
      run.layer_kind = "q_proj";
      run.method = row.method;
      run.method_text = row.label;
      run.label = row.label;
      run.params = row.params;
      run.seed = row.seed;
      const std::int64_t id = store_->begin(run);
      store_->finish(id, {{"output.nmse", row.value}}, row.series, std::vector<std::string>{"nmse"});
      store_->link(study, id, position++, row.label);
    }
  }

  Registries registries_;
  TempDir dir_;

 private:
  Store testing_store() { return olab::testing::synthetic_store(dir_ / "runs.db"); }
  std::optional<Store> store_;
  std::vector<RunRecord> runs_;
};

std::vector<Series> series_of(const std::string& stage) {
  const Matrix x = Matrix::Random(4, 8);
  return olab::testing::stage_series(stage, x, 4);
}

std::vector<Series> both_stages() {
  auto out = series_of("original");
  for (Series& one : series_of("transformed")) out.push_back(std::move(one));
  out.push_back({"layers.output.nmse", 1, 2, {0.5, 0.25}, {{"columns", "self_attn.q_proj,mlp.down_proj"}}});
  return out;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_F(Charts, AllEightAreRegisteredAndDescribed) {
  EXPECT_EQ(registries_.charts.names(),
            (std::vector<std::string>{"blocks", "channel_profile", "heatmap", "histogram", "layers", "line",
                                      "pareto", "surface"}));
  for (const std::string& name : registries_.charts.names()) {
    EXPECT_FALSE(registries_.charts.info(name).summary.empty()) << name;
    for (const ParamInfo& param : registries_.charts.info(name).params)
      EXPECT_FALSE(param.doc.empty()) << param.name;
  }
}

TEST_F(Charts, EveryRegisteredChartIsRendered) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  for (const std::string& name : registries_.charts.names()) {
    const bool single = name == "line" || name == "heatmap" || name == "pareto";
    const std::string coarse = name == "surface" ? "(limit=2, tokens=8, channels=8)" : "(limit=2)";
    const auto figures = render(single ? name : name + coarse);
    ASSERT_FALSE(figures.empty()) << name;
    for (const DrawnFigure& drawn : figures) {
      EXPECT_TRUE(drawn.ok) << name << ": " << drawn.message;
      EXPECT_EQ(drawn.message, "");
      EXPECT_FALSE(drawn.figure.title.empty());
      EXPECT_NE(drawn.figure.caption.find("llama2-7b"), std::string::npos) << drawn.figure.caption;
      const std::string script = read_file(drawn.figure.script);
      EXPECT_NE(script.find(PlotScript::quote(drawn.figure.title).substr(1, 12)), std::string::npos) << name;
      EXPECT_NE(script.find("llama2-7b"), std::string::npos) << name;
      for (const char* format : {"svg", "png"})
        EXPECT_GT(fs::file_size(fs::path(drawn.figure.script).replace_extension(format)), 4000U) << name;
    }
  }
}

TEST_F(Charts, SayWhichMetricsTheyNeed) {
  const auto metrics = [&](const std::string& spec) {
    return registries_.charts.make(spec, registries_)->metrics();
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(metrics("surface"), Texts{"surface"});
  EXPECT_EQ(metrics("channel_profile"), Texts{"channel_profile"});
  EXPECT_EQ(metrics("histogram"), Texts{"histogram"});
  EXPECT_EQ(metrics("blocks"), Texts{"block_profile"});
  EXPECT_EQ(metrics("line(y=output.sqnr)"), Texts{"sqnr"});
  EXPECT_EQ(metrics("heatmap(value=output.nmse.token_mean)"), Texts{"nmse"});
  EXPECT_EQ(metrics("heatmap(value=seconds)"), Texts{});
  EXPECT_EQ(metrics("pareto"), Texts{"nmse"});
  EXPECT_EQ(metrics("pareto(x=online.overhead)"), (Texts{"overhead", "nmse"}));
  EXPECT_EQ(metrics("pareto(x=output.sqnr)"), (Texts{"sqnr", "nmse"}));
  EXPECT_EQ(metrics("pareto(x=output.nmse.token_mean)"), Texts{"nmse"});
}

TEST_F(Charts, KeepTheScriptWhereGnuplotIsMissing) {
  const test::ScopedPath path("/nonexistent");
  const auto figures = render("heatmap");
  ASSERT_EQ(figures.size(), 1U);
  EXPECT_FALSE(figures[0].ok);
  EXPECT_EQ(figures[0].message,
            "gnuplot is not installed; apt-get install gnuplot-nox, then olab plot ablation");
  EXPECT_TRUE(fs::exists(figures[0].figure.script));
}

TEST_F(Charts, NameTheNearestLayerAndMethod) {
  EXPECT_EQ(error_of("surface(layer=model.layers.1.mlp.down_proi)"),
            "no layer of study 'ablation' fits 'model.layers.1.mlp.down_proi'; did you mean "
            "'model.layers.1.mlp.down_proj'? There are model.layers.0.mlp.down_proj, "
            "model.layers.1.mlp.down_proj, model.layers.31.mlp.down_proj");
  const std::string method = error_of("blocks(method=smothquant)");
  EXPECT_NE(method.find(
                "no method of study 'ablation' fits 'smothquant' on layer '*'; did you mean 'smoothquant'?"),
            std::string::npos)
      << method;
  EXPECT_EQ(
      error_of("blocks(layer=[*.31.*], method=smoothquant)"),
      "none of the 3 runs of study 'ablation' that fit layer '*.31.*' and method 'smoothquant' is finished; "
      "'olab list runs' shows their errors");
}

TEST_F(Charts, SayWhichSeriesIsMissing) {
  use({{"a", "rtn", "rtn", {}, 0, 0.5, series_of("original")}});
  const std::string error = error_of("surface");
  EXPECT_NE(
      error.find("no run of study 'ablation' holds the series original.surface and transformed.surface"),
      std::string::npos)
      << error;
  EXPECT_NE(error.find("original.surface"), std::string::npos);
  EXPECT_NE(error.find("add the metric 'surface' to the study"), std::string::npos);
}

TEST_F(Charts, RefuseASeriesOfTheWrongShape) {
  std::vector<Series> series{{"original.block_profile", 1, 2, {1, 2}, {}}};
  use({{"a", "rtn", "rtn", {}, 0, 0.5, series}});
  EXPECT_EQ(
      error_of("blocks(stages=original, value=max)"),
      "run 1, series original.block_profile: 1 × 2 with 2 values, expected at least 2 row(s) and 1 column");
}

TEST_F(Charts, SayWhatTheyLeftOut) {
  const auto figures = draw("surface(limit=2)");
  ASSERT_EQ(figures.size(), 2U);
  // rtn and two of duquant on three layers, smoothquant on two.
  EXPECT_NE(figures[0].caption.find("Drawn: 2 of 11 surfaces; narrow 'layer' or 'method', or raise 'limit',"),
            std::string::npos)
      << figures[0].caption;
  EXPECT_EQ(draw("surface(limit=11)").back().caption.find("Drawn:"), std::string::npos);
  EXPECT_NE(draw("channel_profile(lines=1, limit=1)")[0].caption.find("Drawn: 1 of 4 lines"),
            std::string::npos);
}

TEST_F(Charts, SurfaceKeepsTheLargestValueAndSharesTheAxis) {
  const auto figures = draw("surface(layer=[*.1.*], method=duquant*, tokens=8, channels=16)");
  ASSERT_EQ(figures.size(), 2U);
  const std::string script = read_file(figures[0].script);
  EXPECT_NE(script.find("1402.5"), std::string::npos);
  EXPECT_EQ(count_of(script, "set zrange [0:1402.5]"), 2U);
  EXPECT_NE(figures[0].caption.find("64 tokens × 256 channels, maxima over 8 × 16 cells"), std::string::npos)
      << figures[0].caption;
  const std::string own =
      read_file(draw("surface(layer=[*.1.*], method=duquant*, shared_z=false)")[0].script);
  EXPECT_EQ(count_of(own, "set zrange [0:1402.5]"), 1U);
}

TEST_F(Charts, ZerosAndSingleCellsCanBeDrawn) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  std::vector<Series> series;
  for (const char* stage : {"original", "transformed"})
    for (Series& one : olab::testing::stage_series(stage, Matrix::Zero(1, 1), 1))
      series.push_back(std::move(one));
  use({{"a", "rtn", "rtn", {}, 0, 0.0, series}});
  for (const char* name : {"surface", "channel_profile", "histogram", "blocks", "heatmap"})
    for (const DrawnFigure& drawn : render(name)) EXPECT_TRUE(drawn.ok) << name << ": " << drawn.message;
}

TEST_F(Charts, LineAveragesLayersThenShowsTheDeviationOverSeeds) {
  // Per seed, over the layers a and b: 2, 4, 6; their mean is 4 and their sample deviation 2.
  std::vector<Row> rows;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    const double mean = 2.0 + 2.0 * static_cast<double>(seed);
    rows.push_back({"a", "m", "m(n=8)", {{"n", "8"}}, seed, mean - 1, {}});
    rows.push_back({"b", "m", "m(n=8)", {{"n", "8"}}, seed, mean + 1, {}});
    rows.push_back({"a", "m", "m(n=4)", {{"n", "4"}}, seed, 5, {}});
  }
  use(rows);
  const auto figures = draw("line(x=n)");
  ASSERT_EQ(figures.size(), 1U);
  const std::string script = read_file(figures[0].script);
  EXPECT_NE(script.find("$line0 << EOD\n4 5 5 5\n8 4 2 6\nEOD\n"), std::string::npos) << script;
  EXPECT_NE(script.find("with yerrorlines"), std::string::npos);
  EXPECT_NE(
      figures[0].caption.find("output.nmse = the formula of NMSE, mean over 2 layers (test data); bars: ± sd "
                              "over up to 3 seeds"),
      std::string::npos)
      << figures[0].caption;
}

TEST_F(Charts, LinePutsCategoriesBesideNumbersAndOtherMethodsAsLevels) {
  use({{"a", "m", "1", {{"n", "full"}}, 0, 1, {}},
       {"a", "m", "2", {{"n", "16"}}, 0, 2, {}},
       {"a", "m", "3", {{"n", "2"}}, 0, 3, {}},
       {"a", "m", "4", {{"n", "none"}}, 0, 4, {}},
       {"a", "rtn", "rtn", {}, 0, 7, {}}});
  const std::string script = read_file(draw("line(x=n)")[0].script);
  EXPECT_NE(script.find("set xtics ('none' 0, '2' 1, '16' 2, 'full' 3)"), std::string::npos) << script;
  EXPECT_NE(script.find("EOD\n0 4 4 4\n1 3 3 3\n2 2 2 2\n3 1 1 1\nEOD"), std::string::npos);
  EXPECT_NE(script.find("7 with lines"), std::string::npos);
  EXPECT_NE(script.find("title 'rtn'"), std::string::npos);
}

TEST_F(Charts, LineAndHeatmapNeverAverageOverQuantizers) {
  use({{"a", "m", "m", {{"n", "2"}, {"activation.bits", "4"}}, 0, 1, {}},
       {"a", "m", "m", {{"n", "2"}, {"activation.bits", "8"}}, 0, 2, {}}});
  const std::string line = read_file(draw("line(x=n, series=method)")[0].script);
  EXPECT_NE(line.find("'m, activation.bits=4'"), std::string::npos) << line;
  EXPECT_NE(line.find("'m, activation.bits=8'"), std::string::npos);
  const std::string map = read_file(draw("heatmap")[0].script);
  EXPECT_NE(map.find("$cells << EOD\n0 0 1\n1 0 2\nEOD"), std::string::npos) << map;
}

TEST_F(Charts, LineTellsSeriesApartBySeveralFields) {
  use({{"a", "h", "h(2)", {{"n", "2"}, {"signs", "true"}}, 0, 1, {}},
       {"a", "d", "d(2,none)", {{"n", "2"}, {"order", "none"}}, 0, 2, {}},
       {"a", "d", "d(2,zigzag)", {{"n", "2"}, {"order", "zigzag"}}, 0, 3, {}}});
  const std::string line = read_file(draw("line(x=n, series=[method_name,order])")[0].script);
  for (const char* name : {"'h, –'", "'d, none'", "'d, zigzag'"})
    EXPECT_NE(line.find(name), std::string::npos) << name << " in\n" << line;
  EXPECT_EQ(line.find("signs="), std::string::npos) << "only one of them has it, and nothing is averaged";
}

TEST_F(Charts, HeatmapKeepsLongNamesApart) {
  const std::string head = "duquant(smooth=true,permutation=";
  const std::string tail = ",second_rotation=true,pivot=channel)";
  use({{"a", "d", head + "zigzag" + tail, {{"n", "1"}}, 0, 1, {}},
       {"a", "d", head + "random" + tail, {{"n", "2"}}, 0, 2, {}}});
  const std::string map = read_file(draw("heatmap(rows=method,columns=layer)")[0].script);
  EXPECT_NE(map.find("permutation=z"), std::string::npos) << map;
  EXPECT_NE(map.find("permutation=r"), std::string::npos) << map;
}

TEST_F(Charts, LineNamesTheNearestFieldAndValue) {
  const std::string field = error_of("line(x=blok_size)");
  EXPECT_NE(field.find("did you mean 'block_size'?"), std::string::npos) << field;
  const std::string value = error_of("line(y=output.nmsee)");
  EXPECT_NE(value.find("did you mean 'output.nmse'?"), std::string::npos) << value;
}

TEST_F(Charts, LogarithmicScalesStartFromTheData) {
  use({{"a", "m", "1", {{"n", "16"}}, 0, 0.001, {}}, {"a", "m", "2", {{"n", "256"}}, 0, 1, {}}});
  std::string script = read_file(draw("line(x=n)")[0].script);
  EXPECT_NE(script.find("set logscale x"), std::string::npos);
  EXPECT_NE(script.find("set logscale y"), std::string::npos);
  script = read_file(draw("line(x=n, log=none)")[0].script);
  EXPECT_EQ(script.find("set logscale"), std::string::npos);
  EXPECT_NE(read_file(draw("heatmap")[0].script).find("set logscale cb"), std::string::npos);
  EXPECT_EQ(read_file(draw("heatmap(log=false)")[0].script).find("set logscale cb"), std::string::npos);
}

TEST_F(Charts, HeatmapShowsFailedCellsAndSplitsLongLists) {
  EXPECT_NE(read_file(draw("heatmap")[0].script).find("'failed'"), std::string::npos);
  std::vector<Row> rows;
  for (int i = 0; i < 90; ++i)
    rows.push_back({fmt::format("model.layers.{}.q", i), "m", "m", {}, 0, i + 1.0, {}});
  use(rows);
  const auto figures = draw("heatmap(limit=2)");
  ASSERT_EQ(figures.size(), 2U);
  EXPECT_EQ(figures[1].title, "output.nmse by layer and method, rows 41 to 80 of 90");
  EXPECT_NE(figures[1].caption.find("Drawn: 80 of 90 rows"), std::string::npos) << figures[1].caption;
  // One scale for all of them.
  for (const Figure& figure : figures)
    EXPECT_NE(read_file(figure.script).find("set cbrange [1:90]"), std::string::npos);
}

TEST_F(Charts, OddNamesAreDrawnLiterally) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const std::string odd = "a_b{c}'d\"e@f^g<script>`touch pwned`&h/../i";
  use({{odd, "m", odd, {{"n", odd}}, 0, 1, both_stages()},
       {odd + "2", "m", "x", {{"n", "1"}}, 0, 2, both_stages()}});
  for (const std::string& name : registries_.charts.names()) {
    const auto figures = render(name == "line"      ? "line(x=n)"
                                : name == "pareto"  ? "pareto(x=output.nmse)"
                                : name == "surface" ? "surface(tokens=4, channels=4)"
                                                    : name);
    for (const DrawnFigure& drawn : figures) {
      EXPECT_TRUE(drawn.ok) << name << ": " << drawn.message;
      EXPECT_EQ(drawn.figure.script.parent_path(), dir_.path());
      const std::string svg = read_file(fs::path(drawn.figure.script).replace_extension("svg"));
      EXPECT_EQ(svg.find("<script"), std::string::npos) << name;
      for (auto at = svg.find('&'); at != std::string::npos; at = svg.find('&', at + 1)) {
        const std::string entity = svg.substr(at, 5);
        EXPECT_TRUE(entity.starts_with("&amp;") || entity.starts_with("&lt;") || entity.starts_with("&gt;"))
            << name << ": no XML: " << svg.substr(at, 40);
      }
    }
  }
  EXPECT_FALSE(fs::exists(dir_ / "pwned"));
}

TEST(ChartParts, CommonBeginningsOfLayersAreCut) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(without_common_prefix({"model.layers.0.a", "model.layers.12.b"}), (Texts{"0.a", "12.b"}));
  EXPECT_EQ(without_common_prefix({"model.layers.10.a", "model.layers.1.a"}), (Texts{"10.a", "1.a"}));
  EXPECT_EQ(without_common_prefix({"model.a"}), Texts{"model.a"});
  EXPECT_EQ(without_common_prefix({"a", "b"}), (Texts{"a", "b"}));
  EXPECT_EQ(without_common_prefix({"x.a", "x.a"}), (Texts{"a", "a"}));
}

TEST_F(Charts, TakeTheFittingPartOfADefinition) {
  ChartInput all = input();
  all.definitions = {{"nmse", "E / S; token_mean: mean of e / s; else 0"}, {"seconds", "wall time"}};
  EXPECT_EQ(definition_of(all, "output.nmse"), "E / S");
  EXPECT_EQ(definition_of(all, "output.nmse.token_mean"), "mean of e / s");
  EXPECT_EQ(definition_of(all, "seconds"), "wall time");
  EXPECT_EQ(definition_of(all, "output.mse"), "");
}

TEST_F(Charts, FindTheDirectionOfAValueByItsMetric) {
  ChartInput all = input();
  all.better = {{"sqnr", "higher"}, {"online.bytes", "lower"}};
  EXPECT_EQ(better_of(all, "output.sqnr"), "higher");
  EXPECT_EQ(better_of(all, "output.sqnr.token_mean"), "higher");
  EXPECT_EQ(better_of(all, "online.bytes"), "lower");
  EXPECT_EQ(better_of(all, "output.nmse"), "");
}

TEST(ChartParts, LongTextsAreCutInTheMiddle) {
  EXPECT_EQ(shorten("abcdefghij", 10), "abcdefghij");
  EXPECT_EQ(shorten("abcdefghijk", 10), "abcdef…ijk");
  EXPECT_EQ(text_length(shorten(std::string(100, 'x') + "éé", 10)), 10U);
}

TEST(ChartParts, ValuesThatSpanARatioAreFound) {
  EXPECT_TRUE(spans(std::vector<double>{1, 100}, 100));
  EXPECT_FALSE(spans(std::vector<double>{1, 99}, 100));
  EXPECT_FALSE(spans(std::vector<double>{0, 1000}, 100));
  EXPECT_FALSE(spans(std::vector<double>{}, 100));
}

}  // namespace
}  // namespace olab

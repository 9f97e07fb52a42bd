#include "results/table.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "core/text.hpp"
#include "messages.hpp"
#include "results/table_grid.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::error_of;
using test::expect_contains;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
using Runs = std::vector<RunRecord>;

RunRecord run_of(const std::string& label, const std::string& layer_kind, std::uint64_t seed, double value) {
  RunRecord r;
  r.id = 1;
  r.key = "00aa";
  r.label = label;
  r.method = label;
  r.method_text = label + "()";
  r.layer = "model.layers.0." + layer_kind;
  r.layer_kind = layer_kind;
  r.seed = seed;
  r.status = "finished";
  r.values["output.nmse"] = value;
  return r;
}

RunRecord failed(RunRecord run, const std::string& error) {
  run.status = "failed";
  run.error = error;
  run.values.clear();
  return run;
}

bool same_bits(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

// A reader of RFC 4180, written apart from the writer.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows(1, std::vector<std::string>(1));
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string& cell = rows.back().back();
    if (quoted) {
      if (text[i] != '"')
        cell.push_back(text[i]);
      else if (i + 1 < text.size() && text[i + 1] == '"')
        cell.push_back(text[++i]);
      else
        quoted = false;
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == ',') {
      rows.back().emplace_back();
    } else if (text[i] == '\n') {
      rows.emplace_back(1);
    } else {
      cell.push_back(text[i]);
    }
  }
  rows.pop_back();  // after the last line's end
  return rows;
}

std::string csv_cell(const std::vector<std::vector<std::string>>& rows, std::size_t row,
                     const std::string& column) {
  for (std::size_t j = 0; j < rows.front().size(); ++j)
    if (rows.front()[j] == column) return rows.at(row).at(j);
  return "no column " + column;
}

TEST(MakeTableTest, EqualSeedsHaveNoDeviation) {
  // (0.1 + 0.1 + 0.1) / 3 is not 0.1 in binary.
  const std::vector<RunRecord> runs{run_of("rtn", "down_proj", 0, 0.1), run_of("rtn", "down_proj", 1, 0.1),
                                    run_of("rtn", "down_proj", 2, 0.1)};
  const Cell cell = make_table(runs, {}).cells.at(0).at(0);
  EXPECT_EQ(cell.mean, 0.1);
  EXPECT_EQ(cell.deviation, 0);
}

TEST(RunFieldTest, KnowsFieldsAndParameters) {
  RunRecord r = run_of("rtn", "down_proj", 18446744073709551615U, 1);
  r.recording = "profile p";
  r.activation_text = "int(bits=4)";
  r.weight_text = "int(bits=8)";
  r.method = "rtn_name";
  r.params = {{"activation.bits", "4"}, {"seed", "own"}};
  r.provenance.commit = "abc";
  r.in_features = 64;
  EXPECT_EQ(run_field(r, "method"), "rtn");
  EXPECT_EQ(run_field(r, "method_name"), "rtn_name");
  EXPECT_EQ(run_field(r, "layer"), "model.layers.0.down_proj");
  EXPECT_EQ(run_field(r, "layer_kind"), "down_proj");
  EXPECT_EQ(run_field(r, "seed"), "18446744073709551615");
  EXPECT_EQ(run_field(r, "param.seed"), "own");
  EXPECT_EQ(run_field(r, "activation"), "int(bits=4)");
  EXPECT_EQ(run_field(r, "weight"), "int(bits=8)");
  EXPECT_EQ(run_field(r, "status"), "finished");
  EXPECT_EQ(run_field(r, "recording"), "profile p");
  EXPECT_EQ(run_field(r, "activation.bits"), "4");
  EXPECT_EQ(run_field(r, "commit"), "abc");
  EXPECT_EQ(run_field(r, "in_features"), "64");
  EXPECT_EQ(run_field(r, "block_size"), "");
  r.label = "";
  EXPECT_EQ(run_field(r, "method"), "rtn()") << "without a label the full text stands in";
}

TEST(MakeTable, AveragesOverLayersWithinEachSeedAndThenOverSeeds) {
  // Seed 0: (1 + 3) / 2 = 2; seed 1: (5 + 7 + 9) / 3 = 7. Mean 4.5, sample sd sqrt(2 * 2.5^2 / 1) = 3.5355.
  const Runs runs{run_of("a", "down_proj", 0, 1), run_of("a", "down_proj", 0, 3),
                  run_of("a", "down_proj", 1, 5), run_of("a", "down_proj", 1, 7),
                  run_of("a", "down_proj", 1, 9)};
  const Table table = make_table(runs, {});
  ASSERT_EQ(table.cells.size(), 1U);
  const Cell& cell = table.cells[0].at(0);
  EXPECT_EQ(cell.runs, 5U);
  EXPECT_EQ(cell.seeds, 2U);
  EXPECT_EQ(cell.failed, 0U);
  EXPECT_DOUBLE_EQ(cell.mean, 4.5);
  EXPECT_DOUBLE_EQ(cell.deviation, std::sqrt(12.5));
  EXPECT_EQ(table.corner, "method");
  EXPECT_EQ(table.value, "output.nmse");
}

TEST(MakeTable, TakesTheSampleDeviationOfThreeSeeds) {
  // Mean 4, squares 9 + 0 + 9 = 18, over n - 1 = 2: 9, root 3.
  const Runs runs{run_of("a", "q", 3, 1), run_of("a", "q", 1, 4), run_of("a", "q", 2, 7)};
  const Table table = make_table(runs, {});
  EXPECT_DOUBLE_EQ(table.cells[0][0].mean, 4);
  EXPECT_DOUBLE_EQ(table.cells[0][0].deviation, 3);
}

TEST(MakeTable, HasNoDeviationOfOneSeed) {
  const Table table = make_table(Runs{run_of("a", "q", 0, 1), run_of("a", "q", 0, 2)}, {});
  EXPECT_DOUBLE_EQ(table.cells[0][0].mean, 1.5);
  EXPECT_TRUE(std::isnan(table.cells[0][0].deviation));
}

TEST(MakeTable, KeepsRowsAndColumnsInTheOrderOfTheRuns) {
  const Runs runs{run_of("zeta", "up", 0, 1), run_of("alpha", "down", 0, 2), run_of("zeta", "down", 0, 3)};
  const Table table = make_table(runs, {});
  EXPECT_EQ(table.row_names, (std::vector<std::string>{"zeta", "alpha"}));
  EXPECT_EQ(table.column_names, (std::vector<std::string>{"up", "down"}));
  EXPECT_EQ(table.cells[0][0].mean, 1);
  EXPECT_EQ(table.cells[0][1].mean, 3);
  EXPECT_EQ(table.cells[1][0].runs, 0U);
  EXPECT_TRUE(std::isnan(table.cells[1][0].mean));
  EXPECT_EQ(table.cells[1][1].mean, 2);
}

TEST(MakeTable, JoinsSeveralFields) {
  Runs runs{run_of("duquant", "q", 0, 1), run_of("duquant", "q", 1, 2), run_of("rtn", "q", 0, 3)};
  runs[0].params = {{"block_size", "64"}};
  runs[1].params = {{"block_size", "128"}};
  Table table = make_table(runs, {"method, block_size", "none", "output.nmse", "T"});
  EXPECT_EQ(table.row_names, (std::vector<std::string>{"duquant, 64", "duquant, 128", "rtn, -"}));
  EXPECT_EQ(table.column_names, std::vector<std::string>{"output.nmse"});
  EXPECT_EQ(table.corner, "method, block_size");
  EXPECT_EQ(table.title, "T");
  table = make_table(runs, {"", "block_size", "output.nmse", ""});
  EXPECT_EQ(table.row_names, std::vector<std::string>{"output.nmse"});
  EXPECT_EQ(table.column_names, (std::vector<std::string>{"64", "128", "-"}));
}

TEST(MakeTable, CountsFailedRunsAndLeavesOutUnfinishedOnes) {
  Runs runs{run_of("a", "q", 0, 1), failed(run_of("a", "q", 1, 9), "bad"),
            failed(run_of("b", "q", 0, 9), "bad"), run_of("c", "q", 0, 5), run_of("d", "q", 0, 6)};
  runs[3].status = "running";
  runs[4].values = {{"other", 1}};
  const Table table = make_table(runs, {});
  EXPECT_EQ(table.row_names, (std::vector<std::string>{"a", "b", "d"}));
  EXPECT_EQ(table.cells[0][0].runs, 1U);
  EXPECT_EQ(table.cells[0][0].failed, 1U);
  EXPECT_EQ(table.cells[1][0].runs, 0U);
  EXPECT_EQ(table.cells[1][0].failed, 1U);
  EXPECT_EQ(table.cells[2][0].runs, 0U);
  EXPECT_EQ(render_table(table, Format::text),
            "method             q\n"
            "------  ------------\n"
            "a       1 (1 failed)\n"
            "b           1 failed\n"
            "d                  -\n");
}

TEST(MakeTable, ShowsAStudyInWhichAllFailed) {
  const Table table = make_table(Runs{failed(run_of("a", "q", 0, 1), "bad")}, {});
  EXPECT_EQ(table.cells[0][0].failed, 1U);
}

TEST(MakeTable, NamesTheNearestFieldOrValue) {
  Runs runs{run_of("a", "q", 0, 1)};
  runs[0].params = {{"block_size", "64"}};
  expect_contains(error_of([&] {
                    make_table(runs, {"blok_size", "", "output.nmse", ""});
                  }),
                  "no run has the field 'blok_size'; did you mean 'block_size'?");
  expect_contains(error_of([&] {
                    make_table(runs, {"method", "layerkind", "output.nmse", ""});
                  }),
                  "did you mean 'layer_kind'?");
  expect_contains(error_of([&] {
                    make_table(runs, {"method", "", "output.mmse", ""});
                  }),
                  "no finished run has the value 'output.mmse'; did you mean 'output.nmse'?");
}

TEST(MakeTable, IsEmptyWithoutRuns) {
  const Table table = make_table({}, {});
  EXPECT_TRUE(table.cells.empty());
  EXPECT_EQ(render_table(table, Format::text), "method\n------\n(none)\n");
  EXPECT_EQ(render_table(table, Format::csv), "method,column,value,mean,deviation,runs,failed,seeds\n");
  EXPECT_EQ(render_table(table, Format::markdown), "| method |\n|:---|\n");
  EXPECT_TRUE(nlohmann::json::parse(render_table(table, Format::json)).at("cells").empty());
  expect_contains(render_table(table, Format::latex), "\\midrule\n\\bottomrule");
}

Runs two_methods() {
  return {run_of("rtn", "down_proj", 0, 0.5),      run_of("rtn", "down_proj", 1, 0.25),
          run_of("duquant", "down_proj", 0, 0.03), run_of("duquant", "down_proj", 1, 0.01),
          run_of("rtn", "q_proj", 0, 1.2e-5),      run_of("duquant", "q_proj", 0, 12.5)};
}

TEST(RenderTable, AlignsTextAndMarksTheBest) {
  const Table table = make_table(two_methods(), {"method", "layer_kind", "output.nmse", "NMSE"});
  EXPECT_EQ(render_table(table, Format::text, "lower"),
            "NMSE\n"
            "\n"
            "method            down_proj      q_proj\n"
            "-------  ------------------  ----------\n"
            "rtn        0.3750 ± 0.1768   1.200e-05*\n"
            "duquant  0.02000 ± 0.01414*      12.50\n"
            "  ± is the sample standard deviation over 2 seeds, of means over layers\n");
  expect_contains(render_table(table, Format::text, "higher"), "0.3750 ± 0.1768*");
  expect_contains(render_table(table, Format::text, "higher"), "12.50*");
  EXPECT_EQ(render_table(table, Format::text).find('*'), std::string::npos);
  expect_contains(error_of([&] { render_table(table, Format::text, "lowest"); }), "'lowest'");
  expect_contains(error_of([&] { render_table(table, Format::text, "lowest"); }), "did you mean 'lower'?");
}

TEST(RenderTable, SaysOverWhatTheDeviationIs) {
  Runs runs{run_of("a", "q", 0, 1), run_of("a", "q", 1, 2), run_of("b", "q", 0, 3)};
  EXPECT_EQ(deviation_note(make_table(runs, {})),
            "± is the sample standard deviation over 2 seeds, of means over layers");
  runs.push_back(run_of("c", "q", 0, 1));
  runs.push_back(run_of("c", "q", 1, 1));
  runs.push_back(run_of("c", "q", 2, 1));
  expect_contains(deviation_note(make_table(runs, {})), "over 2 to 3 seeds");
  const Table one_seed = make_table(Runs{runs[0], runs[2]}, {});
  EXPECT_EQ(deviation_note(one_seed), "");
  EXPECT_EQ(render_table(one_seed, Format::text).find("±"), std::string::npos);
  EXPECT_EQ(render_table(make_table(runs, {}), Format::csv).find("±"), std::string::npos);
}

TEST(RenderTable, MarksNothingWhereThereIsNothingToBeat) {
  const Table one = make_table(Runs{run_of("a", "q", 0, 1), run_of("b", "q", 0, kNaN)}, {});
  EXPECT_EQ(render_table(one, Format::text, "lower").find('*'), std::string::npos);
  const Table tie =
      make_table(Runs{run_of("a", "q", 0, 1), run_of("b", "q", 0, 1), run_of("c", "q", 0, kInfinity)}, {});
  EXPECT_EQ(render_table(tie, Format::text, "lower"),
            "method     q\n------  ----\na         1*\nb         1*\nc       inf\n");
}

TEST(RenderTable, WritesMarkdown) {
  const Table table = make_table(two_methods(), {"method", "layer_kind", "output.nmse", "NMSE"});
  EXPECT_EQ(render_table(table, Format::markdown, "lower"),
            "**NMSE**\n\n"
            "| method | down_proj | q_proj |\n"
            "|:---|---:|---:|\n"
            "| rtn | 0.3750 ± 0.1768 | **1.200e-05** |\n"
            "| duquant | **0.02000 ± 0.01414** | 12.50 |\n"
            "\n± is the sample standard deviation over 2 seeds, of means over layers\n");
}

TEST(RenderTable, WritesLatex) {
  const Table table = make_table(two_methods(), {"method", "layer_kind", "output.nmse", "NMSE"});
  EXPECT_EQ(render_table(table, Format::latex, "lower"),
            "% NMSE\n"
            "% needs \\usepackage{booktabs}\n"
            "\\begin{tabular}{lrr}\n"
            "\\toprule\n"
            "method & down\\_proj & q\\_proj \\\\\n"
            "\\midrule\n"
            "rtn & $0.3750 \\pm 0.1768$ & $\\mathbf{1.200 \\times 10^{-5}}$ \\\\\n"
            "duquant & $\\mathbf{0.02000} \\pm 0.01414$ & $12.50$ \\\\\n"
            "\\bottomrule\n"
            "\\end{tabular}\n"
            "% ± is the sample standard deviation over 2 seeds, of means over layers\n");
}

TEST(RenderTable, KeepsAllDigitsInCsvAndJson) {
  const Runs runs{run_of("a", "q", 0, 0.1), run_of("a", "q", 1, 0.2), run_of("b, \"c\"", "q", 0, 1.0 / 3.0)};
  const Table table = make_table(runs, {});
  const auto csv = parse_csv(render_table(table, Format::csv));
  ASSERT_EQ(csv.size(), 3U);
  double mean = 0;
  double deviation = 0;
  ASSERT_TRUE(parse_double(csv_cell(csv, 1, "mean"), mean));
  ASSERT_TRUE(parse_double(csv_cell(csv, 1, "deviation"), deviation));
  EXPECT_TRUE(same_bits(mean, table.cells[0][0].mean));
  EXPECT_TRUE(same_bits(deviation, table.cells[0][0].deviation));
  EXPECT_EQ(csv_cell(csv, 1, "runs"), "2");
  EXPECT_EQ(csv_cell(csv, 1, "seeds"), "2");
  EXPECT_EQ(csv_cell(csv, 2, "method"), "b, \"c\"");
  EXPECT_EQ(csv_cell(csv, 2, "deviation"), "");
  const auto json = nlohmann::json::parse(render_table(table, Format::json));
  EXPECT_EQ(json.at("rows").at(1), "b, \"c\"");
  EXPECT_EQ(json.at("columns"), nlohmann::json::array({"q"}));
  EXPECT_TRUE(same_bits(json.at("cells").at(1).at("mean").get<double>(), 1.0 / 3.0));
  EXPECT_TRUE(json.at("cells").at(1).at("deviation").is_null());
  EXPECT_EQ(json.at("cells").at(0).at("column"), "q");
}

TEST(RenderTable, TellsNaNAndInfinityFromNothing) {
  Runs runs{run_of("a", "q", 0, kNaN), run_of("a", "q", 1, kNaN), run_of("b", "q", 0, kInfinity),
            run_of("c", "q", 0, -kInfinity), run_of("d", "q", 0, 1)};
  runs[4].values.clear();
  const Table table = make_table(runs, {});
  EXPECT_EQ(render_table(table, Format::text),
            "method          q\n------  ---------\na       nan ± nan\nb             inf\nc            "
            "-inf\nd               -\n"
            "  ± is the sample standard deviation over 2 seeds, of means over layers\n");
  const auto csv = parse_csv(render_table(table, Format::csv));
  EXPECT_EQ(csv_cell(csv, 1, "mean"), "nan");
  EXPECT_EQ(csv_cell(csv, 2, "mean"), "inf");
  EXPECT_EQ(csv_cell(csv, 3, "mean"), "-inf");
  EXPECT_EQ(csv_cell(csv, 4, "mean"), "");
  const auto cells = nlohmann::json::parse(render_table(table, Format::json)).at("cells");
  EXPECT_EQ(cells.at(0).at("mean"), "nan");
  EXPECT_EQ(cells.at(0).at("deviation"), "nan");
  EXPECT_EQ(cells.at(1).at("mean"), "inf");
  EXPECT_EQ(cells.at(2).at("mean"), "-inf");
  EXPECT_TRUE(cells.at(3).at("mean").is_null());
  expect_contains(render_table(table, Format::markdown), "| c | -inf |");
  expect_contains(render_table(table, Format::latex), "c & $-\\infty$");
  expect_contains(render_table(table, Format::latex), R"(a & $\mathrm{nan} \pm \mathrm{nan}$)");
}

TEST(ShowNumber, HasFourSignificantDigits) {
  const auto text = [](double value) { return show_number(value, Format::text); };
  EXPECT_EQ(text(0.038214), "0.03821");
  EXPECT_EQ(text(1.2e-5), "1.200e-05");
  EXPECT_EQ(text(0.5), "0.5000");
  EXPECT_EQ(text(12.3456), "12.35");
  EXPECT_EQ(text(1234.5678), "1235");
  EXPECT_EQ(text(999.96), "1000");
  EXPECT_EQ(text(-9999.4), "-9999");
  EXPECT_EQ(text(123456.7), "1.235e+05");
  EXPECT_EQ(text(0), "0");
  EXPECT_EQ(text(-0.0), "0");
  EXPECT_EQ(text(4096), "4096");
  EXPECT_EQ(text(11008), "11008");
  EXPECT_EQ(text(-2), "-2");
  EXPECT_EQ(text(1e6), "1.000e+06");
  EXPECT_EQ(show_number(-2.5e12, Format::latex), "-2.500 \\times 10^{12}");
}

TEST(ShowNumber, ReadsBackTheSameDoubleFromCsvAndJson) {
  for (const double value : {0.1, 1.0 / 3.0, -0.0, 0.0, 1e300, 5e-324, 123456789012345680.0, -2.5, 1e22}) {
    double back = 1;
    ASSERT_TRUE(parse_double(show_number(value, Format::csv), back));
    EXPECT_TRUE(same_bits(back, value)) << value;
    EXPECT_TRUE(same_bits(nlohmann::json::parse(show_number(value, Format::json)).get<double>(), value))
        << value;
  }
}

TEST(EscapeCell, KeepsEveryFormatWhole) {
  EXPECT_EQ(escape_cell("plain", Format::csv), "plain");
  EXPECT_EQ(escape_cell("a,b", Format::csv), "\"a,b\"");
  EXPECT_EQ(escape_cell("say \"x\"", Format::csv), "\"say \"\"x\"\"\"");
  EXPECT_EQ(escape_cell("two\nlines", Format::csv), "\"two\nlines\"");
  EXPECT_EQ(escape_cell("a|b * block_size _x_ <i> [4] `c` \\", Format::markdown),
            "a\\|b \\* block_size \\_x\\_ \\<i> \\[4\\] \\`c\\` \\\\");
  EXPECT_EQ(escape_cell("two\r\nlines", Format::markdown), "two<br>lines");
  EXPECT_EQ(escape_cell("a_b & 50% $x$ #1 {y} ~ ^ \\ < > | [4] *", Format::latex),
            "a\\_b \\& 50\\% \\$x\\$ \\#1 \\{y\\} \\textasciitilde{} \\textasciicircum{} \\textbackslash{} "
            "\\textless{} \\textgreater{} \\textbar{} {[}4] {*}");
  EXPECT_EQ(escape_cell("two\nlines", Format::latex), "two lines");
  EXPECT_EQ(escape_cell("two\r\nlines\t\x1b[31m", Format::text), "two lines ?[31m");
  EXPECT_EQ(nlohmann::json::parse(escape_cell("q\"\\\n\x01é", Format::json)), "q\"\\\n\x01é");
  EXPECT_TRUE(nlohmann::json::accept(escape_cell("\xff not UTF-8", Format::json)));
}

TEST(RenderGrid, AlignsByCharactersNotBytes) {
  EXPECT_EQ(
      render_grid({"", {"a", "b"}, {false, true}, {{"µµ", "1 ± 2"}, {"x", "10"}, {"short"}}}, Format::text),
      "a          b\n-----  -----\nµµ     1 ± 2\nx         10\nshort\n");
}

TEST(ParseFormat, KnowsItsNames) {
  EXPECT_EQ(parse_format("text"), Format::text);
  EXPECT_EQ(parse_format("csv"), Format::csv);
  EXPECT_EQ(parse_format("json"), Format::json);
  EXPECT_EQ(parse_format("md"), Format::markdown);
  EXPECT_EQ(parse_format("markdown"), Format::markdown);
  EXPECT_EQ(parse_format("latex"), Format::latex);
  expect_contains(error_of([] { parse_format("jsn"); }), "no format 'jsn'; did you mean 'json'?");
}

Runs three_runs() {
  Runs runs{run_of("rtn", "down_proj", 0, 1.0 / 3.0), run_of("duquant, \"best\"", "q_proj", 1, kNaN),
            failed(run_of("x|y", "q_proj", 2, 0), "line 1\nline 2, with commas")};
  for (std::size_t i = 0; i < runs.size(); ++i) runs[i].id = static_cast<std::int64_t>(i) + 1;
  runs[0].params = {{"bits", "4"}, {"seed", "own"}};
  runs[1].params = {{"bits", "8"}};
  runs[1].values["output.sqnr"] = -kInfinity;
  runs[1].seed = 18446744073709551615U;
  runs[1].metrics = {"mse()", "sqnr()"};
  runs[1].provenance = {"0.1.0", "abc", true, "GNU", "-O3", "h", "c", "avx2", 2};
  return runs;
}

TEST(ExportRuns, WritesEveryFieldParameterAndValueAsCsv) {
  const auto csv = parse_csv(export_runs(three_runs(), Format::csv));
  ASSERT_EQ(csv.size(), 4U);
  for (const auto& row : csv) EXPECT_EQ(row.size(), csv[0].size());
  EXPECT_EQ(csv_cell(csv, 1, "id"), "1");
  EXPECT_EQ(csv_cell(csv, 1, "method"), "rtn");
  EXPECT_EQ(csv_cell(csv, 2, "method"), "duquant, \"best\"");
  EXPECT_EQ(csv_cell(csv, 2, "method_text"), "duquant, \"best\"()");
  EXPECT_EQ(csv_cell(csv, 2, "seed"), "18446744073709551615");
  EXPECT_EQ(csv_cell(csv, 2, "metrics"), "mse(); sqnr()");
  EXPECT_EQ(csv_cell(csv, 2, "commit"), "abc");
  EXPECT_EQ(csv_cell(csv, 2, "dirty"), "true");
  EXPECT_EQ(csv_cell(csv, 2, "threads"), "2");
  EXPECT_EQ(csv_cell(csv, 3, "error"), "line 1\nline 2, with commas");
  EXPECT_EQ(csv_cell(csv, 1, "bits"), "4");
  EXPECT_EQ(csv_cell(csv, 1, "param.seed"), "own");
  EXPECT_EQ(csv_cell(csv, 3, "bits"), "");
  EXPECT_EQ(csv_cell(csv, 1, "output.nmse"), "0.3333333333333333");
  EXPECT_EQ(csv_cell(csv, 2, "output.nmse"), "nan");
  EXPECT_EQ(csv_cell(csv, 2, "output.sqnr"), "-inf");
  EXPECT_EQ(csv_cell(csv, 1, "output.sqnr"), "");
}

TEST(ExportRuns, WritesFlatObjectsAsJson) {
  const auto json = nlohmann::json::parse(export_runs(three_runs(), Format::json));
  ASSERT_EQ(json.size(), 3U);
  EXPECT_EQ(json[0].at("id"), 1);
  EXPECT_EQ(json[0].at("bits"), "4");
  EXPECT_EQ(json[0].at("param.seed"), "own");
  EXPECT_TRUE(same_bits(json[0].at("output.nmse").get<double>(), 1.0 / 3.0));
  EXPECT_TRUE(json[0].at("output.sqnr").is_null());
  EXPECT_EQ(json[1].at("output.nmse"), "nan");
  EXPECT_EQ(json[1].at("output.sqnr"), "-inf");
  EXPECT_EQ(json[1].at("seed"), 18446744073709551615U);
  EXPECT_EQ(json[1].at("dirty"), true);
  EXPECT_EQ(json[2].at("status"), "failed");
  EXPECT_EQ(json[2].at("error"), "line 1\nline 2, with commas");
  EXPECT_TRUE(json[2].at("bits").is_null());
  EXPECT_EQ(json[0].size(), json[2].size());
}

TEST(ExportRuns, IsShortForPeople) {
  const std::string markdown = export_runs(three_runs(), Format::markdown);
  expect_contains(markdown,
                  "| id | status | layer | method | activation | weight | seed | error | output.nmse | ");
  expect_contains(markdown, "| 1 | finished | model.layers.0.down_proj | rtn | - | - | 0 | - | 0.3333 | - |");
  expect_contains(markdown, "x\\|y");
  expect_contains(markdown, "line 1<br>line 2, with commas");
  expect_contains(export_runs(three_runs(), Format::latex), R"( & $\mathrm{nan}$ & $-\infty$ \\)");
  expect_contains(export_runs(three_runs(), Format::text), "line 1 line 2, with commas");
}

TEST(ExportRuns, IsEmptyWithoutRuns) {
  EXPECT_EQ(export_runs({}, Format::json), "[]\n");
  EXPECT_EQ(parse_csv(export_runs({}, Format::csv)).size(), 1U);
  expect_contains(export_runs({}, Format::text), "(none)");
}

TEST(CompareRuns, ShowsWhatDiffersAndEveryValue) {
  RunRecord a = run_of("rtn", "q", 0, 0.5);
  RunRecord b = run_of("duquant", "q", 0, 0.125);
  b.id = 2;
  a.params = {{"bits", "4"}, {"same", "x"}};
  b.params = {{"bits", "8"}, {"same", "x"}, {"block_size", "64"}};
  a.values["output.zero"] = 0;
  b.values["output.zero"] = 0;
  b.values["only.b"] = kInfinity;
  EXPECT_EQ(compare_runs(a, b, Format::text),
            "Parameters that differ\n"
            "\n"
            "parameter    run 1 (rtn)  run 2 (duquant)\n"
            "-----------  -----------  ---------------\n"
            "method_name  rtn          duquant\n"
            "bits         4            8\n"
            "block_size   -            64\n"
            "\n"
            "Values\n"
            "\n"
            "value        run 1 (rtn)  run 2 (duquant)  difference   ratio\n"
            "-----------  -----------  ---------------  ----------  ------\n"
            "only.b                 -              inf           -       -\n"
            "output.nmse       0.5000           0.1250     -0.3750  0.2500\n"
            "output.zero            0                0           0     nan\n");
  EXPECT_EQ(compare_runs(a, b, Format::csv),
            "kind,name,a,b,difference,ratio\n"
            "parameter,method_name,rtn,duquant,,\n"
            "parameter,bits,4,8,,\n"
            "parameter,block_size,,64,,\n"
            "value,only.b,,inf,,\n"
            "value,output.nmse,0.5,0.125,-0.375,0.25\n"
            "value,output.zero,0,0,0,nan\n");
  const auto json = nlohmann::json::parse(compare_runs(a, b, Format::json));
  EXPECT_EQ(json.at("a").at("method"), "rtn");
  EXPECT_EQ(json.at("b").at("id"), 2);
  EXPECT_EQ(json.at("differences").at(1).at("name"), "bits");
  EXPECT_EQ(json.at("differences").at(1).at("b"), "8");
  EXPECT_TRUE(json.at("differences").at(2).at("a").is_null());
  EXPECT_EQ(json.at("values").at(0).at("b"), "inf");
  EXPECT_TRUE(json.at("values").at(0).at("ratio").is_null());
  EXPECT_EQ(json.at("values").at(1).at("difference"), -0.375);
  EXPECT_EQ(json.at("values").at(2).at("ratio"), "nan");
  expect_contains(compare_runs(a, b, Format::markdown),
                  "| output.nmse | 0.5000 | 0.1250 | -0.3750 | 0.2500 |");
  expect_contains(compare_runs(a, b, Format::latex),
                  "output.nmse & $0.5000$ & $0.1250$ & $-0.3750$ & $0.2500$");
}

TEST(CompareRuns, SaysThatNothingDiffers) {
  const RunRecord a = run_of("rtn", "q", 0, 0.5);
  expect_contains(compare_runs(a, a, Format::text), "(none)");
  const auto json = nlohmann::json::parse(compare_runs(a, a, Format::json));
  EXPECT_TRUE(json.at("differences").empty());
  EXPECT_EQ(json.at("values").at(0).at("ratio"), 1.0);
}

TEST(ExportRuns, CarriesStoredNumbersToTheLastBit) {
  const test::TempDir folder;
  const std::vector<double> numbers{0.1, kNaN, kInfinity, -kInfinity, -0.0, 5e-324, 1e300};
  Store store(folder / "olab.db");
  std::map<std::string, double, std::less<>> values;
  for (std::size_t i = 0; i < numbers.size(); ++i) values[fmt::format("v.{}", i)] = numbers[i];
  store.finish(store.begin(run_of("rtn", "q", 0, 1)), values, {}, {});
  const auto runs = store.runs({});
  const auto csv = parse_csv(export_runs(runs, Format::csv));
  const auto json = nlohmann::json::parse(export_runs(runs, Format::json));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    double back = 0;
    ASSERT_TRUE(parse_double(csv_cell(csv, 1, fmt::format("v.{}", i)), back));
    EXPECT_TRUE(same_bits(back, numbers[i])) << numbers[i];
    const auto& cell = json[0].at(fmt::format("v.{}", i));
    if (cell.is_string())
      EXPECT_EQ(cell, to_text(numbers[i]));
    else
      EXPECT_TRUE(same_bits(cell.get<double>(), numbers[i])) << numbers[i];
  }
}

}  // namespace
}  // namespace olab

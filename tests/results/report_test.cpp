#include "results/report.hpp"

#include <gtest/gtest.h>
#include <temp_dir.hpp>

#include <regex>
#include <set>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "results/plot_script.hpp"
#include "results/report_parts.hpp"
#include "scoped_path.hpp"
#include "synthetic_study.hpp"

namespace olab {
namespace {

using test::have_gnuplot;
using test::read_file;
using test::TempDir;

const std::string kOdd = "a_b{c}'d\"e@f^g<script>alert(1)</script>&amp;h";

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// Tags in order, without comments, doctype and the contents of style and script. Attributes in double
/// quotes only, as the report writes them.
std::vector<std::string> tags_of(const std::string& html) {
  std::vector<std::string> tags;
  for (std::size_t i = html.find('<'); i != std::string::npos; i = html.find('<', i)) {
    std::size_t end = i;
    for (bool quoted = false; end < html.size() && (quoted || html[end] != '>'); ++end)
      if (html[end] == '"') quoted = !quoted;
    tags.push_back(html.substr(i, end + 1 - i));
    i = end;
    for (const char* raw : {"style", "script"})
      if (tags.back().starts_with(fmt::format("<{}", raw))) i = html.find(fmt::format("</{}>", raw), i);
  }
  return tags;
}

std::string name_of(const std::string& tag) {
  std::string name;
  for (std::size_t i = tag[1] == '/' ? 2 : 1;
       i < tag.size() && std::isalnum(static_cast<unsigned char>(tag[i])) != 0; ++i)
    name += tag[i];
  return name;
}

/// "" or what is wrong with the nesting.
std::string nesting_error(const std::string& html) {
  const std::set<std::string> lone{"meta", "input", "img", "br", "link", "hr"};
  std::vector<std::string> open;
  for (const std::string& tag : tags_of(html)) {
    if (tag.starts_with("<!") || tag.ends_with("/>")) continue;
    const std::string name = name_of(tag);
    if (lone.contains(name)) continue;
    if (tag[1] != '/') {
      open.push_back(name);
    } else if (open.empty() || open.back() != name) {
      return fmt::format("{} closes {}", tag, open.empty() ? "nothing" : open.back());
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : fmt::format("{} is never closed", open.back());
}

std::vector<std::string> attributes(const std::string& html, const std::string& name) {
  std::vector<std::string> values;
  const std::regex pattern(fmt::format("\\s{}=\"([^\"]*)\"", name));
  for (const std::string& tag : tags_of(html)) {
    if (tag.size() > 100000) {  // an image's bytes; std::regex would exhaust the stack
      const auto at = tag.find(" " + name + "=\"");
      if (at != std::string::npos) values.push_back(tag.substr(at + name.size() + 3, 30));
      continue;
    }
    for (std::sregex_iterator it(tag.begin(), tag.end(), pattern); it != std::sregex_iterator(); ++it)
      values.push_back((*it)[1]);
  }
  return values;
}

class ReportPage : public ::testing::Test {
 protected:
  ReportPage() : store_(olab::testing::synthetic_store(dir_ / "runs.db", {32, 64, {0, 1}, 2})) {
    register_results(registries_);
    report_.study = "ablation";
    report_.description = "What permutation is worth.";
    report_.study_text = "study: ablation\nmethods: [rtn]\n";
    report_.command = "olab run ablation.yaml";
    report_.runs = store_.runs({"ablation", "", "", ""});
    report_.definitions = {{"nmse", "||A - B||² / ||A||² & <so on>"}};
    add_table("method", "layer", "output.nmse", "lower");
  }
  void add_table(const std::string& rows, const std::string& columns, const std::string& value,
                 const std::string& better) {
    report_.tables.push_back(
        {make_table(report_.runs, {rows, columns, value, "Title"}), better, "its formula"});
  }
  void add_charts(const std::vector<std::string>& specs) {
    std::size_t number = 0;
    for (const std::string& spec : specs) {
      const ChartInput input{"ablation", report_.runs, store_, dir_.path(), std::to_string(++number)};
      for (DrawnFigure& figure : draw_chart(*registries_.charts.make(spec, registries_), input))
        report_.figures.push_back(std::move(figure));
    }
  }
  std::string page() {
    write_report(report_, dir_ / "report.html");
    return read_file(dir_ / "report.html");
  }

  TempDir dir_;
  Store store_;
  Registries registries_;
  Report report_;
};

TEST_F(ReportPage, LoadsNothingFromElsewhere) {
  if (have_gnuplot()) add_charts({"heatmap", "line", "surface(limit=1, tokens=8, channels=8)"});
  const std::string html = page();
  for (const char* name : {"src", "href"})
    for (const std::string& value : attributes(html, name))
      EXPECT_TRUE(value.starts_with("#") || value.starts_with("data:image/"))
          << name << "=" << value.substr(0, 60);
  EXPECT_EQ(html.find("http://"), std::string::npos);
  EXPECT_EQ(html.find("https://"), std::string::npos);
  EXPECT_EQ(html.find("@import"), std::string::npos);
  EXPECT_EQ(html.find("url(http"), std::string::npos);
  EXPECT_EQ(html.find("<link"), std::string::npos);
}

TEST_F(ReportPage, TagsAreBalanced) {
  if (have_gnuplot()) add_charts({"heatmap", "histogram(limit=1)"});
  EXPECT_EQ(nesting_error(page()), "");
  EXPECT_NE(nesting_error("<div><p></div></p>"), "");  // the check itself can fail
}

TEST_F(ReportPage, TwoInlineChartsShareNoId) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  add_charts({"heatmap", "line", "line(y=output.sqnr)"});
  const std::string html = page();
  EXPECT_EQ(count_of(html, "<svg "), 3U);
  const auto ids = attributes(html, "id");
  EXPECT_GT(ids.size(), 60U);
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
  // Every reference has its target.
  const std::set<std::string> known(ids.begin(), ids.end());
  for (const std::string& href : attributes(html, "href"))
    EXPECT_TRUE(known.contains(href.substr(1))) << href;
}

TEST_F(ReportPage, LargeChartsGoInAsPng) {
  test::write_file(dir_ / "big.svg", "<svg>" + std::string(1U << 20U, ' ') + "</svg>");
  test::write_file(dir_ / "big.png", "\x89PNG");
  report_.figures = {{{dir_ / "big.gp", "A big one", "caption"}, true, ""}};
  const std::string html = page();
  EXPECT_EQ(html.find("<svg"), std::string::npos);
  EXPECT_NE(html.find("<img alt=\"A big one\" src=\"data:image/png;base64,iVBORw==\">"), std::string::npos);
}

TEST_F(ReportPage, SaysWhyAChartIsNotThere) {
  report_.figures = {{{dir_ / "a.gp", "Failed one", "caption"}, false, "gnuplot is not installed; <apt>"},
                     {{dir_ / "gone.gp", "Gone one", "caption"}, true, ""}};
  const std::string html = page();
  EXPECT_NE(
      html.find(
          "<h3>Failed one</h3>\n<p class=\"message\">Not drawn: gnuplot is not installed; &lt;apt&gt;</p>"),
      std::string::npos);
  EXPECT_NE(html.find("Not drawn: the picture is gone; olab plot draws it again"), std::string::npos);
}

TEST_F(ReportPage, EscapesEverythingThatComesFromOutside) {
  report_.study = report_.description = report_.study_text = report_.command = kOdd;
  report_.definitions = {{kOdd, kOdd}};
  for (RunRecord& run : report_.runs) {
    run.layer = run.label = run.recording = run.activation_text = run.weight_text = kOdd;
    run.error = run.provenance.cpu = run.provenance.flags = kOdd;
    run.values = {{kOdd, 1.0}};
  }
  report_.tables.clear();
  add_table("method", "layer", kOdd, "lower");
  report_.tables[0].table.title = report_.tables[0].definition = kOdd;
  report_.figures = {{{dir_ / "a.gp", kOdd, kOdd}, false, kOdd}};
  const std::string html = page();
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  EXPECT_EQ(count_of(html, "<script"), 1U);  // our own
  EXPECT_EQ(nesting_error(html), "");
  EXPECT_NE(html.find("a_b{c}&#39;d&quot;e@f^g&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;h"),
            std::string::npos);
}

TEST_F(ReportPage, MarksTheBestOfEachColumnAndShowsFailedCells) {
  report_.tables[0].table.row_names = {"p", "q", "r"};
  report_.tables[0].table.column_names = {"x"};
  report_.tables[0].table.cells = {
      {Cell{2, 0, 2, 0.5, 0.01}}, {Cell{2, 1, 2, 0.25, 0.02}}, {Cell{0, 3, 0, 0, 0}}};
  report_.tables[0].table.cells[2][0].mean = std::nan("");
  const std::string html = page();
  EXPECT_NE(
      html.find("<th scope=\"row\">p</th><td data-v=\"0.5\">0.5000 <span class=\"sd\">± 0.01000</span></td>"),
      std::string::npos);
  EXPECT_NE(
      html.find("<th scope=\"row\">q</th><td class=\"best\" data-v=\"0.25\">0.2500 <span class=\"sd\">± "
                "0.02000</span> <span class=\"failed\">1 failed</span>"),
      std::string::npos);
  EXPECT_NE(html.find("<th scope=\"row\">r</th><td><span class=\"failed\">3 failed</span></td>"),
            std::string::npos);
  report_.tables[0].better = "higher";
  EXPECT_NE(page().find("<td class=\"best\" data-v=\"0.5\">"), std::string::npos);
  report_.tables[0].better = "none";
  EXPECT_EQ(page().find("class=\"best\""), std::string::npos);
}

TEST_F(ReportPage, ListsFailedRunsWithTheirErrors) {
  const std::string html = page();
  EXPECT_NE(html.find("smoothquant: channel 5 has no activation; &lt;remove&gt; it &amp; run again"),
            std::string::npos);
  EXPECT_NE(html.find("<a href=\"#failed\">Failed runs</a>"), std::string::npos);
  for (RunRecord& run : report_.runs) run.status = "finished";
  EXPECT_EQ(page().find("id=\"failed\""), std::string::npos);
}

TEST_F(ReportPage, ShowsDefinitionsStudyCommandAndProvenance) {
  const std::string html = page();
  EXPECT_NE(html.find("<dt>nmse</dt><dd>||A - B||² / ||A||² &amp; &lt;so on&gt;</dd>"), std::string::npos);
  EXPECT_NE(html.find("<pre>study: ablation\nmethods: [rtn]\n</pre>"), std::string::npos);
  EXPECT_NE(html.find("<pre>olab run ablation.yaml</pre>"), std::string::npos);
  EXPECT_NE(
      html.find("olab 0.1.0, commit 0123abc; g++ 12.2.0 -O3; host, cpu; kernels x86-64-v3, 2 thread(s)"),
      std::string::npos);
  EXPECT_NE(html.find("profile llama2-7b: 32 calibration and 32 evaluation tokens"), std::string::npos);
}

TEST_F(ReportPage, CapsTheTableOfAllRunsAndSaysSo) {
  const RunRecord one = report_.runs.front();
  report_.runs.assign(3001, one);
  report_.tables.clear();
  const std::string html = page();
  EXPECT_NE(html.find("Shown: the first 3000 of 3001 runs; olab export has all of them."), std::string::npos);
  EXPECT_EQ(count_of(html.substr(html.find("id=\"all-runs\"")), "<tr><td data-v="), 3000U);
}

TEST_F(ReportPage, NamesOnceWhatAllRunsShare) {
  EXPECT_NE(page().find("All runs: weight <code>int(bits=4, granularity=per-channel)</code>."),
            std::string::npos);
  report_.runs.front().weight_text = "fp16";
  const std::string html = page();
  EXPECT_EQ(html.find("All runs: weight"), std::string::npos);
  EXPECT_NE(html.find("<td class=\"t\">fp16</td>"), std::string::npos);
}

TEST_F(ReportPage, IsWrittenForAStudyWithoutRuns) {
  report_.runs.clear();
  report_.tables.clear();
  const std::string html = page();
  EXPECT_EQ(nesting_error(html), "");
  EXPECT_NE(html.find("None yet."), std::string::npos);
}

TEST_F(ReportPage, SaysWhereItCannotBeWritten) {
  test::write_file(dir_ / "taken", "a file");
  try {
    write_report(report_, dir_ / "taken" / "report.html");
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()),
              fmt::format("report {}: cannot be written; check that the folder is yours and "
                          "the disk is not full",
                          (dir_ / "taken" / "report.html").string()));
  }
}

TEST(ReportParts, Base64FollowsRfc4648) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  EXPECT_EQ(base64("\xFF\xFE"), "//4=");
}

TEST(ReportParts, InlineSvgPrefixesIdsAndDropsWhatAPageMustNotHold) {
  const std::string svg =
      "<?xml version=\"1.0\"?>\n<!-- c --><svg width='9' viewBox='0 0 1 1' "
      "xmlns=\"http://www.w3.org/2000/svg\">"
      "<title>Gnuplot</title><defs><path id='p'/></defs><script>x()</script>"
      "<use xlink:href='#p' fill=\"url(#q)\" onclick='y()' stroke='rgb( 36,  41,  47)'/>"
      "<a href='https://example.org'><text color='rgb(1,2,3)'>id='p' &lt;b> \"q\"</text></a></svg>";
  EXPECT_EQ(inline_svg(svg, "f1-", "a \"label\""),
            "\n<svg viewBox=\"0 0 1 1\" role=\"img\" aria-label=\"a &quot;label&quot;\">"
            "<defs><path id=\"f1-p\"/></defs>"
            "<use href=\"#f1-p\" fill=\"url(#f1-q)\" stroke=\"var(--ink)\"/>"
            "<a><text color=\"rgb(1,2,3)\">id='p' &lt;b> \"q\"</text></a></svg>");
}

TEST(ReportParts, InlineSvgOfATruncatedFileEnds) {
  EXPECT_EQ(inline_svg("<svg><g id='a", "f1-", "l"), "<svg role=\"img\" aria-label=\"l\">");
  EXPECT_EQ(inline_svg("", "f1-", "l"), "");
}

TEST(ReportParts, HtmlIsEscaped) {
  EXPECT_EQ(escape_html("<a & \"b\" 'c'>\x01"), "&lt;a &amp; &quot;b&quot; &#39;c&#39;&gt;?");
}

}  // namespace
}  // namespace olab

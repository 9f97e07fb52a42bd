#include "results/plot_script.hpp"

#include <gtest/gtest.h>
#include <temp_dir.hpp>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "scoped_path.hpp"

namespace fs = std::filesystem;

namespace olab {
namespace {

using test::have_gnuplot;
using test::read_file;
using test::ScopedPath;
using test::TempDir;

std::string header_free(const std::string& script) {
  return script.substr(script.find("set errorbars"));
}

fs::path small_figure(const fs::path& folder, const std::string& title) {
  PlotScript script(folder, "fig", 320, 240);
  script.title(title, "a detail");
  script.data("d", std::vector<std::vector<double>>{{1, 2}, {2, 4}, {3, 3}});
  script.command("plot $d using 1:2 with linespoints title " + PlotScript::quote(title));
  script.close();
  return script.file();
}

TEST(PlotScript, HoldsDataAndTitle) {
  const TempDir dir;
  PlotScript script(dir.path(), "fig", 640, 420);
  script.title("Heading", "what it shows");
  script.data("d", std::vector<std::vector<double>>{{1, 0.1}, {2, 1e-7}});
  script.close();
  EXPECT_EQ(script.file(), dir / "fig.gp");
  const std::string text = read_file(script.file());
  EXPECT_NE(text.find("$d << EOD\n1 0.1\n2 1e-07\nEOD\n"), std::string::npos) << text;
  EXPECT_NE(text.find("'{/:Bold Heading}'"), std::string::npos);
  EXPECT_NE(text.find("'what it shows'"), std::string::npos);
  EXPECT_LT(script.top(), 0.95);
  EXPECT_GT(script.top(), 0.8);
}

TEST(PlotScript, NamesNoFolderSoThatItCanBeMoved) {
  const TempDir dir;
  const std::string text = read_file(small_figure(dir.path(), "t"));
  EXPECT_EQ(text.find(dir.path().string()), std::string::npos);
  EXPECT_NE(text.find("set output 'fig.svg'"), std::string::npos);
}

TEST(PlotScript, WritesWhatIsNoNumberAsNaN) {
  const TempDir dir;
  PlotScript script(dir.path(), "fig", 640, 420);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  script.data("d", std::vector<std::vector<double>>{{std::nan(""), kInf, -kInf}});
  script.close();
  EXPECT_NE(read_file(script.file()).find("\nNaN NaN NaN\n"), std::string::npos);
}

TEST(PlotScript, QuotesLabelsOfDataRows) {
  const TempDir dir;
  PlotScript script(dir.path(), "fig", 640, 420);
  script.labelled_data("d", std::vector<std::string>{"plain", "a_b \"q\""},
                       std::vector<std::vector<double>>{{1}, {2}});
  script.close();
  EXPECT_NE(header_free(read_file(script.file())).find("\"plain\" 1\n\"a\\\\_b \\042q\\042\" 2\n"),
            std::string::npos)
      << read_file(script.file());
}

TEST(PlotScript, QuoteEscapesEnhancedText) {
  EXPECT_EQ(PlotScript::quote("plain"), "'plain'");
  EXPECT_EQ(PlotScript::quote("a_b^c{d}@e&f~g\\h"), R"('a\_b\^c\{d\}\@e\&f\~g\\h')");
  EXPECT_EQ(PlotScript::quote("it's"), "'it''s'");
  EXPECT_EQ(PlotScript::quote("two\nlines"), "'two'.\"\\n\".'lines'");
  EXPECT_EQ(PlotScript::quote("tab\there"), "'tab here'");
  EXPECT_EQ(PlotScript::quote("\xC3\xA9\xFF|"), "'\xC3\xA9?|'");
}

TEST(PlotScript, RefusesAFolderThatDoesNotExist) {
  try {
    PlotScript script("/nonexistent/folder", "fig", 640, 420);
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "chart script /nonexistent/folder/fig.gp: cannot be written; check that the folder exists "
                 "and is yours");
  }
}

TEST(RenderScript, MakesBothPicturesTheSameEachTime) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const TempDir dir;
  const fs::path script = small_figure(dir.path(), "Same bytes");
  const Rendered first = render_script(script);
  ASSERT_TRUE(first.ok) << first.message;
  EXPECT_EQ(first.message, "");
  const std::string svg = read_file(dir / "fig.svg");
  const std::string png = read_file(dir / "fig.png");
  EXPECT_NE(svg.find("Same bytes"), std::string::npos);
  EXPECT_EQ(png.substr(0, 4), "\x89PNG");
  ASSERT_TRUE(render_script(script).ok);
  EXPECT_EQ(read_file(dir / "fig.svg"), svg);
  EXPECT_EQ(read_file(dir / "fig.png"), png);
}

TEST(RenderScript, DrawsOddTextsLiterallyAndRunsNothing) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const TempDir dir;
  const std::string odd =
      "a_b {x} 'q' \"d\" @e ^f ~g \\h `touch pwned` $(touch pwned) <script>1</script> &amp; %d";
  PlotScript script(dir.path(), "odd 'name'", 900, 300);
  script.title(odd, odd);
  script.labelled_data("d", std::vector<std::string>{odd, "b"}, std::vector<std::vector<double>>{{1}, {2}});
  script.command("set ylabel " + PlotScript::quote(odd));
  script.command("plot $d using 0:2:xticlabels(1) with linespoints title " + PlotScript::quote(odd));
  script.close();
  const Rendered rendered = render_script(script.file());
  ASSERT_TRUE(rendered.ok) << rendered.message;
  EXPECT_FALSE(fs::exists(dir / "pwned"));
  const std::string svg = read_file(dir / "odd 'name'.svg");
  const std::string drawn =
      "a_b {x} 'q' \"d\" @e ^f ~g \\h `touch pwned` $(touch pwned) &lt;script>1&lt;/script> &amp;amp; %d";
  std::size_t count = 0;
  for (auto at = svg.find(drawn); at != std::string::npos; at = svg.find(drawn, at + 1)) ++count;
  EXPECT_GE(count, 3U);  // label of the axis, label of the data, legend; titles may be broken into lines
}

TEST(RenderScript, ReportsABrokenScriptAndLeavesNoHalfPicture) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const TempDir dir;
  PlotScript script(dir.path(), "bad", 640, 420);
  script.command("plott nonsense");
  script.close();
  const Rendered rendered = render_script(script.file());
  EXPECT_FALSE(rendered.ok);
  EXPECT_FALSE(rendered.missing);
  EXPECT_NE(rendered.message.find("gnuplot failed on"), std::string::npos);
  EXPECT_NE(rendered.message.find("invalid command"), std::string::npos) << rendered.message;
  EXPECT_TRUE(fs::exists(dir / "bad.gp"));
  EXPECT_FALSE(fs::exists(dir / "bad.svg"));
  EXPECT_FALSE(fs::exists(dir / "bad.png"));
}

TEST(RenderScript, ReportsAScriptThatDrawsNothing) {
  if (!have_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const TempDir dir;
  test::write_file(dir / "empty.gp", "x = 1\n");
  const Rendered rendered = render_script(dir / "empty.gp");
  EXPECT_FALSE(rendered.ok);
  EXPECT_NE(rendered.message.find("it wrote no empty.svg"), std::string::npos) << rendered.message;
}

TEST(RenderScript, SaysWhatToInstallWhereGnuplotIsMissing) {
  const TempDir dir;
  const fs::path script = small_figure(dir.path(), "t");
  const ScopedPath path("/nonexistent");
  const Rendered rendered = render_script(script);
  EXPECT_FALSE(rendered.ok);
  EXPECT_TRUE(rendered.missing);
  EXPECT_EQ(rendered.message, "gnuplot is not installed; apt-get install gnuplot-nox, then olab plot");
  EXPECT_TRUE(fs::exists(script));
}

}  // namespace
}  // namespace olab

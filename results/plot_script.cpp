#include "results/plot_script.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gnuplot-iostream.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <system_error>

#include "core/error.hpp"
#include "core/text.hpp"

namespace fs = std::filesystem;

namespace olab {
namespace {

// SVG counts fonts in pixels, cairo in points (4/3 of them): the PNG, twice as large, needs a fontscale
// of 1.5.
constexpr double kFontSize = 12;
constexpr double kHeadingSize = 14;
constexpr double kLineHeight = 1.4;  ///< of titles, em
constexpr double kMargin = 14;       ///< of the title from the edges, points

// viridis of Stéfan van der Walt and Nathaniel Smith (public domain), every 17th of its 256 colours.
constexpr std::array<const char*, 16> kViridis{
    "#440154", "#481a6c", "#472f7d", "#414487", "#39568c", "#31688e", "#2a788e", "#23888e",
    "#1f988b", "#22a884", "#35b779", "#54c568", "#7ad151", "#a5db36", "#d2e21b", "#fde725"};

constexpr std::array<const char*, plot_colour::kCategories> kOkabeIto{
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#b8a800"};

// One dash and one point each, so that the lines stay apart in black and white too.
constexpr std::array<int, plot_colour::kCategories> kDash{1, 1, 1, 1, 2, 2, 2, 2};
constexpr std::array<int, plot_colour::kCategories> kPoint{7, 5, 9, 13, 6, 4, 8, 12};

/// Length of the UTF-8 sequence that starts at `at`, or 0 where there is none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return 1;
  std::size_t length = 0;
  if (first >= 0xC2 && first < 0xE0) length = 2;
  if (first >= 0xE0 && first < 0xF0) length = 3;
  if (first >= 0xF0 && first < 0xF5) length = 4;
  if (length == 0 || at + length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(at + i) & 0xC0U) != 0x80U) return 0;
  return length;
}

/// Valid UTF-8 without control characters (an SVG with either would be no XML), and with a backslash before
/// each character that enhanced text gives a meaning to. Line ends stay.
std::string escape_enhanced(std::string_view text) {
  constexpr std::string_view kSpecial = "\\^_{}@&~";
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) {
      out += '?';
      ++i;
      continue;
    }
    const char c = text[i];
    if (length == 1 && c != '\n' && (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)) {
      out += ' ';
    } else {
      if (length == 1 && kSpecial.find(c) != std::string_view::npos) out += '\\';
      out += text.substr(i, length);
    }
    i += length;
  }
  return out;
}

/// In single quotes gnuplot expands nothing (in double quotes it runs what stands in backquotes), but they
/// cannot hold a line end: "\n" joins the lines.
std::string quote_escaped(std::string_view escaped) {
  std::string out = "'";
  for (const char c : escaped) {
    if (c == '\'') {
      out += "''";
    } else if (c == '\n') {
      out += R"('."\n".')";
    } else {
      out += c;
    }
  }
  return out + "'";
}

/// A text in a data block: always in double quotes, backslashes are read once more, and a double quote can
/// only be written in octal.
std::string quote_data(std::string_view text) {
  std::string out = "\"";
  for (const char c : escape_enhanced(text)) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '"') {
      out += "\\042";
    } else if (c == '\n') {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string number(double value) {
  return std::isfinite(value) ? fmt::format("{:.9g}", value) : "NaN";
}

/// Lines of at most `width` characters, broken at blanks where there are any.
std::vector<std::string> wrap(const std::string& text, std::size_t width) {
  std::vector<std::string> lines;
  for (const std::string& paragraph : split(text, '\n')) {
    std::string line;
    std::size_t length = 0;
    for (const std::string& word : split(paragraph, ' ')) {
      const auto letters = static_cast<std::size_t>(
          std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xC0) != 0x80; }));
      if (length > 0 && length + 1 + letters > width) {
        lines.push_back(line);
        line.clear();
        length = 0;
      }
      if (length > 0) line += ' ';
      line += word;
      length += letters + 1;
    }
    lines.push_back(line);
  }
  return lines;
}

struct TitleLines {
  std::vector<std::string> bold;
  std::vector<std::string> plain;
  double height = 0;  ///< points, with the margins
};

TitleLines title_lines(const std::string& heading, const std::string& detail, double width) {
  // Widths of a sans-serif letter, a little on the safe side: bold 0.56 em, plain 0.52 em.
  const double room = width - 2 * kMargin;
  TitleLines lines;
  lines.bold = wrap(heading, static_cast<std::size_t>(room / (0.56 * kHeadingSize)));
  if (!detail.empty()) lines.plain = wrap(detail, static_cast<std::size_t>(room / (0.52 * kFontSize)));
  lines.height = kMargin + 12 +
                 kLineHeight * (kHeadingSize * static_cast<double>(lines.bold.size()) +
                                kFontSize * static_cast<double>(lines.plain.size()));
  return lines;
}

std::optional<fs::path> find_in_path(const std::string& program) {
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): nobody here sets it
  if (path == nullptr) return std::nullopt;
  for (const std::string& folder : split(path, ':')) {
    const fs::path file = fs::path(folder.empty() ? "." : folder) / program;
    std::error_code ignored;
    if (fs::is_regular_file(file, ignored) && access(file.c_str(), X_OK) == 0)
      return fs::absolute(file, ignored);
  }
  return std::nullopt;
}

struct Exit {
  bool ok = false;
  std::string said;  ///< stdout and stderr
};

/// Runs a program in a folder, without a shell, so that no name needs quoting.
Exit run_in(const fs::path& folder, const std::vector<std::string>& arguments) {
  Exit result;
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    result.said = fmt::format("no pipe to gnuplot: {}", std::system_category().message(errno));
    return result;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));  // NOLINT(cppcoreguidelines-pro-type-const-cast)
  argv.push_back(nullptr);
  pid_t child = 0;
  const int failure = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failure != 0) {
    close(ends[0]);
    result.said = fmt::format("{} did not start: {}", arguments[0], std::system_category().message(failure));
    return result;
  }
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t got = read(ends[0], buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    result.said.append(buffer.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (WIFSIGNALED(status)) result.said += fmt::format("\nended by signal {}", WTERMSIG(status));
  return result;
}

/// gnuplot's own words without its echo of the (long) line and without blank lines; at most a few of them.
std::string tidy_message(const std::string& said) {
  std::string out;
  std::size_t lines = 0;
  for (const std::string& line : split(said, '\n')) {
    const std::string_view text = trim(line);
    if (text.empty() || text.find_first_not_of("^ ") == std::string_view::npos) continue;
    if (++lines > 6) break;
    if (!out.empty()) out += "; ";
    out += text.size() > 200 ? std::string(text.substr(0, 200)) + "..." : std::string(text);
  }
  return out;
}

}  // namespace

const char* plot_colour::category(std::size_t i) {
  return kOkabeIto[i % kOkabeIto.size()];
}

struct PlotScript::State {
  State(const fs::path& target, int w, int h) : width(w), height(h) {
    gnuplot.emplace(">" + target.string());
    file = target;
  }
  std::optional<Gnuplot> gnuplot;  ///< empty once the script is written
  fs::path file;
  double width;
  double height;
  double top = 1;
};

PlotScript::PlotScript(const fs::path& folder, const std::string& stem, int width, int height) {
  const fs::path file = folder / (stem + ".gp");
  try {
    state_ = std::make_unique<State>(file, width, height);
  } catch (const std::ios_base::failure&) {
    throw Error(fmt::format("chart script {}: cannot be written; check that the folder exists and is yours",
                            file.string()));
  }
  const auto literal = [&](const char* ending) { return quote_escaped(stem + ending); };
  command(
      "# Run in this folder: gnuplot FILE.gp draws the SVG, gnuplot -e \"format='png'\" FILE.gp the PNG.");
  command("if (!exists('format')) format = 'svg'");
  command("set encoding utf8");
  // The PNG has twice the pixels: sharp on a fine screen, and 150 dpi over half a page.
  command(
      fmt::format("if (format eq 'png') {{ set terminal pngcairo size {0},{1} enhanced font 'Arial,{2}' "
                  "fontscale 1.5 linewidth 2 pointscale 2 background rgb '{3}'; set output {4} }} else {{ "
                  "set terminal svg size {5},{6} dynamic enhanced font 'Arial,{2}' background rgb '{3}'; "
                  "set output {7} }}",
                  2 * width, 2 * height, kFontSize, plot_colour::kPaper, literal(".png"), width, height,
                  literal(".svg")));
  for (std::size_t i = 0; i < kOkabeIto.size(); ++i)
    command(fmt::format("set linetype {} lc rgb '{}' lw 1.8 dt {} pt {} ps 0.7", i + 1, kOkabeIto[i],
                        kDash[i], kPoint[i]));
  command(fmt::format("set linetype cycle {}", kOkabeIto.size()));
  std::string colours;
  for (std::size_t i = 0; i < kViridis.size(); ++i)
    colours += fmt::format("{}{} '{}'", i == 0 ? "" : ", ", i, kViridis[i]);
  command("set palette defined (" + colours + ")");
  command(fmt::format("set border 3 lc rgb '{}' lw 0.8", plot_colour::kMuted));
  command(fmt::format("set tics nomirror out scale 0.6 textcolor rgb '{}'", plot_colour::kMuted));
  command(fmt::format("set grid ytics lc rgb '{}' lt 1 lw 0.6", plot_colour::kGrid));
  command(fmt::format("set key below left Left reverse samplen 3 spacing 1.1 textcolor rgb '{}'",
                      plot_colour::kInk));
  command("set xlabel offset 0,0.4");
  for (const char* axis : {"xlabel", "ylabel", "zlabel", "cblabel"})
    command(fmt::format("set {} textcolor rgb '{}'", axis, plot_colour::kInk));
  // An empty line between the axis and the legend.
  command("set key title ' ' font ',6'");
  command("set style fill solid 1.0 noborder");
  command("set errorbars small");
}

PlotScript::~PlotScript() {
  try {
    close();
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): who wants to know calls close()
  }
}

PlotScript& PlotScript::command(const std::string& line) {
  *state_->gnuplot << line << "\n";
  return *this;
}

PlotScript& PlotScript::data(const std::string& name, std::span<const std::vector<double>> rows) {
  return labelled_data(name, {}, rows);
}

PlotScript& PlotScript::labelled_data(const std::string& name, std::span<const std::string> labels,
                                      std::span<const std::vector<double>> rows) {
  auto& out = *state_->gnuplot;
  out << "$" << name << " << EOD\n";
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::string line;
    if (!labels.empty()) line = quote_data(labels[i]);
    for (const double value : rows[i]) {
      if (!line.empty()) line += ' ';
      line += number(value);
    }
    out << line << "\n";
  }
  out << "EOD\n";
  return *this;
}

PlotScript& PlotScript::title(const std::string& heading, const std::string& detail) {
  const TitleLines lines = title_lines(heading, detail, state_->width);
  double y = kMargin;
  int tag = 9001;
  const auto line = [&](const std::string& text, double size, const char* colour, bool is_bold) {
    y += size * kLineHeight / 2;
    const std::string escaped = escape_enhanced(text);
    command(fmt::format("set label {} {} at screen {:.5f},{:.5f} left font ',{}' textcolor rgb '{}' front",
                        tag++, quote_escaped(is_bold ? "{/:Bold " + escaped + "}" : escaped),
                        kMargin / state_->width, 1 - y / state_->height, size, colour));
    y += size * kLineHeight / 2;
  };
  for (const std::string& text : lines.bold) line(text, kHeadingSize, plot_colour::kInk, true);
  for (const std::string& text : lines.plain) line(text, kFontSize, plot_colour::kMuted, false);
  state_->top = 1 - lines.height / state_->height;
  command(fmt::format("set tmargin at screen {:.5f}", state_->top));
  return *this;
}

double PlotScript::title_height(const std::string& heading, const std::string& detail, int width) {
  return title_lines(heading, detail, width).height;
}

double PlotScript::top() const {
  return state_->top;
}

std::string PlotScript::quote(const std::string& text) {
  return quote_escaped(escape_enhanced(text));
}

const fs::path& PlotScript::file() const {
  return state_->file;
}

void PlotScript::close() {
  if (!state_->gnuplot) return;
  state_->gnuplot->flush();
  const bool good = state_->gnuplot->good();
  // Not its close(): Gnuplot's destructor writes to the stream once more, and a closed one must not be
  // written to.
  state_->gnuplot.reset();
  if (!good)
    throw Error(fmt::format("chart script {}: could not be written to its end; is the disk full?",
                            state_->file.string()));
}

Rendered render_script(const fs::path& script) {
  Rendered result;
  const auto gnuplot = find_in_path("gnuplot");
  const fs::path absolute = fs::absolute(script);
  const fs::path folder = absolute.parent_path();
  for (const char* format : {"svg", "png"}) {
    std::error_code ignored;
    fs::remove(fs::path(absolute).replace_extension(format), ignored);
  }
  if (!gnuplot) {
    result.missing = true;
    result.message = "gnuplot is not installed; apt-get install gnuplot-nox, then olab plot";
    return result;
  }
  for (const std::string format : {"svg", "png"}) {
    const fs::path picture = fs::path(absolute).replace_extension(format);
    // -d: nobody's ~/.gnuplot changes a chart.
    const Exit exit = run_in(
        folder, {gnuplot->string(), "-d", "-e", "format='" + format + "'", absolute.filename().string()});
    std::error_code none;
    const bool there = fs::is_regular_file(picture, none) && fs::file_size(picture, none) > 0;
    if (exit.ok && there) continue;
    const std::string said = tidy_message(exit.said);
    result.message = fmt::format("gnuplot failed on {}: {}", script.string(),
                                 !said.empty() ? said
                                 : there       ? "it ended with an error and said nothing"
                                               : "it wrote no " + picture.filename().string());
    // Half a picture would be taken for a whole one.
    for (const char* ending : {"svg", "png"}) fs::remove(fs::path(absolute).replace_extension(ending), none);
    return result;
  }
  result.ok = true;
  return result;
}

}  // namespace olab

// Two values against each other, one point a method: what a smaller error costs, and which methods nobody
// beats.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "core/error.hpp"
#include "core/text.hpp"
#include "results/chart.hpp"
#include "results/plot_script.hpp"
#include "results/table.hpp"

namespace olab {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kLogRatio = 12;  ///< of positive values, from which an axis becomes logarithmic by itself

// Everything in points.
constexpr int kWidth = 640;
constexpr double kLeft = 78;
constexpr double kRight = 24;
constexpr double kFrame = 300;      ///< height between the axes
constexpr double kAxis = 48;        ///< below the frame: ticks and the axis' name
constexpr double kRow = 16;         ///< of the legend and of the list of names
constexpr double kLetter = 5.9;     ///< width of a letter at font size 10
constexpr double kText = 13;        ///< height of a label
constexpr double kMarker = 5;       ///< half a point's size, with air
constexpr std::size_t kLong = 44;   ///< letters of a name beside its point; longer ones are listed below
constexpr std::size_t kLine = 100;  ///< letters of a name in the list

/// Shapes that exist filled and hollow; one pair a quantizer, so that grey paper tells them apart too.
constexpr std::array<std::array<int, 2>, 6> kShapes{{{7, 6}, {5, 4}, {9, 8}, {13, 12}, {11, 10}, {15, 14}}};

struct Point {
  std::string name;
  std::string missing;     ///< "8 of 9 runs" where the means do not cover what the others' do
  std::size_t group = 0;   ///< its quantizer
  std::array<Cell, 2> at;  ///< x, y
  /// Nobody else with the same quantizer is at least as good in both and better in one.
  bool front = false;

  bool drawable() const { return std::isfinite(at[0].mean) && std::isfinite(at[1].mean); }
};

double deviation(const Cell& cell) {
  return std::isfinite(cell.deviation) ? cell.deviation : 0;
}

/// One axis of the frame. On a logarithmic one zeros have a place of their own below all that is positive.
struct Axis {
  bool log = false;
  bool lower = true;  ///< which values are better
  double low = 0;     ///< the range
  double high = 1;
  double zero = kNaN;   ///< where zeros stand; NaN: none are set apart
  double least = kNaN;  ///< the smallest positive value on a logarithmic axis

  double place(double value) const { return log && value <= 0 ? zero : value; }
  /// 0 … 1 over the range.
  double part(double placed) const {
    return log ? std::log(placed / low) / std::log(high / low) : (placed - low) / (high - low);
  }
  /// The end of a bar; one that a logarithmic axis has no place for ends with the axis.
  double bar_end(double value) const { return std::clamp(value, low, high); }
};

Axis make_axis(const std::vector<Point>& points, std::size_t which, bool wish_log, bool wish_auto,
               bool lower) {
  double least = std::numeric_limits<double>::infinity();  // positive mean
  double low = least;
  double high = -least;
  bool zeros = false;
  bool negative = false;
  for (const Point& point : points) {
    const Cell& cell = point.at[which];
    low = std::min(low, cell.mean - deviation(cell));
    high = std::max(high, cell.mean + deviation(cell));
    zeros = zeros || cell.mean == 0;
    negative = negative || cell.mean < 0;
    if (cell.mean > 0) least = std::min(least, cell.mean);
  }
  Axis axis;
  axis.lower = lower;
  const double ratio = wish_log ? 2 : kLogRatio;  // below 2 there would be hardly a tick
  axis.log = !negative && std::isfinite(least) && (wish_log || wish_auto) && high >= ratio * least;
  if (!axis.log) {
    if (low > 0 && low < 0.4 * high) low = 0;
    const double span = high > low ? high - low : std::max(std::abs(high), 1e-300);
    axis.low = low - 0.06 * span;
    axis.high = high + 0.09 * span;
    return axis;
  }
  // A bar may reach below zero; it ends a factor of three below the smallest mean at the latest.
  if (low > 0) least = std::max(low, least / 3);
  const double decades = std::max(std::log10(high / least), 0.3);
  axis.least = least;
  axis.high = high * std::pow(10, 0.09 * decades);
  axis.low = least * std::pow(10, -0.06 * decades);
  if (zeros) {
    axis.zero = least * std::pow(10, -0.16 * decades);
    axis.low = least * std::pow(10, -0.21 * decades);
  }
  return axis;
}

/// "0.05", "2·10^{-5}": a tick of a logarithmic axis in enhanced text.
std::string tick_text(int digit, int power, bool plain) {
  if (plain) return fmt::format("{:g}", digit * std::pow(10, power));
  return digit == 1 ? fmt::format("10^{{{}}}", power) : fmt::format("{}·10^{{{}}}", digit, power);
}

void set_axis(PlotScript& script, const std::string& letter, const std::string& name, const Axis& axis) {
  script.command(fmt::format("set {}label {}", letter, PlotScript::quote(name)))
      .command(fmt::format("set {}range [{:.9g}:{:.9g}]", letter, axis.low, axis.high));
  if (!axis.log) return;
  const double decades = std::log10(axis.high / axis.least);
  const int first = static_cast<int>(std::floor(std::log10(axis.least)));
  const int last = static_cast<int>(std::floor(std::log10(axis.high)));
  const int step = std::max(1, (last - first + 6) / 7);
  const bool plain = first >= -3 && last <= 5;
  const double bottom = std::isnan(axis.zero) ? axis.low : axis.least * (1 - 1e-9);
  std::string ticks;
  const auto add = [&](const std::string& text, double at, int level) {
    ticks += fmt::format("{}'{}' {:.9g} {}", ticks.empty() ? "" : ", ", text, at, level);
  };
  if (!std::isnan(axis.zero)) add("0", axis.zero, 0);
  for (int power = first; power <= last; ++power) {
    for (int digit = 1; digit < 10; ++digit) {
      const double at = digit * std::pow(10, power);
      if (at < bottom || at > axis.high) continue;
      const bool named = digit == 1                 ? (power - first) % step == 0
                         : digit == 2 || digit == 5 ? decades < 2
                                                    : decades < 0.8;
      if (named || decades < 5) add(named ? tick_text(digit, power, plain) : "", at, named ? 0 : 1);
    }
  }
  script.command(fmt::format("set logscale {}", letter))
      .command(fmt::format("set {}tics ({})", letter, ticks));
  if (std::isnan(axis.zero)) return;
  // The gap between zero and the rest, as two dots on the axis' line could not show it on paper.
  const double gap = axis.part(std::sqrt(axis.zero * axis.least));
  const std::string from = letter == "x" ? fmt::format("{:.5f},0", gap) : fmt::format("0,{:.5f}", gap);
  const std::string to = letter == "x" ? fmt::format("{:.5f},1", gap) : fmt::format("1,{:.5f}", gap);
  script.command(fmt::format("set arrow from graph {} to graph {} nohead lc rgb '{}' lw 0.8 dt 3 back", from,
                             to, plot_colour::kMuted));
}

/// From the upper left corner of the frame.
struct Box {
  double left = 0;
  double top = 0;
  double right = 0;
  double bottom = 0;
};

bool overlap(const Box& a, const Box& b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

struct Spot {
  Box box;
  bool away = false;  ///< so far from its point that a line must lead to it
};

/// The line from a marker's middle to a text that is away from it.
std::array<double, 4> leader(const Box& marker, const Box& text) {
  const double x = (marker.left + marker.right) / 2;
  const double y = (marker.top + marker.bottom) / 2;
  return {x, y, std::clamp(x, text.left, text.right), std::clamp(y, text.top + 2, text.bottom - 2)};
}

/// How many of these the line to a text runs through.
int count_crossed(const Spot& spot, const Box& marker, const std::vector<Box>& boxes) {
  if (!spot.away) return 0;
  constexpr int kSteps = 24;
  const auto [x0, y0, x1, y1] = leader(marker, spot.box);
  int count = 0;
  for (const Box& box : boxes) {
    bool inside = false;
    for (int i = 1; i < kSteps && !inside; ++i) {
      const double x = x0 + (x1 - x0) * i / kSteps;
      const double y = y0 + (y1 - y0) * i / kSteps;
      inside = overlap({x, y, x, y}, box);
    }
    count += inside ? 1 : 0;
  }
  return count;
}

bool leaders_cross(const std::array<double, 4>& a, const std::array<double, 4>& b) {
  const auto side = [](const std::array<double, 4>& line, double x, double y) {
    return (line[2] - line[0]) * (y - line[1]) - (line[3] - line[1]) * (x - line[0]);
  };
  return side(a, b[0], b[1]) * side(a, b[2], b[3]) < 0 && side(b, a[0], a[1]) * side(b, a[2], a[3]) < 0;
}

/// Whether the line to either text runs through the other text or its line.
bool tangled(const Spot& a, const Box& marker_a, const Spot& b, const Box& marker_b) {
  const auto inner = [](const Box& box) { return Box{box.left, box.top + 2, box.right, box.bottom - 2}; };
  return count_crossed(a, marker_a, {inner(b.box)}) > 0 || count_crossed(b, marker_b, {inner(a.box)}) > 0 ||
         (a.away && b.away && leaders_cross(leader(marker_a, a.box), leader(marker_b, b.box)));
}

/// Whether the texts of two points that nearly touch stand in the other order than the points: each would be
/// read as the other's.
bool swapped(const Spot& a, const Box& marker_a, const Spot& b, const Box& marker_b) {
  constexpr double kNear = kText;
  if (std::abs(marker_a.left - marker_b.left) > kNear || std::abs(marker_a.top - marker_b.top) > kNear)
    return false;
  return (marker_a.top - marker_b.top) * (a.box.top - b.box.top) < 0;
}

/// Places for a text of this width round a marker's middle, the best first.
std::vector<Spot> spots_round(double x, double y, double width, double frame_width) {
  constexpr std::array<std::array<double, 2>, 8> kDirections{
      {{1, 0}, {1, -1}, {1, 1}, {-1, 0}, {0, -1}, {0, 1}, {-1, -1}, {-1, 1}}};
  std::vector<Spot> spots;
  for (int ring = 0; ring < 6; ++ring) {
    for (const auto& [dx, dy] : kDirections) {
      const double gap = (7 + 12 * ring) * (dx != 0 && dy != 0 ? 0.75 : 1);
      double left = dx > 0 ? x + gap : dx < 0 ? x - gap - width : x - width / 2;
      const double top = dy > 0 ? y + gap - 2 : dy < 0 ? y - gap - kText + 2 : y - kText / 2;
      if (dy != 0) left = std::clamp(left, 0.0, std::max(0.0, frame_width - width));
      if (left < 0 || left + width > frame_width || top < 0 || top + kText > kFrame) continue;
      spots.push_back({{left, top, left + width, top + kText}, ring > 0});
    }
  }
  return spots;
}

/// A spot for each text, so that none covers another or a marker; nothing where there is no room. `lines` are
/// crossed only where nothing else is free. `clear`: nothing either where lines from points to texts run
/// through one another.
std::optional<std::vector<Spot>> place_texts(const std::vector<double>& widths,
                                             const std::vector<Box>& markers, const std::vector<Box>& lines,
                                             bool clear) {
  constexpr double kFrameWidth = kWidth - kLeft - kRight;
  struct Choice {
    Spot spot;
    double cost = 0;
    bool through = false;  ///< its line runs through another point
  };
  std::vector<std::vector<Choice>> choices(widths.size());
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const double x = (markers[i].left + markers[i].right) / 2;
    const double y = (markers[i].top + markers[i].bottom) / 2;
    std::vector<Box> others;
    for (const Box& marker : markers)
      if (marker.left != markers[i].left || marker.top != markers[i].top) others.push_back(marker);
    for (const Spot& spot : spots_round(x, y, widths[i], kFrameWidth)) {
      const auto covers = [&](const Box& box) { return overlap(spot.box, box); };
      if (std::any_of(markers.begin(), markers.end(), covers)) continue;
      Choice choice{spot, 0, count_crossed(spot, markers[i], others) > 0};
      choice.cost = static_cast<double>(choices[i].size()) +
                    14 * static_cast<double>(std::count_if(lines.begin(), lines.end(), covers)) +
                    3 * count_crossed(spot, markers[i], lines) + (choice.through ? 60 : 0);
      choices[i].push_back(choice);
    }
    if (choices[i].empty()) return std::nullopt;
  }
  std::vector<std::size_t> chosen(widths.size(), 0);
  // Each in turn takes the cheapest place beside the others; a few rounds settle it.
  for (int round = 0; round < 8; ++round) {
    bool moved = false;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      double best = std::numeric_limits<double>::infinity();
      std::size_t pick = 0;
      for (std::size_t k = 0; k < choices[i].size(); ++k) {
        const Choice& mine = choices[i][k];
        double cost = mine.cost;
        // In the first round those that come later have no place yet.
        for (std::size_t j = 0; j < (round == 0 ? i : widths.size()) && cost < best; ++j) {
          if (j == i) continue;
          const Choice& other = choices[j][chosen[j]];
          if (overlap(mine.spot.box, other.spot.box)) cost += 1000;
          if (tangled(mine.spot, markers[i], other.spot, markers[j])) cost += 60;
          if (swapped(mine.spot, markers[i], other.spot, markers[j])) cost += 30;
        }
        if (cost < best) {
          best = cost;
          pick = k;
        }
      }
      moved = moved || pick != chosen[i];
      chosen[i] = pick;
    }
    if (!moved && round > 0) break;
  }
  std::vector<Spot> out;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const Choice& mine = choices[i][chosen[i]];
    if (clear && mine.through) return std::nullopt;
    for (std::size_t j = 0; j < i; ++j)
      if (overlap(mine.spot.box, out[j].box) || (clear && tangled(mine.spot, markers[i], out[j], markers[j])))
        return std::nullopt;
    out.push_back(mine.spot);
  }
  return out;
}

bool is_quantizer(const std::string& parameter) {
  return parameter.starts_with("activation.") || parameter.starts_with("weight.");
}

/// The quantizers' parameters that differ between any two of the runs.
std::vector<std::string> quantizer_fields(const std::vector<RunRecord>& runs) {
  std::set<std::string> names;
  for (const RunRecord& run : runs)
    for (const auto& [name, value] : run.params)
      if (is_quantizer(name)) names.insert(name);
  std::vector<std::string> out;
  for (const std::string& name : names)
    if (std::any_of(runs.begin(), runs.end(), [&](const RunRecord& run) {
          return run_field(run, name) != run_field(runs.front(), name);
        }))
      out.push_back(name);
  return out;
}

class Pareto final : public Chart {
 public:
  std::string x = "online.relative_multiply_adds";
  std::string y = "output.nmse";
  std::string series = "method";
  std::string layer = "*";
  std::string method = "*";
  std::string log = "auto";
  std::int64_t points = 40;

  std::vector<std::string> metrics() const override {
    std::vector<std::string> out = metric_of(x);
    for (const std::string& name : metric_of(y))
      if (std::find(out.begin(), out.end(), name) == out.end()) out.push_back(name);
    return out;
  }

  std::vector<Figure> draw(const ChartInput& input) const override {
    const auto selected = select_runs(input, layer, method);
    std::vector<RunRecord> runs;  // those that did not finish too: a mean without them is no fair one
    for (const RunRecord& run : input.runs)
      if (fits(run, layer, method)) runs.push_back(run);
    // Its messages name the nearest field or value that exists.
    for (const std::string& value : {x, y}) make_table(runs, {series, "none", value, {}});

    std::vector<std::string> groups;
    std::vector<std::string> lost;
    std::vector<Point> all = gather(runs, groups, lost);
    if (all.empty())
      throw Error(fmt::format("pareto: no run of study '{}' has finite values of both '{}' and '{}'",
                              input.study, x, y));
    const std::array<bool, 2> lower{better_of(input, x) != "higher", better_of(input, y) != "higher"};
    mark_front(all, lower);
    const std::size_t total = all.size();
    // The front is what the chart is for: it is never left out.
    std::stable_partition(all.begin(), all.end(), [](const Point& point) { return point.front; });
    all.resize(
        std::min(total, std::max(static_cast<std::size_t>(points),
                                 static_cast<std::size_t>(std::count_if(
                                     all.begin(), all.end(), [](const Point& p) { return p.front; })))));
    // Numbers in the order in which the eye meets the points.
    std::stable_sort(all.begin(), all.end(), [](const Point& a, const Point& b) {
      return a.at[0].mean != b.at[0].mean ? a.at[0].mean < b.at[0].mean : a.at[1].mean < b.at[1].mean;
    });
    return {draw_points(input, all, groups, lost, lower, selected, total)};
  }

 private:
  /// Points with finite means in both values; `groups` become the quantizers' texts, `lost` the names of what
  /// has no place.
  std::vector<Point> gather(const std::vector<RunRecord>& runs, std::vector<std::string>& groups,
                            std::vector<std::string>& lost) const {
    const std::vector<std::string> fields = field_list(series);
    std::vector<std::string> known = fields;
    std::vector<std::string> quantizers = quantizer_fields(runs);
    std::erase_if(quantizers, [&](const std::string& name) {
      return std::find(known.begin(), known.end(), name) != known.end();
    });
    known.insert(known.end(), quantizers.begin(), quantizers.end());
    const std::vector<std::string> mixed = mixed_parameters(runs, known);
    std::vector<std::vector<RunRecord>> by_group;
    for (RunRecord run : runs) {
      const std::string group = with_parameters({}, run, quantizers);
      const auto at =
          static_cast<std::size_t>(std::find(groups.begin(), groups.end(), group) - groups.begin());
      if (at == groups.size()) {
        groups.push_back(group);
        by_group.emplace_back();
      }
      run.label = with_parameters(field_texts(run, fields), run, mixed);
      by_group[at].push_back(std::move(run));
    }
    std::vector<Point> out;
    for (std::size_t g = 0; g < groups.size(); ++g) add_points(by_group[g], g, groups[g], out, lost);
    return out;
  }

  void add_points(const std::vector<RunRecord>& runs, std::size_t group, const std::string& group_name,
                  std::vector<Point>& out, std::vector<std::string>& lost) const {
    struct Coverage {
      std::size_t runs = 0;
      std::size_t usable = 0;
      std::set<std::pair<std::string, std::string>> layers;
    };
    std::map<std::string, Coverage> coverage;
    std::set<std::pair<std::string, std::string>> layers;
    // Both means are of the same runs.
    std::vector<RunRecord> usable;
    for (const RunRecord& run : runs) {
      Coverage& mine = coverage[run.label];
      ++mine.runs;
      if (run.status != "finished" || !run.values.contains(x) || !run.values.contains(y)) continue;
      ++mine.usable;
      mine.layers.emplace(run.recording, run.layer);
      layers.emplace(run.recording, run.layer);
      usable.push_back(run);
    }
    std::set<std::string> seen;
    if (!usable.empty()) {
      const Table xs = make_table(usable, {"method", "none", x, {}});
      const Table ys = make_table(usable, {"method", "none", y, {}});
      for (std::size_t i = 0; i < xs.row_names.size(); ++i) {
        Point point{xs.row_names[i], {}, group, {xs.cells[i][0], ys.cells[i][0]}};
        const Coverage& mine = coverage[point.name];
        if (mine.usable < mine.runs) {
          point.missing = fmt::format("{} of {} runs", mine.usable, mine.runs);
        } else if (mine.layers.size() < layers.size()) {
          point.missing = fmt::format("{} of {} layers", mine.layers.size(), layers.size());
        }
        if (!point.drawable()) continue;
        seen.insert(point.name);
        out.push_back(std::move(point));
      }
    }
    for (const auto& [name, mine] : coverage)
      if (!seen.contains(name))
        lost.push_back(group_name.empty() ? name : fmt::format("{} ({})", name, group_name));
  }

  static void mark_front(std::vector<Point>& all, const std::array<bool, 2>& lower) {
    const auto worse = [&](const Point& a, const Point& b, std::size_t i) {
      return lower[i] ? a.at[i].mean > b.at[i].mean : a.at[i].mean < b.at[i].mean;
    };
    for (Point& point : all) {
      point.front = point.missing.empty() && std::none_of(all.begin(), all.end(), [&](const Point& other) {
                      return other.group == point.group && other.missing.empty() &&
                             (worse(point, other, 0) || worse(point, other, 1)) && !worse(other, point, 0) &&
                             !worse(other, point, 1);
                    });
    }
  }

  /// "lower is better in both"
  std::string directions(const std::array<bool, 2>& lower) const {
    const auto word = [](bool is_lower) { return is_lower ? "lower" : "higher"; };
    if (lower[0] == lower[1]) return fmt::format("{} is better in both", word(lower[0]));
    return fmt::format("{} {} and {} {} are better", word(lower[0]), x, word(lower[1]), y);
  }

  /// The corners of the front of one quantizer, from the far end of one axis to that of the other.
  static std::vector<std::vector<double>> stairs(const std::vector<Point>& all, std::size_t group,
                                                 const Axis& ax, const Axis& ay) {
    std::vector<std::array<double, 2>> front;
    for (const Point& point : all)
      if (point.front && point.group == group)
        front.push_back({ax.place(point.at[0].mean), ay.place(point.at[1].mean)});
    std::sort(front.begin(), front.end(), [&](const auto& a, const auto& b) {
      if (a[0] != b[0]) return ax.lower ? a[0] < b[0] : a[0] > b[0];
      return ay.lower ? a[1] > b[1] : a[1] < b[1];
    });
    std::vector<std::vector<double>> out;
    if (front.empty()) return out;
    out.push_back({front.front()[0], ay.lower ? ay.high : ay.low});
    for (std::size_t i = 0; i < front.size(); ++i) {
      if (i > 0) out.push_back({front[i][0], front[i - 1][1]});
      out.push_back({front[i][0], front[i][1]});
    }
    out.push_back({ax.lower ? ax.high : ax.low, front.back()[1]});
    return out;
  }

  Figure draw_points(const ChartInput& input, const std::vector<Point>& all,
                     const std::vector<std::string>& groups, const std::vector<std::string>& lost,
                     const std::array<bool, 2>& lower, const std::vector<const RunRecord*>& selected,
                     std::size_t total) const {
    const Axis ax = make_axis(all, 0, log == "x" || log == "xy", log == "auto", lower[0]);
    const Axis ay = make_axis(all, 1, log == "y" || log == "xy", log == "auto", lower[1]);
    std::vector<std::vector<std::vector<double>>> fronts;
    for (std::size_t g = 0; g < groups.size(); ++g) fronts.push_back(stairs(all, g, ax, ay));

    std::vector<std::string> names;
    for (const Point& point : all)
      names.push_back(point.missing.empty() ? point.name : fmt::format("{} ({})", point.name, point.missing));
    std::vector<Box> markers;
    std::vector<Box> lines;
    obstacles(all, fronts, ax, ay, markers, lines);
    // Names beside the points where they fit, else numbers and a list.
    std::optional<std::vector<Spot>> spots;
    std::vector<std::string> texts = names;
    if (std::all_of(names.begin(), names.end(), [](const std::string& n) { return text_length(n) <= kLong; }))
      spots = place_texts(widths_of(texts), markers, lines, true);
    const bool listed = !spots;
    if (listed) {
      for (std::size_t i = 0; i < texts.size(); ++i) texts[i] = std::to_string(i + 1);
      spots = place_texts(widths_of(texts), markers, lines, false);
    }
    const Legend legend = make_legend(all, groups, listed ? names : std::vector<std::string>());

    Figure figure;
    std::string detail;
    describe(input, all, groups, lost, lower, selected, total, figure, detail);
    const double bottom = kAxis + kRow * static_cast<double>(legend.rows) + (legend.rows > 0 ? 10 : 0);
    const double height = PlotScript::title_height(figure.title, detail, kWidth) + kFrame + bottom;
    std::set<std::string> used;
    PlotScript script(input.folder, figure_stem(input, {}, used), kWidth, static_cast<int>(height));
    figure.script = script.file();
    script.title(figure.title, detail);
    script.command("unset key")
        .command("set grid xtics ytics")
        .command(fmt::format("set lmargin at screen {:.5f}", kLeft / kWidth))
        .command(fmt::format("set rmargin at screen {:.5f}", 1 - kRight / kWidth))
        .command(fmt::format("set bmargin at screen {:.5f}", bottom / height));
    set_axis(script, "x", x, ax);
    set_axis(script, "y", y, ay);
    int tag = 1;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (!spots) break;  // hundreds in one place: the list is in the order of x
      label(script, tag++, texts[i], (*spots)[i], markers[i], all[i].front);
    }
    write_legend(script, legend, tag, height);
    plot(script, all, groups, fronts, ax, ay);
    script.close();
    return figure;
  }

  static std::vector<double> widths_of(const std::vector<std::string>& texts) {
    std::vector<double> out;
    out.reserve(texts.size());
    for (const std::string& text : texts) out.push_back(kLetter * static_cast<double>(text_length(text)) + 4);
    return out;
  }

  /// Where the points are, and the lines that texts should keep off: fronts and error bars.
  static void obstacles(const std::vector<Point>& all,
                        const std::vector<std::vector<std::vector<double>>>& fronts, const Axis& ax,
                        const Axis& ay, std::vector<Box>& markers, std::vector<Box>& lines) {
    constexpr double kFrameWidth = kWidth - kLeft - kRight;
    const auto across = [&](double placed) { return kFrameWidth * ax.part(placed); };
    const auto down = [&](double placed) { return kFrame * (1 - ay.part(placed)); };
    const auto line = [&](double x0, double y0, double x1, double y1) {
      lines.push_back(
          {std::min(x0, x1) - 1, std::min(y0, y1) - 1, std::max(x0, x1) + 1, std::max(y0, y1) + 1});
    };
    for (const Point& point : all) {
      const double px = across(ax.place(point.at[0].mean));
      const double py = down(ay.place(point.at[1].mean));
      markers.push_back({px - kMarker, py - kMarker, px + kMarker, py + kMarker});
      const auto [low_x, high_x] = ends(point.at[0], ax);
      const auto [low_y, high_y] = ends(point.at[1], ay);
      if (high_x > low_x) line(across(low_x), py, across(high_x), py);
      if (high_y > low_y) line(px, down(low_y), px, down(high_y));
    }
    for (const auto& front : fronts)
      for (std::size_t i = 1; i < front.size(); ++i)
        line(across(front[i - 1][0]), down(front[i - 1][1]), across(front[i][0]), down(front[i][1]));
  }

  static std::array<double, 2> ends(const Cell& cell, const Axis& axis) {
    const double middle = axis.place(cell.mean);
    if (!(deviation(cell) > 0)) return {middle, middle};
    return {axis.bar_end(cell.mean - deviation(cell)), axis.bar_end(cell.mean + deviation(cell))};
  }

  /// What stands below the frame: quantizers in rows of their own, then the list of names in columns.
  struct Legend {
    std::vector<std::string> groups;
    std::vector<std::string> names;
    std::vector<std::string> symbols;  ///< of the names: their points'
    std::vector<const char*> colours;  ///< of the names
    std::size_t columns = 1;
    std::size_t rows = 0;
  };

  static Legend make_legend(const std::vector<Point>& all, const std::vector<std::string>& groups,
                            const std::vector<std::string>& names) {
    Legend legend;
    if (groups.size() > 1) legend.groups = groups;
    std::size_t longest = 1;
    for (std::size_t i = 0; i < names.size(); ++i) {
      legend.names.push_back(fmt::format("{}  {}", i + 1, names[i]));
      legend.symbols.push_back(symbol(all[i].group, all[i].front));
      legend.colours.push_back(all[i].front ? plot_colour::kInk : plot_colour::kMuted);
      longest = std::max(longest, text_length(legend.names.back()));
    }
    legend.columns = std::clamp<std::size_t>(
        static_cast<std::size_t>((kWidth - 28) / (kLetter * static_cast<double>(longest + 4))), 1, 4);
    legend.rows = legend.groups.size() + (legend.names.size() + legend.columns - 1) / legend.columns;
    return legend;
  }

  static void write_legend(PlotScript& script, const Legend& legend, int tag, double height) {
    double y = kRow * static_cast<double>(legend.rows);  // of the row's middle, from below
    for (std::size_t g = 0; g < legend.groups.size(); ++g, y -= kRow)
      script.command(
          legend_line(tag++, legend.groups[g], 20, y / height, plot_colour::kInk, symbol(g, true)));
    const std::size_t rows = legend.rows - legend.groups.size();
    for (std::size_t i = 0; i < legend.names.size(); ++i) {
      const std::size_t column = i / rows;
      const double left =
          20 + (kWidth - 28.0) / static_cast<double>(legend.columns) * static_cast<double>(column);
      script.command(legend_line(tag++, legend.names[i], left,
                                 (y - kRow * static_cast<double>(i % rows)) / height, legend.colours[i],
                                 legend.symbols[i]));
    }
  }

  static std::string legend_line(int tag, const std::string& text, double left, double height,
                                 const char* colour, const std::string& symbol) {
    return fmt::format(
        "set label {} {} at screen {:.5f},{:.5f} left font ',10' textcolor rgb '{}' {} offset 1,-0.25", tag,
        PlotScript::quote(shorten(text, kLine)), left / kWidth, height, colour, symbol);
  }

  /// The point of a label in the legend.
  static std::string symbol(std::size_t group, bool filled) {
    return fmt::format("point lt 1 lc rgb '{}' pt {} ps 0.8 lw 1.4", plot_colour::category(group),
                       kShapes[group % kShapes.size()][filled ? 0 : 1]);
  }

  static void label(PlotScript& script, int tag, const std::string& text, const Spot& spot, const Box& marker,
                    bool front) {
    constexpr double kFrameWidth = kWidth - kLeft - kRight;
    const auto at = [](double across, double down) {
      return fmt::format("graph {:.5f},{:.5f}", across / kFrameWidth, 1 - down / kFrame);
    };
    const double middle = (spot.box.top + spot.box.bottom) / 2;
    script.command(fmt::format("set label {} {} at {} left font ',10' textcolor rgb '{}' front", tag,
                               PlotScript::quote(text), at(spot.box.left + 2, middle),
                               front ? plot_colour::kInk : plot_colour::kMuted));
    if (!spot.away) return;
    const auto [x0, y0, x1, y1] = leader(marker, spot.box);
    script.command(fmt::format("set arrow from {} to {} nohead lc rgb '{}' lw 0.6 back", at(x0, y0),
                               at(x1, y1), plot_colour::kMuted));
  }

  static void plot(PlotScript& script, const std::vector<Point>& all, const std::vector<std::string>& groups,
                   const std::vector<std::vector<std::vector<double>>>& fronts, const Axis& ax,
                   const Axis& ay) {
    std::vector<std::string> below;
    std::vector<std::string> above;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      std::vector<std::vector<double>> bars;
      std::array<std::vector<std::vector<double>>, 2> rows;  // front, dominated
      for (const Point& point : all) {
        if (point.group != g) continue;
        const std::array<double, 2> at{ax.place(point.at[0].mean), ay.place(point.at[1].mean)};
        rows[point.front ? 0 : 1].push_back({at[0], at[1]});
        const auto [low_x, high_x] = ends(point.at[0], ax);
        const auto [low_y, high_y] = ends(point.at[1], ay);
        if (high_x > low_x || high_y > low_y) bars.push_back({at[0], at[1], low_x, high_x, low_y, high_y});
      }
      const char* colour = plot_colour::category(g);
      if (!fronts[g].empty()) {
        script.data(fmt::format("stairs{}", g), fronts[g]);
        below.push_back(fmt::format("$stairs{} using 1:2 with lines lc rgb '{}' lw 1.6 dt 1", g, colour));
      }
      if (!bars.empty()) {
        script.data(fmt::format("bars{}", g), bars);
        below.push_back(fmt::format("$bars{} using 1:2:3:4:5:6 with xyerrorbars lc rgb '{}' lw 0.9 pt 0 ps 0",
                                    g, colour));
      }
      for (const std::size_t k : {std::size_t{1}, std::size_t{0}}) {
        if (rows[k].empty()) continue;
        const std::string name = fmt::format("{}{}", k == 0 ? "front" : "dominated", g);
        const auto& shape = kShapes[g % kShapes.size()];
        script.data(name, rows[k]);
        // Paper under a hollow point, so that no line runs through it.
        if (k == 1)
          above.push_back(fmt::format("${} using 1:2 with points pt {} ps 1 lc rgb '{}'", name, shape[0],
                                      plot_colour::kPaper));
        above.push_back(
            fmt::format("${} using 1:2 with points pt {} ps 1 lw 1.4 lc rgb '{}'", name, shape[k], colour));
      }
    }
    below.insert(below.end(), above.begin(), above.end());
    script.command(fmt::format("plot {}", fmt::join(below, ", ")));
  }

  /// Title, caption and the lines below the title.
  void describe(const ChartInput& input, const std::vector<Point>& all,
                const std::vector<std::string>& groups, const std::vector<std::string>& lost,
                const std::array<bool, 2>& lower, const std::vector<const RunRecord*>& selected,
                std::size_t total, Figure& figure, std::string& detail) const {
    std::vector<std::string> layers;
    for (const RunRecord* run : selected)
      if (std::find(layers.begin(), layers.end(), run->layer) == layers.end()) layers.push_back(run->layer);
    const std::string where = layers.size() == 1 ? layer_title(*selected.front())
                                                 : fmt::format("mean over {} layers ({})", layers.size(),
                                                               selected.front()->recording);
    std::size_t seeds = 0;
    bool partial = false;
    std::vector<std::string> winners;
    for (const Point& point : all) {
      seeds = std::max({seeds, point.at[0].seeds, point.at[1].seeds});
      partial = partial || !point.missing.empty();
      if (!point.front) continue;
      winners.push_back(groups.size() > 1 ? fmt::format("{} ({})", point.name, groups[point.group])
                                          : point.name);
    }
    const std::string bars = seeds > 1 ? fmt::format("bars: ± sd over up to {} seeds", seeds) : "one seed";
    const std::string per_quantizer = groups.size() > 1 ? ", one a quantizer" : "";
    std::vector<std::string> notes;
    if (partial) notes.emplace_back("Means over fewer runs or layers than the others' stay off the front");
    if (!lost.empty())
      notes.push_back(fmt::format("Not drawn, no finite values of both: {}", fmt::join(lost, ", ")));
    figure.title = fmt::format("{} against {}", y, x);
    detail = fmt::format("{}; {}\nfilled: Pareto front{}; {}", where, bars, per_quantizer, directions(lower));
    figure.caption = fmt::format("{} against {}, {}; {}.", y, x, where, bars);
    for (const std::string& value : {y, x}) {
      const std::string formula = definition_of(input, value);
      if (formula.empty()) continue;
      detail += fmt::format("\n{} = {}", value, formula);
      figure.caption += fmt::format(" {} = {}.", value, formula);
    }
    figure.caption += fmt::format(
        " Pareto front{} (no other is at least as good in both and better in one; {}): {}.", per_quantizer,
        directions(lower), winners.empty() ? "nobody" : fmt::format("{}", fmt::join(winners, "; ")));
    for (const std::string& note : notes) {
      detail += fmt::format("\n{}", shorten(note, 180));
      figure.caption += fmt::format(" {}.", note);
    }
    figure.caption +=
        left_out(all.size(), total, "points (all of the front)", "narrow 'method' or raise 'points'");
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(pareto) {
  using namespace olab;
  r.charts.add(
      Schema<Pareto>("pareto", "Two values against each other, one point a method, and the Pareto front")
          .param("x", &Pareto::x, "name of the value on the x axis")
          .param("y", &Pareto::y, "name of the value on the y axis")
          .param("series", &Pareto::series,
                 "field (or several, joined by ',') whose texts are the points; each quantizer has its own "
                 "front unless "
                 "its field is named here")
          .param("layer", &Pareto::layer, "layers to average (glob)")
          .param("method", &Pareto::method, "methods to draw (glob over label, name, canonical text)")
          .choice(
              "log", &Pareto::log,
              "logarithmic axes, with zeros set apart; auto: where positive values span a factor of 12. An "
              "axis with negative values stays linear",
              {"auto", "x", "y", "xy", "none"})
          .param("points", &Pareto::points, "points at most; those of the front are always drawn", 1, 400));
}

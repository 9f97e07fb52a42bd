#include "core/text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/error.hpp"

namespace olab {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// `{a,b}` is expanded first; what is left has only * and ?.
void expand_braces(std::string_view pattern, std::vector<std::string>& out) {
  const auto open = pattern.find('{');
  const auto close = pattern.find('}', open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || close == std::string_view::npos) {
    out.emplace_back(pattern);
    return;
  }
  for (const std::string& part : split(pattern.substr(open + 1, close - open - 1), ','))
    expand_braces(std::string(pattern.substr(0, open)) + part + std::string(pattern.substr(close + 1)), out);
}

bool match_plain(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> out;
  for (std::size_t from = 0;;) {
    const auto at = text.find(separator, from);
    out.emplace_back(text.substr(from, at == std::string_view::npos ? at : at - from));
    if (at == std::string_view::npos) return out;
    from = at + 1;
  }
}

std::vector<std::string> split_top_level(std::string_view text, char separator) {
  std::vector<std::string> out;
  std::string open;
  char quote = 0;
  std::size_t from = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '(' || c == '[' || c == '{') {
      open.push_back(c);
    } else if (c == ')' || c == ']' || c == '}') {
      const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
      if (open.empty() || open.back() != wanted)
        throw Error(fmt::format("'{}': '{}' at position {} closes nothing", text, c, i));
      open.pop_back();
    } else if (c == separator && open.empty()) {
      out.emplace_back(trim(text.substr(from, i - from)));
      from = i + 1;
    }
  }
  if (!open.empty()) throw Error(fmt::format("'{}': a '{}' is never closed", text, open.back()));
  if (quote != 0) throw Error(fmt::format("'{}': a {} is never closed", text, quote));
  out.emplace_back(trim(text.substr(from)));
  return out;
}

std::string nearest(std::string_view name, std::span<const std::string> known) {
  std::size_t best = std::max<std::size_t>(2, name.size() / 3) + 1;
  std::string found;
  for (const std::string& k : known) {
    // A name cut short is nearer than any slip: "block" means "block_size".
    const std::size_t d = name.size() >= 3 && k.starts_with(name) ? 1 : edit_distance(name, k);
    if (d < best) {
      best = d;
      found = k;
    }
  }
  return found;
}

std::string suggestion(std::string_view name, std::span<const std::string> known) {
  if (known.empty()) return "; there are none";
  const std::string near = nearest(name, known);
  constexpr std::size_t kShown = 20;  // a longer list hides what matters
  std::string list = fmt::format("{}", fmt::join(known.first(std::min(known.size(), kShown)), ", "));
  if (known.size() > kShown) list += fmt::format(" and {} more", known.size() - kShown);
  if (near.empty()) return "; known: " + list;
  return fmt::format("; did you mean '{}'?{}", near, known.size() > kShown ? "" : " Known: " + list);
}

bool glob_match(std::string_view pattern, std::string_view text) {
  std::vector<std::string> plain;
  expand_braces(pattern, plain);
  return std::ranges::any_of(plain, [&](const std::string& p) { return match_plain(p, text); });
}

std::string to_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return fmt::format("{}", value);
}

bool parse_double(std::string_view text, double& out) {
  text = trim(text);
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  if (text == ".inf" || text == ".nan" || text == "-.inf")
    return parse_double(text == "-.inf" ? "-inf" : text.substr(1), out);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_integer(std::string_view text, std::int64_t& out) {
  text = trim(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

std::string human_bytes(double bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  while (bytes >= 1024.0 && unit + 1 < kUnits.size()) {
    bytes /= 1024.0;
    ++unit;
  }
  const int digits = unit == 0 || bytes >= 100 ? 0 : 1;
  return fmt::format("{:.{}f} {}", bytes, digits, kUnits.at(unit));
}

std::string human_seconds(double seconds) {
  if (!(seconds >= 0)) return "?";
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<long>(std::lround(seconds));
  if (whole < 3600) return fmt::format("{} min {:02d} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02d} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace olab

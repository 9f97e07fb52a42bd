#include "results/report_parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "results/plot_script.hpp"

namespace olab {
namespace {

using Attribute = std::pair<std::string, std::string>;

struct Tag {
  std::string name;  ///< "/g" for an end
  std::vector<Attribute> attributes;
  bool closed = false;  ///< ends with "/>"
};

/// Reads what stands between "<" and ">".
Tag parse_tag(std::string_view text) {
  Tag tag;
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  if (!text.empty() && text.back() == '/') {
    tag.closed = true;
    text.remove_suffix(1);
  }
  std::size_t i = 0;
  while (i < text.size() && !is_space(text[i])) tag.name += text[i++];
  while (i < text.size()) {
    while (i < text.size() && is_space(text[i])) ++i;
    std::string name;
    while (i < text.size() && !is_space(text[i]) && text[i] != '=') name += text[i++];
    while (i < text.size() && is_space(text[i])) ++i;
    if (i >= text.size() || text[i] != '=') {
      if (!name.empty()) tag.attributes.emplace_back(std::move(name), "");
      continue;
    }
    ++i;
    while (i < text.size() && is_space(text[i])) ++i;
    std::string value;
    if (i < text.size() && (text[i] == '"' || text[i] == '\'')) {
      const char quote = text[i++];
      while (i < text.size() && text[i] != quote) value += text[i++];
      ++i;
    } else {
      while (i < text.size() && !is_space(text[i])) value += text[i++];
    }
    if (!name.empty()) tag.attributes.emplace_back(std::move(name), std::move(value));
  }
  return tag;
}

/// "#rrggbb", or gnuplot's "rgb( 87,  96, 106)" brought to it; other colours as they are.
std::string canonical_colour(const std::string& text) {
  if (text == "black") return "#000000";
  if (!text.starts_with("rgb(")) return text;
  std::array<int, 3> parts{};
  std::size_t part = 0;
  for (const char c : text) {
    if (c == ',') ++part;
    if (part > 2) return text;
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) parts[part] = parts[part] * 10 + (c - '0');
  }
  return fmt::format("#{:02x}{:02x}{:02x}", parts[0], parts[1], parts[2]);
}

std::string themed(const std::string& colour) {
  static constexpr std::array<std::pair<const char*, const char*>, 7> kTheme{
      {{plot_colour::kInk, "var(--ink)"},
       {"#000000", "var(--ink)"},
       {plot_colour::kMuted, "var(--muted)"},
       {plot_colour::kGrid, "var(--grid)"},
       {plot_colour::kPaper, "var(--card)"},
       {plot_colour::kEmpty, "var(--soft)"},
       {plot_colour::kBefore, "var(--before)"}}};
  const std::string canonical = canonical_colour(colour);
  for (const auto& [from, to] : kTheme)
    if (canonical == from) return to;
  return colour;
}

/// Names inside of url(#name) get the prefix.
std::string prefixed_urls(const std::string& value, std::string_view prefix) {
  std::string out;
  std::size_t from = 0;
  for (;;) {
    const auto at = value.find("url(#", from);
    if (at == std::string::npos) return out + value.substr(from);
    out += value.substr(from, at + 5 - from);
    out += prefix;
    from = at + 5;
  }
}

std::string rewritten(const Tag& tag, std::string_view prefix, std::string_view label) {
  std::string out = fmt::format("<{}", tag.name);
  const auto add = [&](std::string_view name, std::string_view value) {
    out += fmt::format(" {}=\"", name);
    for (const char c : value) {  // entities in it are as they were
      if (c == '"') {
        out += "&quot;";
      } else {
        out += c;
      }
    }
    out += '"';
  };
  for (const auto& [name, value] : tag.attributes) {
    if (name.starts_with("xmlns") || name.starts_with("on")) continue;
    if (name == "id") {
      add("id", std::string(prefix) + value);
    } else if (name == "href" || name == "xlink:href") {
      if (value.starts_with("#")) add("href", fmt::format("#{}{}", prefix, value.substr(1)));
      if (value.starts_with("data:image/")) add("href", value);
    } else if (name == "fill" || name == "stroke" || name == "color") {
      add(name, themed(prefixed_urls(value, prefix)));
    } else if (tag.name == "svg" && (name == "width" || name == "height")) {
      continue;  // the page scales it by its viewBox
    } else {
      add(name, prefixed_urls(value, prefix));
    }
  }
  if (tag.name == "svg") {
    add("role", "img");
    add("aria-label", escape_html(label));
  }
  return out + (tag.closed ? "/>" : ">");
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\n':
      case '\t':
        out += c;
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    }
  }
  return out;
}

std::string inline_svg(std::string_view svg, std::string_view prefix, std::string_view label) {
  std::string out;
  out.reserve(svg.size());
  std::size_t i = 0;
  std::string dropped;  // the element inside of which nothing is copied
  while (i < svg.size()) {
    if (svg[i] != '<') {
      const auto next = std::min(svg.find('<', i), svg.size());
      if (dropped.empty()) out += svg.substr(i, next - i);
      i = next;
      continue;
    }
    if (svg.substr(i).starts_with("<!--")) {
      const auto end = svg.find("-->", i);
      i = end == std::string_view::npos ? svg.size() : end + 3;
      continue;
    }
    std::size_t end = i + 1;
    char quote = 0;
    for (; end < svg.size() && (quote != 0 || svg[end] != '>'); ++end) {
      if (quote == 0 && (svg[end] == '"' || svg[end] == '\'')) {
        quote = svg[end];
      } else if (svg[end] == quote) {
        quote = 0;
      }
    }
    if (end >= svg.size()) break;
    const std::string_view inside = svg.substr(i + 1, end - i - 1);
    i = end + 1;
    if (inside.starts_with("?") || inside.starts_with("!")) continue;
    const Tag tag = parse_tag(inside);
    if (!dropped.empty()) {
      if (tag.name == "/" + dropped) dropped.clear();
      continue;
    }
    // gnuplot's <title> and <desc> would show as "Gnuplot" under the pointer.
    if (tag.name == "script" || tag.name == "title" || tag.name == "desc" || tag.name == "foreignObject") {
      if (!tag.closed) dropped = tag.name;
      continue;
    }
    out += rewritten(tag, prefix, label);
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned value = 0;
    for (std::size_t k = 0; k < 3; ++k)
      value = value * 256 + (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kDigits[(value >> (18 - 6 * k)) & 63U] : '=';
  }
  return out;
}

std::string_view report_style() {
  return R"css(
:root {
  color-scheme: light dark;
  --ink: #24292f; --muted: #57606a; --grid: #d0d7de; --soft: #eaeef2; --before: #c4ccd4; --card: #ffffff; --page: #f6f8fa;
  --accent: #0b5cad; --best: #dcefe6; --best-ink: #0b5d3f; --bad: #fdeae2; --bad-ink: #9a3412;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6edf3; --muted: #9da7b1; --grid: #363d46; --soft: #262c34; --before: #434c56; --card: #161b22; --page: #0d1117;
    --accent: #6cb0f5; --best: #12392b; --best-ink: #8fdcb6; --bad: #432014; --bad-ink: #ffb08a;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 var(--sans); }
main, header, footer { max-width: 1280px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 44px; }
h1 { margin: 0 0 8px; font-size: 2rem; line-height: 1.2; letter-spacing: -0.015em; overflow-wrap: anywhere; }
h2 { margin: 52px 0 14px; font-size: 1.3rem; letter-spacing: -0.01em; }
h3 { margin: 0 0 4px; font-size: 1.02rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
p { margin: 0 0 12px; }
.lead { max-width: 46em; color: var(--muted); white-space: pre-line; overflow-wrap: anywhere; }
.note { color: var(--muted); font-size: 0.875rem; margin: 0 0 10px; overflow-wrap: anywhere; }
nav { margin: 18px 0 0; display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 0.925rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.facts { display: flex; flex-wrap: wrap; gap: 10px; margin: 22px 0 0; padding: 0; list-style: none; }
.facts li { background: var(--card); border: 1px solid var(--grid); border-radius: 8px; padding: 8px 16px; }
.facts b { display: block; font-size: 1.3rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.facts span { color: var(--muted); font-size: 0.8125rem; }
.facts .bad { background: var(--bad); border-color: transparent; }
.facts .bad b, .facts .bad span { color: var(--bad-ink); }
.card { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 18px 20px;
  margin: 0 0 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--soft); }
th.t, td.t { text-align: left; }
thead th { border-bottom: 1.5px solid var(--muted); vertical-align: bottom; font-weight: 600; }
tbody th { font-weight: 500; text-align: left; position: sticky; left: 0; background: var(--card); }
tbody tr:hover, tbody tr:hover th { background: var(--soft); }
td.wrap { white-space: normal; min-width: 22em; overflow-wrap: anywhere; }
th button { all: unset; cursor: pointer; font: inherit; }
th button:focus-visible, input:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
th button::after { content: "\2195"; margin-left: 5px; opacity: 0.35; font-size: 0.8em; }
th[aria-sort="ascending"] button::after { content: "\2191"; opacity: 1; }
th[aria-sort="descending"] button::after { content: "\2193"; opacity: 1; }
.sd { color: var(--muted); }
.best { background: var(--best); color: var(--best-ink); font-weight: 650; }
.best .sd { color: inherit; font-weight: 400; }
.failed { color: var(--bad-ink); background: var(--bad); border-radius: 4px; padding: 1px 6px;
  font-size: 0.8125rem; }
.hidden-text { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); gap: 20px;
  align-items: start; }
figure { margin: 0; padding: 14px; min-width: 0; }
.figures .card { margin: 0; }
figure svg, figure img { display: block; width: 100%; height: auto; border-radius: 6px; }
figure svg { overflow: visible; }
figure svg text, figure svg tspan { font-family: Arial, Helvetica, "Liberation Sans", sans-serif; }
figure img { background: #ffffff; }
figcaption { margin-top: 10px; color: var(--muted); font-size: 0.84rem; overflow-wrap: anywhere; }
.message { background: var(--bad); color: var(--bad-ink); border-radius: 6px; padding: 10px 14px;
  font-size: 0.875rem; overflow-wrap: anywhere; margin: 8px 0; }
pre { margin: 0; overflow-x: auto; font: 0.84rem/1.55 var(--mono); }
code { font-family: var(--mono); font-size: 0.9em; overflow-wrap: anywhere; }
dl { margin: 0; display: grid; grid-template-columns: minmax(9em, max-content) 1fr; gap: 8px 20px; }
dt { font-family: var(--mono); font-size: 0.84rem; padding-top: 2px; overflow-wrap: anywhere; }
dd { margin: 0; font-size: 0.925rem; overflow-wrap: anywhere; }
input[type="search"] { width: min(100%, 30em); padding: 8px 12px; font: inherit; font-size: 0.925rem;
  color: inherit; background: var(--page); border: 1px solid var(--grid); border-radius: 8px; margin: 0 12px 12px 0; }
.count { color: var(--muted); font-size: 0.84rem; }
.long { max-height: 34rem; overflow: auto; }
.long thead th { position: sticky; top: 0; background: var(--card); box-shadow: inset 0 -1.5px var(--muted);
  border-bottom: 0; }
footer { padding-top: 36px; padding-bottom: 44px; color: var(--muted); font-size: 0.84rem; }
@media (max-width: 640px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  header { padding-top: 26px; }
  h1 { font-size: 1.5rem; }
  .card { padding: 14px; border-radius: 8px; }
  figure { padding: 8px; }
  dl { grid-template-columns: 1fr; gap: 2px; }
  dd { margin-bottom: 10px; }
  tbody th { white-space: normal; min-width: 9em; max-width: 14em; overflow-wrap: anywhere; }
  th, td { padding: 5px 8px; }
}
@media print {
  :root { --ink: #000000; --muted: #444444; --grid: #bbbbbb; --soft: #e4e4e4; --before: #cccccc; --card: #ffffff; --page: #ffffff;
    --accent: #000000; --best: #e4e4e4; --best-ink: #000000; --bad: #ffffff; --bad-ink: #000000; }
  body { font-size: 10pt; }
  main, header, footer { max-width: none; padding: 0; }
  nav, input[type="search"], .count { display: none; }
  th button::after { content: none; }
  .card { border: 0; padding: 0; }
  .long { max-height: none; overflow: visible; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: 3px 6px; }
  .wide { font-size: 6pt; }
  .wide th, .wide td { white-space: normal; overflow-wrap: anywhere; padding: 2px 4px; }
  .figures { grid-template-columns: 1fr 1fr; }
  figure, .keep { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
)css";
}

std::string_view report_script() {
  return R"js(
"use strict";
// Numbers are sorted by data-v, texts by what is shown; cells without a value stay at the end.
function key(row, column) {
  const cell = row.cells[column];
  if (!cell) return null;
  if (cell.dataset.v !== undefined) {
    const v = { inf: Infinity, "-inf": -Infinity }[cell.dataset.v];
    const number = v === undefined ? parseFloat(cell.dataset.v) : v;
    return Number.isNaN(number) ? null : number;
  }
  const text = cell.textContent.trim();
  return text === "" || text === "–" || cell.querySelector(".failed") ? null : text;
}
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a < b ? -1 : a > b ? 1 : 0;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
document.querySelectorAll("table.sortable thead button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    head.parentNode.querySelectorAll("th").forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = Array.from(body.rows, (row, place) => ({ row, place, k: key(row, column) }));
    rows.sort((a, b) => {
      if (a.k === null || b.k === null) return (a.k === null) - (b.k === null) || a.place - b.place;
      return (down ? compare(b.k, a.k) : compare(a.k, b.k)) || a.place - b.place;
    });
    body.append(...rows.map((entry) => entry.row));
  });
});
document.querySelectorAll("input[data-filter]").forEach((input) => {
  const table = document.getElementById(input.dataset.filter);
  const count = document.getElementById(input.dataset.filter + "-count");
  const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, text } of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    count.textContent = shown + " of " + rows.length + " runs";
  };
  input.addEventListener("input", apply);
  apply();
});
)js";
}

}  // namespace olab

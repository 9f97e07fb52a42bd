#include "results/table_grid.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/text.hpp"

namespace olab {
namespace {

// Characters on the screen, for texts of one column a code point.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

// Line breaks and tabs become spaces; other control characters could steer a terminal.
std::string one_line(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    if (c == '\n' || c == '\r' || c == '\t')
      out.push_back(' ');
    else
      out.push_back(static_cast<unsigned char>(c) < 0x20U || c == 0x7f ? '?' : c);
  }
  return out;
}

std::string escape_csv(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  return out + "\"";
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0;
}

std::string escape_markdown(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    if (c == '\n' || c == '\r') {
      out += "<br>";
      continue;
    }
    // Inside a word an underscore is only itself: "block_size" stays readable in the source.
    const bool inside_word = i > 0 && i + 1 < text.size() && is_word(text[i - 1]) && is_word(text[i + 1]);
    if (std::string_view("\\|*`<[]~").find(c) != std::string_view::npos || (c == '_' && !inside_word))
      out.push_back('\\');
    out.push_back(static_cast<unsigned char>(c) < 0x20U ? ' ' : c);
  }
  return out;
}

std::string escape_latex(const std::string& text) {
  std::string out;
  for (const char c : one_line(text)) {
    switch (c) {
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '<':
        out += "\\textless{}";
        break;
      case '>':
        out += "\\textgreater{}";
        break;
      case '|':
        out += "\\textbar{}";
        break;
      // At the start of a row these two would be arguments of the line break above.
      case '[':
      case '*':
        out += std::string{'{', c, '}'};
        break;
      case '{':
      case '}':
      case '$':
      case '&':
      case '#':
      case '%':
      case '_':
        out.push_back('\\');
        out.push_back(c);
        break;
      default:
        out.push_back(c);
    }
  }
  return out;
}

std::string four_digits(double value) {
  if (!std::isfinite(value)) return to_text(value);
  if (value == std::trunc(value) && std::abs(value) < 1e6) return fmt::format("{}", std::lround(value));
  std::string text = fmt::format("{:#.4g}", value);
  const std::size_t sign = value < 0 ? 1 : 0;
  if (text.ends_with(".0") && text.size() == sign + 6) text.resize(sign + 4);  // fmt writes "1235.0"
  return text;
}

std::string latex_number(double value) {
  if (std::isnan(value)) return "\\mathrm{nan}";
  if (std::isinf(value)) return value > 0 ? "\\infty" : "-\\infty";
  std::string text = four_digits(value);
  const auto exponent = text.find('e');
  if (exponent == std::string::npos) return text;
  std::int64_t power = 0;
  const std::string_view digits = std::string_view(text).substr(exponent + 1);
  parse_integer(digits.front() == '+' ? digits.substr(1) : digits, power);
  return fmt::format("{} \\times 10^{{{}}}", text.substr(0, exponent), power);
}

// Every cell in the format's notation, each row as long as the header.
std::vector<std::vector<std::string>> escaped_rows(const Grid& grid, Format format) {
  std::vector<std::vector<std::string>> out;
  out.reserve(grid.rows.size());
  for (const std::vector<GridCell>& row : grid.rows) {
    std::vector<std::string>& cells = out.emplace_back();
    for (const GridCell& cell : row) cells.push_back(cell.ready ? cell.text : escape_cell(cell.text, format));
    cells.resize(grid.header.size());
  }
  return out;
}

std::string joined(const std::vector<std::string>& cells, std::string_view begin, std::string_view between,
                   std::string_view end) {
  return fmt::format("{}{}{}", begin, fmt::join(cells, between), end);
}

std::string render_text(const std::string& title, const std::vector<std::string>& header,
                        const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& numeric) {
  std::vector<std::size_t> widths;
  widths.reserve(header.size());
  for (const std::string& name : header) widths.push_back(width(name));
  for (const auto& row : rows)
    for (std::size_t j = 0; j < row.size(); ++j) widths[j] = std::max(widths[j], width(row[j]));
  std::string out = title.empty() ? "" : one_line(title) + "\n\n";
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t j = 0; j < cells.size(); ++j) {
      const std::string pad(widths[j] - width(cells[j]), ' ');
      if (j > 0) text += "  ";
      text += numeric[j] ? pad + cells[j] : cells[j] + pad;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  line(header);
  std::vector<std::string> rule;
  rule.reserve(widths.size());
  for (const std::size_t w : widths) rule.emplace_back(w, '-');
  line(rule);
  for (const auto& row : rows) line(row);
  if (rows.empty()) out += "(none)\n";
  return out;
}

}  // namespace

std::string escape_cell(const std::string& text, Format format) {
  switch (format) {
    case Format::text:
      return one_line(text);
    case Format::csv:
      return escape_csv(text);
    case Format::markdown:
      return escape_markdown(text);
    case Format::latex:
      return escape_latex(text);
    case Format::json:
      break;
  }
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string show_number(double value, Format format) {
  switch (format) {
    case Format::text:
    case Format::markdown:
      return four_digits(value);
    case Format::latex:
      return latex_number(value);
    case Format::csv:
      return to_text(value);
    case Format::json:
      break;
  }
  if (value == 0 && std::signbit(value))
    return "-0.0";  // readers take "-0" for a whole number without a sign
  return std::isfinite(value) ? to_text(value) : '"' + to_text(value) + '"';
}

GridCell number_cell(double value, Format format) {
  const std::string text = show_number(value, format);
  return {format == Format::latex ? "$" + text + "$" : text, true};
}

std::string render_grid(const Grid& grid, Format format) {
  const std::vector<std::vector<std::string>> rows = escaped_rows(grid, format);
  std::vector<std::string> header;
  header.reserve(grid.header.size());
  for (const std::string& name : grid.header) header.push_back(escape_cell(name, format));
  std::vector<bool> numeric = grid.numeric;
  numeric.resize(header.size());
  std::string out;
  switch (format) {
    case Format::text:
      return render_text(grid.title, header, rows, numeric);
    case Format::csv:
      out = joined(header, "", ",", "\n");
      for (const auto& row : rows) out += joined(row, "", ",", "\n");
      return out;
    case Format::markdown: {
      if (!grid.title.empty()) out += fmt::format("**{}**\n\n", escape_markdown(one_line(grid.title)));
      out += joined(header, "| ", " | ", " |\n");
      for (const bool right : numeric) out += right ? "|---:" : "|:---";
      out += "|\n";
      for (const auto& row : rows) out += joined(row, "| ", " | ", " |\n");
      return out;
    }
    case Format::latex: {
      if (!grid.title.empty()) out += fmt::format("% {}\n", one_line(grid.title));
      out += "% needs \\usepackage{booktabs}\n\\begin{tabular}{";
      for (const bool right : numeric) out.push_back(right ? 'r' : 'l');
      out += joined(header, "}\n\\toprule\n", " & ", " \\\\\n\\midrule\n");
      for (const auto& row : rows) out += joined(row, "", " & ", " \\\\\n");
      return out + "\\bottomrule\n\\end{tabular}\n";
    }
    case Format::json:
      break;
  }
  for (const auto& row : rows) {
    std::string object;
    for (std::size_t j = 0; j < row.size(); ++j)
      object += fmt::format("{}{}: {}", j > 0 ? ", " : "", header[j], row[j]);
    out += fmt::format("{}{{{}}}", out.empty() ? "" : ",\n", object);
  }
  return "[" + out + "]\n";
}

}  // namespace olab

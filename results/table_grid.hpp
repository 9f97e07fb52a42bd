// Rows and columns of texts, printed in any format: what tables, exports and listings share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "results/table.hpp"

namespace olab {

struct GridCell {
  GridCell() = default;
  GridCell(std::string plain) : text(std::move(plain)) {}
  GridCell(const char* plain) : text(plain) {}
  GridCell(std::string shown, bool is_ready) : text(std::move(shown)), ready(is_ready) {}
  GridCell(std::string, const char*) = delete;  // a literal would be taken for `true`

  std::string text;
  bool ready = false;  ///< in the format's own notation already; else it is escaped
};

struct Grid {
  std::string title;                ///< may be empty
  std::vector<std::string> header;  ///< one a column
  std::vector<bool> numeric;        ///< columns to align to the right; may be shorter than `header`
  std::vector<std::vector<GridCell>> rows;
};

/// Text: aligned columns under a rule. Markdown: a pipe table. LaTeX: a tabular for booktabs. CSV: no title.
/// JSON: an array of objects of texts.
std::string render_grid(const Grid& grid, Format format);

/// A number as `format` shows it: four significant digits in text, Markdown and LaTeX ("0.03821",
/// "1.200e-05", "12", "nan"; for LaTeX's math mode), all digits in CSV and JSON.
std::string show_number(double value, Format format);

/// `show_number` as a cell; LaTeX sets it in math mode.
GridCell number_cell(double value, Format format);

/// A text in `format`'s notation, safe inside a cell: quoted, escaped, line breaks removed where the format
/// has none.
std::string escape_cell(const std::string& text, Format format);

}  // namespace olab

// Tables over stored runs.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "results/store.hpp"

namespace olab {

/// Which runs' field makes the rows, which the columns, which value fills the cells.
/// Fields: method (the label), method_name, method_text, layer, layer_kind, seed, activation, weight, status,
/// recording, the other columns of `export_runs` (id, key, in_features, commit, host, …), or the name of a
/// parameter ("block_size", "activation.bits"). Several fields join with ",": "method,block_size".
struct TableSpec {
  std::string rows = "method";         ///< as columns
  std::string columns = "layer_kind";  ///< "" or "none": one column
  std::string value = "output.nmse";
  std::string title;
};

/// Statistics of the runs that fall into a cell: values are averaged over layers within each seed first, then
/// mean and sample standard deviation are taken over seeds.
struct Cell {
  std::size_t runs = 0;    ///< finished runs with this value
  std::size_t failed = 0;  ///< failed runs that would have been here
  std::size_t seeds = 0;
  double mean = 0;       ///< NaN where runs = 0
  double deviation = 0;  ///< NaN with fewer than two seeds
};

enum class Format { text, csv, json, markdown, latex };

/// The cell that finished runs make; those without the value are left out.
Cell make_cell(std::span<const RunRecord> runs, const std::string& value);
/// "0.01234 ± 0.0005"; "-" without runs.
std::string cell_text(const Cell& cell, Format format);

struct Table {
  std::string title;
  std::string corner;                  ///< what the first column holds
  std::string value;                   ///< what the cells hold
  std::vector<std::string> row_names;  ///< in order of first appearance
  std::vector<std::string> column_names;
  std::vector<std::vector<Cell>> cells;  ///< [row][column]
};

/// The field of a run as a text ("" where it has none). A parameter that is named like a field is found as
/// "param.<name>".
std::string run_field(const RunRecord& run, const std::string& field);

/// Error where none of the finished runs has this value, with the nearest name that one has. Without finished
/// runs anything may be.
void check_value(std::span<const RunRecord> runs, const std::string& value);

/// Finished and failed runs only: what still runs or was interrupted has nothing to show. A run that lacks a
/// field has "-" for it. Error where a field exists in none of the runs, or the value in none of the finished
/// ones (with the nearest name that does). Without runs the table is empty; where all failed, its cells say
/// so.
Table make_table(std::span<const RunRecord> runs, const TableSpec& spec);

/// "text", "csv", "json", "md" or "markdown", "latex"; Error with the known names on any other.
Format parse_format(const std::string& name);

// All formats: UTF-8, lines end with "\n". Text, Markdown and LaTeX show four significant digits (whole
// numbers below a million in full); CSV and JSON have all digits that are needed to read the same double
// back. CSV quotes as RFC 4180 does, with its header in the first line. JSON has no NaN and no infinities:
// they are the texts "nan", "inf" and "-inf" there (and in CSV); null (an empty CSV field) stands where there
// is no number at all. LaTeX is one tabular for booktabs.

/// What the ± of a table's cells is, and over how many seeds: "± is the sample standard deviation over 3
/// seeds, of means over layers"; "" where no cell holds several seeds.
std::string deviation_note(const Table& table);

/// Text, Markdown and LaTeX: mean ± sd, the number of failed runs beside it; where a cell has a ±, the
/// `deviation_note` follows (LaTeX: as a comment). The best mean of a column is
/// marked (text: *, others: bold) where `better` is "lower" or "higher" and at least two cells of it have
/// numbers. Error on a `better` that is neither these nor "none" or "". CSV: one cell a line, tidy. JSON: an
/// object with the same cells as a list.
std::string render_table(const Table& table, Format format, const std::string& better = "none");

/// Every run a row, every value a column. CSV and JSON (an array of flat objects, all with the same keys):
/// all fields, then parameters (texts), then values. Text, Markdown and LaTeX are for reading: they leave out
/// what is in the label or long (parameters, hashes, canonical texts, provenance).
std::string export_runs(std::span<const RunRecord> runs, Format format);

/// Two runs side by side: parameters that differ, then every value with difference (b - a) and ratio (b / a).
std::string compare_runs(const RunRecord& a, const RunRecord& b, Format format);

}  // namespace olab

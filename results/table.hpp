// Tables over stored runs.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "results/store.hpp"

namespace olab {

/// Which runs' field makes the rows, which the columns, which value fills the cells.
/// Fields: method (the label), layer, layer_kind, seed, activation, weight, status, recording, or the name of
/// a parameter ("block_size", "activation.bits"). Several fields join with ",": "method,block_size".
struct TableSpec {
  std::string rows = "method";
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

struct Table {
  std::string title;
  std::string corner;                  ///< what the first column holds
  std::string value;                   ///< what the cells hold
  std::vector<std::string> row_names;  ///< in order of first appearance
  std::vector<std::string> column_names;
  std::vector<std::vector<Cell>> cells;  ///< [row][column]
};

/// The field of a run as a text ("" where it has none).
std::string run_field(const RunRecord& run, const std::string& field);

/// Error where a field or the value exists in none of the runs (with the nearest name that does).
Table make_table(std::span<const RunRecord> runs, const TableSpec& spec);

enum class Format { text, csv, json, markdown, latex };
/// Error with the known names on any other.
Format parse_format(const std::string& name);

/// Text, Markdown and LaTeX: mean ± sd to four significant digits; CSV and JSON: all digits. The best cell of
/// a column is marked in text, Markdown and LaTeX where `better` is "lower" or "higher".
std::string render_table(const Table& table, Format format, const std::string& better = "none");

/// Every run a row, every value a column.
std::string export_runs(std::span<const RunRecord> runs, Format format);

/// Two runs side by side: parameters that differ, then every value with difference and ratio.
std::string compare_runs(const RunRecord& a, const RunRecord& b, Format format);

}  // namespace olab

// One self-contained HTML page for a study.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "results/chart.hpp"
#include "results/table.hpp"
#include "results/table_grid.hpp"

namespace olab {

struct ReportTable {
  Table table;
  std::string better;      ///< lower | higher | none
  std::string definition;  ///< of the value
};

/// A part of a page that was computed: a text with tables of texts.
struct ReportSection {
  std::string title;
  std::vector<std::string> paragraphs;
  std::vector<Grid> grids;  ///< each with its title
};

/// The sections as Markdown, or as text for a terminal.
std::string render_sections(const std::vector<ReportSection>& sections, Format format);

struct Report {
  std::string study;
  std::string description;
  std::string study_text;  ///< YAML
  std::string command;     ///< what reproduces it
  std::vector<ReportSection> sections;
  std::vector<ReportTable> tables;
  std::vector<DrawnFigure> figures;
  std::vector<RunRecord> runs;
  std::vector<std::pair<std::string, std::string>> definitions;  ///< metric name, formula
};

/// Writes the page: summary, sortable tables, figures inline (SVG; PNG for surfaces where the SVG is larger
/// than 1 MiB), failed runs with their errors, all runs, definitions, provenance. No external resource, works
/// without a network and prints well; dark and light.
void write_report(const Report& report, const std::filesystem::path& file);

}  // namespace olab

// What a study ends with: tables, charts, a report; all of them read the store only.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/study.hpp"
#include "results/report.hpp"

namespace olab {

/// Whether a stored value is a time: another run of the same gives another number.
bool is_timing(const std::string& value, const Registries& r);

/// lower | higher | none, the formula and the unit, for a stored value ("output.nmse").
struct ValueFacts {
  std::string better = "none";
  std::string definition;
  std::string unit;
};
ValueFacts value_facts(const std::string& value, const Registries& r);

/// A table of stored runs. Where the runs hold several quantizers and the table names none of their
/// parameters, those parameters join the columns, so that a cell never mixes them.
Table study_table(const std::vector<RunRecord>& runs, TableSpec spec,
                  const std::vector<std::string>& quantizer_axes);

struct ViewPaths {
  std::filesystem::path database;
  std::filesystem::path charts;
  std::filesystem::path report;
};
/// Where the views of a study go below the output folder.
ViewPaths view_paths(const std::filesystem::path& out, const std::filesystem::path& database,
                     const std::string& study);

struct Views {
  std::vector<ReportTable> tables;
  std::vector<DrawnFigure> figures;
  std::vector<std::string> warnings;  ///< charts that could not be drawn and why; numbers are safe
  bool redrawn = false;               ///< false: the files of an earlier start still fit
};

/// Tables, and charts and report as files. Nothing is drawn again when the study and its runs did not change
/// and the files are there, unless `redraw`. `sections` stand first in the report.
Views make_views(const Study& study, const Store& store, const ViewPaths& paths, const Registries& r,
                 bool redraw, const std::string& command, const std::vector<ReportSection>& sections = {});

/// The text form of a study's tables.
std::string render_tables(const Views& views, Format format);

}  // namespace olab

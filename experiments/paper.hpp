// Published tables beside measured ones, and questions that nobody printed: what `olab reproduce` runs.
//
// A file of experiments/paper/:
//
//   paper: table-6                    # the name; its study is "paper-table-6"
//   title: one line
//   source: where the numbers come from
//   notes: [what a reader must know]
//   published:                        # absent: questions only
//     better: lower
//     noise: 0.1                      # published differences up to this much mean nothing
//     columns: [LLaMA2-7B WikiText2]
//     match: method                   # field of a run that `run` names (results/table.hpp)
//     rows:
//       - {name: smooth, run: smoothquant, values: [nan]}   # nan: diverged, the worst; null: not printed
//       - {name: mixed, run: {"*.down_proj": smoothquant, "*": duquant}, values: [18.16]}
//       - {name: not printed, run: hadamard}
//       # For comparison only: shown with this value instead of the measure's, in such measures alone, and
//       not judged.
//       - {name: original, run: rtn, values: [5.47], instead: {model.perplexity: model.original_perplexity}}
//   measures:                         # what is held against which published columns; absent: output.nmse,
//   all
//     - {value: output.nmse, against: [LLaMA2-7B WikiText2]}
//     - {value: model.perplexity, where: {quantizer: W4A4}, against: [...]}   # of the runs with this field
//     alone
//     - {value: time.calibrate_s, against: [], runs: {smooth: other label}, noise: 1}
//   questions:
//     - {ask: Is B better than A?, a: label, b: label}
//     - {ask: How many steps?, sequence: [label, label, label]}
//     - {ask: What predicts the error?, predict: output.nmse, from: [transformed.kurtosis]}   # where: as
//     above
//   study: {...}                      # as a study file, without its name; or the name of a shipped study
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/config.hpp"
#include "experiments/model_windows.hpp"
#include "experiments/study.hpp"
#include "results/report.hpp"

namespace olab {

/// Which runs stand behind a row: the first pattern that fits a layer's name gives the field's text.
using RowRuns = std::vector<std::pair<std::string, std::string>>;

struct PublishedRow {
  std::string name;
  RowRuns runs;
  /// One a column: NaN where it diverged, nothing (null in the file) where none is printed; empty: the source
  /// has no such row.
  std::vector<std::optional<double>> values;
  /// Of a row that is shown for comparison: a measure's value → what the row shows in it; other measures
  /// leave it out.
  std::map<std::string, std::string> instead;
};

/// Fields that runs must have: name and text.
using RunsWhere = std::vector<std::pair<std::string, std::string>>;

struct PaperMeasure {
  std::string value = "output.nmse";
  std::vector<std::string> against;     ///< published columns
  std::map<std::string, RowRuns> runs;  ///< rows for which other runs stand
  std::optional<double> noise;          ///< of its published columns, where it is not the table's
  RunsWhere where;
};

struct PaperQuestion {
  std::string ask;
  std::string value = "output.nmse";
  RowRuns a;
  RowRuns b;
  std::vector<std::string> sequence;
  std::string predict;
  std::vector<std::string> from;
  RunsWhere where;
};

struct PaperTable {
  std::string name;
  std::string title;
  std::string source;
  std::vector<std::string> notes;
  bool higher_is_better = false;
  double noise = 0;
  std::vector<std::string> columns;
  std::string match = "method";
  std::vector<PublishedRow> rows;
  std::vector<PaperMeasure> measures;
  std::vector<PaperQuestion> questions;
  Study study;
};

/// Where the data comes from instead of the file's own; all empty: as in the file.
struct PaperData {
  std::string recording = {};  ///< path: all its layers, half of its tokens for calibration
  std::string profile = {};
  // Of tables whose study evaluates models:
  std::vector<std::string> models = {};
  std::vector<std::string> texts = {};
  std::string calibration_text = {};
};

/// Whether the table's study evaluates models, which it cannot bring along: PaperData must name them.
bool paper_needs_model(const std::string& name_or_file);

/// Names of the shipped tables, in the order in which they are run.
std::vector<std::string> paper_names();
/// The shipped table's title.
std::string paper_title(const std::string& name);

/// Reads a shipped table or a file. `data` and `overrides` change the study; with other data the study is
/// called "<name>-<data>". Error with file, line and the nearest valid name.
PaperTable load_paper(const std::string& name_or_file, const PaperData& data,
                      std::span<const std::string> overrides, const Registries& r);

/// How a measured order compares with a published one.
struct OrderVerdict {
  std::size_t rows = 0;               ///< with both a published and a measured number
  double tau = 0;                     ///< Kendall's tau-b between the two columns; NaN below two rows
  double p = 1;                       ///< of tau, two-sided
  std::size_t pairs = 0;              ///< of rows
  std::size_t told = 0;               ///< pairs that both sides tell apart
  std::size_t agreeing = 0;           ///< of those, in the same order
  std::vector<std::string> reversed;  ///< "a before b" of the others, as published
  std::string text;                   ///< agrees in order | disagrees | cannot be told at this noise
};

/// One row of both: what was published (NaN: the worst), and the measured value of every unit (a layer,
/// averaged over seeds) by its name. `label` is for messages.
struct OrderRow {
  std::string label;
  double published = 0;
  std::map<std::string, double> units;
};

/// Published values are told apart where they differ by more than `noise`; measured ones by a Wilcoxon
/// signed-rank test on the logarithms of paired units, at 5 % after Holm's correction over all pairs that are
/// told apart in print. The verdict: "cannot be told at this noise" where no pair is told apart by both,
/// "agrees in order" where all such pairs agree, else "disagrees".
OrderVerdict judge_order(std::span<const OrderRow> rows, double noise, bool published_higher_is_better,
                         bool measured_higher_is_better);

/// One verdict or answer in few words: "disagrees", "better: 0.976".
struct Finding {
  std::string about;  ///< the question, or the published column
  std::string text;
};

/// What is computed of a table from its stored runs: published and measured numbers, verdicts, answers.
struct PaperPage {
  std::string table;  ///< name
  std::string data;   ///< what the runs were measured on; a recording by the name of its folder
  ReportSection section;
  std::vector<Finding> findings;
};
/// `windows`: of runs of models, which are compared window by window (experiments/model_windows.hpp).
PaperPage paper_page(const PaperTable& table, std::span<const RunRecord> runs, const WindowValues& windows,
                     const Registries& r);

/// All findings of several pages, a row each, a column for each kind of data.
ReportSection summary_of(const std::vector<PaperPage>& pages);

/// Writes sections as a Markdown page, whole or not at all. Error where it cannot be written.
void write_page(const std::filesystem::path& file, const std::string& title, const std::string& lead,
                const std::vector<ReportSection>& sections);

}  // namespace olab

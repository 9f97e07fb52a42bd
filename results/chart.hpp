// Charts: plug-ins that draw stored runs.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/registries.hpp"
#include "results/store.hpp"

namespace olab {

struct ChartInput {
  std::string study;                ///< name, for titles
  std::span<const RunRecord> runs;  ///< of one study, in its order
  const Store& store;               ///< for series
  std::filesystem::path folder;     ///< where scripts and pictures go; exists
  std::string prefix;               ///< of every file's stem ("01-surface")
  /// Formula of a value by its name, with or without the stage ("nmse"); printed in titles where it is known.
  std::map<std::string, std::string, std::less<>> definitions = {};
  /// "lower", "higher" or "none": which values are better, by the same names.
  std::map<std::string, std::string, std::less<>> better = {};
};

/// A figure whose script is written.
struct Figure {
  std::filesystem::path script;  ///< stem.gp; stem.svg and stem.png lie beside it once rendered
  std::string title;
  std::string caption;  ///< data and definition in a sentence or two
};

class Chart {
 public:
  Chart() = default;
  Chart(const Chart&) = delete;
  Chart& operator=(const Chart&) = delete;
  virtual ~Chart();

  /// Metrics (canonical or short texts) whose values or series it needs in the runs: the plan adds them.
  virtual std::vector<std::string> metrics() const = 0;
  /// Writes one script for each figure. Error where the runs hold nothing to draw, with what was looked for.
  virtual std::vector<Figure> draw(const ChartInput& input) const = 0;
};

/// A figure with what gnuplot made of it.
struct DrawnFigure {
  Figure figure;
  bool ok = false;
  std::string message;
};

/// Draws one chart ("line(x=block_size,y=output.nmse)") and renders it. A missing or failing gnuplot is
/// reported in the result, never thrown.
std::vector<DrawnFigure> draw_chart(const Chart& chart, const ChartInput& input);

// What chart plug-ins share.

/// Finished runs whose layer fits the glob `layer` and whose label, registry name or canonical text fits the
/// glob `method`; never empty: Error with the layers, the methods or the failures that there are instead.
std::vector<const RunRecord*> select_runs(const ChartInput& input, const std::string& layer,
                                          const std::string& method);

/// Whether a run is among those, finished or not.
bool fits(const RunRecord& run, const std::string& layer, const std::string& method);

/// "method, permutation" as its fields.
std::vector<std::string> field_list(const std::string& fields);
/// The texts of a run's fields, joined by ", "; "–" for one that it lacks.
std::string field_texts(const RunRecord& run, const std::vector<std::string>& fields);
/// `text`, and behind it "activation.bits=4, weight.bits=4"; parameters that the run does not have are left
/// out.
std::string with_parameters(std::string text, const RunRecord& run,
                            const std::vector<std::string>& parameters);

/// Parameters that would be averaged over silently: those that take several values among runs with the same
/// texts in all of `fields`, the same layer and the same seed (two quantizers under one label, say).
std::vector<std::string> mixed_parameters(std::span<const RunRecord> runs,
                                          const std::vector<std::string>& fields);

/// The metric that a value comes from ("output.nmse.token_mean" → {"nmse"}); none for a value without a
/// stage.
std::vector<std::string> metric_of(const std::string& value);

/// One layer under one method (its label): what a figure of series shows.
struct Subject {
  const RunRecord* run = nullptr;  ///< its first run that holds the series
  std::size_t seeds = 0;           ///< how many seeds there are of it
};

/// "original,transformed" as a list; Error where it is empty.
std::vector<std::string> parse_stages(const std::string& stages);

/// "W" where all stages are the weight's, else "X".
std::string symbol_of(const std::vector<std::string>& stages);

/// The subjects among the selected runs that hold "<stage>.<metric>" for every stage, in the order of the
/// runs; never empty: Error with the series that the runs hold instead.
std::vector<Subject> find_subjects(const ChartInput& input, const std::string& layer,
                                   const std::string& method, const std::vector<std::string>& stages,
                                   const std::string& metric);

/// The same, one list for each layer.
std::vector<std::vector<Subject>> by_layer(const std::vector<Subject>& subjects);

/// Reads "<stage>.<metric>" of a subject. Error where it has fewer rows than `rows`, no columns, or values
/// that do not fit its shape.
Series load_series(const ChartInput& input, const Subject& subject, const std::string& stage,
                   const std::string& metric, Index rows);

/// A number of the series' facts; NaN where it is absent.
double series_fact(const Series& series, const std::string& name);

/// What stands in charts for the method of a run: its label.
const std::string& method_label(const RunRecord& run);

/// "model.layers.1.mlp.down_proj (profile llama2-7b)"
std::string layer_title(const RunRecord& run);

/// Names without the dotted beginning that all share ("model.layers."); one name stays whole.
std::vector<std::string> without_common_prefix(const std::vector<std::string>& names);

/// Four significant digits: "1400", "0.001234", "1.234e-05".
std::string short_number(double value);

/// At most `length` characters (not bytes), with an ellipsis in the middle where it was cut.
std::string shorten(const std::string& text, std::size_t length);

/// How many characters of UTF-8.
std::size_t text_length(const std::string& text);

/// A file stem out of the input's prefix and these parts: letters, digits, "._-", not yet in `used`.
std::string figure_stem(const ChartInput& input, const std::vector<std::string>& parts,
                        std::set<std::string>& used);

/// " Drawn: 6 of 40 <what>; …" for captions, "" where nothing is left out.
std::string left_out(std::size_t drawn, std::size_t total, const std::string& what,
                     const std::string& remedy);

/// " Seed 0 of 3 seeds." where there are several.
std::string seed_note(const Subject& subject);

/// The formula of a value for a title, or "". "output.nmse.token_mean" is looked up as such, without its
/// stage, and as its metric; of a definition of several parts ("a; token_mean: b") the one that fits is
/// taken.
std::string definition_of(const ChartInput& input, const std::string& value);

/// Which of a value's numbers are better: "lower", "higher" or "none"; "" where nobody says. Looked up as a
/// definition is.
std::string better_of(const ChartInput& input, const std::string& value);

/// gnuplot's format for the numbers of a logarithmic axis: powers of ten where plain ones were long.
const char* log_format(std::span<const double> values);

/// Whether an axis that carries these values needs a logarithmic scale: all positive and max / min >= ratio.
bool spans(std::span<const double> values, double ratio);

}  // namespace olab

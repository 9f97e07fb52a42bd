// A study: what to run, as read from YAML.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/config.hpp"
#include "core/registries.hpp"
#include "results/table.hpp"

namespace olab {

/// Where layers come from and how tokens are split.
struct StudyData {
  std::string recording;                 ///< path; exactly one of recording and profile is set
  std::string profile;                   ///< shipped name or path of a profile
  std::vector<std::string> layers{"*"};  ///< globs
  /// Calibration takes the first tokens; several values are an axis. Empty: half of the recording.
  std::vector<Index> calibration_tokens;
  /// What methods are calibrated on (experiments/calibration_data.hpp); several values are an axis. Empty:
  /// the recording's own first tokens.
  std::vector<std::string> calibrate_on;
  /// Evaluation takes the tokens that follow the longest calibration; 0: all that are left.
  Index evaluation_tokens = 0;
  /// Evaluate on the calibration tokens themselves; for recordings of a single token.
  bool evaluate_on_calibration = false;
  /// Layers that read one input (q, k and v of a block) get one transform, calibrated with all of their
  /// weights, as at inference, where the input is transformed once. Off: each layer its own.
  bool share_inputs = false;
  // Generated recordings only:
  Index tokens = 0;  ///< 0: calibration + evaluation, or 2048
  Index in_features = 0;
  Index out_features = 0;
  Index sequence_length = 0;
  std::uint64_t seed = 0;
  // evaluate: perplexity only:
  std::vector<std::string> models;  ///< Hugging Face folders; several are an axis
  std::vector<std::string> texts;   ///< files of text or token ids; several are an axis
  std::string calibration_text;     ///< "": the beginning of each text
};

/// One combination of number formats: places in the lists of the study.
struct QuantizerChoice {
  std::size_t activation = 0;
  std::size_t weight = 0;
  std::size_t query = 0;
  std::size_t key = 0;
  std::size_t value = 0;

  bool operator==(const QuantizerChoice&) const = default;
};

/// A method of a study with one value for every parameter.
struct StudyMethod {
  Spec spec;
  std::string label;  ///< how tables and charts call it; unique within the study
};

/// A table or a chart that the study ends with.
struct StudyView {
  bool is_table = false;
  TableSpec table;
  Spec chart;
  std::string where;
};

struct Study {
  std::string name;
  std::string description;
  StudyData data;
  std::vector<std::uint64_t> seeds;
  /// What is computed of a model: specifications of perplexity_info(), the product of the axes; empty: single
  /// layers are (evaluate: layers).
  std::vector<Spec> evaluations;
  std::vector<Spec> activations;  ///< quantizers of activations, without doubles
  std::vector<Spec> weights;
  std::vector<Spec> queries;  ///< of attention; evaluate: perplexity only
  std::vector<Spec> keys;
  std::vector<Spec> values;
  std::vector<QuantizerChoice>
      quantizers;  ///< in the study's order: products of axes, or the entries of a list
  std::vector<StudyMethod> methods;
  std::vector<std::string> metrics;  ///< specifications; the charts' own are added by the plan
  std::vector<StudyView> views;
  /// "activation.bits", "evaluate.context", …: fields with more than one value; "quantizer" where its choices
  /// have labels.
  std::vector<std::string> quantizer_axes;
  std::string text;    ///< after overrides, as YAML
  std::string source;  ///< file, or shipped name
};

/// "W4A4", "W4A16", "W4A4KV4", "W4A4QKV4": bits of weights, activations, and where they are quantized, of
/// queries, keys and values.
std::string quantizer_name(const Study& study, const QuantizerChoice& choice, const Registries& r);

/// The shipped studies' names, sorted, and the text of one of them.
std::vector<std::string> study_names();
std::string shipped_study(const std::string& name);

/// A method as people write it: a specification, or several with | between them, which are a pipeline.
Spec parse_method(std::string_view text);

/// Reads a study from a file or by a shipped name, applies overrides, and checks every key, name and value.
/// Error with file, line and the nearest valid name.
Study load_study(const std::string& name_or_file, std::span<const std::string> overrides,
                 const Registries& r);

/// The same from a tree; `source` is the file that it comes from.
Study parse_study(ConfigNode root, const std::string& source, std::span<const std::string> overrides,
                  const Registries& r);

/// The same from text; `source` stands in messages.
Study parse_study(std::string_view text, const std::string& source, std::span<const std::string> overrides,
                  const Registries& r);

}  // namespace olab

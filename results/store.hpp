// The store: every run of every study in one SQLite file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/matrix.hpp"
#include "core/series.hpp"

namespace olab {

/// Who computed a run, on what.
struct Provenance {
  std::string version;   ///< program version
  std::string commit;    ///< git commit, or "unknown"
  bool dirty = false;    ///< uncommitted changes when it was built
  std::string compiler;  ///< name and version
  std::string flags;
  std::string host;
  std::string cpu;
  std::string kernel_level;  ///< instruction-set level of the kernels
  int threads = 0;
};

/// One run as it is stored. Texts are canonical, so equal runs have equal texts.
struct RunRecord {
  std::int64_t id = 0;     ///< set by the store
  std::string key;         ///< content hash: the identity of the run
  std::string recording;   ///< what the layer came from: "profile llama2-7b", a path
  std::string layer;       ///< full name
  std::string layer_kind;  ///< "down_proj"
  std::string tensor_hash;
  Index in_features = 0;
  Index out_features = 0;
  Index calibration_tokens = 0;
  Index evaluation_tokens = 0;
  std::string method;       ///< registry name
  std::string method_text;  ///< canonical text with all parameters
  std::string label;        ///< short text for tables: only what differs from the defaults
  std::map<std::string, std::string, std::less<>>
      params;                   ///< the method's parameters; also "activation.bits", …
  std::string activation_text;  ///< canonical text of the activation quantizer
  std::string weight_text;
  std::uint64_t seed = 0;
  std::string status;   ///< "running", "finished", "failed", "interrupted"
  std::string error;    ///< why it failed
  std::string started;  ///< UTC, ISO 8601
  std::string ended;
  Provenance provenance;
  std::map<std::string, double, std::less<>>
      values;                        ///< "output.nmse" → number; NaN and infinities as they are
  std::vector<std::string> metrics;  ///< canonical texts of the metrics that were computed
};

struct StudyRecord {
  std::int64_t id = 0;
  std::string name;
  std::string text;     ///< the study after overrides, as YAML
  std::string created;  ///< UTC, ISO 8601
  std::size_t runs = 0;
};

/// What to read; empty fields do not restrict.
struct RunFilter {
  std::string study;  ///< name; its newest version
  std::string status;
  std::string method;
  std::string layer;  ///< glob
};

class Store {
 public:
  /// Opens or creates. WAL, 60 s busy timeout, migrations up to the program's schema. Error on a database
  /// that is newer than the program, on a file that is none, on a folder that cannot be written.
  explicit Store(const std::filesystem::path& file);
  /// Read-only; Error where it does not exist.
  static Store open_existing(const std::filesystem::path& file);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  ~Store();

  /// All writes below are one transaction each; any number of threads and processes may write.

  /// The id of a finished run with this key that holds all of these metrics, or nothing.
  std::optional<std::int64_t> find_finished(const std::string& key,
                                            std::span<const std::string> metrics) const;
  /// Marks a run as running and returns its id. A run with this key that is finished stays as it is until
  /// `finish`; a failed or interrupted one is started over.
  std::int64_t begin(const RunRecord& run);
  /// Stores the values and series of a run, adds to those of an earlier finish with other metrics, and marks
  /// it finished.
  void finish(std::int64_t id, const std::map<std::string, double, std::less<>>& values,
              std::span<const Series> series, std::span<const std::string> metrics);
  void fail(std::int64_t id, const std::string& error);
  void interrupt(std::int64_t id);
  /// Adds (or refreshes) a study and the runs that it consists of, in order; a label may differ per study.
  std::int64_t put_study(const std::string& name, const std::string& text);
  void link(std::int64_t study, std::int64_t run, std::int64_t position, const std::string& label);

  std::vector<StudyRecord> studies() const;  ///< newest first
  /// Ordered by the study's order, or by id.
  std::vector<RunRecord> runs(const RunFilter& filter) const;
  /// By id ("12"), or by a unique beginning of its key; Error where none or several fit.
  RunRecord run(const std::string& id_or_key) const;
  /// The series of a run by its full name, or nothing.
  std::optional<Series> series(std::int64_t run, const std::string& name) const;
  std::vector<std::string> series_names(std::int64_t run) const;

  const std::filesystem::path& file() const;

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// "2026-01-31T12:00:00Z"
std::string utc_now();

}  // namespace olab

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
  /// Status, error, times and provenance are those of one attempt: the latest that finished; else the latest.
  std::string status;   ///< "running" (or its process died), "finished", "failed", "interrupted"
  std::string error;    ///< why it failed
  std::string started;  ///< UTC, ISO 8601
  std::string ended;
  Provenance provenance;
  std::map<std::string, double, std::less<>>
      values;                        ///< "output.nmse" → number; NaN and infinities as they are
  std::vector<std::string> metrics;  ///< canonical texts of the metrics that were computed
};

/// One try at a run. A run that failed and was started over, or that was finished again with more metrics,
/// has several: what an earlier one said stays on record.
struct Attempt {
  std::string status;   ///< as in RunRecord
  std::string error;    ///< "" unless it failed
  std::string started;  ///< UTC, ISO 8601
  std::string ended;    ///< "" while it runs
  Provenance provenance;
};

/// A version of a study. Another text under the same name is another version.
struct StudyRecord {
  std::int64_t id = 0;
  std::string name;
  std::string text;     ///< the study after overrides, as YAML
  std::string created;  ///< UTC, ISO 8601: when this version was put first
  std::string updated;  ///< when it was put last
  std::size_t runs = 0;
};

/// What to read; empty fields do not restrict. (The initialisers allow `{.status = "failed"}` without a
/// warning.)
struct RunFilter {
  std::string study = {};   ///< name; its version that was put last
  std::string status = {};  ///< one of the four
  std::string method = {};  ///< registry name
  std::string layer = {};   ///< glob
};

/// A store is shared by any number of threads (one connection, one at a time) and of processes (SQLite's
/// WAL). Every member throws Error with the file's name: where the disk is full, the file damaged, or the
/// write lock held by another process for more than 60 s. Nothing is ever deleted. Doubles come back bit for
/// bit (a NaN as the quiet NaN).
class Store {
 public:
  /// Opens or creates, the folders above it too. WAL, 60 s busy timeout, migrations up to the program's
  /// schema. Error on a database that is newer than the program, on a file that is none, on a folder that
  /// cannot be written.
  explicit Store(const std::filesystem::path& file);
  /// For reading only, also from a folder that cannot be written; creates nothing that stays. Error where it
  /// does not exist or holds no tables yet.
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
  /// Marks a run as running and returns its id; `key` must be set, `id`, `status`, `values` and `metrics` are
  /// not read. A run with this key that is finished stays as it is until `finish`; any other is started over.
  /// Two processes may compute the same run: it stays one row, and the first to finish makes it finished.
  std::int64_t begin(const RunRecord& run);
  /// Stores the values and series of a run, adds to those of an earlier finish with other metrics (equal
  /// names are replaced, others stay), and marks it finished.
  void finish(std::int64_t id, const std::map<std::string, double, std::less<>>& values,
              std::span<const Series> series, std::span<const std::string> metrics);
  /// Keeps the numbers of one finished part of a run (a window of tokens), so that a run that is interrupted
  /// goes on behind it; a part that is stored again is replaced.
  void put_part(std::int64_t id, std::int64_t position, std::span<const double> values);
  /// The parts of the run with this key that are stored, by position; none where there is no such run.
  std::map<std::int64_t, std::vector<double>> parts(const std::string& key) const;
  /// Ends this attempt. A run that finished, here or in another process, stays finished.
  void fail(std::int64_t id, const std::string& error);
  void interrupt(std::int64_t id);
  /// Adds (or refreshes) a study and the runs that it consists of, in order; a label may differ per study. An
  /// equal name and text keep their id and become the newest version again; a position that is linked again
  /// is replaced.
  std::int64_t put_study(const std::string& name, const std::string& text);
  void link(std::int64_t study, std::int64_t run, std::int64_t position, const std::string& label);

  std::vector<StudyRecord> studies() const;  ///< newest first
  /// Ordered by the study's order, with its labels, or by id. Error on a study, a status or a method that the
  /// store does not hold, with the nearest that it does; a store without runs gives none.
  std::vector<RunRecord> runs(const RunFilter& filter) const;
  /// By id ("12"), or by a unique beginning of its key; Error where none or several fit.
  RunRecord run(const std::string& id_or_key) const;
  /// All attempts at a run, oldest first.
  std::vector<Attempt> attempts(std::int64_t run) const;
  /// The series of a run by its full name, or nothing.
  std::optional<Series> series(std::int64_t run, const std::string& name) const;
  std::vector<std::string> series_names(std::int64_t run) const;  ///< sorted

  const std::filesystem::path& file() const;

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// "2026-01-31T12:00:00Z"
std::string utc_now();

}  // namespace olab

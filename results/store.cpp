#include "results/store.hpp"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <chrono>
#include <cmath>
#include <ctime>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>
#include <thread>
#include <unordered_map>

#include "core/error.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kBusyTimeout = std::chrono::seconds(60);
constexpr int kBusyTimeoutMs = 60'000;
constexpr std::int64_t kApplicationId = 0x4f4c4142;  // "OLAB": tells our files from other programs'

// --------------------------------------------------------------------------------------------------- schema

// Migration i takes a database from schema i to i + 1. A released one is never edited: a change of the schema
// is one more entry. The version is PRAGMA user_version.
//
// run.attempt is the attempt that the run's status, error, times and provenance come from. A number is
// `value`, or, where SQLite cannot hold it as a REAL (NaN would become NULL, -0 would become 0) or other
// readers of the file would stumble (infinities), its name in `special`. A seed is the two's complement of
// its 64 bits. A series holds rows * columns little-endian doubles.
constexpr std::array kMigrations{
    R"sql(
CREATE TABLE provenance (
  id INTEGER PRIMARY KEY,
  version TEXT NOT NULL,
  git_commit TEXT NOT NULL,
  dirty INTEGER NOT NULL CHECK (dirty IN (0, 1)),
  compiler TEXT NOT NULL,
  flags TEXT NOT NULL,
  host TEXT NOT NULL,
  cpu TEXT NOT NULL,
  kernel_level TEXT NOT NULL,
  threads INTEGER NOT NULL,
  UNIQUE (version, git_commit, dirty, compiler, flags, host, cpu, kernel_level, threads)
) STRICT;
CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  recording TEXT NOT NULL,
  layer TEXT NOT NULL,
  layer_kind TEXT NOT NULL,
  tensor_hash TEXT NOT NULL,
  in_features INTEGER NOT NULL,
  out_features INTEGER NOT NULL,
  calibration_tokens INTEGER NOT NULL,
  evaluation_tokens INTEGER NOT NULL,
  method TEXT NOT NULL,
  method_text TEXT NOT NULL,
  label TEXT NOT NULL,
  activation_text TEXT NOT NULL,
  weight_text TEXT NOT NULL,
  seed INTEGER NOT NULL,
  attempt INTEGER REFERENCES attempt (id)
) STRICT;
CREATE TABLE attempt (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run (id),
  provenance INTEGER NOT NULL REFERENCES provenance (id),
  status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed', 'interrupted')),
  error TEXT NOT NULL,
  started TEXT NOT NULL,
  ended TEXT NOT NULL
) STRICT;
CREATE INDEX attempt_run ON attempt (run);
CREATE TABLE param (
  run INTEGER NOT NULL REFERENCES run (id),
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE value (
  run INTEGER NOT NULL REFERENCES run (id),
  name TEXT NOT NULL,
  value REAL,
  special TEXT CHECK (special IN ('nan', 'inf', '-inf', '-0')),
  attempt INTEGER NOT NULL REFERENCES attempt (id),
  PRIMARY KEY (run, name),
  CHECK ((value IS NULL) <> (special IS NULL))
) STRICT, WITHOUT ROWID;
CREATE TABLE metric (
  run INTEGER NOT NULL REFERENCES run (id),
  text TEXT NOT NULL,
  PRIMARY KEY (run, text)
) STRICT, WITHOUT ROWID;
CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run (id),
  name TEXT NOT NULL,
  rows INTEGER NOT NULL,
  columns INTEGER NOT NULL,
  facts TEXT NOT NULL,
  data BLOB NOT NULL,
  attempt INTEGER NOT NULL REFERENCES attempt (id),
  UNIQUE (run, name)
) STRICT;
CREATE TABLE study (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  text TEXT NOT NULL,
  created TEXT NOT NULL,
  updated TEXT NOT NULL,
  turn INTEGER NOT NULL,
  UNIQUE (name, text)
) STRICT;
CREATE TABLE study_run (
  study INTEGER NOT NULL REFERENCES study (id),
  position INTEGER NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id),
  label TEXT NOT NULL,
  PRIMARY KEY (study, position)
) STRICT, WITHOUT ROWID;
)sql",
    // Numbers of finished parts of a run (little-endian doubles), so that a long run goes on where it
    // stopped.
    R"sql(
CREATE TABLE part (
  run INTEGER NOT NULL REFERENCES run (id),
  position INTEGER NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;
)sql"};
constexpr auto kSchemaVersion = static_cast<std::int64_t>(kMigrations.size());
/// What can be read without being brought up to date; queries on younger tables ask has_parts first.
constexpr std::int64_t kOldestReadable = 1;
constexpr std::int64_t kPartsSince = 2;

// --------------------------------------------------------------------------------------------------- errors

bool is_busy(const SQLite::Exception& e) {
  // PROTOCOL: too many processes were starting on the log at once.
  return e.getErrorCode() == SQLITE_BUSY || e.getErrorCode() == SQLITE_LOCKED ||
         e.getErrorCode() == SQLITE_PROTOCOL;
}

enum class Access { read, write };

[[noreturn]] void throw_error(const fs::path& file, Access access, std::string_view doing,
                              const SQLite::Exception& e) {
  const std::string head = fmt::format("{}: cannot {}: ", file.string(), doing);
  switch (e.getErrorCode()) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      throw Error(
          fmt::format("{}another process has kept the database locked for {} s; wait for it or end it", head,
                      kBusyTimeout.count()));
    case SQLITE_NOTADB:
      throw Error(head +
                  "this file is no SQLite database; give another file with --db, or move this one away");
    case SQLITE_CORRUPT:
      throw Error(
          fmt::format("{}the database is damaged ({}); `sqlite3 {} .recover` reads what is left of it", head,
                      e.what(), file.string()));
    case SQLITE_FULL:
      throw Error(head + "the disk is full; free some space and run again: finished runs are kept");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      if (access == Access::read)
        throw Error(fmt::format("{}the file cannot be read ({}); change its permissions", head, e.what()));
      throw Error(
          fmt::format("{}the file or its folder cannot be written ({}); SQLite writes beside the file "
                      "too; change their permissions, or give another folder with --out or --db",
                      head, e.what()));
    case SQLITE_IOERR:
      throw Error(fmt::format("{}reading or writing failed ({}); check the disk", head, e.what()));
    default:
      throw Error(fmt::format("{}SQLite says: {}", head, e.what()));
  }
}

// -------------------------------------------------------------------------------------------------- queries

// A prepared statement in use. It is reset at the end: one that is left halfway keeps its transaction open.
class Query {
 public:
  explicit Query(SQLite::Statement& statement) : statement_(statement) {}
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;
  ~Query() { statement_.tryReset(); }

  /// Binds all parameters, from the first.
  template <class... Values>
  Query& with(const Values&... values) {
    int position = 0;
    (bind(++position, values), ...);
    return *this;
  }
  bool next() { return statement_.executeStep(); }
  void execute() {
    while (next()) {
    }
  }
  bool is_null(int column) const { return statement_.getColumn(column).isNull(); }
  std::int64_t integer(int column) const { return statement_.getColumn(column).getInt64(); }
  double number(int column) const { return statement_.getColumn(column).getDouble(); }
  std::string text(int column) const { return statement_.getColumn(column).getString(); }

 private:
  void bind(int position, std::int64_t value) { statement_.bind(position, value); }
  void bind(int position, const std::string& value) { statement_.bind(position, value); }
  template <class T>
  void bind(int position, const std::optional<T>& value) {
    if (value)
      bind(position, *value);
    else
      statement_.bind(position);
  }
  void bind(int position, double value) { statement_.bind(position, value); }
  void bind(int position, std::span<const char> bytes) {
    statement_.bind(position, static_cast<const void*>(bytes.data()), static_cast<int>(bytes.size()));
  }

  SQLite::Statement& statement_;
};

std::optional<std::string> special_name(double value) {
  if (std::isfinite(value) && !(value == 0 && std::signbit(value))) return std::nullopt;
  return value == 0 ? "-0" : to_text(value);
}

double special_value(const std::string& name, const fs::path& file) {
  if (name == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (name == "inf") return std::numeric_limits<double>::infinity();
  if (name == "-inf") return -std::numeric_limits<double>::infinity();
  if (name == "-0") return -0.0;
  throw Error(
      fmt::format("{}: '{}' is stored where a number belongs; expected nan, inf, -inf or -0: another "
                  "program has changed the file",
                  file.string(), name));
}

std::string to_bytes(std::span<const double> values) {
  std::string bytes;
  bytes.reserve(values.size() * sizeof(double));
  for (const double value : values) {
    const auto bits = std::bit_cast<std::uint64_t>(value);
    for (unsigned shift = 0; shift < 64; shift += 8)
      bytes.push_back(static_cast<char>((bits >> shift) & 0xffU));
  }
  return bytes;
}

std::vector<double> from_bytes(std::string_view bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint64_t bits = 0;
    for (std::size_t b = 0; b < sizeof(double); ++b)
      bits |= std::uint64_t{static_cast<unsigned char>(bytes[i * sizeof(double) + b])} << (8 * b);
    values[i] = std::bit_cast<double>(bits);
  }
  return values;
}

// For `IN (SELECT value FROM json_each(?))`: one query for any number of runs.
std::string json_ids(std::span<const RunRecord> runs) {
  std::string text = "[";
  for (const RunRecord& run : runs) {
    if (text.size() > 1) text.push_back(',');
    text += std::to_string(run.id);
  }
  return text + "]";
}

constexpr const char* kProvenanceColumns =
    "p.version, p.git_commit, p.dirty, p.compiler, p.flags, p.host, p.cpu, p.kernel_level, p.threads";

Provenance read_provenance(const Query& query, int column) {
  Provenance p;
  p.version = query.text(column);
  p.commit = query.text(column + 1);
  p.dirty = query.integer(column + 2) != 0;
  p.compiler = query.text(column + 3);
  p.flags = query.text(column + 4);
  p.host = query.text(column + 5);
  p.cpu = query.text(column + 6);
  p.kernel_level = query.text(column + 7);
  p.threads = static_cast<int>(query.integer(column + 8));
  return p;
}

// The label is left to the caller: a study has its own.
constexpr const char* kRunColumns =
    "r.id, r.key, r.recording, r.layer, r.layer_kind, r.tensor_hash, r.in_features, r.out_features, "
    "r.calibration_tokens, r.evaluation_tokens, r.method, r.method_text, r.activation_text, r.weight_text, "
    "r.seed, a.status, a.error, a.started, a.ended";
constexpr const char* kRunTables =
    "run r JOIN attempt a ON a.id = r.attempt JOIN provenance p ON p.id = a.provenance";

std::string select_runs(std::string_view label, std::string_view more_tables, std::string_view tail) {
  return fmt::format("SELECT {}, {}, {} FROM {} {} {}", kRunColumns, kProvenanceColumns, label, kRunTables,
                     more_tables, tail);
}

RunRecord read_run(const Query& query) {
  RunRecord r;
  int column = 0;
  r.id = query.integer(column++);
  for (std::string* text : {&r.key, &r.recording, &r.layer, &r.layer_kind, &r.tensor_hash})
    *text = query.text(column++);
  for (Index* size : {&r.in_features, &r.out_features, &r.calibration_tokens, &r.evaluation_tokens})
    *size = static_cast<Index>(query.integer(column++));
  for (std::string* text : {&r.method, &r.method_text, &r.activation_text, &r.weight_text})
    *text = query.text(column++);
  r.seed = static_cast<std::uint64_t>(query.integer(column++));
  for (std::string* text : {&r.status, &r.error, &r.started, &r.ended}) *text = query.text(column++);
  r.provenance = read_provenance(query, column);
  r.label = query.text(column + 9);
  return r;
}

// SQLite's name of a file that nobody changes while we read it.
std::string immutable_uri(const fs::path& file) {
  std::string uri = "file:";
  for (const char c : file.string()) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '/' || c == '-' || c == '_' || c == '.';
    if (plain)
      uri.push_back(c);
    else
      uri += fmt::format("%{:02X}", byte);
  }
  return uri + "?immutable=1";
}

// What a file is, before anything in it is touched.
struct Identity {
  std::int64_t application = 0;
  std::int64_t version = 0;
  bool empty = true;
};

// In a transaction: between two of these queries another process may create the tables.
Identity read_identity(SQLite::Database& db) {
  Identity found;
  found.application = db.execAndGet("PRAGMA application_id").getInt64();
  found.version = db.execAndGet("PRAGMA user_version").getInt64();
  found.empty = db.execAndGet("SELECT count(*) FROM sqlite_schema").getInt64() == 0;
  return found;
}

void check_identity(const Identity& found, const fs::path& file) {
  const bool fresh = found.empty && found.application == 0 && found.version == 0;
  if (!fresh && found.application != kApplicationId)
    throw Error(
        fmt::format("{}: this SQLite database belongs to another program (application id {:#x}, expected "
                    "{:#x}); give another file with --db",
                    file.string(), found.application, kApplicationId));
  if (found.version > kSchemaVersion)
    throw Error(fmt::format(
        "{}: written by a newer OutlierLab (schema {}, this program knows schemas up to {}); use that "
        "version, or give another file with --db",
        file.string(), found.version, kSchemaVersion));
}

// Calls `body` until it is not refused by another process's lock. SQLite's own timeout waits in most places;
// it refuses at once where waiting could deadlock, as two programs do that create one file together.
template <class Body>
auto retry(Body&& body) {
  for (const auto begin = Clock::now();;) {
    try {
      return body();
    } catch (const SQLite::Exception& e) {
      if (!is_busy(e) || Clock::now() - begin > kBusyTimeout) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Identity current_identity(SQLite::Database& db) {
  return retry([&] {
    const SQLite::Transaction transaction(db);
    return read_identity(db);
  });
}

}  // namespace

// ---------------------------------------------------------------------------------------------------- state

struct Store::State {
  fs::path file;
  bool writable = false;
  bool has_parts = true;  // false: an older schema, opened for reading only
  std::mutex mutex;
  std::unique_ptr<SQLite::Database> db;
  std::unordered_map<std::string, SQLite::Statement> statements;   // by their SQL; after `db`: end before it
  std::unordered_map<std::int64_t, std::int64_t> current_attempt;  // of the runs that this store began

  SQLite::Statement& statement(const std::string& sql) {
    const auto found = statements.find(sql);
    if (found != statements.end()) return found->second;
    return statements.emplace(sql, SQLite::Statement(*db, sql)).first->second;
  }

  void open_to_write();
  void open_to_read();
  void read_immutable();

  /// Runs `body` in a transaction of its own that nobody else writes in.
  template <class Body>
  auto write(std::string_view doing, Body&& body) {
    const std::lock_guard lock(mutex);
    if (!writable)
      throw Error(
          fmt::format("{}: cannot {}: the database was opened for reading only", file.string(), doing));
    try {
      return retry([&] {
        SQLite::Transaction transaction(*db, SQLite::TransactionBehavior::IMMEDIATE);
        auto result = body();
        transaction.commit();
        return result;
      });
    } catch (const SQLite::Exception& e) {
      throw_error(file, Access::write, doing, e);
    }
  }

  /// Runs `body` on one state of the database, however many queries it takes.
  template <class Body>
  auto read(std::string_view doing, Body&& body) {
    const std::lock_guard lock(mutex);
    try {
      return retry([&] {
        const SQLite::Transaction transaction(*db);
        return body();
      });
    } catch (const SQLite::Exception& e) {
      throw_error(file, Access::read, doing, e);
    }
  }

  std::int64_t provenance_id(const Provenance& p);
  std::int64_t attempt_of(std::int64_t run);
  void end_attempt(std::int64_t run, const std::string& status, const std::string& error);
  std::int64_t store_run(std::int64_t id, const RunRecord& run);
  void read_details(std::vector<RunRecord>& runs);
  std::vector<std::string> names(const std::string& sql);
};

void Store::State::open_to_write() {
  writable = true;
  std::error_code failed;
  if (fs::is_directory(file, failed))
    throw Error(fmt::format("{}: this is a folder; expected the database file in it, such as {}",
                            file.string(), (file / "olab.db").string()));
  const fs::path folder = fs::absolute(file).parent_path();
  fs::create_directories(folder, failed);
  if (failed)
    throw Error(fmt::format(
        "{}: cannot make the folder {} ({}); change the permissions above it, or give another folder "
        "with --out or --db",
        file.string(), folder.string(), failed.message()));
  try {
    // An absolute name: SQLite gives names such as ":memory:" a meaning of their own.
    db = std::make_unique<SQLite::Database>(fs::absolute(file).string(),
                                            SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, kBusyTimeoutMs);
    check_identity(current_identity(*db), file);
    // SQLite falls back to reading without a word.
    if (sqlite3_db_readonly(db->getHandle(), "main") == 1)
      throw Error(
          fmt::format("{}: the file cannot be written; change its permissions, or give another with --db",
                      file.string()));
    retry([&] { return db->execAndGet("PRAGMA journal_mode = WAL").getString(); });
    db->exec("PRAGMA synchronous = NORMAL");  // in WAL mode safe against a kill, and no wait for the disk
    db->exec("PRAGMA foreign_keys = ON");
    retry([&] {
      SQLite::Transaction transaction(*db, SQLite::TransactionBehavior::IMMEDIATE);
      // Again, now that nobody else can change it.
      const Identity found = read_identity(*db);
      check_identity(found, file);
      for (std::int64_t version = found.version; version < kSchemaVersion; ++version)
        db->exec(kMigrations.at(static_cast<std::size_t>(version)));
      if (found.version < kSchemaVersion) {
        db->exec(fmt::format("PRAGMA application_id = {}", kApplicationId));
        db->exec(fmt::format("PRAGMA user_version = {}", kSchemaVersion));
      }
      transaction.commit();
    });
  } catch (const SQLite::Exception& e) {
    throw_error(file, Access::write, "open the database", e);
  }
}

void Store::State::open_to_read() {
  std::error_code failed;
  if (!fs::is_regular_file(file, failed))
    throw Error(fmt::format(
        "{}: there is no database here; run a study first (olab run STUDY --db {}), or give the file "
        "with --db",
        file.string(), file.string()));
  try {
    Identity found;
    try {
      // Open to write, though nothing is written: only so can SQLite take up what a killed process left in
      // the write-ahead log, and clear its own files away at the end.
      db = std::make_unique<SQLite::Database>(fs::absolute(file).string(), SQLite::OPEN_READWRITE,
                                              kBusyTimeoutMs);
      db->exec("PRAGMA query_only = ON");
      found = current_identity(*db);
    } catch (const SQLite::Exception& e) {
      if (e.getErrorCode() != SQLITE_CANTOPEN && e.getErrorCode() != SQLITE_READONLY) throw;
      read_immutable();
      found = current_identity(*db);
    }
    check_identity(found, file);
    if (found.version < kOldestReadable)
      throw Error(fmt::format(
          "{}: an empty or older database (schema {}, this program reads {} to {}); a study run with --db "
          "on it brings it up to date",
          file.string(), found.version, kOldestReadable, kSchemaVersion));
    has_parts = found.version >= kPartsSince;
  } catch (const SQLite::Exception& e) {
    throw_error(file, Access::read, "read the database", e);
  }
}

// In a folder that cannot be written, SQLite reads a file in WAL mode only as one that cannot change; it
// would skip a write-ahead log then.
void Store::State::read_immutable() {
  std::error_code failed;
  fs::path log = file;
  log += "-wal";
  const auto size = fs::file_size(log, failed);
  if (!failed && size > 0)
    throw Error(fmt::format(
        "{}: the newest runs are still in {}, which cannot be read without writing to the folder; copy "
        "both files to a folder of your own and read them there",
        file.string(), log.string()));
  db = std::make_unique<SQLite::Database>(immutable_uri(fs::absolute(file)),
                                          SQLite::OPEN_READONLY | SQLite::OPEN_URI, kBusyTimeoutMs);
}

std::int64_t Store::State::provenance_id(const Provenance& p) {
  const std::int64_t dirty = p.dirty ? 1 : 0;
  const std::int64_t threads = p.threads;
  {
    Query find(statement(
        "SELECT id FROM provenance WHERE version = ? AND git_commit = ? AND dirty = ? AND compiler = ? "
        "AND flags = ? AND host = ? AND cpu = ? AND kernel_level = ? AND threads = ?"));
    if (find.with(p.version, p.commit, dirty, p.compiler, p.flags, p.host, p.cpu, p.kernel_level, threads)
            .next())
      return find.integer(0);
  }
  Query(statement(
            "INSERT INTO provenance (version, git_commit, dirty, compiler, flags, host, cpu, kernel_level, "
            "threads) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"))
      .with(p.version, p.commit, dirty, p.compiler, p.flags, p.host, p.cpu, p.kernel_level, threads)
      .execute();
  return db->getLastInsertRowid();
}

// The attempt that this store began, else the run's latest.
std::int64_t Store::State::attempt_of(std::int64_t run) {
  if (const auto own = current_attempt.find(run); own != current_attempt.end()) return own->second;
  Query query(statement("SELECT max(id) FROM attempt WHERE run = ?"));
  query.with(run).next();
  if (query.is_null(0))
    throw Error(fmt::format("{}: there is no run {} in this database", file.string(), run));
  return query.integer(0);
}

void Store::State::end_attempt(std::int64_t run, const std::string& status, const std::string& error) {
  Query(
      statement("UPDATE attempt SET status = ?, error = ?, ended = ? WHERE id = ? AND status <> 'finished'"))
      .with(status, error, utc_now(), attempt_of(run))
      .execute();
}

// Writes what describes a run and gives back its id; `id` 0 adds it.
std::int64_t Store::State::store_run(std::int64_t id, const RunRecord& run) {
  const auto integer = [](auto value) { return static_cast<std::int64_t>(value); };
  const std::optional<std::int64_t> row = id == 0 ? std::nullopt : std::optional(id);
  Query(statement(
            "INSERT INTO run (id, key, recording, layer, layer_kind, tensor_hash, in_features, out_features, "
            "calibration_tokens, evaluation_tokens, method, method_text, label, activation_text, "
            "weight_text, seed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "recording = excluded.recording, layer = excluded.layer, layer_kind = excluded.layer_kind, "
            "tensor_hash = excluded.tensor_hash, in_features = excluded.in_features, "
            "out_features = excluded.out_features, calibration_tokens = excluded.calibration_tokens, "
            "evaluation_tokens = excluded.evaluation_tokens, method = excluded.method, "
            "method_text = excluded.method_text, label = excluded.label, "
            "activation_text = excluded.activation_text, weight_text = excluded.weight_text, "
            "seed = excluded.seed"))
      .with(row, run.key, run.recording, run.layer, run.layer_kind, run.tensor_hash, integer(run.in_features),
            integer(run.out_features), integer(run.calibration_tokens), integer(run.evaluation_tokens),
            run.method, run.method_text, run.label, run.activation_text, run.weight_text, integer(run.seed))
      .execute();
  const std::int64_t stored = id == 0 ? db->getLastInsertRowid() : id;
  SQLite::Statement& put_param =
      statement("INSERT OR REPLACE INTO param (run, name, value) VALUES (?, ?, ?)");
  for (const auto& [name, value] : run.params) Query(put_param).with(stored, name, value).execute();
  return stored;
}

// Parameters, values and metrics of all these runs, in three queries.
void Store::State::read_details(std::vector<RunRecord>& runs) {
  std::unordered_map<std::int64_t, std::vector<RunRecord*>> by_id;  // one run may stand twice in a study
  for (RunRecord& run : runs) by_id[run.id].push_back(&run);
  const std::string ids = json_ids(runs);
  const auto each = [&](const std::string& sql, const auto& add) {
    Query query(statement(sql));
    query.with(ids);
    while (query.next())
      for (RunRecord* run : by_id.at(query.integer(0))) add(*run, query);
  };
  each("SELECT run, name, value FROM param WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, name",
       [](RunRecord& run, const Query& q) {
         run.params.emplace_hint(run.params.end(), q.text(1), q.text(2));
       });
  each("SELECT run, text FROM metric WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, text",
       [](RunRecord& run, const Query& q) { run.metrics.push_back(q.text(1)); });
  each(
      "SELECT run, name, value, special FROM value WHERE run IN (SELECT value FROM json_each(?)) "
      "ORDER BY run, name",
      [&](RunRecord& run, const Query& q) {
        const double value = q.is_null(3) ? q.number(2) : special_value(q.text(3), file);
        run.values.emplace_hint(run.values.end(), q.text(1), value);
      });
}

std::vector<std::string> Store::State::names(const std::string& sql) {
  std::vector<std::string> out;
  Query query(statement(sql));
  while (query.next()) out.push_back(query.text(0));
  return out;
}

// ---------------------------------------------------------------------------------------------------- store

Store::Store(const fs::path& file) : state_(std::make_unique<State>()) {
  state_->file = file;
  state_->open_to_write();
}

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Store Store::open_existing(const fs::path& file) {
  auto state = std::make_unique<State>();
  state->file = file;
  state->open_to_read();
  return Store(std::move(state));
}

const fs::path& Store::file() const {
  return state_->file;
}

std::optional<std::int64_t> Store::find_finished(const std::string& key,
                                                 std::span<const std::string> metrics) const {
  State& s = *state_;
  return s.read("look up a run", [&]() -> std::optional<std::int64_t> {
    Query run(
        s.statement("SELECT r.id FROM run r JOIN attempt a ON a.id = r.attempt "
                    "WHERE r.key = ? AND a.status = 'finished'"));
    if (!run.with(key).next()) return std::nullopt;
    const std::int64_t id = run.integer(0);
    for (const std::string& metric : metrics)
      if (!Query(s.statement("SELECT 1 FROM metric WHERE run = ? AND text = ?")).with(id, metric).next())
        return std::nullopt;
    return id;
  });
}

std::int64_t Store::begin(const RunRecord& run) {
  assert(!run.key.empty());
  State& s = *state_;
  struct Begun {
    std::int64_t run = 0;
    std::int64_t attempt = 0;
  };
  const Begun added = s.write("begin a run", [&] {
    Begun begun;
    bool finished = false;
    {
      Query known(
          s.statement("SELECT r.id, a.status FROM run r JOIN attempt a ON a.id = r.attempt WHERE key = ?"));
      if (known.with(run.key).next()) {
        begun.run = known.integer(0);
        finished = known.text(1) == "finished";
      }
    }
    if (begun.run == 0) {
      begun.run = s.store_run(0, run);
    } else if (!finished) {
      s.store_run(begun.run, run);
    }
    Query(s.statement("INSERT INTO attempt (run, provenance, status, error, started, ended) "
                      "VALUES (?, ?, 'running', '', ?, '')"))
        .with(begun.run, s.provenance_id(run.provenance), run.started.empty() ? utc_now() : run.started)
        .execute();
    begun.attempt = s.db->getLastInsertRowid();
    if (!finished)
      Query(s.statement("UPDATE run SET attempt = ? WHERE id = ?")).with(begun.attempt, begun.run).execute();
    return begun;
  });
  const std::lock_guard lock(s.mutex);
  s.current_attempt[added.run] = added.attempt;
  return added.run;
}

void Store::finish(std::int64_t id, const std::map<std::string, double, std::less<>>& values,
                   std::span<const Series> series, std::span<const std::string> metrics) {
  State& s = *state_;
  s.write("store the values of a run", [&] {
    const std::int64_t attempt = s.attempt_of(id);
    Query(s.statement("UPDATE attempt SET status = 'finished', error = '', ended = ? WHERE id = ?"))
        .with(utc_now(), attempt)
        .execute();
    Query(s.statement("UPDATE run SET attempt = ? WHERE id = ?")).with(attempt, id).execute();
    SQLite::Statement& put_value = s.statement(
        "INSERT OR REPLACE INTO value (run, name, value, special, attempt) VALUES (?, ?, ?, ?, ?)");
    for (const auto& [name, value] : values) {
      const std::optional<std::string> special = special_name(value);
      Query(put_value)
          .with(id, name, special ? std::nullopt : std::optional(value), special, attempt)
          .execute();
    }
    for (const Series& one : series) {
      assert(static_cast<std::size_t>(one.rows * one.columns) == one.values.size());
      const std::string bytes = to_bytes(one.values);
      const std::string facts =
          nlohmann::json(one.facts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      Query(s.statement("INSERT INTO series (run, name, rows, columns, facts, data, attempt) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, name) DO UPDATE SET "
                        "rows = excluded.rows, columns = excluded.columns, "
                        "facts = excluded.facts, data = excluded.data, attempt = excluded.attempt"))
          .with(id, one.name, std::int64_t{one.rows}, std::int64_t{one.columns}, facts,
                std::span<const char>(bytes), attempt)
          .execute();
    }
    for (const std::string& metric : metrics)
      Query(s.statement("INSERT OR IGNORE INTO metric (run, text) VALUES (?, ?)")).with(id, metric).execute();
    return true;
  });
}

void Store::fail(std::int64_t id, const std::string& error) {
  state_->write("store a failure", [&] {
    state_->end_attempt(id, "failed", error);
    return true;
  });
}

void Store::put_part(std::int64_t id, std::int64_t position, std::span<const double> values) {
  State& s = *state_;
  s.write("store a part of a run", [&] {
    const std::string bytes = to_bytes(values);
    Query(s.statement("INSERT OR REPLACE INTO part (run, position, data) VALUES (?, ?, ?)"))
        .with(id, position, std::span<const char>(bytes))
        .execute();
    return true;
  });
}

std::map<std::int64_t, std::vector<double>> Store::parts(const std::string& key) const {
  State& s = *state_;
  return s.read("read the parts of a run", [&] {
    std::map<std::int64_t, std::vector<double>> out;
    if (!s.has_parts) return out;
    Query query(
        s.statement("SELECT p.position, p.data FROM part p JOIN run r ON r.id = p.run WHERE r.key = ?"));
    query.with(key);
    while (query.next()) out.emplace(query.integer(0), from_bytes(query.text(1)));
    return out;
  });
}

void Store::interrupt(std::int64_t id) {
  state_->write("store an interruption", [&] {
    state_->end_attempt(id, "interrupted", "");
    return true;
  });
}

std::int64_t Store::put_study(const std::string& name, const std::string& text) {
  State& s = *state_;
  return s.write("store a study", [&] {
    const std::string now = utc_now();
    // `turn` orders versions that were put within one second.
    Query query(
        s.statement("INSERT INTO study (name, text, created, updated, turn) "
                    "VALUES (?, ?, ?, ?, (SELECT coalesce(max(turn), 0) + 1 FROM study)) "
                    "ON CONFLICT (name, text) DO UPDATE SET updated = excluded.updated, "
                    "turn = excluded.turn RETURNING id"));
    query.with(name, text, now, now).next();
    return query.integer(0);
  });
}

void Store::link(std::int64_t study, std::int64_t run, std::int64_t position, const std::string& label) {
  State& s = *state_;
  s.write("link a run to its study", [&] {
    Query(s.statement("INSERT OR REPLACE INTO study_run (study, position, run, label) VALUES (?, ?, ?, ?)"))
        .with(study, position, run, label)
        .execute();
    return true;
  });
}

std::vector<StudyRecord> Store::studies() const {
  State& s = *state_;
  return s.read("list the studies", [&] {
    std::vector<StudyRecord> out;
    Query query(
        s.statement("SELECT id, name, text, created, updated, "
                    "(SELECT count(*) FROM study_run WHERE study = study.id) FROM study ORDER BY turn DESC"));
    while (query.next()) {
      StudyRecord& study = out.emplace_back();
      study.id = query.integer(0);
      study.name = query.text(1);
      study.text = query.text(2);
      study.created = query.text(3);
      study.updated = query.text(4);
      study.runs = static_cast<std::size_t>(query.integer(5));
    }
    return out;
  });
}

std::vector<RunRecord> Store::runs(const RunFilter& filter) const {
  State& s = *state_;
  const std::array<std::string, 4> known{"running", "finished", "failed", "interrupted"};
  if (!filter.status.empty() && std::ranges::find(known, filter.status) == known.end())
    throw Error(fmt::format("there is no status '{}'{}", filter.status, suggestion(filter.status, known)));
  return s.read("read the runs", [&] {
    std::int64_t study = 0;
    if (!filter.study.empty()) {
      Query query(s.statement("SELECT id FROM study WHERE name = ? ORDER BY turn DESC LIMIT 1"));
      if (!query.with(filter.study).next())
        throw Error(
            fmt::format("{}: there is no study '{}' in this database{}", s.file.string(), filter.study,
                        suggestion(filter.study, s.names("SELECT DISTINCT name FROM study ORDER BY name"))));
      study = query.integer(0);
    }
    if (!filter.method.empty()) {
      const std::vector<std::string> methods = s.names("SELECT DISTINCT method FROM run ORDER BY method");
      if (!methods.empty() && std::ranges::find(methods, filter.method) == methods.end())
        throw Error(fmt::format("{}: no stored run has the method '{}'{}", s.file.string(), filter.method,
                                suggestion(filter.method, methods)));
    }
    constexpr std::string_view kWhere = "(?1 = '' OR a.status = ?1) AND (?2 = '' OR r.method = ?2)";
    const std::string sql =
        study == 0 ? select_runs("r.label", "", fmt::format("WHERE {} ORDER BY r.id", kWhere))
                   : select_runs("l.label", "JOIN study_run l ON l.run = r.id",
                                 fmt::format("WHERE {} AND l.study = ?3 ORDER BY l.position", kWhere));
    std::vector<RunRecord> out;
    Query query(s.statement(sql));
    if (study == 0)
      query.with(filter.status, filter.method);
    else
      query.with(filter.status, filter.method, study);
    while (query.next()) {
      RunRecord run = read_run(query);
      if (filter.layer.empty() || glob_match(filter.layer, run.layer)) out.push_back(std::move(run));
    }
    s.read_details(out);
    return out;
  });
}

RunRecord Store::run(const std::string& id_or_key) const {
  State& s = *state_;
  return s.read("read a run", [&] {
    std::vector<RunRecord> found;
    const std::string text(trim(id_or_key));
    std::int64_t id = 0;
    if (parse_integer(text, id)) {
      Query query(s.statement(select_runs("r.label", "", "WHERE r.id = ?")));
      if (query.with(id).next()) found.push_back(read_run(query));
    }
    if (found.empty() && !text.empty()) {
      Query query(
          s.statement(select_runs("r.label", "", "WHERE substr(r.key, 1, length(?1)) = ?1 ORDER BY r.id")));
      query.with(text);
      while (query.next()) found.push_back(read_run(query));
    }
    if (found.empty())
      throw Error(fmt::format(
          "{}: no run has the number or the key '{}'; expected a number, or the beginning of a key, out "
          "of `olab list runs`",
          s.file.string(), text));
    if (found.size() > 1)
      throw Error(fmt::format(
          "{}: the keys of {} runs begin with '{}' (run {}: {}; run {}: {}); give more of the key, or the "
          "number of the run",
          s.file.string(), found.size(), text, found[0].id, found[0].key, found[1].id, found[1].key));
    s.read_details(found);
    return std::move(found.front());
  });
}

std::vector<Attempt> Store::attempts(std::int64_t run) const {
  State& s = *state_;
  return s.read("read the attempts at a run", [&] {
    std::vector<Attempt> out;
    Query query(
        s.statement(fmt::format("SELECT a.status, a.error, a.started, a.ended, {} FROM attempt a "
                                "JOIN provenance p ON p.id = a.provenance WHERE a.run = ? ORDER BY a.id",
                                kProvenanceColumns)));
    query.with(run);
    while (query.next())
      out.push_back({query.text(0), query.text(1), query.text(2), query.text(3), read_provenance(query, 4)});
    return out;
  });
}

std::optional<Series> Store::series(std::int64_t run, const std::string& name) const {
  State& s = *state_;
  return s.read("read a series", [&]() -> std::optional<Series> {
    Query query(s.statement("SELECT rows, columns, facts, data FROM series WHERE run = ? AND name = ?"));
    if (!query.with(run, name).next()) return std::nullopt;
    Series out;
    out.name = name;
    out.rows = static_cast<Index>(query.integer(0));
    out.columns = static_cast<Index>(query.integer(1));
    const nlohmann::json facts = nlohmann::json::parse(query.text(2), nullptr, false);
    out.values = from_bytes(query.text(3));
    if (!facts.is_object() || static_cast<Index>(out.values.size()) != out.rows * out.columns)
      throw Error(fmt::format(
          "{}: the series '{}' of run {} is damaged: {} values, expected {} × {}; compute the run again "
          "with --force",
          s.file.string(), name, run, out.values.size(), out.rows, out.columns));
    for (const auto& [key, value] : facts.items())
      out.facts[key] = value.is_string() ? value.get<std::string>() : value.dump();
    return out;
  });
}

std::vector<std::string> Store::series_names(std::int64_t run) const {
  State& s = *state_;
  return s.read("list the series of a run", [&] {
    std::vector<std::string> out;
    Query query(s.statement("SELECT name FROM series WHERE run = ? ORDER BY name"));
    query.with(run);
    while (query.next()) out.push_back(query.text(0));
    return out;
  });
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc{};
  gmtime_r(&now, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace olab

#include "results/store.hpp"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <thread>

#include "messages.hpp"
#include "temp_dir.hpp"

namespace olab {
namespace {

using test::error_of;

namespace fs = std::filesystem;
using Values = std::map<std::string, double, std::less<>>;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

class StoreTest : public testing::Test {
 protected:
  void SetUp() override { fs::permissions(folder_, fs::perms::all); }  // some tests act as another user
  void TearDown() override { fs::permissions(folder_, fs::perms::all); }
  fs::path file(const std::string& name = "olab.db") const { return folder_ / name; }

  test::TempDir temporary_;
  fs::path folder_ = temporary_.path();
};

RunRecord sample(const std::string& key) {
  RunRecord r;
  r.key = key;
  r.recording = "profile llama2-7b";
  r.layer = "model.layers.1.mlp.down_proj";
  r.layer_kind = "down_proj";
  r.tensor_hash = "00ff";
  r.in_features = 11008;
  r.out_features = 4096;
  r.calibration_tokens = 512;
  r.evaluation_tokens = 1024;
  r.method = "duquant";
  r.method_text = "duquant(block_size=128)";
  r.label = "duquant";
  r.params = {{"block_size", "128"}, {"activation.bits", "4"}};
  r.activation_text = "int(bits=4)";
  r.weight_text = "int(bits=8)";
  r.seed = 7;
  r.provenance = {"0.1.0", "abc123", true, "GNU 12.2", "-O3", "host", "cpu", "avx2", 2};
  return r;
}

void expect_contains(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) test::expect_contains(text, part);
}

std::int64_t count(const fs::path& file, const std::string& sql) {
  SQLite::Database db(file.string(), SQLite::OPEN_READONLY, 60000);
  return db.execAndGet(sql).getInt64();
}

// Runs `action` in a process of its own and gives back what it returned ("died" where it did not come to
// that).
class Child {
 public:
  explicit Child(const std::function<std::string()>& action) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      std::string text;
      try {
        text = action();
      } catch (const std::exception& e) {
        text = std::string("threw ") + e.what();
      }
      const bool sent = write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
      _exit(sent ? 0 : 1);
    }
    close(ends[1]);
    end_ = ends[0];
  }
  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), end_(std::exchange(other.end_, -1)) {}
  Child& operator=(Child&&) = delete;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) result();
  }
  std::string result() {
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = read(end_, buffer.data(), buffer.size())) > 0;)
      text.append(buffer.data(), static_cast<std::size_t>(n));
    close(end_);
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "died";
  }

 private:
  pid_t pid_ = -1;
  int end_ = -1;
};

// Permissions do not bind root: act as nobody.
std::string as_nobody(const std::function<std::string()>& action) {
  return Child([&] {
           if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
             return std::string("cannot become nobody");
           return action();
         })
      .result();
}

TEST_F(StoreTest, RoundTripsEveryFieldOfARun) {
  const Store store(file("deep/er/olab.db"));  // makes the folders
  RunRecord r = sample("k1");
  r.seed = std::numeric_limits<std::uint64_t>::max();
  r.error = "ignored";
  Store writer(file("deep/er/olab.db"));
  const auto id = writer.begin(r);
  const RunRecord running = store.run("1");
  EXPECT_EQ(running.status, "running");
  EXPECT_EQ(running.ended, "");
  writer.finish(id, {{"output.nmse", 0.25}}, {}, std::vector<std::string>{"nmse", "mse"});
  const RunRecord back = store.run(std::to_string(id));
  EXPECT_EQ(back.id, id);
  EXPECT_EQ(back.key, "k1");
  EXPECT_EQ(back.recording, r.recording);
  EXPECT_EQ(back.layer, r.layer);
  EXPECT_EQ(back.layer_kind, r.layer_kind);
  EXPECT_EQ(back.tensor_hash, r.tensor_hash);
  EXPECT_EQ(back.in_features, 11008);
  EXPECT_EQ(back.out_features, 4096);
  EXPECT_EQ(back.calibration_tokens, 512);
  EXPECT_EQ(back.evaluation_tokens, 1024);
  EXPECT_EQ(back.method, "duquant");
  EXPECT_EQ(back.method_text, r.method_text);
  EXPECT_EQ(back.label, r.label);
  EXPECT_EQ(back.params, r.params);
  EXPECT_EQ(back.activation_text, r.activation_text);
  EXPECT_EQ(back.weight_text, r.weight_text);
  EXPECT_EQ(back.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(back.status, "finished");
  EXPECT_EQ(back.error, "");
  EXPECT_EQ(back.started.size(), 20U);
  EXPECT_EQ(back.ended.size(), 20U);
  EXPECT_EQ(back.provenance.version, "0.1.0");
  EXPECT_EQ(back.provenance.commit, "abc123");
  EXPECT_TRUE(back.provenance.dirty);
  EXPECT_EQ(back.provenance.compiler, "GNU 12.2");
  EXPECT_EQ(back.provenance.flags, "-O3");
  EXPECT_EQ(back.provenance.host, "host");
  EXPECT_EQ(back.provenance.cpu, "cpu");
  EXPECT_EQ(back.provenance.kernel_level, "avx2");
  EXPECT_EQ(back.provenance.threads, 2);
  EXPECT_EQ(back.values, (Values{{"output.nmse", 0.25}}));
  EXPECT_EQ(back.metrics, (std::vector<std::string>{"mse", "nmse"}));
}

TEST_F(StoreTest, KeepsDoublesBitForBit) {
  const std::vector<double> numbers{kNaN,
                                    kInfinity,
                                    -kInfinity,
                                    0.0,
                                    -0.0,
                                    0.1,
                                    1.0 / 3.0,
                                    1e300,
                                    9007199254740993.0,
                                    -3.0,
                                    std::numeric_limits<double>::denorm_min(),
                                    std::numeric_limits<double>::max(),
                                    std::numeric_limits<double>::lowest(),
                                    std::numeric_limits<double>::min()};
  Store store(file());
  Values values;
  for (std::size_t i = 0; i < numbers.size(); ++i) values[std::to_string(100 + i)] = numbers[i];
  Series series;
  series.name = "transformed.surface";
  series.rows = 2;
  series.columns = static_cast<Index>(numbers.size() / 2);
  series.values = numbers;
  series.facts = {{"tokens", "1024"}, {"note", "a \"quoted\" é\n"}};
  Series empty;
  empty.name = "original.nothing";
  const std::vector<Series> both{series, empty};
  const auto id = store.begin(sample("k"));
  store.finish(id, values, both, {});
  const RunRecord back = store.run("k");
  const auto read = store.series(id, "transformed.surface");
  ASSERT_EQ(back.values.size(), numbers.size());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->name, "transformed.surface");
  EXPECT_EQ(read->rows, 2);
  EXPECT_EQ(read->columns, 7);
  EXPECT_EQ(read->facts, series.facts);
  ASSERT_EQ(read->values.size(), numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto bits = std::bit_cast<std::uint64_t>(numbers[i]);
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back.values.at(std::to_string(100 + i))), bits) << numbers[i];
    EXPECT_EQ(std::bit_cast<std::uint64_t>(read->values[i]), bits) << numbers[i];
  }
  EXPECT_EQ(store.series_names(id), (std::vector<std::string>{"original.nothing", "transformed.surface"}));
  EXPECT_EQ(store.series(id, "original.nothing")->values.size(), 0U);
  EXPECT_FALSE(store.series(id, "quantized.surface").has_value());
  EXPECT_FALSE(store.series(id + 1, "transformed.surface").has_value());
}

TEST_F(StoreTest, WritesNaNAndInfinitiesByNameAndNeverAsNull) {
  Store store(file());
  store.finish(store.begin(sample("k")), {{"a", kNaN}, {"b", kInfinity}, {"c", -kInfinity}, {"d", 1.5}}, {},
               {});
  EXPECT_EQ(count(file(), "SELECT count(*) FROM value WHERE name = 'a' AND special = 'nan'"), 1);
  EXPECT_EQ(count(file(), "SELECT count(*) FROM value WHERE name = 'b' AND special = 'inf'"), 1);
  EXPECT_EQ(count(file(), "SELECT count(*) FROM value WHERE name = 'c' AND special = '-inf'"), 1);
  EXPECT_EQ(count(file(), "SELECT count(*) FROM value WHERE name = 'd' AND special IS NULL AND value = 1.5"),
            1);
}

TEST_F(StoreTest, FindsAFinishedRunOnlyWithAllOfTheMetrics) {
  Store store(file());
  const std::vector<std::string> metrics{"mse", "sqnr"};
  const auto id = store.begin(sample("k"));
  EXPECT_FALSE(store.find_finished("k", {}).has_value()) << "it still runs";
  store.finish(id, {}, {}, metrics);
  EXPECT_EQ(store.find_finished("k", {}), id);
  EXPECT_EQ(store.find_finished("k", metrics), id);
  EXPECT_EQ(store.find_finished("k", std::vector<std::string>{"sqnr"}), id);
  EXPECT_FALSE(store.find_finished("k", std::vector<std::string>{"mse", "kurtosis"}).has_value());
  EXPECT_FALSE(store.find_finished("other", {}).has_value());
}

TEST_F(StoreTest, StartsAFailedRunOverAndKeepsWhatFailed) {
  Store store(file());
  const auto id = store.begin(sample("k"));
  store.fail(id, "out of memory");
  EXPECT_EQ(store.run("k").status, "failed");
  EXPECT_EQ(store.run("k").error, "out of memory");
  EXPECT_FALSE(store.find_finished("k", {}).has_value());

  RunRecord again = sample("k");
  again.label = "another label";
  again.provenance.commit = "def456";
  EXPECT_EQ(store.begin(again), id);
  EXPECT_EQ(store.run("k").status, "running");
  EXPECT_EQ(store.run("k").error, "");
  EXPECT_EQ(store.run("k").label, "another label");
  store.interrupt(id);
  EXPECT_EQ(store.run("k").status, "interrupted");
  EXPECT_EQ(store.begin(again), id);
  store.finish(id, {{"x", 1}}, {}, {});

  const RunRecord run = store.run("k");
  EXPECT_EQ(run.status, "finished");
  EXPECT_EQ(run.provenance.commit, "def456");
  const auto attempts = store.attempts(id);
  ASSERT_EQ(attempts.size(), 3U);
  EXPECT_EQ(attempts[0].status, "failed");
  EXPECT_EQ(attempts[0].error, "out of memory");
  EXPECT_EQ(attempts[0].provenance.commit, "abc123");
  EXPECT_EQ(attempts[1].status, "interrupted");
  EXPECT_EQ(attempts[2].status, "finished");
  EXPECT_NE(attempts[2].ended, "");
  EXPECT_EQ(store.runs({}).size(), 1U);
}

TEST_F(StoreTest, AddsToAFinishedRunAndNeverTakesFromIt) {
  Store store(file());
  Series first{"a", 1, 1, {1}, {}};
  Series second{"b", 1, 1, {2}, {}};
  const auto id = store.begin(sample("k"));
  store.finish(id, {{"x", 1}, {"y", 2}}, std::vector<Series>{first, second}, std::vector<std::string>{"m1"});
  EXPECT_EQ(store.begin(sample("k")), id);
  EXPECT_EQ(store.run("k").status, "finished") << "a finished run stays so while it is computed again";
  EXPECT_EQ(store.find_finished("k", std::vector<std::string>{"m1"}), id);
  first.values = {10};
  store.finish(id, {{"x", 10}, {"z", 3}}, std::vector<Series>{first}, std::vector<std::string>{"m2"});
  const RunRecord run = store.run("k");
  EXPECT_EQ(run.values, (Values{{"x", 10}, {"y", 2}, {"z", 3}}));
  EXPECT_EQ(run.metrics, (std::vector<std::string>{"m1", "m2"}));
  EXPECT_EQ(store.series(id, "a")->values, std::vector<double>{10});
  EXPECT_EQ(store.series(id, "b")->values, std::vector<double>{2});
  EXPECT_EQ(store.runs({}).size(), 1U);
}

TEST_F(StoreTest, AFailureNeverUndoesAFinish) {
  Store one(file());
  Store two(file());
  const auto id = one.begin(sample("k"));
  EXPECT_EQ(two.begin(sample("k")), id);
  one.finish(id, {{"x", 1}}, {}, {});
  two.fail(id, "the other process ran out of memory");
  EXPECT_EQ(one.run("k").status, "finished");
  EXPECT_EQ(one.run("k").error, "");
  EXPECT_EQ(one.run("k").values, (Values{{"x", 1}}));
  two.begin(sample("k"));
  two.interrupt(id);
  EXPECT_EQ(one.run("k").status, "finished");
  one.fail(id, "after the finish of the same attempt");
  EXPECT_EQ(one.run("k").status, "finished");
  EXPECT_EQ(one.attempts(id).size(), 3U);
}

TEST_F(StoreTest, BothOfTwoWritersMayFinishTheSameRun) {
  Store one(file());
  Store two(file());
  const auto id = one.begin(sample("k"));
  two.begin(sample("k"));
  two.finish(id, {{"x", 1}}, {}, std::vector<std::string>{"m"});
  one.finish(id, {{"x", 1}}, {}, std::vector<std::string>{"m"});
  ASSERT_EQ(one.runs({}).size(), 1U);
  EXPECT_EQ(one.run("k").status, "finished");
  EXPECT_EQ(one.run("k").values, (Values{{"x", 1}}));
  for (const Attempt& attempt : one.attempts(id)) EXPECT_EQ(attempt.status, "finished");
}

TEST_F(StoreTest, AnotherStoreMayEndARun) {
  std::int64_t id = 0;
  {
    Store store(file());
    id = store.begin(sample("k"));
  }
  Store store(file());
  store.finish(id, {{"x", 1}}, {}, {});
  EXPECT_EQ(store.run("k").status, "finished");
  expect_contains(error_of([&] { store.finish(99, {}, {}, {}); }), {file().string(), "no run 99"});
}

TEST_F(StoreTest, HoldsEachProvenanceOnce) {
  Store store(file());
  for (int i = 0; i < 5; ++i) store.begin(sample(fmt::format("k{}", i)));
  RunRecord other = sample("k9");
  other.provenance.threads = 8;
  store.begin(other);
  EXPECT_EQ(count(file(), "SELECT count(*) FROM provenance"), 2);
  EXPECT_EQ(store.run("k9").provenance.threads, 8);
  EXPECT_EQ(store.run("k0").provenance.threads, 2);
}

TEST_F(StoreTest, KeepsTheVersionsOfAStudyNewestFirst) {
  Store store(file());
  const auto a = store.begin(sample("a"));
  const auto b = store.begin(sample("b"));
  const auto c = store.begin(sample("c"));
  const auto first = store.put_study("ablation", "bits: 4");
  store.link(first, c, 0, "C");
  store.link(first, a, 1, "A");
  const auto second = store.put_study("ablation", "bits: 8");
  store.link(second, b, 0, "B");
  store.put_study("empty", "");
  EXPECT_NE(first, second);

  auto studies = store.studies();
  ASSERT_EQ(studies.size(), 3U);
  EXPECT_EQ(studies[0].name, "empty");
  EXPECT_EQ(studies[0].runs, 0U);
  EXPECT_EQ(studies[1].id, second);
  EXPECT_EQ(studies[1].text, "bits: 8");
  EXPECT_EQ(studies[2].runs, 2U);
  EXPECT_EQ(studies[2].created.size(), 20U);
  ASSERT_EQ(store.runs({.study = "ablation"}).size(), 1U);
  EXPECT_EQ(store.runs({.study = "ablation"})[0].label, "B");

  EXPECT_EQ(store.put_study("ablation", "bits: 4"), first) << "an equal text is the same version";
  EXPECT_EQ(store.studies()[0].id, first);
  auto runs = store.runs({.study = "ablation"});
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].key, "c");
  EXPECT_EQ(runs[0].label, "C");
  EXPECT_EQ(runs[0].params.at("block_size"), "128");
  EXPECT_EQ(runs[1].key, "a");
  EXPECT_EQ(store.run("a").label, "duquant") << "the label of a study is the study's";

  store.link(first, b, 0, "B again");  // the position is taken over
  store.link(first, a, 2, "A twice");
  runs = store.runs({.study = "ablation"});
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(runs[0].label, "B again");
  EXPECT_EQ(runs[2].label, "A twice");
  EXPECT_EQ(runs[1].params, runs[2].params);
  EXPECT_TRUE(store.runs({.study = "empty"}).empty());
}

TEST_F(StoreTest, FiltersRuns) {
  Store store(file());
  for (int i = 0; i < 6; ++i) {
    RunRecord r = sample(fmt::format("k{}", i));
    r.layer = fmt::format("model.layers.{}.mlp.{}", i, i % 2 == 0 ? "down_proj" : "up_proj");
    r.method = i < 3 ? "rtn" : "duquant";
    const auto id = store.begin(r);
    if (i < 4) store.finish(id, {{"x", i}}, {}, {});
    if (i == 4) store.fail(id, "bad");
  }
  const auto keys = [&](const RunFilter& filter) {
    std::string out;
    for (const RunRecord& run : store.runs(filter)) out += run.key;
    return out;
  };
  EXPECT_EQ(keys({}), "k0k1k2k3k4k5");
  EXPECT_EQ(keys({.status = "finished"}), "k0k1k2k3");
  EXPECT_EQ(keys({.status = "failed"}), "k4");
  EXPECT_EQ(keys({.status = "running"}), "k5");
  EXPECT_EQ(keys({.status = "interrupted"}), "");
  EXPECT_EQ(keys({.method = "rtn"}), "k0k1k2");
  EXPECT_EQ(keys({.layer = "*.down_proj"}), "k0k2k4");
  EXPECT_EQ(keys({.layer = "model.layers.{1,5}.*"}), "k1k5");
  EXPECT_EQ(keys({.status = "finished", .method = "duquant", .layer = "*.up_proj"}), "k3");
  EXPECT_EQ(keys({.layer = "nothing"}), "");
  EXPECT_EQ(store.runs({.layer = "model.layers.3.*"}).at(0).values, (Values{{"x", 3}}));
}

TEST_F(StoreTest, NamesWhatItDoesNotHoldWithTheNearestThatItDoes) {
  Store store(file());
  EXPECT_TRUE(store.runs({.method = "duquant"}).empty()) << "a store without runs refuses no method";
  store.begin(sample("k"));
  store.put_study("ablation", "");
  expect_contains(error_of([&] { store.runs({.study = "ablatoin"}); }),
                  {file().string(), "no study 'ablatoin'", "did you mean 'ablation'?"});
  expect_contains(error_of([&] { store.runs({.method = "duqant"}); }),
                  {"method 'duqant'", "did you mean 'duquant'?"});
  expect_contains(error_of([&] { store.runs({.status = "finshed"}); }),
                  {"status 'finshed'", "did you mean 'finished'?"});
}

TEST_F(StoreTest, FindsARunByItsNumberOrTheBeginningOfItsKey) {
  Store store(file());
  store.begin(sample("2abc"));
  store.begin(sample("77de"));
  store.begin(sample("77df%"));
  EXPECT_EQ(store.run("1").key, "2abc");
  EXPECT_EQ(store.run("2").key, "77de") << "a number is an id first";
  EXPECT_EQ(store.run("2a").key, "2abc");
  EXPECT_EQ(store.run("77de").key, "77de");
  EXPECT_EQ(store.run(" 77df ").key, "77df%");
  expect_contains(error_of([&] { store.run("77"); }), {"keys of 2 runs begin with '77'", "77de", "77df%"});
  expect_contains(error_of([&] { store.run("x"); }), {file().string(), "'x'", "olab list runs"});
  expect_contains(error_of([&] { store.run("%"); }), {"'%'"});
  expect_contains(error_of([&] { store.run(""); }), {"''"});
  expect_contains(error_of([&] { store.run("99"); }), {"'99'"});
}

TEST_F(StoreTest, ReadsWithoutLeavingFilesBehind) {
  {
    Store store(file());
    store.finish(store.begin(sample("k")), {{"x", 1}}, {}, {});
  }
  {
    Store store = Store::open_existing(file());
    EXPECT_EQ(store.run("k").values.at("x"), 1);
    expect_contains(error_of([&] { store.begin(sample("k2")); }), {file().string(), "for reading only"});
    Store moved = std::move(store);
    EXPECT_EQ(moved.runs({}).size(), 1U);
    EXPECT_EQ(moved.file(), file());
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(StoreTest, SaysThatThereIsNoDatabaseAndMakesNone) {
  expect_contains(error_of([&] { Store::open_existing(file()); }), {file().string(), "run a study first"});
  expect_contains(error_of([&] { Store::open_existing(folder_); }), {folder_.string(), "run a study first"});
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(StoreTest, TakesAnEmptyFileForANewDatabase) {
  test::write_file(file(), "");
  expect_contains(error_of([&] { Store::open_existing(file()); }), {file().string(), "schema 0"});
  EXPECT_EQ(fs::file_size(file()), 0U);
  Store store(file());
  store.begin(sample("k"));
  EXPECT_EQ(Store::open_existing(file()).runs({}).size(), 1U);
}

TEST_F(StoreTest, ReadsInAFolderThatCannotBeWritten) {
  const fs::path odd = file("a b?c#d%41.db");
  {
    Store store(odd);
    store.finish(store.begin(sample("k")), {{"x", 0.5}}, {}, {});
  }
  fs::permissions(odd, fs::perms::owner_read | fs::perms::group_read | fs::perms::others_read);
  fs::permissions(folder_, fs::perms(0555));
  EXPECT_EQ(as_nobody([&] { return fmt::format("{}", Store::open_existing(odd).run("k").values.at("x")); }),
            "0.5");
  expect_contains(as_nobody([&] { return error_of([&] { const Store store(odd); }); }),
                  {odd.string(), "cannot be written"});
}

TEST_F(StoreTest, DoesNotPassOverALogThatItCannotRead) {
  // A killed process leaves its newest runs in the write-ahead log.
  EXPECT_EQ(Child([&] {
              Store store(file());
              store.finish(store.begin(sample("k")), {{"x", 0.5}}, {}, {});
              raise(SIGKILL);
              return std::string();
            }).result(),
            "died");
  ASSERT_TRUE(fs::exists(file("olab.db-wal")));
  fs::remove(file("olab.db-shm"));
  fs::permissions(folder_, fs::perms(0555));
  expect_contains(as_nobody([&] { return error_of([&] { Store::open_existing(file()); }); }),
                  {"olab.db-wal", "copy both files"});
  fs::permissions(folder_, fs::perms::all);
  EXPECT_EQ(Store::open_existing(file()).run("k").values.at("x"), 0.5);
}

TEST_F(StoreTest, RefusesAFolderThatCannotBeWritten) {
  fs::create_directory(file("closed"));
  fs::permissions(file("closed"), fs::perms(0555));
  const auto refusal = [&](const fs::path& path) {
    return as_nobody([&] { return error_of([&] { const Store store(path); }); });
  };
  expect_contains(refusal(file("closed/olab.db")), {"closed/olab.db", "cannot be written", "--out"});
  expect_contains(refusal(file("closed/new/olab.db")),
                  {"closed/new", "cannot make the folder", "Permission"});
  test::write_file(file("plain"), "text");
  expect_contains(error_of([&] { const Store store(file("plain/olab.db")); }),
                  {"plain", "cannot make the folder"});
  expect_contains(error_of([&] { const Store store(folder_); }),
                  {folder_.string(), "is a folder", "olab.db"});
  EXPECT_TRUE(fs::is_empty(file("closed")));
}

TEST_F(StoreTest, RefusesADatabaseOfANewerProgramAndLeavesItAlone) {
  { const Store store(file()); }
  SQLite::Database(file().string(), SQLite::OPEN_READWRITE).exec("PRAGMA user_version = 7");
  for (const std::string& message :
       {error_of([&] { const Store store(file()); }), error_of([&] { Store::open_existing(file()); })})
    expect_contains(message, {file().string(), "newer OutlierLab", "schema 7", "up to 2", "--db"});
  EXPECT_EQ(count(file(), "PRAGMA user_version"), 7);
}

TEST_F(StoreTest, RefusesFilesOfOthersAndLeavesThemAlone) {
  {
    SQLite::Database other(file("other.db").string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    other.exec("CREATE TABLE bookmarks (url TEXT)");
  }
  test::write_file(file("notes.txt"), std::string(5000, 'x'));
  test::write_file(file("short.txt"), "hello");
  for (const std::string name : {"other.db", "notes.txt", "short.txt"}) {
    const auto size = fs::file_size(file(name));
    for (const std::string& message : {error_of([&] { const Store store(file(name)); }),
                                       error_of([&] { Store::open_existing(file(name)); })})
      expect_contains(message, {file(name).string(),
                                name == "other.db" ? "another program" : "no SQLite database", "--db"});
    EXPECT_EQ(fs::file_size(file(name)), size);
  }
  EXPECT_EQ(count(file("other.db"), "SELECT count(*) FROM sqlite_schema"), 1);
}

TEST_F(StoreTest, ReportsADamagedFileAsAnError) {
  {
    Store store(file());
    for (int i = 0; i < 200; ++i)
      store.finish(store.begin(sample(fmt::format("k{}", i))), {{"x", i}, {"y", i}}, {}, {});
  }
  {
    std::fstream bytes(file(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(8192);
    bytes << std::string(40000, '\x5a');
  }
  expect_contains(error_of([&] { Store(file()).runs({}); }), {file().string(), "damaged", ".recover"});
}

TEST_F(StoreTest, WaitsForALockOfAnotherProcess) {
  Store store(file());
  SQLite::Database other(file().string(), SQLite::OPEN_READWRITE);
  other.exec("BEGIN IMMEDIATE");
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    other.exec("COMMIT");
  });
  store.finish(store.begin(sample("k")), {{"x", 1}}, {}, {});
  release.join();
  EXPECT_EQ(store.run("k").status, "finished");
}

// The schema as version 1 wrote it, with rows. Programs of all later versions must read it: never edit this
// text.
constexpr const char* kVersionOne = R"sql(
CREATE TABLE provenance (id INTEGER PRIMARY KEY, version TEXT NOT NULL, git_commit TEXT NOT NULL,
  dirty INTEGER NOT NULL CHECK (dirty IN (0, 1)), compiler TEXT NOT NULL, flags TEXT NOT NULL, host TEXT NOT NULL,
  cpu TEXT NOT NULL, kernel_level TEXT NOT NULL, threads INTEGER NOT NULL,
  UNIQUE (version, git_commit, dirty, compiler, flags, host, cpu, kernel_level, threads)) STRICT;
CREATE TABLE run (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, recording TEXT NOT NULL, layer TEXT NOT NULL,
  layer_kind TEXT NOT NULL, tensor_hash TEXT NOT NULL, in_features INTEGER NOT NULL, out_features INTEGER NOT NULL,
  calibration_tokens INTEGER NOT NULL, evaluation_tokens INTEGER NOT NULL, method TEXT NOT NULL,
  method_text TEXT NOT NULL, label TEXT NOT NULL, activation_text TEXT NOT NULL, weight_text TEXT NOT NULL,
  seed INTEGER NOT NULL, attempt INTEGER REFERENCES attempt (id)) STRICT;
CREATE TABLE attempt (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run (id),
  provenance INTEGER NOT NULL REFERENCES provenance (id),
  status TEXT NOT NULL CHECK (status IN ('running', 'finished', 'failed', 'interrupted')),
  error TEXT NOT NULL, started TEXT NOT NULL, ended TEXT NOT NULL) STRICT;
CREATE INDEX attempt_run ON attempt (run);
CREATE TABLE param (run INTEGER NOT NULL REFERENCES run (id), name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (run, name)) STRICT, WITHOUT ROWID;
CREATE TABLE value (run INTEGER NOT NULL REFERENCES run (id), name TEXT NOT NULL, value REAL,
  special TEXT CHECK (special IN ('nan', 'inf', '-inf', '-0')), attempt INTEGER NOT NULL REFERENCES attempt (id),
  PRIMARY KEY (run, name), CHECK ((value IS NULL) <> (special IS NULL))) STRICT, WITHOUT ROWID;
CREATE TABLE metric (run INTEGER NOT NULL REFERENCES run (id), text TEXT NOT NULL,
  PRIMARY KEY (run, text)) STRICT, WITHOUT ROWID;
CREATE TABLE series (id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run (id), name TEXT NOT NULL,
  "rows" INTEGER NOT NULL, "columns" INTEGER NOT NULL, facts TEXT NOT NULL, data BLOB NOT NULL,
  attempt INTEGER NOT NULL REFERENCES attempt (id), UNIQUE (run, name)) STRICT;
CREATE TABLE study (id INTEGER PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL, created TEXT NOT NULL,
  updated TEXT NOT NULL, turn INTEGER NOT NULL, UNIQUE (name, text)) STRICT;
CREATE TABLE study_run (study INTEGER NOT NULL REFERENCES study (id), position INTEGER NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id), label TEXT NOT NULL, PRIMARY KEY (study, position)) STRICT, WITHOUT ROWID;
PRAGMA application_id = 1330397506;
PRAGMA user_version = 1;
INSERT INTO provenance VALUES (1, '0.1.0', 'abc', 1, 'GNU', '-O3', 'h', 'c', 'avx2', 2);
INSERT INTO run VALUES (5, 'beef', 'profile p', 'l.0.down_proj', 'down_proj', 'ff', 8, 4, 16, 32, 'rtn', 'rtn()', 'rtn',
  'int(bits=4)', 'int(bits=8)', -1, NULL);
INSERT INTO attempt VALUES (3, 5, 1, 'finished', '', '2026-01-31T12:00:00Z', '2026-01-31T12:00:01Z');
UPDATE run SET attempt = 3 WHERE id = 5;
INSERT INTO param VALUES (5, 'bits', '4');
INSERT INTO value VALUES (5, 'a', 0.5, NULL, 3), (5, 'b', NULL, 'nan', 3), (5, 'c', NULL, '-inf', 3);
INSERT INTO metric VALUES (5, 'mse()');
INSERT INTO series VALUES (1, 5, 's', 1, 2, '{"k":"v"}', x'000000000000F03F0000000000000040', 3);
INSERT INTO study VALUES (1, 'st', 'text', '2026-01-31T12:00:00Z', '2026-01-31T12:00:00Z', 1);
INSERT INTO study_run VALUES (1, 0, 5, 'label');
)sql";

TEST_F(StoreTest, ReadsAndExtendsADatabaseOfVersionOne) {
  SQLite::Database(file().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec(kVersionOne);
  Store store(file());
  const auto runs = store.runs({.study = "st"});
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].id, 5);
  EXPECT_EQ(runs[0].label, "label");
  EXPECT_EQ(runs[0].seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(runs[0].params.at("bits"), "4");
  EXPECT_EQ(runs[0].values.at("a"), 0.5);
  EXPECT_TRUE(std::isnan(runs[0].values.at("b")));
  EXPECT_EQ(runs[0].values.at("c"), -kInfinity);
  EXPECT_EQ(store.find_finished("beef", std::vector<std::string>{"mse()"}), 5);
  const auto series = store.series(5, "s");
  ASSERT_TRUE(series.has_value());
  EXPECT_EQ(series->values, (std::vector<double>{1, 2}));
  EXPECT_EQ(series->facts.at("k"), "v");
  EXPECT_EQ(store.begin(sample("cafe")), 6);
}

TEST_F(StoreTest, ReadsADatabaseOfVersionOneThatItMayNotChange) {
  SQLite::Database(file().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec(kVersionOne);
  {
    const Store store = Store::open_existing(file());
    EXPECT_EQ(store.runs({.study = "st"}).size(), 1U);
    EXPECT_TRUE(store.parts("beef").empty());
  }
  EXPECT_EQ(count(file(), "PRAGMA user_version"), 1) << "reading must not bring it up to date";
}

TEST_F(StoreTest, KeepsThePartsOfARunUntilItGoesOn) {
  {
    Store store(file());
    const std::int64_t id = store.begin(sample("k"));
    store.put_part(id, 0, std::vector<double>{1.5, -0.0});
    store.put_part(id, 2, std::vector<double>{kInfinity});
    store.put_part(id, 2, std::vector<double>{3});
    store.interrupt(id);
    store.put_part(store.begin(sample("other")), 0, std::vector<double>{9});
  }
  Store store(file());
  const std::int64_t again = store.begin(sample("k"));
  const auto parts = store.parts("k");
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts.at(0), (std::vector<double>{1.5, -0.0}));
  EXPECT_TRUE(std::signbit(parts.at(0)[1]));
  EXPECT_EQ(parts.at(2), std::vector<double>{3}) << "a part that is stored again is replaced";
  EXPECT_TRUE(store.parts("nothing").empty());
  store.finish(again, {{"x", 1}}, {}, {});
  EXPECT_EQ(store.parts("k").size(), 2U) << "nothing is ever deleted";
}

TEST_F(StoreTest, ANewDatabaseHasTheSchemaOfVersionOneAndTheTableOfParts) {
  { const Store store(file()); }
  SQLite::Database(file("literal.db").string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
      .exec(kVersionOne);
  const auto columns = [](const fs::path& path) {
    std::string out;
    SQLite::Database db(path.string());
    SQLite::Statement query(db,
                            "SELECT m.name || '.' || c.name || ' ' || c.type || c.\"notnull\" || c.pk FROM "
                            "sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1");
    while (query.executeStep()) out += query.getColumn(0).getString() + "\n";
    return out;
  };
  EXPECT_NE(columns(file()), columns(file("literal.db")));
  SQLite::Database(file("literal.db").string(), SQLite::OPEN_READWRITE)
      .exec(
          "CREATE TABLE part (run INTEGER NOT NULL REFERENCES run (id), position INTEGER NOT NULL, "
          "data BLOB NOT NULL, PRIMARY KEY (run, position)) STRICT, WITHOUT ROWID");
  EXPECT_EQ(columns(file()), columns(file("literal.db")));
  EXPECT_EQ(count(file(), "PRAGMA user_version"), 2);
  EXPECT_EQ(count(file(), "PRAGMA application_id"), 1330397506);
}

TEST_F(StoreTest, ManyProcessesMayCreateOneDatabaseAtOnce) {
  for (int round = 0; round < 8; ++round) {
    const fs::path path = file(fmt::format("folder{}/olab.db", round));
    std::vector<Child> children;
    children.reserve(4);
    for (int i = 0; i < 4; ++i)
      children.emplace_back([&, i] {
        Store store(path);
        return std::to_string(store.begin(sample(fmt::format("k{}", i))));
      });
    std::vector<std::string> ids;
    ids.reserve(children.size());
    for (Child& child : children) ids.push_back(child.result());
    std::ranges::sort(ids);
    EXPECT_EQ(ids, (std::vector<std::string>{"1", "2", "3", "4"}));
  }
}

TEST_F(StoreTest, ManyThreadsMayCreateOneDatabaseAtOnce) {
  std::array<std::string, 6> errors;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < errors.size(); ++i)
    threads.emplace_back(
        [&, i] { errors[i] = error_of([&] { Store(file()).begin(sample(fmt::format("k{}", i))); }); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors) EXPECT_EQ(error, "");
  EXPECT_EQ(Store(file()).runs({}).size(), 6U);
}

TEST_F(StoreTest, LosesNothingOfWhatManyProcessesWriteTogether) {
  constexpr int kProcesses = 3;
  constexpr int kRuns = 200;
  const auto values_of = [](int i) { return Values{{"x", i / 3.0}, {"y", i % 5 == 0 ? kNaN : -i}}; };
  std::vector<Child> children;
  children.reserve(kProcesses);
  for (int p = 0; p < kProcesses; ++p)
    children.emplace_back([&, p] {
      Store store(file());
      const auto study = store.put_study("study", "the same text");
      for (int i = 0; i < kRuns; ++i) {
        // Half of the runs are everybody's.
        const auto id =
            store.begin(sample(i % 2 == 0 ? fmt::format("all-{}", i) : fmt::format("{}-{}", p, i)));
        const Series series{"s", 1, 2, {i / 7.0, kInfinity}, {}};
        store.finish(id, values_of(i), std::vector<Series>{series},
                     std::vector<std::string>{fmt::format("m{}", p)});
        store.link(study, id, p * kRuns + i, fmt::format("{}", i));
        if (store.run(std::to_string(id)).values.size() != 2) return std::string("lost values");
      }
      return std::string("ok");
    });
  for (Child& child : children) EXPECT_EQ(child.result(), "ok");

  const Store store = Store::open_existing(file());
  const auto all = store.runs({});
  EXPECT_EQ(all.size(), kRuns / 2 + kProcesses * kRuns / 2);
  for (const RunRecord& run : all) {
    const int i = std::stoi(run.key.substr(run.key.find('-') + 1));
    const Values expected = values_of(i);
    EXPECT_EQ(run.status, "finished");
    EXPECT_EQ(run.values.at("x"), expected.at("x"));
    EXPECT_EQ(std::isnan(run.values.at("y")), i % 5 == 0);
    EXPECT_EQ(run.metrics.size(), i % 2 == 0 ? kProcesses : 1U);
    EXPECT_EQ(run.params.size(), 2U);
    EXPECT_EQ(store.series(run.id, "s")->values, (std::vector<double>{i / 7.0, kInfinity}));
  }
  ASSERT_EQ(store.studies().size(), 1U);
  const auto linked = store.runs({.study = "study"});
  ASSERT_EQ(linked.size(), static_cast<std::size_t>(kProcesses) * kRuns);
  for (std::size_t i = 0; i < linked.size(); ++i) EXPECT_EQ(linked[i].label, std::to_string(i % kRuns));
  EXPECT_EQ(count(file(), "SELECT count(*) FROM attempt"), kProcesses * kRuns);
  EXPECT_EQ(count(file(), "SELECT count(*) FROM provenance"), 1);
}

TEST_F(StoreTest, ThreadsShareOneStore) {
  Store store(file());
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const auto id = store.begin(sample(fmt::format("{}-{}", t, i)));
        store.finish(id, {{"x", t * 1000 + i}}, {}, {});
        EXPECT_EQ(store.find_finished(fmt::format("{}-{}", t, i), {}), id);
      }
    });
  for (std::thread& thread : threads) thread.join();
  const auto runs = store.runs({});
  ASSERT_EQ(runs.size(), 200U);
  for (const RunRecord& run : runs)
    EXPECT_EQ(run.values.at("x"), std::stoi(run.key.substr(0, 1)) * 1000 + std::stoi(run.key.substr(2)));
}

TEST_F(StoreTest, ReadersSeeWholeRunsWhileOthersWrite) {
  { const Store store(file()); }
  Child writer([&] {
    Store store(file());
    for (int i = 0; i < 200; ++i)
      store.finish(store.begin(sample(fmt::format("k{}", i))), {{"x", i}, {"y", i}}, {},
                   std::vector<std::string>{"m"});
    return std::string("ok");
  });
  const Store reader = Store::open_existing(file());
  std::size_t before = 0;
  for (int i = 0; i < 50; ++i) {
    const auto runs = reader.runs({.status = "finished"});
    EXPECT_GE(runs.size(), before);
    before = runs.size();
    for (const RunRecord& run : runs) {
      EXPECT_EQ(run.values.size(), 2U);
      EXPECT_EQ(run.metrics.size(), 1U);
    }
  }
  EXPECT_EQ(writer.result(), "ok");
  EXPECT_EQ(reader.runs({}).size(), 200U);
}

TEST_F(StoreTest, AKilledProcessLosesNoFinishedRun) {
  Child killed([&] {
    Store store(file());
    store.finish(store.begin(sample("done")), {{"x", 1}}, {}, {});
    store.begin(sample("half"));
    raise(SIGKILL);
    return std::string();
  });
  EXPECT_EQ(killed.result(), "died");
  Store store(file());
  EXPECT_EQ(store.run("done").values.at("x"), 1);
  EXPECT_EQ(store.run("half").status, "running");
  store.finish(store.begin(sample("half")), {{"x", 2}}, {}, {});
  EXPECT_EQ(store.run("half").status, "finished");
}

TEST_F(StoreTest, HoldsThousandsOfRunsWithTheirValues) {
  constexpr int kRuns = 1500;
  Store store(file());
  const auto study = store.put_study("large", "");
  for (int i = 0; i < kRuns; ++i) {
    const auto id = store.begin(sample(fmt::format("k{:05}", i)));
    Values values;
    for (int v = 0; v < 40; ++v) values[fmt::format("output.metric{:02}", v)] = i + v / 64.0;
    store.finish(id, values, {}, std::vector<std::string>{"m"});
    store.link(study, id, kRuns - i, "label");
  }
  const auto runs = store.runs({.study = "large"});
  ASSERT_EQ(runs.size(), static_cast<std::size_t>(kRuns));
  for (int i = 0; i < kRuns; ++i) {
    const RunRecord& run = runs[static_cast<std::size_t>(kRuns - 1 - i)];
    EXPECT_EQ(run.key, fmt::format("k{:05}", i));
    ASSERT_EQ(run.values.size(), 40U);
    EXPECT_EQ(run.values.at("output.metric39"), i + 39 / 64.0);
  }
}

TEST(UtcNow, IsAnIsoTime) {
  const std::string now = utc_now();
  ASSERT_EQ(now.size(), 20U);
  EXPECT_EQ(now[4], '-');
  EXPECT_EQ(now[10], 'T');
  EXPECT_EQ(now[19], 'Z');
  EXPECT_GE(now, "2024-01-01T00:00:00Z");
}

}  // namespace
}  // namespace olab

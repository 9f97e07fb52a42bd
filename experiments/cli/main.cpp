// The `olab` program: arguments in, the library's work, an exit code out.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/parallel.hpp"
#include "core/stop.hpp"
#include "core/text.hpp"
#include "datasets/profile.hpp"
#include "experiments/builtins.hpp"
#include "experiments/compare.hpp"
#include "experiments/cost.hpp"
#include "experiments/describe.hpp"
#include "experiments/inspect.hpp"
#include "experiments/listing.hpp"
#include "experiments/model_runner.hpp"
#include "experiments/model_windows.hpp"
#include "experiments/paper.hpp"
#include "experiments/perplexity_study.hpp"
#include "experiments/plan.hpp"
#include "experiments/progress.hpp"
#include "experiments/provenance.hpp"
#include "experiments/runner.hpp"
#include "experiments/transform_export.hpp"
#include "experiments/verify.hpp"
#include "experiments/views.hpp"
#include "models/generate.hpp"
#include "models/llama2c.hpp"
#include "models/record.hpp"

namespace {

namespace fs = std::filesystem;
using olab::Error;

constexpr int kGood = 0;
constexpr int kSomeFailed = 1;
constexpr int kBadUsage = 2;
constexpr int kInterrupted = 130;

// A signal handler can reach nothing else.
olab::StopFlag g_stop;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)

extern "C" void on_interrupt(int /*signal*/) {
  g_stop.request();
  std::signal(SIGINT, SIG_DFL);  // a second Ctrl-C ends at once
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}
void note(const std::string& text) {
  std::fflush(stdout);  // in one file both keep their order
  std::fwrite((text + "\n").data(), 1, text.size() + 1, stderr);
}

/// Options that several commands share.
struct Common {
  std::vector<std::string> plugins;
  std::string out = "results/output";
  std::string database;

  fs::path database_file() const { return database.empty() ? fs::path(out) / "olab.db" : fs::path(database); }
  olab::Registries registries() const { return olab::make_registries({plugins.begin(), plugins.end()}); }
  olab::Store existing() const { return olab::Store::open_existing(database_file()); }
};

void add_store_options(CLI::App& app, Common& common) {
  app.add_option("--out", common.out, "folder for the database, charts and reports")->capture_default_str();
  app.add_option("--db", common.database, "the database (default: OUT/olab.db)");
}

olab::ListFormat list_format(bool json, const std::string& format) {
  if (json || format == "json") return olab::ListFormat::json;
  if (format == "md" || format == "markdown") return olab::ListFormat::markdown;
  if (format == "text") return olab::ListFormat::text;
  const std::vector<std::string> known{"text", "json", "md"};
  throw Error(fmt::format("no listing has the format '{}'{}", format, olab::suggestion(format, known)));
}

std::string runs_text(const std::vector<olab::RunRecord>& runs) {
  std::string out = fmt::format("{:>6}  {:<10}  {:<32}  {:<44}  {:>6}  {}\n", "id", "status", "layer",
                                "method", "seed", "output.nmse");
  for (const olab::RunRecord& r : runs) {
    const auto it = r.values.find("output.nmse");
    out += fmt::format("{:>6}  {:<10}  {:<32}  {:<44}  {:>6}  {}\n", r.id, r.status, r.layer, r.label, r.seed,
                       !r.error.empty()       ? r.error
                       : it == r.values.end() ? std::string()
                                              : fmt::format("{:.4g}", it->second));
  }
  return out;
}

/// "a,b" and repeated options; a comma inside of {} belongs to its pattern.
std::vector<std::string> patterns(const std::vector<std::string>& given) {
  std::vector<std::string> out;
  for (const std::string& text : given)
    for (std::string& part : olab::split_top_level(text, ',')) out.push_back(std::move(part));
  return out;
}

/// The study as it was stored last, for views without the study file.
olab::Study stored_study(const olab::Store& store, const std::string& name, const olab::Registries& r) {
  const olab::StudyRecord stored = olab::find_stored_study(store, name);
  return olab::parse_study(stored.text, stored.name, {}, r);
}

struct RunCommand {
  Common* common;
  std::string study;
  std::vector<std::string> overrides;
  bool dry_run = false;
  bool force = false;
  bool keep_going = false;
  bool fail_fast = false;
  bool quiet = false;
  bool no_sharing = false;
  int jobs = 0;
  std::string shard;
  std::string memory;
  std::string format = "text";
  olab::Index blocks = 0;

  olab::PlanOptions plan_options() const {
    olab::PlanOptions out;
    out.blocks = blocks;
    out.force = force;
    out.sharing = !no_sharing;
    out.threads = jobs > 0 ? jobs : olab::hardware_threads();
    if (!shard.empty()) {
      const std::vector<std::string> parts = olab::split(shard, '/');
      std::int64_t i = 0;
      std::int64_t n = 0;
      if (parts.size() != 2 || !olab::parse_integer(parts[0], i) || !olab::parse_integer(parts[1], n) ||
          n < 1 || i < 1 || i > n)
        throw Error(fmt::format("--shard {}: expected i/n with 1 <= i <= n, for example 1/4", shard));
      out.shard = static_cast<std::size_t>(i - 1);
      out.shards = static_cast<std::size_t>(n);
    }
    if (!memory.empty()) {
      std::string digits = memory;
      double factor = 1024.0 * 1024.0 * 1024.0;
      const auto unit = digits.find_first_not_of("0123456789.");
      if (unit != std::string::npos) {
        const std::string name = digits.substr(unit);
        digits.resize(unit);
        if (name == "M" || name == "MiB") {
          factor = 1024.0 * 1024.0;
        } else if (name != "G" && name != "GiB") {
          throw Error(fmt::format("--memory {}: expected a number of GiB, or a unit MiB or GiB", memory));
        }
      }
      double value = 0;
      if (!olab::parse_double(digits, value) || !(value > 0))
        throw Error(fmt::format("--memory {}: expected a positive size", memory));
      out.memory_limit = value * factor;
    }
    return out;
  }

  int operator()() const {
    const olab::Registries r = common->registries();
    std::string command = "olab run " + this->study;
    for (const std::string& o : overrides) command += " '" + o + "'";
    return run_study(r, olab::load_study(this->study, overrides, r), command, {});
  }

  /// What stands in the report in front of the tables, from the stored runs.
  using Sections = std::function<std::vector<olab::ReportSection>(const std::vector<olab::RunRecord>&)>;

  int run_study(const olab::Registries& r, olab::Study study, const std::string& command,
                const Sections& sections) const {
    (void)olab::parse_format(format);  // a typo must not show after an hour
    const olab::PlanOptions options = plan_options();
    const olab::ThreadLimit threads(options.threads);
    const fs::path database = common->database_file();
    const bool of_models = !study.evaluations.empty();
    if (of_models && no_sharing)
      throw Error(
          "--no-sharing: runs of whole models share nothing that could be left out; it is for studies of "
          "layers");
    if (blocks > 0 && !(dry_run && of_models)) throw Error("--blocks is for --dry-run of a study of models");
    if (dry_run) {
      std::optional<olab::Store> store;
      if (fs::exists(database)) store = olab::Store::open_existing(database);
      const olab::Store* const stored = store ? &*store : nullptr;
      print(of_models ? olab::describe_model_plan(olab::make_model_plan(std::move(study), r, stored, options),
                                                  r, blocks)
                      : olab::describe_plan(olab::make_plan(std::move(study), r, stored, options)));
      return kGood;
    }
    olab::Store store(database);
    if (of_models) {
      olab::ModelPlan plan = olab::make_model_plan(std::move(study), r, &store, options);
      tell_start(plan.study.name, plan.total, plan.stored, plan.seconds, plan.peak_bytes);
      const olab::RunReport report = olab::execute_models(plan, r, store, run_options(), force);
      return finish(r, store, plan.study, plan.total, report, command, sections);
    }
    olab::Plan plan = olab::make_plan(std::move(study), r, &store, options);
    tell_start(plan.study.name, plan.total, plan.stored, plan.seconds, plan.peak_bytes);
    const olab::RunReport report = olab::execute(plan, r, store, run_options());
    return finish(r, store, plan.study, plan.total, report, command, sections);
  }

 private:
  olab::RunOptions run_options() const {
    olab::RunOptions out;
    out.fail_fast = fail_fast;
    out.progress = !quiet;
    out.stop = &g_stop;
    return out;
  }

  void tell_start(const std::string& name, std::size_t total, std::size_t stored, double seconds,
                  double peak_bytes) const {
    if (total == 0) {
      note(fmt::format("{}: no run of this study is in this shard", name));
    } else if (total == stored) {
      note(fmt::format("{}: all {} runs are stored already; nothing to do (--force computes them again)",
                       name, total));
    } else if (!quiet) {
      note(fmt::format("{}: {} runs, {} stored already; about {}, up to {}", name, total, stored,
                       olab::human_seconds(seconds), olab::human_bytes(peak_bytes)));
    }
  }

  /// Failures, tables, charts and the report of a study whose runs are done; the exit code.
  int finish(const olab::Registries& r, const olab::Store& store, const olab::Study& study, std::size_t total,
             const olab::RunReport& report, const std::string& command, const Sections& sections) const {
    const std::size_t todo = total - report.skipped;
    for (const std::string& e : report.errors) note("failed: " + e);
    if (report.interrupted) {
      note(fmt::format("interrupted: {} runs are stored, {} are left; the same command{} goes on with them",
                       report.skipped + report.computed, todo - report.computed - report.failed,
                       force ? " without --force" : ""));
      return kInterrupted;
    }
    const olab::ViewPaths paths = olab::view_paths(common->out, store.file(), study.name);
    std::vector<olab::ReportSection> computed;
    if (sections)
      computed = sections(store.runs({.study = study.name, .status = {}, .method = {}, .layer = {}}));
    const olab::Views views = olab::make_views(study, store, paths, r, force, command, computed);
    const olab::Format table_format = olab::parse_format(format);
    print(computed.empty() ? olab::render_tables(views, table_format)
                           : olab::render_sections(computed, table_format));
    if (todo > 0)
      note(fmt::format("{} computed, {} stored before, {} failed, in {}", report.computed, report.skipped,
                       report.failed, olab::human_seconds(report.seconds)));
    if (report.computed > 0) note(olab::describe_work(report));
    for (const std::string& w : views.warnings) note("warning: " + w);
    note(fmt::format("database: {}\ncharts:   {}\nreport:   {}", paths.database.string(),
                     paths.charts.string(), paths.report.string()));
    return report.failed > 0 ? kSomeFailed : kGood;
  }
};

void add_run_options(CLI::App& app, RunCommand& run, Common& common) {
  app.add_flag("--dry-run", run.dry_run, "print the plan and stop");
  app.add_option("--blocks", run.blocks, "with --dry-run: time as if a model had so many blocks")
      ->check(CLI::Range(1, 100'000));
  app.add_flag("--force", run.force, "compute stored runs again");
  auto* keep =
      app.add_flag("--keep-going", run.keep_going, "a failed run does not stop the others (the default)");
  app.add_flag("--fail-fast", run.fail_fast, "stop at the first failed run")->excludes(keep);
  app.add_flag("--quiet", run.quiet, "no progress");
  app.add_flag("--no-sharing", run.no_sharing, "compute every run by itself; the numbers are the same");
  app.add_option("-j,--jobs", run.jobs, "threads (default: all)")->check(CLI::Range(1, 1024));
  app.add_option("--shard", run.shard, "i/n: this process takes every n-th run");
  app.add_option("--memory", run.memory, "memory limit, GiB or with a unit (default: three quarters)");
  app.add_option("--format", run.format, "of the tables: text, csv, json, md, latex")->capture_default_str();
  add_store_options(app, common);
}

/// A study of models out of options.
struct PerplexityCommand {
  RunCommand run;
  olab::PerplexityStudy study;

  int operator()() const {
    const olab::Registries r = run.common->registries();
    const std::string text = olab::perplexity_study(study);
    return run.run_study(r, olab::parse_study(text, "olab perplexity", run.overrides, r),
                         olab::perplexity_command(study, run.overrides), {});
  }
};

/// Published tables beside measured ones.
struct ReproduceCommand {
  RunCommand run;
  std::vector<std::string> tables;
  std::vector<std::string> recordings;
  std::vector<std::string> profiles;
  olab::PaperData models;
  std::string page;
  bool list = false;
  bool stored_only = false;

  int operator()() const {
    const std::vector<std::string> names = olab::paper_names();
    if (list) {
      for (const std::string& name : names) print(fmt::format("{:<18} {}\n", name, olab::paper_title(name)));
      return kGood;
    }
    const olab::Registries r = run.common->registries();
    std::vector<olab::PaperData> data;
    for (const std::string& name : patterns(profiles))
      data.push_back({.recording = {},
                      .profile = name == "own" ? std::string() : name,
                      .models = {},
                      .texts = {},
                      .calibration_text = {}});
    for (const std::string& path : patterns(recordings))
      data.push_back({.recording = path, .profile = {}, .models = {}, .texts = {}, .calibration_text = {}});
    if (data.empty()) data.emplace_back();
    // All are read before the first is run: a typo in the last must not show after an hour.
    std::vector<olab::PaperTable> papers;
    for (const std::string& name : tables.empty() ? names : tables) {
      if (!olab::paper_needs_model(name)) {
        for (const olab::PaperData& d : data) papers.push_back(olab::load_paper(name, d, run.overrides, r));
      } else if (!models.models.empty() && !models.texts.empty()) {
        papers.push_back(olab::load_paper(name, models, run.overrides, r));
      } else if (!tables.empty()) {
        throw Error(fmt::format(
            "{}: this table evaluates language models; give them with --model FOLDER and --text FILE", name));
      } else {
        note(fmt::format("{} is left out: it needs --model FOLDER and --text FILE", name));
      }
    }
    int code = kGood;
    for (const olab::PaperTable& p : papers) {
      if (!stored_only) code = std::max(code, reproduce(p, r));
      if (code == kInterrupted) return code;
    }
    if (!run.dry_run) write(papers, r);
    return code;
  }

 private:
  int reproduce(const olab::PaperTable& paper, const olab::Registries& r) const {
    std::string command = "olab reproduce " + paper.name;
    const olab::StudyData& d = paper.study.data;
    if (!recordings.empty() && !d.recording.empty()) command += " --recording '" + d.recording + "'";
    if (!profiles.empty() && !d.profile.empty()) command += " --profile '" + d.profile + "'";
    for (const std::string& path : d.models) command += " --model '" + path + "'";
    for (const std::string& path : d.texts) command += " --text '" + path + "'";
    if (!d.calibration_text.empty()) command += " --calibration-text '" + d.calibration_text + "'";
    for (const std::string& o : run.overrides) command += " --set '" + o + "'";
    return run.run_study(r, paper.study, command, [&](const std::vector<olab::RunRecord>& runs) {
      const olab::Store store = run.common->existing();
      return std::vector<olab::ReportSection>{
          olab::paper_page(paper, runs, olab::window_values(store, runs), r).section};
    });
  }

  void write(const std::vector<olab::PaperTable>& papers, const olab::Registries& r) const {
    const olab::Store store = run.common->existing();
    std::set<std::string> stored;
    for (const olab::StudyRecord& study : store.studies()) stored.insert(study.name);
    std::vector<olab::PaperPage> pages;
    for (const olab::PaperTable& p : papers)
      if (stored.contains(p.study.name)) {
        const auto runs = store.runs({.study = p.study.name, .status = {}, .method = {}, .layer = {}});
        pages.push_back(olab::paper_page(p, runs, olab::window_values(store, runs), r));
      }
    if (pages.empty())
      throw Error(
          fmt::format("{}: no run of these tables is stored; leave out --stored", store.file().string()));
    std::vector<olab::ReportSection> sections{olab::summary_of(pages)};
    for (olab::PaperPage& p : pages) sections.push_back(std::move(p.section));
    if (stored_only) print(olab::render_sections(sections, olab::parse_format(run.format)));
    const fs::path file = page.empty() ? fs::path(run.common->out) / "reproduce.md" : fs::path(page);
    olab::write_page(
        file, "Published tables, and what is measured here",
        "Written by `olab reproduce`: every number, verdict and answer is computed from stored runs.",
        sections);
    note(fmt::format("page:     {}", file.string()));
  }
};

/// A language model's activations, recorded here.
struct RecordCommand {
  Common* common;
  olab::RecordOptions options;
  std::string dtype = "bf16";
  bool no_weights = false;
  bool dry_run = false;
  bool quiet = false;

  int operator()() {
    options.layers = patterns(options.layers);
    options.dtype = olab::parse_record_dtype(dtype);
    options.weights = !no_weights;
    const olab::Registries r = common->registries();
    if (dry_run) {
      print(plan_text(olab::plan_recording(options, r)));
      return kGood;
    }
    std::optional<olab::Progress> bar;
    olab::RecordProgress last;
    const auto progress = [&](const olab::RecordProgress& p) {
      if (bar) {
        bar->advance(p.now);
      } else {
        bar.emplace("record", static_cast<std::size_t>(p.total - p.done), !quiet);
        if (p.done > 0 && !quiet)
          note(fmt::format("{} of {} steps are done already; going on", p.done, p.total));
      }
      last = p;
    };
    try {
      const olab::RecordReport report = olab::record_model(options, r, progress, &g_stop);
      bar.reset();
      print(fmt::format("{}: {} layers with {} different inputs, {} tokens, {}, {}, in {}\n",
                        report.folder.string(), report.layers, report.inputs, report.tokens, dtype,
                        olab::human_bytes(report.bytes), olab::human_seconds(report.seconds)));
      print(fmt::format("look at it: olab inspect {}\n", report.folder.string()));
      return kGood;
    } catch (const olab::Interrupted&) {
      bar.reset();
      note(
          fmt::format("interrupted: {} of {} steps are done and wait in {}; the same command goes on, with "
                      "--restart it begins anew",
                      last.done, last.total, olab::unfinished_recording(options.out).string()));
      return kInterrupted;
    }
  }

 private:
  std::string plan_text(const olab::RecordPlan& plan) const {
    std::string out =
        fmt::format("{}: {} layers with {} different inputs, {} tokens in {} windows of at most {}\n",
                    plan.model, plan.layers.size(), plan.inputs, plan.tokens, plan.windows, plan.context);
    for (const olab::ManifestLayer& l : plan.layers)
      out += fmt::format("  {:<40}  X {} × {} in {}{}\n", l.name, l.tokens, l.in_features, l.x.file,
                         l.weight
                             ? fmt::format(", W {} × {} in {}", l.out_features, l.in_features, l.weight->file)
                             : std::string());
    out += fmt::format("on disk: {} as {}, and {} of hidden states until it is whole\nmemory:  up to {}\n",
                       olab::human_bytes(plan.recording_bytes), dtype, olab::human_bytes(plan.waiting_bytes),
                       olab::human_bytes(plan.memory_bytes));
    out += fmt::format(
        "time:    about {} for {:.3g} multiply-adds in {} blocks; reading and writing come on top\n",
        olab::human_seconds(plan.seconds), plan.multiply_adds, plan.blocks);
    const fs::path waiting = olab::unfinished_recording(options.out);
    if (fs::exists(waiting))
      out += fmt::format("an unfinished recording waits in {}; what it has done is not done again\n",
                         waiting.string());
    return out;
  }
};

int main_checked(int argc, char** argv) {
  CLI::App app{"OutlierLab: record a layer once, run every quantization method over it", "olab"};
  app.set_version_flag("--version", olab::version_text());
  app.require_subcommand(1);
  app.fallthrough();
  Common common;
  app.add_option("--plugin", common.plugins,
                 "shared library with more methods, metrics, readers or charts (repeatable)")
      ->allow_extra_args(false);
  std::function<int()> action;

  RunCommand run{.common = &common, .study = {}, .overrides = {}, .shard = {}, .memory = {}};
  CLI::App* run_app = app.add_subcommand("run", "run a study: a YAML file or the name of a shipped study");
  run_app->add_option("study", run.study, "file or shipped name (olab list studies)")->required();
  run_app->add_option("overrides", run.overrides, "key=value, +key=value, ~key; a,b makes an axis");
  add_run_options(*run_app, run, common);
  run_app->callback([&] { action = [&] { return run(); }; });

  PerplexityCommand perplexity{
      .run = {.common = &common, .study = {}, .overrides = {}, .shard = {}, .memory = {}}, .study = {}};
  CLI::App* perplexity_app = app.add_subcommand(
      "perplexity", "perplexity of a language model with its linear layers transformed and quantized");
  perplexity_app->add_option("models", perplexity.study.models, "Hugging Face folders")->required();
  perplexity_app
      ->add_option("--text", perplexity.study.texts, "a text, or token ids as .npy or .bin (repeatable)")
      ->required()
      ->allow_extra_args(false);
  perplexity_app->add_option("--calibration-text", perplexity.study.calibration_text,
                             "another text for calibration (default: the beginning of the text)");
  perplexity_app
      ->add_option("--method", perplexity.study.methods,
                   "a method with its parameters, or several with | between (repeatable)")
      ->allow_extra_args(false)
      ->capture_default_str();
  perplexity_app
      ->add_option("--bits", perplexity.study.bits,
                   "W4A4, W4A16, W4A4KV4, W4A4QKV4 …: of weights, activations, and queries, keys, values "
                   "(repeatable; W4A4QKV4 is what the DuQuant paper calls W4A4)")
      ->allow_extra_args(false)
      ->capture_default_str();
  perplexity_app
      ->add_option("--activation-clip", perplexity.study.activation_clip, "of activations, queries and keys")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  perplexity_app->add_option("--weight-clip", perplexity.study.weight_clip, "of weights")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  perplexity_app
      ->add_option("--with", perplexity.study.settings,
                   "key=value of olab show perplexity: context=512, windows=8, calibrate_inputs=original "
                   "(repeatable)")
      ->allow_extra_args(false);
  perplexity_app->add_option("--study", perplexity.study.name, "name that runs are stored under")
      ->capture_default_str();
  perplexity_app
      ->add_option("--set", perplexity.run.overrides, "override of the study, as for olab run (repeatable)")
      ->allow_extra_args(false);
  add_run_options(*perplexity_app, perplexity.run, common);
  perplexity_app->callback([&] { action = [&] { return perplexity(); }; });

  ReproduceCommand reproduce{
      .run = {.common = &common, .study = {}, .overrides = {}, .shard = {}, .memory = {}},
      .tables = {},
      .recordings = {},
      .profiles = {},
      .models = {},
      .page = {}};
  CLI::App* reproduce_app = app.add_subcommand(
      "reproduce", "run the tables of the papers and hold what is published against what is measured");
  reproduce_app->add_option("tables", reproduce.tables, "names (--list) or files; none: all");
  reproduce_app->add_flag("--list", reproduce.list, "only say which tables there are");
  reproduce_app
      ->add_option("--recording", reproduce.recordings,
                   "recordings of your own instead of generated data (repeatable)")
      ->allow_extra_args(false);
  reproduce_app
      ->add_option("--profile", reproduce.profiles,
                   "other profiles instead (repeatable); own: the table's own data")
      ->allow_extra_args(false);
  reproduce_app
      ->add_option("--model", reproduce.models.models,
                   "for tables that evaluate language models: Hugging Face folders (repeatable)")
      ->allow_extra_args(false);
  reproduce_app
      ->add_option("--text", reproduce.models.texts, "their evaluation text, or token ids (repeatable)")
      ->allow_extra_args(false);
  reproduce_app->add_option("--calibration-text", reproduce.models.calibration_text,
                            "another text for calibration (default: the beginning of the text)");
  reproduce_app->add_option("--set", reproduce.run.overrides, "override of the study, as for olab run")
      ->allow_extra_args(false);
  reproduce_app->add_flag("--stored", reproduce.stored_only, "compute nothing: the page from what is stored");
  reproduce_app->add_option("--page", reproduce.page, "where the page goes (default: OUT/reproduce.md)");
  reproduce_app->add_flag("--dry-run", reproduce.run.dry_run, "print the plans and stop");
  reproduce_app->add_flag("--force", reproduce.run.force, "compute stored runs again");
  reproduce_app->add_flag("--quiet", reproduce.run.quiet, "no progress");
  reproduce_app->add_option("-j,--jobs", reproduce.run.jobs, "threads (default: all)")
      ->check(CLI::Range(1, 1024));
  reproduce_app->add_option("--format", reproduce.run.format, "text or md")->capture_default_str();
  add_store_options(*reproduce_app, common);
  reproduce_app->callback([&] { action = [&] { return reproduce(); }; });

  struct {
    std::string kind, name, format = "text", study, status, method, layer;
    bool json = false;
  } list;
  CLI::App* list_app = app.add_subcommand("list",
                                          "list methods, metrics, permutations, formats, readers, charts, "
                                          "architectures, profiles, studies or runs");
  list_app->add_option("kind", list.kind, "what to list")->required();
  list_app->add_flag("--json", list.json, "as JSON");
  list_app->add_option("--format", list.format, "text, json or md")->capture_default_str();
  list_app->add_option("--study", list.study, "runs of this study");
  list_app->add_option("--status", list.status, "runs with this status");
  list_app->add_option("--method", list.method, "runs of this method");
  list_app->add_option("--layer", list.layer, "runs of layers that fit this pattern");
  add_store_options(*list_app, common);
  list_app->callback([&] {
    action = [&] {
      const olab::ListFormat format = list_format(list.json, list.format);
      if (list.kind != "runs") {
        print(olab::list_entries(list.kind, common.registries(), format));
        return kGood;
      }
      const auto runs = common.existing().runs({list.study, list.status, list.method, list.layer});
      print(format == olab::ListFormat::text
                ? runs_text(runs)
                : olab::export_runs(
                      runs, format == olab::ListFormat::json ? olab::Format::json : olab::Format::markdown));
      return kGood;
    };
  });

  struct {
    std::vector<std::string> names;
    bool json = false;
  } show;
  CLI::App* show_app =
      app.add_subcommand("show", "everything about a method, metric, … or about a stored run");
  show_app->add_option("name", show.names, "[KIND] NAME, or a run's id or key")->required()->expected(1, 2);
  show_app->add_flag("--json", show.json, "as JSON");
  add_store_options(*show_app, common);
  show_app->callback([&] {
    action = [&] {
      const olab::Registries r = common.registries();
      const olab::ListFormat format = show.json ? olab::ListFormat::json : olab::ListFormat::text;
      if (show.names.size() == 2 && show.names[0] != "run") {
        print(olab::show_entry(show.names[0], show.names[1], r, format));
      } else if (show.names.size() == 1 &&
                 (olab::is_entry(show.names[0], r) ||
                  show.names[0].find_first_not_of("0123456789abcdef") != std::string::npos)) {
        print(olab::show_entry("", show.names[0], r, format));
      } else {
        const olab::Store store = common.existing();
        const olab::RunRecord one = store.run(show.names.back());
        const std::vector<olab::RunRecord> runs{one};
        print(show.json ? olab::export_runs(runs, olab::Format::json)
                        : olab::describe_run(one, store.series_names(one.id)));
      }
      return kGood;
    };
  });

  struct {
    std::string format = "text", over = "layers";
    olab::CompareOptions methods;
  } compare;
  CLI::App* compare_app = app.add_subcommand(
      "compare", "whether two methods of a stored study differ, with tests; or two stored runs side by side");
  compare_app->add_option("a", compare.methods.a,
                          "a method (its label, or a specification), or a run (id or key)");
  compare_app->add_option("b", compare.methods.b, "what it is compared with");
  CLI::Option* compare_study =
      compare_app->add_option("--study", compare.methods.study,
                              "name of a stored study (default: the newest that holds both methods)");
  CLI::Option* compare_value =
      compare_app->add_option("--value", compare.methods.value, "the stored value to compare methods by")
          ->capture_default_str();
  CLI::Option* compare_over =
      compare_app
          ->add_option("--over", compare.over,
                       "what counts as an observation: layers (each with the mean over its seeds), or seeds")
          ->check(CLI::IsMember({"layers", "seeds"}))
          ->capture_default_str();
  compare_app->add_flag("--all", compare.methods.all,
                        "every pair of methods of the study, p corrected by Holm");
  compare_app->add_option("--format", compare.format, "text, csv, json, md, latex")->capture_default_str();
  add_store_options(*compare_app, common);
  compare_app->callback([&] {
    action = [&] {
      const olab::Format format = olab::parse_format(compare.format);
      const std::string& a = compare.methods.a;
      const std::string& b = compare.methods.b;
      if (compare.methods.all != a.empty() || compare.methods.all != b.empty())
        throw Error(compare.methods.all ? "compare: --all compares every pair of methods and takes no names"
                                        : "compare: give two methods or two runs, or --all");
      const bool for_methods =
          compare.methods.all || compare_study->count() + compare_value->count() + compare_over->count() > 0;
      const olab::Store store = common.existing();
      if (!for_methods && (a + b).find_first_not_of("0123456789abcdef") == std::string::npos) {
        print(olab::compare_runs(store.run(a), store.run(b), format));
        return kGood;
      }
      if (compare.over == "seeds") compare.methods.over = olab::Observations::seeds;
      print(olab::compare_methods(store, compare.methods, common.registries(), format));
      return kGood;
    };
  });

  struct {
    std::string study, format = "text";
    olab::TableSpec spec;
    bool given = false;
  } table;
  CLI::App* table_app = app.add_subcommand("table", "a table over the stored runs of a study");
  table_app->add_option("study", table.study, "name of a stored study")->required();
  auto* rows = table_app->add_option("--rows", table.spec.rows,
                                     "fields: method, layer, layer_kind, seed, a parameter …");
  auto* columns = table_app->add_option("--columns", table.spec.columns, "fields, or none");
  auto* value = table_app->add_option("--value", table.spec.value, "a stored value, for example output.nmse");
  table_app->add_option("--format", table.format, "text, csv, json, md, latex")->capture_default_str();
  add_store_options(*table_app, common);
  table_app->callback([&] {
    table.given = rows->count() + columns->count() + value->count() > 0;
    action = [&] {
      const olab::Format format = olab::parse_format(table.format);
      const olab::Registries r = common.registries();
      const olab::Store store = common.existing();
      olab::Study study = stored_study(store, table.study, r);
      const auto runs = store.runs({.study = study.name, .status = {}, .method = {}, .layer = {}});
      olab::Views views;
      std::vector<olab::TableSpec> specs;
      if (table.given) {
        specs.push_back(table.spec);
      } else {
        for (const olab::StudyView& v : study.views)
          if (v.is_table) specs.push_back(v.table);
      }
      for (const olab::TableSpec& s : specs) {
        const olab::ValueFacts facts = olab::value_facts(s.value, r);
        views.tables.push_back(
            {olab::study_table(runs, s, study.quantizer_axes), facts.better, facts.definition});
      }
      print(olab::render_tables(views, format));
      return kGood;
    };
  });

  struct {
    std::string study;
    std::vector<std::string> charts;
  } plot;
  const auto redraw = [&common](const std::string& name, const std::vector<std::string>& charts) {
    const olab::Registries r = common.registries();
    const olab::Store store = common.existing();
    olab::Study study = stored_study(store, name, r);
    if (!charts.empty()) std::erase_if(study.views, [](const olab::StudyView& v) { return !v.is_table; });
    for (const std::string& text : charts) {
      olab::StudyView view;
      view.where = "chart '" + text + "'";
      view.chart = olab::parse_spec(text);
      (void)r.charts.canonical(view.chart, r);
      study.views.push_back(view);
    }
    const olab::ViewPaths paths = olab::view_paths(common.out, common.database_file(), study.name);
    const olab::Views views = olab::make_views(study, store, paths, r, true, "olab report " + study.name);
    for (const std::string& w : views.warnings) note("warning: " + w);
    for (const olab::DrawnFigure& f : views.figures)
      if (f.ok) print(fs::path(f.figure.script).replace_extension(".svg").string() + "\n");
    print(paths.report.string() + "\n");
    return views.warnings.empty() ? kGood : kSomeFailed;
  };
  CLI::App* plot_app =
      app.add_subcommand("plot", "draw the charts of a stored study again, or other charts of it");
  plot_app->add_option("study", plot.study, "name of a stored study")->required();
  plot_app->add_option("charts", plot.charts,
                       "for example 'line(x=block_size,y=output.nmse)'; none: the study's own");
  add_store_options(*plot_app, common);
  plot_app->callback([&] { action = [&] { return redraw(plot.study, plot.charts); }; });
  CLI::App* report_app = app.add_subcommand("report", "write the HTML report of a stored study again");
  report_app->add_option("study", plot.study, "name of a stored study")->required();
  add_store_options(*report_app, common);
  report_app->callback([&] { action = [&] { return redraw(plot.study, {}); }; });

  struct {
    std::string study, format = "csv";
  } exported;
  CLI::App* export_app = app.add_subcommand("export", "all stored runs, or those of one study");
  export_app->add_option("study", exported.study, "name of a stored study (default: all runs)");
  export_app->add_option("--format", exported.format, "csv, json, md, latex, text")->capture_default_str();
  add_store_options(*export_app, common);
  export_app->callback([&] {
    action = [&] {
      const olab::Format format = olab::parse_format(exported.format);
      const olab::Store store = common.existing();
      if (!exported.study.empty()) (void)stored_study(store, exported.study, common.registries());
      print(olab::export_runs(
          store.runs({.study = fs::path(exported.study).stem(), .status = {}, .method = {}, .layer = {}}),
          format));
      return kGood;
    };
  });

  std::string verified;
  CLI::App* verify_app = app.add_subcommand("verify", "compute a stored run again and compare every bit");
  verify_app->add_option("run", verified, "id or key")->required();
  add_store_options(*verify_app, common);
  verify_app->callback([&] {
    action = [&] {
      const olab::Registries r = common.registries();
      const olab::Store store = common.existing();
      const olab::RunRecord one = store.run(verified);
      if (one.status != "finished")
        throw Error(fmt::format("run {} is {}; only finished runs can be verified", one.id, one.status));
      const olab::VerifyReport report = olab::verify_run(store, one, r, &g_stop);
      for (const std::string& n : report.notes) print("note: " + n + "\n");
      for (const std::string& d : report.differences) print("differs: " + d + "\n");
      print(fmt::format("run {} of {}: {} of {} values have the same bits\n", one.id, report.study,
                        report.compared - report.differences.size(), report.compared));
      return report.differences.empty() && report.compared > 0 ? kGood : kSomeFailed;
    };
  });

  struct {
    std::string run, file;
    olab::ExportOptions options;
  } transform;
  transform.options.stop = &g_stop;
  CLI::App* transform_app = app.add_subcommand(
      "export-transform", "find the transform of a stored run again and write it to a file");
  transform_app->add_option("run", transform.run, "id or key")->required();
  transform_app->add_option("-o,--output", transform.file, "the .safetensors file to write")->required();
  transform_app->add_flag("--force", transform.options.force, "replace a file that exists");
  add_store_options(*transform_app, common);
  transform_app->callback([&] {
    action = [&] {
      const olab::Registries r = common.registries();
      const olab::Store store = common.existing();
      const olab::RunRecord one = store.run(transform.run);
      const olab::TransformExport done =
          olab::export_transform(store, one, transform.file, r, transform.options);
      print(olab::describe_export(done, one));
      return kGood;
    };
  });

  struct {
    std::string recording, profile;
    olab::InspectOptions options;
    olab::GenerateOptions generate;
  } inspect;
  inspect.options.stop = &g_stop;
  CLI::App* inspect_app = app.add_subcommand("inspect", "what a recording holds, layer by layer");
  auto* path = inspect_app->add_option("recording", inspect.recording, "a recording: folder or file");
  inspect_app
      ->add_option("--profile", inspect.profile, "a generated recording instead: a profile's name or file")
      ->excludes(path);
  inspect_app->add_option("--layers", inspect.options.layers, "patterns")->allow_extra_args(false);
  inspect_app->add_option("--tokens", inspect.options.tokens, "only the first tokens")
      ->check(CLI::PositiveNumber);
  inspect_app->add_option("--top", inspect.options.top, "how many channels and tokens")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  inspect_app->add_flag("--json", inspect.options.json, "as JSON");
  inspect_app->callback([&] {
    action = [&] {
      const olab::Registries r = common.registries();
      inspect.options.layers = patterns(inspect.options.layers);
      if (inspect.recording.empty() == inspect.profile.empty())
        throw Error("inspect: give a recording, or --profile NAME");
      if (inspect.options.tokens > 0 && !inspect.profile.empty())
        inspect.generate.tokens = inspect.options.tokens;
      const auto recording = inspect.profile.empty() ? olab::open_recording(inspect.recording, r)
                                                     : olab::open_profile(inspect.profile, inspect.generate);
      print(olab::inspect_recording(
          *recording, inspect.profile.empty() ? inspect.recording : "profile " + inspect.profile,
          inspect.options));
      return kGood;
    };
  });

  olab::CostOptions cost;
  struct {
    std::string format = "text", precision = "fp32", shapes;
  } cost_text;
  CLI::App* cost_app = app.add_subcommand(
      "cost", "measure what transforms cost at inference, against the quantized layer alone");
  cost_app->add_option("methods", cost.methods, "methods, for example duquant 'hadamard(block_size=full)'")
      ->required();
  cost_app->add_option("--like", cost.like, "the layers of one block of this profile or recording")
      ->capture_default_str();
  cost_app->add_option("--shapes", cost_text.shapes,
                       "IN:OUT,… instead: in_features and out_features of layers");
  cost_app->add_option("--tokens", cost.measure.tokens, "tokens of one call")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  cost_app->add_option("--bits", cost.measure.bits, "of activations and weights")
      ->check(CLI::Range(2, 8))
      ->capture_default_str();
  cost_app->add_option("--repeats", cost.measure.repeats, "rounds; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  cost_app->add_option("--precision", cost_text.precision, "of dense rotations: fp32 or bf16")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  cost_app->add_option("--format", cost_text.format, "text, json, csv or md")->capture_default_str();
  cost_app->callback([&] {
    action = [&] {
      if (cost_text.precision == "bf16") cost.measure.precision = olab::Precision::bf16;
      cost.shapes = olab::parse_shapes(cost_text.shapes);
      cost.stop = &g_stop;
      print(olab::render_costs(olab::measure_costs(cost, common.registries()),
                               olab::parse_format(cost_text.format)));
      return kGood;
    };
  });

  struct {
    std::string profile, out, dtype = "F32";
    std::vector<std::string> layers{"*"};
    olab::GenerateOptions options;
  } generate;
  CLI::App* generate_app =
      app.add_subcommand("generate", "write a generated recording from an outlier profile");
  generate_app->add_option("profile", generate.profile, "shipped name (olab list profiles) or file")
      ->required();
  generate_app->add_option("-o,--output", generate.out, "folder of the recording")->required();
  generate_app->add_option("--layers", generate.layers, "patterns")->allow_extra_args(false);
  generate_app->add_option("--tokens", generate.options.tokens, "tokens of each layer")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  generate_app->add_option("--in-features", generate.options.in_features, "width instead of the profile's")
      ->check(CLI::PositiveNumber);
  generate_app
      ->add_option("--out-features", generate.options.out_features,
                   "output channels instead of the profile's")
      ->check(CLI::PositiveNumber);
  generate_app
      ->add_option("--sequence-length", generate.options.sequence_length,
                   "tokens of one text; positions start anew (default: one text)")
      ->check(CLI::PositiveNumber);
  generate_app->add_option("--seed", generate.options.seed, "seed")->capture_default_str();
  generate_app->add_option("--dtype", generate.dtype, "F32, F16 or BF16")->capture_default_str();
  generate_app->callback([&] {
    action = [&] {
      const auto recording = olab::open_profile(generate.profile, generate.options);
      generate.layers = patterns(generate.layers);
      olab::RecordingWriter writer(generate.out, generate.dtype, recording->facts());
      std::size_t count = 0;
      for (std::size_t i = 0; i < recording->layers().size(); ++i) {
        const std::string& name = recording->layers()[i].name;
        if (std::ranges::none_of(generate.layers,
                                 [&](const std::string& p) { return olab::glob_match(p, name); }))
          continue;
        g_stop.check();
        writer.add(recording->load(i, 0));
        ++count;
      }
      if (count == 0) {
        std::vector<std::string> names;
        for (const olab::LayerInfo& l : recording->layers()) names.push_back(l.name);
        throw Error(fmt::format("generate: no layer of {} fits '{}'; it has {} layers, from {} to {}",
                                generate.profile, fmt::join(generate.layers, ","), names.size(),
                                names.front(), names.back()));
      }
      writer.finish();
      print(fmt::format("{}: {} layers\n", generate.out, count));
      return kGood;
    };
  });

  struct {
    std::string shape = "llama2-7b", out, dtype = "BF16";
    olab::Index blocks = 0, hidden = 0, intermediate = 0, heads = 0, kv_heads = 0, vocab = 0, outliers = 0;
    std::uint64_t seed = 0;
  } model;
  CLI::App* model_app = app.add_subcommand(
      "generate-model",
      "write a language model with random weights and real shapes, to measure memory and time");
  model_app->add_option("-o,--output", model.out, "folder of the model")->required();
  model_app->add_option("--like", model.shape, fmt::format("{}", fmt::join(olab::model_shape_names(), ", ")))
      ->capture_default_str();
  model_app->add_option("--blocks", model.blocks, "decoder blocks instead of all")
      ->check(CLI::Range(1, 1000));
  model_app->add_option("--hidden", model.hidden, "hidden_size instead")->check(CLI::PositiveNumber);
  model_app->add_option("--intermediate", model.intermediate, "intermediate_size instead")
      ->check(CLI::PositiveNumber);
  model_app->add_option("--heads", model.heads, "attention heads instead")->check(CLI::PositiveNumber);
  model_app->add_option("--kv-heads", model.kv_heads, "key and value heads instead")
      ->check(CLI::PositiveNumber);
  model_app->add_option("--vocab", model.vocab, "vocab_size instead")->check(CLI::PositiveNumber);
  model_app->add_option("--outliers", model.outliers, "channels of the embedding that are 20 times as large")
      ->capture_default_str();
  model_app->add_option("--seed", model.seed, "seed")->capture_default_str();
  model_app->add_option("--dtype", model.dtype, "F32, F16 or BF16")->capture_default_str();
  model_app->callback([&] {
    action = [&] {
      olab::ModelShape shape = olab::model_shape(model.shape);
      const auto set = [](olab::Index& field, olab::Index value) {
        if (value > 0) field = value;
      };
      set(shape.layers, model.blocks);
      set(shape.hidden_size, model.hidden);
      set(shape.intermediate_size, model.intermediate);
      set(shape.heads, model.heads);
      set(shape.kv_heads, model.kv_heads);
      set(shape.vocab_size, model.vocab);
      olab::generate_model(model.out, shape, model.dtype, model.seed, model.outliers, &g_stop);
      print(fmt::format("{}: {} blocks, hidden {}, vocabulary {}, {}\n", model.out, shape.layers,
                        shape.hidden_size, shape.vocab_size, model.dtype));
      return kGood;
    };
  });

  struct {
    std::string file, tokenizer, folder;
  } imported;
  CLI::App* import_app = app.add_subcommand(
      "import-llama2c",
      "write a model of llama2.c (a legacy .bin) as a folder in the format of Hugging Face");
  import_app->add_option("file", imported.file, "the .bin file")->required();
  import_app->add_option("-o,--output", imported.folder, "folder of the model; new or empty")->required();
  import_app->add_option("--tokenizer", imported.tokenizer,
                         "its SentencePiece .model, which is copied into the folder");
  import_app->callback([&] {
    action = [&] {
      const olab::ImportReport done =
          olab::import_llama2c(imported.file, imported.tokenizer, imported.folder);
      print(fmt::format("{}: {}\n", done.folder.string(), done.config));
      if (imported.tokenizer.empty())
        note("warning: the folder has no tokenizer, so texts cannot be read for this model, only token ids");
      return kGood;
    };
  });

  RecordCommand record{.common = &common, .options = {}};
  CLI::App* record_app = app.add_subcommand(
      "record", "run a language model over a text and record X and W of its linear layers");
  record_app->add_option("model", record.options.model, "a Hugging Face folder: config.json and safetensors")
      ->required();
  record_app
      ->add_option("--text", record.options.text,
                   "UTF-8 text for the folder's tokenizer.model, or token ids: .npy or .bin")
      ->required();
  record_app->add_option("-o,--output", record.options.out, "folder of the recording")->required();
  record_app->add_option("--layers", record.options.layers, "patterns; !pattern leaves out (default: all)")
      ->allow_extra_args(false);
  record_app->add_option("--tokens", record.options.tokens, "tokens to record")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  record_app
      ->add_option("--context", record.options.context,
                   "tokens of one forward pass (default: 2048, or the model's positions where fewer)")
      ->check(CLI::PositiveNumber);
  record_app->add_option("--dtype", record.dtype, "bf16, fp16 or fp32")->capture_default_str();
  record_app->add_flag("--no-weights", record.no_weights, "activations only");
  record_app->add_flag("--restart", record.options.restart, "forget an unfinished recording");
  record_app->add_flag("--dry-run", record.dry_run, "say what would be recorded and what it costs, and stop");
  record_app->add_flag("--quiet", record.quiet, "no progress");
  record_app->callback([&] { action = [&] { return record(); }; });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kGood : kBadUsage;
  }
  return action();
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGPIPE, SIG_DFL);
  try {
    return main_checked(argc, argv);
  } catch (const olab::Interrupted&) {
    note("interrupted");
    return kInterrupted;
  } catch (const Error& e) {
    note(fmt::format("olab: {}", e.what()));
    return kBadUsage;
  } catch (const std::exception& e) {
    note(fmt::format("olab: internal error: {}", e.what()));
    return kBadUsage;
  }
}

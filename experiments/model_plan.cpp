#include "experiments/model_plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <span>

#include "core/hash.hpp"
#include "core/library_product.hpp"
#include "core/memory.hpp"
#include "core/text.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"
#include "methods/common/transform.hpp"
#include "results/chart.hpp"

namespace olab {
namespace {

/// Sequence length of the paper's protocol (Lin et al. 2024, Appendix C; main.py of the released code).
constexpr Index kPaperContext = 2048;
constexpr Index kMostWindowsTogether = 16;
constexpr double kFloat = sizeof(float);

std::string hash_ids(std::span<const std::vector<TokenId>> windows) {
  Hasher hasher;
  for (const std::vector<TokenId>& ids : windows) hasher.add(std::as_bytes(std::span(ids)));
  return hasher.hex();
}

/// "stories260K on wiki.test": the same in every study, as it is part of a run.
std::string input_name(const Checkpoint& model, const std::string& text) {
  return model.name() + " on " + std::filesystem::path(text).stem().string();
}

Index context_of(const PerplexitySettings& settings, const Checkpoint& model, const std::string& where) {
  const Index most = model.spec().max_positions;
  if (settings.context == PerplexitySettings::kAuto) return std::min(kPaperContext, most);
  if (settings.context > most)
    throw Error(
        fmt::format("{}: a context of {} tokens, but {} has positions for {}; lower it, or say context: auto",
                    where, settings.context, model.folder().string(), most));
  return settings.context;
}

/// The model's windows on the text: calibration first, where it has no text of its own.
void cut_windows(ModelInput& in, const std::string& calibration_text, const std::string& where) {
  const PerplexitySettings& s = in.settings;
  const Checkpoint& model = *in.checkpoint;
  const Index context = in.context;
  const Index stride = s.stride == PerplexitySettings::kAuto ? context : s.stride;
  if (stride > context)
    throw Error(
        fmt::format("{}: a stride of {} leaves out tokens between windows of {}; give at most the context",
                    where, stride, context));
  const Index calibration = s.calibration_windows * context;
  // The text itself, by whatever name: its first windows are never evaluated.
  std::error_code ignored;
  const bool own =
      calibration_text.empty() || std::filesystem::equivalent(calibration_text, in.text, ignored);
  const Index front = own ? calibration : 0;
  const Index wanted = s.windows == PerplexitySettings::kAll ? 0 : front + context + (s.windows - 1) * stride;
  const std::vector<TokenId> ids =
      read_tokens(in.text, model.folder(), model.spec(), wanted, s.document_separator);
  const std::vector<TokenId> other =
      own ? std::vector<TokenId>()
          : read_tokens(calibration_text, model.folder(), model.spec(), calibration, s.document_separator);
  const std::vector<TokenId>& source = own ? ids : other;
  const auto have = static_cast<Index>(source.size());
  if (have < calibration)
    throw Error(fmt::format(
        "{}: {} tokens, but {} calibration windows of {} tokens need {}; give a longer text, fewer "
        "calibration windows or a shorter context",
        own ? in.text : calibration_text, have, s.calibration_windows, context, calibration));
  for (Index begin = 0; begin < calibration; begin += context)
    in.calibration.emplace_back(source.begin() + begin, source.begin() + begin + context);
  const Index left = static_cast<Index>(ids.size()) - front;
  if (left < context)
    throw Error(fmt::format(
        "{}: {} tokens{}, too few for one window of {}; give a longer text{} or a shorter context", in.text,
        left, own ? fmt::format(" are left behind {} for calibration", front) : "", context,
        own ? ", another calibration_text" : ""));
  for (Index begin = front; begin + context <= static_cast<Index>(ids.size()); begin += stride) {
    ModelWindow window;
    window.ids.assign(ids.begin() + begin, ids.begin() + begin + context);
    // Of a window that overlaps the one before, only what that one did not predict.
    window.first = begin == front ? 0 : context - stride - 1 + (stride == context ? 1 : 0);
    in.windows.push_back(std::move(window));
    if (s.windows != PerplexitySettings::kAll && static_cast<Index>(in.windows.size()) == s.windows) break;
  }
  if (s.windows != PerplexitySettings::kAll && static_cast<Index>(in.windows.size()) < s.windows)
    throw Error(
        fmt::format("{}: {} windows of {} tokens fit, but {} are asked for; lower 'windows', or say all",
                    in.text, in.windows.size(), context, s.windows));
  in.calibration_hash = hash_ids(in.calibration);
  Hasher hasher;
  for (const ModelWindow& window : in.windows)
    hasher.add(std::as_bytes(std::span(window.ids))).add(static_cast<std::uint64_t>(window.first));
  in.windows_hash = hasher.hex();
}

void check_problems(ModelPlan& plan, const Registries& r) {
  std::set<std::string> seen;
  const auto tell = [&](const std::string& what, Index channels, const std::string& who,
                        const std::string& why) {
    const std::string text = fmt::format("{} ({} channels), {}: {}", what, channels, who, why);
    if (seen.insert(text).second) plan.problems.push_back(text);
  };
  const auto attempt = [&](const std::string& what, Index channels, const std::string& who,
                           const auto& check) {
    try {
      check();
    } catch (const Error& e) {
      tell(what, channels, who, e.what());
    }
  };
  for (const ModelInput& in : plan.inputs) {
    const ModelSpec& spec = in.checkpoint->spec();
    for (const LinearSpec& linear : spec.linears) {
      const Index channels = linear.in_features;
      const std::string what = linear.name.substr(linear.name.rfind('.') + 1);
      for (const ResolvedSpec& m : plan.methods)
        attempt(what, channels, m.label, [&] { r.methods.make(m.spec, r)->check(channels, r); });
      for (const ResolvedSpec& q : plan.activations)
        attempt(what, channels, "quantizer.activation",
                [&] { r.quantizers.make(q.spec, r)->check(Role::activation, channels); });
      for (const ResolvedSpec& q : plan.weights)
        attempt(what, channels, "quantizer.weight",
                [&] { r.quantizers.make(q.spec, r)->check(Role::weight, channels); });
    }
    for (const auto& [list, who] :
         {std::pair{&plan.queries, "quantizer.query"}, std::pair{&plan.keys, "quantizer.key"},
          std::pair{&plan.values, "quantizer.value"}})
      for (const ResolvedSpec& q : *list)
        attempt("head", spec.head_dim, who,
                [&] { r.quantizers.make(q.spec, r)->check(Role::activation, spec.head_dim); });
    const auto quantized = [&](const std::vector<ResolvedSpec>& list) {
      return std::ranges::any_of(
          list, [&](const ResolvedSpec& q) { return !r.quantizers.make(q.spec, r)->is_identity(); });
    };
    attempt("head", spec.head_dim, "attention_hadamard", [&] {
      (void)head_rotation(in.settings, spec.head_dim, quantized(plan.queries) || quantized(plan.keys),
                          quantized(plan.values));
    });
  }
}

/// Multiply-adds a second of the library's product with all threads, measured for some milliseconds.
double measure_rate() {
  using Clock = std::chrono::steady_clock;
  constexpr Index kSize = 512;
  const Matrix a = Matrix::Constant(kSize, kSize, 0.5F);
  const Matrix b = Matrix::Constant(kSize, kSize, 0.25F);
  Matrix y(kSize, kSize);
  double best = 1e9;
  for (int i = 0; i < 4; ++i) {
    const auto start = Clock::now();
    library_multiply_transposed(a, b, y);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return std::pow(static_cast<double>(kSize), 3) / std::max(best, 1e-6);
}

/// Multiply-adds of one window through all blocks.
double window_work(const ModelInput& in) {
  const ModelSpec& spec = in.checkpoint->spec();
  const auto tokens = static_cast<double>(in.context);
  const double attention =
      tokens * tokens * static_cast<double>(spec.heads * spec.head_dim) * static_cast<double>(spec.layers);
  return tokens * spec.linear_work() + attention;
}

/// Multiply-adds of finding the transforms and quantizing all weights.
double prepare_work(const ModelPlan& plan, const ModelInput& in, std::size_t method, const Registries& r) {
  constexpr double kPasses =
      160;  // load, transform, quantize and pack a weight: passes that cost as so many products
  const ModelSpec& spec = in.checkpoint->spec();
  double out = kPasses * spec.linear_work();
  const Index tokens = in.settings.average_windows ? in.context : in.calibration_tokens();
  for (const Site site : {Site::attention_in, Site::attention_out, Site::mlp_in, Site::mlp_out}) {
    try {
      const auto m = r.methods.make(plan.methods[method].spec, r);
      const double once = m->calibration_work(tokens, spec.site_channels(site), r);
      const auto times = in.settings.share_inputs ? 1.0 : static_cast<double>(spec.linears_of(site).size());
      out += once * times * static_cast<double>(spec.layers);
    } catch (const Error&) {
      continue;  // told as a problem
    }
  }
  return out;
}

/// What stored runs of models with blocks of the same shape took here: seconds of a window and of the
/// preparation, a block.
struct StoredSpeed {
  double window = 0;
  double prepare = 0;
  double score = 0;
  std::size_t runs = 0;
};

std::string block_shape(const ModelSpec& spec) {
  return fmt::format("{}x{}x{}x{}", spec.hidden_size, spec.intermediate_size, spec.heads, spec.kv_heads);
}

StoredSpeed stored_speed(const Store* store, const ModelPlan& plan, const ModelInput& in) {
  StoredSpeed out;
  if (store == nullptr) return out;
  const std::string shape = block_shape(in.checkpoint->spec());
  for (const RunRecord& run : store->runs({.study = {}, .status = "finished", .method = {}, .layer = {}})) {
    if (run.layer_kind != kModelKind) continue;
    const auto text = [&](const char* name) {
      const auto it = run.params.find(name);
      return it == run.params.end() ? std::string() : it->second;
    };
    if (text("model.block_shape") != shape || text("model.context") != std::to_string(in.context) ||
        run.provenance.threads != plan.threads)
      continue;
    std::int64_t blocks = 0;
    if (!parse_integer(text("model.blocks"), blocks) || blocks < 1) continue;
    const auto value = [&](const char* name) {
      const auto it = run.values.find(name);
      return it == run.values.end() || !std::isfinite(it->second) ? 0.0 : it->second;
    };
    if (value("time.window_s") == 0) continue;  // all of its windows were there when it was finished
    out.window += value("time.window_s") / static_cast<double>(blocks);
    out.prepare += value("time.prepare_s") / static_cast<double>(blocks);
    out.score += value("time.score_s");
    ++out.runs;
  }
  if (out.runs > 0) {
    const auto n = static_cast<double>(out.runs);
    out.window /= n;
    out.prepare /= n;
    out.score /= n;
  }
  return out;
}

void estimate(ModelPlan& plan, const Registries& r, const Store* store, const PlanOptions& options,
              Index blocks) {
  plan.seconds = 0;
  plan.peak_bytes = 0;
  plan.threads = std::max(1, options.threads);
  plan.memory_limit = options.memory_limit > 0 ? options.memory_limit : 0.75 * machine_memory();
  const double rate = measure_rate();
  plan.seconds_from_store = true;
  std::size_t measured_runs = 0;
  for (std::size_t i = 0; i < plan.inputs.size(); ++i) {
    const ModelInput& in = plan.inputs[i];
    const ModelMemory memory = model_memory(in, plan.memory_limit, plan.threads, blocks);
    if (memory.peak > plan.memory_limit)
      throw Error(
          fmt::format("{}: one window of {} tokens needs {}, more than the limit of {}; lower the context, "
                      "or raise --memory",
                      in.model, in.context, human_bytes(memory.peak), human_bytes(plan.memory_limit)));
    plan.peak_bytes = std::max(plan.peak_bytes, memory.peak);
    const StoredSpeed speed = stored_speed(store, plan, in);
    measured_runs += speed.runs;
    const double layers = static_cast<double>(blocks > 0 ? blocks : in.checkpoint->spec().layers);
    const double scale = layers / static_cast<double>(in.checkpoint->spec().layers);
    const double head = static_cast<double>(in.context * in.checkpoint->spec().vocab_size) *
                        static_cast<double>(in.checkpoint->spec().hidden_size) / rate;
    double original_windows = 0;
    for (const PlannedModelRun& run : plan.runs) {
      if (run.input != i || run.stored) continue;
      const auto todo = static_cast<double>(in.windows.size() - run.windows_stored);
      original_windows = std::max(original_windows, todo);
      if (speed.runs > 0) {
        plan.seconds += layers * (speed.prepare + todo * speed.window) + todo * speed.score;
      } else {
        plan.seconds_from_store = false;
        plan.seconds +=
            scale * (prepare_work(plan, in, run.method, r) + todo * window_work(in)) / rate + 2 * todo * head;
      }
    }
    plan.seconds += original_windows * (scale * window_work(in) / rate + head);
  }
  plan.rate_text = plan.seconds_from_store && measured_runs > 0
                       ? fmt::format("from {} stored runs of models with the same blocks", measured_runs)
                       : fmt::format("from the size of the work and {:.0f} GMAC/s of {}", rate / 1e9,
                                     library_product_name());
}

}  // namespace

HeadRotation head_rotation(const PerplexitySettings& settings, Index head_dim, bool queries_or_keys,
                           bool values) {
  HeadRotation out;
  if (settings.attention_hadamard == "none") return out;
  out.queries_and_keys = queries_or_keys;
  out.values = values && settings.attention_hadamard == "query-key-value";
  if (!out.queries_and_keys && !out.values) return out;
  try {
    out.matrix = make_hadamard(head_dim, head_dim, {});
  } catch (const Error&) {
    throw Error(fmt::format(
        "heads have {} channels, for which there is no Hadamard matrix; say attention_hadamard: none",
        head_dim));
  }
  if (out.values && (head_dim & (head_dim - 1)) != 0)
    throw Error(
        fmt::format("values are rotated back by the same matrix, which only heads of a power of two channels "
                    "allow, and these have {}; say attention_hadamard: query-key",
                    head_dim));
  return out;
}

ModelMemory model_memory(const ModelInput& input, double limit, int threads, Index as_if_blocks) {
  const ModelSpec& spec = input.checkpoint->spec();
  const auto tokens = static_cast<double>(input.context);
  const auto hidden = static_cast<double>(spec.hidden_size);
  const auto blocks = static_cast<double>(as_if_blocks > 0 ? as_if_blocks : spec.layers);
  double parameters = 0;
  double widest = 0;
  for (const Site site : {Site::attention_in, Site::attention_out, Site::mlp_in, Site::mlp_out}) {
    double outputs = 0;
    for (const std::size_t i : spec.linears_of(site))
      outputs += static_cast<double>(spec.linears[i].out_features);
    const double weights = outputs * static_cast<double>(spec.site_channels(site));
    parameters += weights;
    widest = std::max(widest, weights);
  }
  double outputs = 0;
  for (const LinearSpec& l : spec.linears) outputs += static_cast<double>(l.out_features);
  ModelMemory out;
  out.head = kFloat * static_cast<double>(spec.vocab_size) * hidden;
  out.embedding = out.head;
  out.block = kFloat * parameters;
  // Codes and their packed form at the level that takes most, or floats.
  out.prepared = kFloat * parameters;
  const double calibration =
      input.settings.average_windows ? tokens : tokens * static_cast<double>(input.calibration.size());
  // All weights of an input, transformed; copies of its tokens.
  out.preparing =
      kFloat * (3 * widest + calibration * (4 * static_cast<double>(spec.intermediate_size) + outputs));
  out.window = kFloat * tokens * hidden;
  out.passing = kFloat * tokens * (outputs + 3 * static_cast<double>(spec.intermediate_size) + 4 * hidden);
  const auto windows = static_cast<double>(input.windows.size());
  out.keeps_prepared = out.prepared * blocks < limit / 4;
  out.keeps_original = out.window * windows < limit / 3;
  const double fixed = out.head + out.block + (out.keeps_prepared ? blocks : 1.0) * out.prepared +
                       (out.keeps_original ? windows * out.window : 0.0);
  const double each = 2 * out.window;
  // While blocks are prepared no windows are in work, and the other way round.
  const double passing = out.passing * static_cast<double>(threads);
  out.batch = static_cast<Index>(
      std::clamp((limit - fixed - passing) / each, 1.0, static_cast<double>(kMostWindowsTogether)));
  out.batch = std::min(out.batch, static_cast<Index>(input.windows.size()));
  out.peak = fixed + std::max(out.preparing, passing + static_cast<double>(out.batch) * each);
  out.peak = std::max(out.peak, out.head + out.embedding);
  return out;
}

std::string model_run_key(const ModelPlan& plan, const PlannedModelRun& run) {
  const ModelInput& in = plan.inputs[run.input];
  const QuantizerChoice& q = plan.quantizer(run);
  Hasher h;
  h.add("model run").add(std::uint64_t{OLAB_NUMERICS_VERSION}).add(library_product_name()).add(in.name);
  h.add(in.checkpoint->content_hash())
      .add(in.calibration_hash)
      .add(in.windows_hash)
      .add(in.evaluation.canonical);
  h.add(plan.methods[run.method].canonical).add(plan.activations[q.activation].canonical);
  h.add(plan.weights[q.weight].canonical).add(plan.queries[q.query].canonical);
  h.add(plan.keys[q.key].canonical).add(plan.values[q.value].canonical).add(run.seed);
  return h.hex();
}

RunRecord model_run_record(const ModelPlan& plan, const PlannedModelRun& run, const Provenance& who,
                           const Registries& r) {
  const ModelInput& in = plan.inputs[run.input];
  const ModelSpec& spec = in.checkpoint->spec();
  const QuantizerChoice& q = plan.quantizer(run);
  RunRecord out;
  out.key = run.key;
  out.recording = in.model;
  out.layer = in.name;
  out.layer_kind = kModelKind;
  out.tensor_hash = in.checkpoint->content_hash();
  out.in_features = spec.hidden_size;
  out.out_features = spec.vocab_size;
  out.calibration_tokens = in.calibration_tokens();
  out.evaluation_tokens = static_cast<Index>(in.windows.size()) * in.context;
  out.seed = run.seed;
  out.provenance = who;
  const ResolvedSpec& method = plan.methods[run.method];
  out.method = method.spec.name;
  out.method_text = method.canonical;
  out.label = method.label;
  out.activation_text = plan.activations[q.activation].canonical;
  out.weight_text = plan.weights[q.weight].canonical;
  const auto add = [&](const std::string& prefix, const ResolvedSpec& one, const Info& info) {
    for (const ParamInfo& p : info.params) out.params[prefix + p.name] = p.format(one.params.at(p.name));
  };
  add("", method, r.methods.info(method.spec.name));
  const auto add_format = [&](const std::string& prefix, const ResolvedSpec& one) {
    add(prefix, one, r.quantizers.info(one.spec.name));
  };
  add_format("activation.", plan.activations[q.activation]);
  add_format("weight.", plan.weights[q.weight]);
  add_format("query.", plan.queries[q.query]);
  add_format("key.", plan.keys[q.key]);
  add_format("value.", plan.values[q.value]);
  add("evaluate.", in.evaluation, perplexity_info());
  out.params["quantizer"] = quantizer_name(plan.study, q, r);
  out.params["text"] = in.text;
  out.params["calibration_text"] =
      plan.study.data.calibration_text.empty() ? in.text : plan.study.data.calibration_text;
  out.params["model.architecture"] = spec.architecture;
  out.params["model.blocks"] = std::to_string(spec.layers);
  out.params["model.block_shape"] = block_shape(spec);
  out.params["model.context"] = std::to_string(in.context);
  out.params["model.product"] = library_product_name();
  return out;
}

ModelPlan make_model_plan(Study study, const Registries& r, const Store* store, const PlanOptions& options) {
  ModelPlan plan;
  const auto resolve_all = [&](const std::vector<Spec>& specs, std::vector<ResolvedSpec>& out) {
    for (const Spec& s : specs) out.push_back(resolve_spec(r.quantizers, s, r));
  };
  for (const StudyMethod& m : study.methods)
    plan.methods.push_back(resolve_spec(r.methods, m.spec, r, m.label));
  resolve_all(study.activations, plan.activations);
  resolve_all(study.weights, plan.weights);
  resolve_all(study.queries, plan.queries);
  resolve_all(study.keys, plan.keys);
  resolve_all(study.values, plan.values);
  std::set<std::string> seen;
  std::vector<std::string> texts = study.metrics;
  for (const StudyView& view : study.views) {
    if (view.is_table) continue;
    for (const std::string& text : r.charts.make(view.chart, r)->metrics()) {
      if (!r.metrics.info(parse_spec(text).name).note("series").empty())
        throw Error(
            fmt::format("{}: the chart '{}' shows the series of one layer, which runs of whole models do not "
                        "keep; draw it from a "
                        "recording (olab record), or take the charts layers, line, heatmap or pareto",
                        view.where, view.chart.name));
      texts.push_back(text);
    }
  }
  for (const std::string& text : texts) {
    ResolvedSpec m = resolve_spec(r.metrics, parse_spec(text), r, text);
    if (seen.insert(m.canonical).second) plan.metrics.push_back(std::move(m));
  }
  std::vector<std::string> metric_canonical;
  for (const ResolvedSpec& m : plan.metrics) metric_canonical.push_back(m.canonical);

  std::vector<std::shared_ptr<const Checkpoint>> models;
  for (const std::string& path : study.data.models)
    models.push_back(std::make_shared<const Checkpoint>(path, r));
  std::map<std::string, int> names;
  for (const auto& model : models)
    for (const std::string& text : study.data.texts) ++names[input_name(*model, text)];
  for (std::size_t m = 0; m < models.size(); ++m) {
    for (const std::string& text : study.data.texts) {
      for (const Spec& evaluation : study.evaluations) {
        ModelInput in;
        in.checkpoint = models[m];
        in.model = study.data.models[m];
        in.text = text;
        in.name = input_name(*models[m], text);
        if (names[in.name] > 1) in.name = in.model + " on " + text;
        Params params = resolve_params(perplexity_info(), evaluation, r);
        in.settings = make_perplexity(params);
        in.evaluation = {evaluation, canonical_text(perplexity_info(), params), {}, std::move(params)};
        const std::string where = fmt::format("{}: evaluate", study.source);
        in.context = context_of(in.settings, *models[m], where);
        cut_windows(in, study.data.calibration_text, where);
        plan.inputs.push_back(std::move(in));
      }
    }
  }
  plan.study = std::move(study);
  std::size_t position = 0;
  PlannedModelRun run;
  for (run.input = 0; run.input < plan.inputs.size(); ++run.input) {
    for (run.method = 0; run.method < plan.methods.size(); ++run.method) {
      for (const std::uint64_t seed : plan.study.seeds) {
        run.seed = seed;
        for (run.quantizer = 0; run.quantizer < plan.study.quantizers.size(); ++run.quantizer) {
          run.position = position++;
          if (run.position % options.shards != options.shard) continue;
          run.key = model_run_key(plan, run);
          run.stored = store != nullptr && !options.force &&
                       store->find_finished(run.key, metric_canonical).has_value();
          run.windows_stored = store == nullptr || options.force ? 0 : store->parts(run.key).size();
          plan.runs.push_back(run);
          plan.stored += run.stored ? 1 : 0;
        }
      }
    }
  }
  plan.total = plan.runs.size();
  check_problems(plan, r);
  estimate(plan, r, store, options, options.blocks);
  return plan;
}

std::string describe_model_plan(const ModelPlan& plan, const Registries& r, Index blocks) {
  std::string out = fmt::format("study {}: perplexity of {} models on {} texts\n", plan.study.name,
                                plan.study.data.models.size(), plan.study.data.texts.size());
  std::vector<std::string> names;
  for (const QuantizerChoice& q : plan.study.quantizers) names.push_back(quantizer_name(plan.study, q, r));
  out += fmt::format("  {} inputs × {} methods × {} seeds × {} quantizers ({})\n", plan.inputs.size(),
                     plan.methods.size(), plan.study.seeds.size(), names.size(), fmt::join(names, ", "));
  std::size_t begun = 0;
  for (const PlannedModelRun& run : plan.runs) begun += !run.stored && run.windows_stored > 0 ? 1 : 0;
  out += fmt::format("  {} runs, {} stored already, {} to do{}\n", plan.total, plan.stored,
                     plan.total - plan.stored, begun > 0 ? fmt::format(" ({} of them begun)", begun) : "");
  out += fmt::format("  estimated time {} ({}){}\n", human_seconds(plan.seconds), plan.rate_text,
                     blocks > 0 ? fmt::format(", as if every model had {} blocks", blocks) : "");
  out += fmt::format("  memory at most {} of {}\n", human_bytes(plan.peak_bytes),
                     human_bytes(plan.memory_limit));
  for (const ModelInput& in : plan.inputs) {
    const ModelSpec& spec = in.checkpoint->spec();
    const ModelMemory memory = model_memory(in, plan.memory_limit, plan.threads, blocks);
    out += fmt::format("  {}: {}, {} blocks, hidden {}, {:.3g} parameters, {}\n", in.name, spec.architecture,
                       spec.layers, spec.hidden_size, in.checkpoint->parameters(), in.checkpoint->dtype());
    out += fmt::format("    {} windows of {} tokens, {} calibration windows; {} windows at a time; {}\n",
                       in.windows.size(), in.context, in.calibration.size(), memory.batch,
                       memory.keeps_prepared ? "quantized weights stay in memory"
                                             : "one block of weights in memory at a time");
    out += fmt::format("    {}\n", in.evaluation.canonical);
  }
  out += describe_methods(plan.methods, plan.problems);
  return out;
}

}  // namespace olab

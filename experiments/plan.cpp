#include "experiments/plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <span>

#include "core/hash.hpp"
#include "core/linalg.hpp"
#include "core/memory.hpp"
#include "core/parallel.hpp"
#include "core/text.hpp"
#include "datasets/profile.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"
#include "metrics/common/metric.hpp"
#include "results/chart.hpp"

namespace olab {
namespace {

constexpr Index kDefaultTokens = 2048;

std::shared_ptr<const Recording> open_data(const Study& study, const Registries& r, std::string& text) {
  const StudyData& d = study.data;
  if (!d.recording.empty()) {
    text = d.recording;
    return open_recording(d.recording, r);
  }
  text = "profile " + d.profile;
  GenerateOptions options;
  options.seed = d.seed;
  options.in_features = d.in_features;
  options.out_features = d.out_features;
  options.sequence_length = d.sequence_length;
  options.tokens = d.tokens;
  if (options.tokens == 0) {
    const Index longest = d.calibration_tokens.empty() ? 0 : *std::ranges::max_element(d.calibration_tokens);
    options.tokens = longest > 0
                         ? longest + (d.evaluate_on_calibration ? 0 : std::max(d.evaluation_tokens, Index{1}))
                         : kDefaultTokens;
    if (longest > 0 && d.evaluation_tokens == 0 && !d.evaluate_on_calibration) options.tokens = 2 * longest;
    if (longest == 0 && d.evaluation_tokens > 0) options.tokens = 2 * d.evaluation_tokens;
  }
  return open_profile(d.profile, options);
}

/// Where the tokens of a layer go. Throws where there are too few.
void split_tokens(const StudyData& d, PlannedLayer& layer, std::vector<Index>& calibrations) {
  const Index tokens = layer.info.tokens;
  const std::string who = fmt::format("layer {}", layer.info.name);
  calibrations = d.calibration_tokens;
  if (calibrations.empty()) calibrations = {d.evaluate_on_calibration ? tokens : tokens / 2};
  const Index longest = *std::ranges::max_element(calibrations);
  if (tokens == 0) throw Error(fmt::format("{}: it has no tokens; record it again", who));
  if (longest < 1)
    throw Error(
        fmt::format("{}: a single token cannot be split into calibration and evaluation; set "
                    "data.evaluate_on_calibration=true",
                    who));
  if (longest > tokens)
    throw Error(
        fmt::format("{}: data.calibration_tokens is {}, but the recording has {} tokens; lower it, or record "
                    "more tokens",
                    who, longest, tokens));
  if (d.evaluate_on_calibration) {
    layer.evaluation_begin = 0;
    layer.evaluation_tokens = longest;
    return;
  }
  layer.evaluation_begin = longest;
  layer.evaluation_tokens = d.evaluation_tokens == 0 ? tokens - longest : d.evaluation_tokens;
  if (layer.evaluation_tokens < 1 || longest + layer.evaluation_tokens > tokens)
    throw Error(
        fmt::format("{}: {} calibration and {} evaluation tokens are asked for, but the recording has {} "
                    "tokens; lower data.calibration_tokens or data.evaluation_tokens, or record more tokens",
                    who, longest, std::max<Index>(layer.evaluation_tokens, 1), tokens));
}

/// Multiply-adds a second of the product kernel here, measured for a few milliseconds.
double measure_rate() {
  using Clock = std::chrono::steady_clock;
  const Matrix a = Matrix::Constant(128, 256, 0.5F);
  const Matrix b = Matrix::Constant(256, 256, 0.25F);
  Matrix y(128, 256);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = Clock::now();
    multiply_transposed(a, b, y);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return 128.0 * 256.0 * 256.0 / std::max(best, 1e-6);
}

/// Multiply-adds of a run without its calibration; a pass over a value counts as kPass.
double run_work(const PlannedLayer& layer, std::size_t metrics) {
  constexpr double kPass = 12;
  const auto t = static_cast<double>(layer.evaluation_tokens);
  const auto c = static_cast<double>(layer.info.in_features);
  const auto o = static_cast<double>(layer.info.out_features);
  const double values = 2 * t * c + 2 * o * c + t * o;
  return t * c * o + kPass * values * (4 + 0.3 * static_cast<double>(metrics));
}

/// Names the content of every layer, and puts layers that read one input together. Reads all of the data
/// once.
void hash_layers(Plan& plan, bool share_inputs) {
  std::vector<std::string> inputs(plan.layers.size());
  parallel_for(static_cast<Index>(plan.layers.size()), 1, [&](Index begin, Index end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      PlannedLayer& layer = plan.layers[i];
      layer.tensor_hash = plan.recording->content_hash(layer.index);
      if (share_inputs) inputs[i] = plan.recording->input_hash(layer.index);
    }
  });
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    if (share_inputs && i > 0 && inputs[i] == inputs[i - 1]) {
      ++plan.inputs.back().count;
    } else {
      plan.inputs.push_back({i, 1});
    }
  }
  for (const PlannedInput& input : plan.inputs) {
    if (input.count == 1) continue;
    Hasher hasher;
    std::string names;
    for (std::size_t i = 0; i < input.count; ++i) {
      hasher.add(plan.layers[input.first + i].tensor_hash);
      names += plan.layers[input.first + i].info.name + "\n";
    }
    for (std::size_t i = 0; i < input.count; ++i) {
      plan.layers[input.first + i].shared_hash = hasher.hex();
      plan.layers[input.first + i].shared_names = names;
    }
  }
}

void check_problems(Plan& plan, const Registries& r) {
  std::set<std::string> seen;
  const auto tell = [&](const PlannedLayer& layer, const std::string& who, const std::string& why) {
    const std::string text =
        fmt::format("{} ({} channels), {}: {}", layer.kind, layer.info.in_features, who, why);
    if (seen.insert(text).second) plan.problems.push_back(text);
  };
  for (const PlannedLayer& layer : plan.layers) {
    for (const ResolvedSpec& m : plan.methods) {
      try {
        r.methods.make(m.spec, r)->check(layer.info.in_features, r);
      } catch (const Error& e) {
        tell(layer, m.label, e.what());
      }
    }
    const auto check = [&](const std::vector<ResolvedSpec>& list, Role role) {
      for (const ResolvedSpec& q : list) {
        try {
          r.quantizers.make(q.spec, r)->check(role, layer.info.in_features);
        } catch (const Error& e) {
          tell(layer, role == Role::activation ? "quantizer.activation" : "quantizer.weight", e.what());
        }
      }
    };
    check(plan.activations, Role::activation);
    if (layer.info.out_features > 0) check(plan.weights, Role::weight);
  }
}

/// Mean stored seconds a run of the same method takes here, scaled by the layer's work; 0 where none is
/// known.
class StoredTimes {
 public:
  explicit StoredTimes(const Store* store) {
    if (store == nullptr) return;
    for (const RunRecord& run : store->runs({.study = {}, .status = "finished", .method = {}, .layer = {}})) {
      const auto it = run.values.find("time.run_s");
      if (it == run.values.end() || !std::isfinite(it->second)) continue;
      const double size = static_cast<double>(run.in_features) *
                          static_cast<double>(run.calibration_tokens + run.evaluation_tokens);
      if (size <= 0) continue;
      Sum& s = sums_[run.method_text];
      s.seconds += it->second;
      s.size += size;
    }
  }
  double estimate(const std::string& method, double size) const {
    const auto it = sums_.find(method);
    return it == sums_.end() ? 0 : it->second.seconds / it->second.size * size;
  }

 private:
  struct Sum {
    double seconds = 0;
    double size = 0;
  };
  std::map<std::string, Sum> sums_;
};

void estimate(Plan& plan, const Registries& r, const Store* store, const PlanOptions& options) {
  const double limit = options.memory_limit > 0 ? options.memory_limit : 0.75 * machine_memory();
  plan.threads = std::max(1, options.threads);
  plan.jobs = plan.threads;
  for (const PlannedInput& input : plan.inputs) {
    const PlannedLayer& layer = plan.layers[input.first];
    const WorkingSet set = working_set(plan, input);
    if (set.fixed + set.each > limit)
      throw Error(
          fmt::format("layer {}: it needs {} for one run, more than the limit of {}; lower "
                      "data.calibration_tokens and data.evaluation_tokens, or raise --memory",
                      layer.info.name, human_bytes(set.fixed + set.each), human_bytes(limit)));
    plan.jobs = std::min(plan.jobs, static_cast<int>(std::clamp((limit - set.fixed) / set.each, 1.0, 1e6)));
  }
  const StoredTimes times(store);
  const double rate = measure_rate();
  plan.seconds_from_store = plan.total > plan.stored;
  for (const PlannedInput& input : plan.inputs) {
    const WorkingSet set = working_set(plan, input);
    plan.peak_bytes = std::max(plan.peak_bytes, set.fixed + plan.jobs * set.each);
  }
  for (const PlannedLayer& layer : plan.layers) {
    std::set<std::tuple<std::size_t, std::uint64_t, Index, std::size_t>> calibrated;
    for (const PlannedRun& run : layer.runs) {
      if (run.stored) continue;
      const ResolvedSpec& m = plan.methods[run.method];
      const double size = static_cast<double>(layer.info.in_features) *
                          static_cast<double>(run.calibration_tokens + layer.evaluation_tokens);
      const double known = times.estimate(m.canonical, size);
      if (known > 0) {
        plan.seconds += known;
        continue;
      }
      plan.seconds_from_store = false;
      double work = run_work(layer, plan.metrics.size());
      if (calibrated.emplace(run.method, run.seed, run.calibration_tokens, run.source).second)
        work +=
            r.methods.make(m.spec, r)->calibration_work(run.calibration_tokens, layer.info.in_features, r);
      plan.seconds += work / rate;
    }
  }
  plan.seconds /= std::max(1, options.threads);
}

/// Steps that more than one method does in the same way on the same data, with how many do; of the first
/// layer that all methods fit.
std::vector<std::pair<std::string, std::size_t>> find_common_steps(const Plan& plan, const Registries& r) {
  std::map<std::string, std::size_t> count;
  if (plan.layers.empty()) return {};
  const Index channels = plan.layers.front().info.in_features;
  for (const ResolvedSpec& spec : plan.methods) {
    std::vector<std::string> path;
    try {
      const auto method = r.methods.make(spec.spec, r);
      method->check(channels, r);
      method->steps(channels, r, path);
    } catch (const Error&) {
      continue;  // told as a problem
    }
    std::string so_far;
    for (const std::string& step : path) {
      so_far += (so_far.empty() ? "" : " | ") + step;
      ++count[so_far];
    }
  }
  std::vector<std::pair<std::string, std::size_t>> out;
  for (const auto& one : count) {
    // Only the longest of the beginnings that the same methods share.
    const bool goes_on = std::ranges::any_of(count, [&](const auto& other) {
      return other.second == one.second && other.first.starts_with(one.first + " | ");
    });
    if (one.second > 1 && !goes_on) out.emplace_back(one.first, one.second);
  }
  return out;
}

/// What is computed once for several runs.
std::string describe_sharing(const Plan& plan) {
  if (!plan.sharing) return "  shared: nothing (--no-sharing)\n";
  std::size_t todo = 0;
  std::size_t calibrations = 0;
  std::size_t inputs = 0;
  std::size_t layers_of_inputs = 0;
  for (const PlannedInput& input : plan.inputs) {
    std::set<std::tuple<std::size_t, std::uint64_t, Index, std::size_t>> seen;
    for (std::size_t i = input.first; i < input.first + input.count; ++i) {
      for (const PlannedRun& run : plan.layers[i].runs) {
        if (run.stored) continue;
        ++todo;
        seen.emplace(run.method, run.seed, run.calibration_tokens, run.source);
      }
    }
    calibrations += seen.size();
    if (input.count > 1) {
      ++inputs;
      layers_of_inputs += input.count;
    }
  }
  std::string out = fmt::format(
      "  shared: {} calibrations with their X T for {} runs; Y = X Wᵀ once a layer\n", calibrations, todo);
  if (inputs > 0)
    out += fmt::format("    {} inputs, each with one transform for its {} layers in all\n", inputs,
                       layers_of_inputs);
  for (const auto& [step, methods] : plan.common_steps)
    out += fmt::format("    {} methods: {}\n", methods, step);
  return out;
}

}  // namespace

std::size_t PlannedLayer::stored() const {
  return static_cast<std::size_t>(std::ranges::count_if(runs, &PlannedRun::stored));
}

WorkingSet working_set(const Plan& plan, const PlannedInput& input) {
  const PlannedLayer& layer = plan.layers[input.first];
  const auto c = static_cast<double>(layer.info.in_features);
  const auto t = static_cast<double>(layer.evaluation_tokens);
  const bool other_tokens =
      std::ranges::any_of(plan.sources, [](const CalibrationSource& s) { return !s.is_own(); });
  Index longest = 0;
  double all_outputs = 0;
  double o = 0;  // of the widest layer
  for (std::size_t i = input.first; i < input.first + input.count; ++i) {
    const auto outputs = static_cast<double>(plan.layers[i].info.out_features);
    all_outputs += outputs;
    o = std::max(o, outputs);
    for (const PlannedRun& run : plan.layers[i].runs) longest = std::max(longest, run.calibration_tokens);
  }
  const auto k = static_cast<double>(longest);
  const auto formats = static_cast<double>(plan.activations.size());
  constexpr double kFloat = sizeof(float);
  WorkingSet out;
  // X, W and Y; the product's packed W, or a W before it joins the others; what a median copies.
  out.fixed = kFloat * (static_cast<double>(layer.tokens_needed()) * c + all_outputs * c + o * c +
                        t * all_outputs + t * std::max(c, o));
  // While calibrating: two copies of the tokens and of W. Afterwards: X T and X̂ of every format, W T, Ŵ, its
  // integers and their packed form, Ŷ (a tile where no metric wants all of it) and a copy.
  const double calibrating = (other_tokens ? 3 : 2) * k * c + all_outputs * c;
  const double running =
      (1 + 1.25 * formats) * t * c + 2.75 * o * c + t * o + std::max(t * c, std::max(o * c, t * o));
  out.each = kFloat * std::max(calibrating, running) + kFloat * t * c;
  return out;
}

std::string run_key(const Plan& plan, const PlannedLayer& layer, const PlannedRun& run) {
  Hasher h;
  h.add("run").add(std::uint64_t{OLAB_NUMERICS_VERSION}).add(layer.info.name).add(layer.tensor_hash);
  h.add(static_cast<std::uint64_t>(run.calibration_tokens))
      .add(static_cast<std::uint64_t>(layer.evaluation_begin));
  h.add(static_cast<std::uint64_t>(layer.evaluation_tokens));
  h.add(plan.methods[run.method].canonical).add(plan.activations[run.activation].canonical);
  h.add(plan.weights[run.weight].canonical).add(run.seed);
  // Names, as a method may choose among the layers by them.
  if (!layer.shared_hash.empty()) h.add("shared input").add(layer.shared_hash).add(layer.shared_names);
  if (const std::string& source = layer.source_hashes[run.source]; !source.empty())
    h.add("calibrated on").add(source);
  return h.hex();
}

Plan make_plan(Study study, const Registries& r, const Store* store, const PlanOptions& options) {
  Plan plan;
  plan.recording = open_data(study, r, plan.recording_text);
  for (const std::string& text : study.data.calibrate_on) plan.sources.push_back(open_calibration(text, r));
  if (plan.sources.empty()) plan.sources.emplace_back();
  for (const StudyMethod& m : study.methods)
    plan.methods.push_back(resolve_spec(r.methods, m.spec, r, m.label));
  for (const Spec& s : study.activations) plan.activations.push_back(resolve_spec(r.quantizers, s, r, ""));
  for (const Spec& s : study.weights) plan.weights.push_back(resolve_spec(r.quantizers, s, r, ""));

  std::vector<std::string> metric_texts = study.metrics;
  for (const StudyView& view : study.views)
    if (!view.is_table)
      for (const std::string& m : r.charts.make(view.chart, r)->metrics()) metric_texts.push_back(m);
  std::set<std::string> seen;
  for (const std::string& text : metric_texts) {
    ResolvedSpec m = resolve_spec(r.metrics, parse_spec(text), r, text);
    if (seen.insert(m.canonical).second) plan.metrics.push_back(std::move(m));
  }
  std::vector<std::string> metric_canonical;
  for (const ResolvedSpec& m : plan.metrics) metric_canonical.push_back(m.canonical);

  const std::vector<LayerInfo>& all = plan.recording->layers();
  std::vector<std::string> names;
  for (const LayerInfo& l : all) names.push_back(l.name);
  for (const std::string& pattern : study.data.layers) {
    if (std::ranges::none_of(names, [&](const std::string& n) { return glob_match(pattern, n); }))
      throw Error(fmt::format(
          "{}: data.layers: no layer of {} fits '{}'{}", study.source, plan.recording_text, pattern,
          names.size() > 12
              ? fmt::format("; it has {} layers, from {} to {}", names.size(), names.front(), names.back())
              : suggestion(pattern, names)));
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::ranges::none_of(study.data.layers,
                             [&](const std::string& p) { return glob_match(p, all[i].name); }))
      continue;
    PlannedLayer layer;
    layer.index = i;
    layer.info = all[i];
    layer.kind = layer_kind(all[i].name);
    plan.layers.push_back(std::move(layer));
  }
  hash_layers(plan, study.data.share_inputs);
  std::size_t position = 0;
  for (PlannedLayer& layer : plan.layers) {
    std::vector<Index> calibrations;
    split_tokens(study.data, layer, calibrations);
    const Index longest = *std::ranges::max_element(calibrations);
    for (const CalibrationSource& source : plan.sources)
      layer.source_hashes.push_back(calibration_hash(source, layer.info, longest));
    for (std::size_t m = 0; m < plan.methods.size(); ++m) {
      PlannedRun run;
      run.method = m;
      for (const Index calibration : calibrations) {
        run.calibration_tokens = calibration;
        for (run.source = 0; run.source < plan.sources.size(); ++run.source) {
          for (const std::uint64_t seed : study.seeds) {
            run.seed = seed;
            for (const QuantizerChoice& choice : study.quantizers) {
              run.activation = choice.activation;
              run.weight = choice.weight;
              run.position = position++;
              if (run.position % options.shards != options.shard) continue;
              run.key = run_key(plan, layer, run);
              run.stored = store != nullptr && !options.force &&
                           store->find_finished(run.key, metric_canonical).has_value();
              layer.runs.push_back(run);
            }
          }
        }
      }
    }
    plan.total += layer.runs.size();
    plan.stored += layer.stored();
  }
  plan.sharing = options.sharing;
  plan.study = std::move(study);
  check_problems(plan, r);
  plan.common_steps = find_common_steps(plan, r);
  estimate(plan, r, store, options);
  return plan;
}

std::string describe_methods(std::span<const ResolvedSpec> methods, std::span<const std::string> problems) {
  std::string out = "  methods:\n";
  for (const ResolvedSpec& m : methods) out += fmt::format("    {}\n", m.canonical);
  if (problems.empty()) return out;
  out += fmt::format("  {} combinations will fail:\n", problems.size());
  for (const std::string& p : problems) out += fmt::format("    {}\n", p);
  return out;
}

std::string describe_plan(const Plan& plan) {
  std::string out = fmt::format("study {}: {}\n", plan.study.name, plan.recording_text);
  out += fmt::format("  {} layers × {} methods × {} seeds × {} activation × {} weight quantizers\n",
                     plan.layers.size(), plan.methods.size(), plan.study.seeds.size(),
                     plan.activations.size(), plan.weights.size());
  out += fmt::format("  {} runs, {} stored already, {} to do\n", plan.total, plan.stored,
                     plan.total - plan.stored);
  out += fmt::format(
      "  estimated time {} ({}), memory at most {} with {} concurrent runs\n", human_seconds(plan.seconds),
      plan.seconds_from_store ? "from stored runs" : "from the size of the work and this machine's speed",
      human_bytes(plan.peak_bytes), plan.jobs);
  out += describe_sharing(plan);
  out += fmt::format("  metrics: ");
  std::vector<std::string> names;
  for (const ResolvedSpec& m : plan.metrics) names.push_back(m.label);
  out += fmt::format("{}\n", fmt::join(names, ", "));
  for (const PlannedLayer& layer : plan.layers)
    out += fmt::format("  {:<40} {} × {} → {}  {} runs, {} stored\n", layer.info.name, layer.info.tokens,
                       layer.info.in_features, layer.info.out_features, layer.runs.size(), layer.stored());
  out += describe_methods(plan.methods, plan.problems);
  return out;
}

}  // namespace olab

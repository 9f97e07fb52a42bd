#include "experiments/study.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/text.hpp"
#include "experiments/embedded.hpp"
#include "experiments/overrides.hpp"
#include "experiments/perplexity_settings.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"
#include "metrics/common/metric.hpp"
#include "results/chart.hpp"

namespace olab {
namespace {

constexpr std::int64_t kMaxTokens = 1'000'000'000;
constexpr std::int64_t kMaxWidth = 1'000'000;
constexpr std::size_t kMaxExpansion = 100'000;

/// One parameter with the values that it takes in a study.
struct Axis {
  std::string key;
  std::string where;
  std::vector<std::string> values;
};

/// Runs `body`; a SpecError gets the place of the key that it names (or `where`) in front.
template <class Body>
void with_place(const std::string& where, const std::vector<Axis>& axes, const Body& body) {
  try {
    body();
  } catch (const SpecError& e) {
    const auto it = std::ranges::find(axes, e.key(), &Axis::key);
    throw Error(fmt::format("{}: {}", it == axes.end() || e.key().empty() ? where : it->where, e.what()));
  }
}

std::string scalar_text(const ConfigNode& node, std::string_view what) {
  return node.text(what);
}

std::string joined(const ConfigNode& list, const std::string& separator, std::string_view what) {
  std::vector<std::string> parts;
  for (const ConfigNode& item : list.items) parts.push_back(scalar_text(item, what));
  return fmt::format("{}", fmt::join(parts, separator));
}

/// The values of one parameter: a scalar is one, a list is an axis, except where the parameter joins lists.
Axis read_axis(const std::string& key, const ConfigNode& node, const ParamInfo* info) {
  Axis out{key, node.where, {}};
  const std::string what = fmt::format("'{}'", key);
  if (!node.is_list()) {
    out.values.push_back(scalar_text(node, what));
    return out;
  }
  if (node.items.empty()) node.fail(fmt::format("{} is an empty list; give at least one value", what));
  if (info != nullptr && !info->list_separator.empty()) {
    const bool nested = std::ranges::any_of(node.items, [&](const ConfigNode& i) {
      return i.is_list() || (i.is_scalar() && i.scalar.find(trim(info->list_separator)) != std::string::npos);
    });
    if (!nested) {
      out.values.push_back(joined(node, info->list_separator, what));
      return out;
    }
    for (const ConfigNode& item : node.items)
      out.values.push_back(item.is_list() ? joined(item, info->list_separator, what)
                                          : scalar_text(item, what));
    return out;
  }
  for (const ConfigNode& item : node.items) {
    const std::string value = scalar_text(item, what);
    if (std::ranges::find(out.values, value) != out.values.end())
      item.fail(fmt::format("{} lists '{}' twice", what, value));
    out.values.push_back(value);
  }
  return out;
}

/// The product of axes over a base specification, first axis slowest.
std::vector<Spec> expand(const std::string& name, const std::vector<Axis>& axes, const std::string& where) {
  std::vector<Spec> out{Spec{name, {}}};
  for (const Axis& axis : axes) {
    std::vector<Spec> next;
    for (const Spec& spec : out) {
      for (const std::string& value : axis.values) {
        Spec s = spec;
        s.params.emplace_back(axis.key, value);
        next.push_back(std::move(s));
      }
    }
    out = std::move(next);
    if (out.size() > kMaxExpansion)
      throw Error(fmt::format("{}: the product of the axes has more than {} points", where, kMaxExpansion));
  }
  return out;
}

std::vector<Axis> read_axes(const ConfigNode& map, const Info& info, const std::set<std::string>& reserved) {
  std::vector<Axis> out;
  for (const auto& [key, value] : map.entries)
    if (!reserved.contains(key)) out.push_back(read_axis(key, value, info.find(key)));
  return out;
}

struct Entry {
  std::string name;
  std::string where;
  std::vector<Axis> axes;
  std::vector<Spec> specs;
  std::string label;  // given in the study
};

std::string axis_label(const Entry& e, const Spec& spec) {
  std::vector<std::string> parts;
  for (const auto& [key, text] : spec.params) {
    const auto it = std::ranges::find(e.axes, key, &Axis::key);
    if (it != e.axes.end() && it->values.size() > 1) parts.push_back(key + "=" + text);
  }
  const std::string base = e.label.empty() ? e.name : e.label;
  return parts.empty() ? base : fmt::format("{}({})", base, fmt::join(parts, ","));
}

Entry read_method(const ConfigNode& node, const Registries& r) {
  Entry out;
  out.where = node.where;
  if (node.is_scalar()) {
    const std::string text(trim(node.scalar));
    with_place(out.where, {}, [&] {
      Spec spec = parse_method(text);
      out.name = r.methods.info(spec.name).name;
      spec.name = out.name;
      out.specs.push_back(std::move(spec));
      (void)r.methods.canonical(out.specs.front(), r);
    });
    return out;
  }
  if (!node.is_map() || node.entries.size() != 1)
    node.fail("a method is a name, or one name with its parameters: '- duquant: {block_size: [64, 128]}'");
  const std::string& name = node.entries.front().first;
  const ConfigNode& body = node.entries.front().second;
  out.where = body.where;
  with_place(body.where, {}, [&] { out.name = r.methods.info(name).name; });
  if (body.is_null()) {
    out.specs.push_back(Spec{out.name, {}});
    return out;
  }
  if (!body.is_map())
    body.fail(fmt::format("the parameters of {} must be a map, for example {{alpha: 0.5}}", name));
  if (const ConfigNode* label = body.find("label")) out.label = label->text("'label'");
  out.axes = read_axes(body, r.methods.info(name), {"label"});
  out.specs = expand(out.name, out.axes, body.where);
  for (const Spec& spec : out.specs)
    with_place(body.where, out.axes, [&] { (void)r.methods.canonical(spec, r); });
  return out;
}

/// Names that tell methods apart: axes first; where that is not enough, all that differs from the defaults;
/// then everything.
std::vector<StudyMethod> label_methods(const std::vector<Entry>& entries, const Registries& r) {
  std::vector<StudyMethod> out;
  std::vector<std::array<std::string, 3>> names;
  std::set<std::string> seen;
  for (const Entry& e : entries) {
    for (const Spec& spec : e.specs) {
      const Info& info = r.methods.info(spec.name);
      const Params params = r.methods.resolve(spec, r);
      const std::string canonical = canonical_text(info, params);
      if (!seen.insert(canonical).second) continue;  // two entries with one meaning are one method
      // A pipeline is best named by what the user wrote.
      const bool written =
          spec.params.size() == 1 && !info.params.empty() && !info.params.front().list_separator.empty();
      const std::string first = written && e.label.empty() ? spec.params.front().second : axis_label(e, spec);
      out.push_back({spec, first});
      names.push_back({first, short_text(info, params), canonical});
    }
  }
  for (std::size_t level = 0; level + 1 < 3; ++level) {
    std::map<std::string, int> count;
    for (const StudyMethod& m : out) ++count[m.label];
    for (std::size_t i = 0; i < out.size(); ++i)
      if (count[out[i].label] > 1) out[i].label = names[i][level + 1];
  }
  return out;
}

/// The number formats of one role, the product of its axes.
std::vector<Spec> read_format(const ConfigNode* node, std::string_view what, const Registries& r) {
  std::string format = "integer";
  if (node == nullptr) return {Spec{format, {{"bits", "16"}}}};
  if (!node->is_map())
    node->fail(fmt::format("quantizer.{} must be a map such as {{bits: 4, clip: 0.9}}", what));
  if (const ConfigNode* f = node->find("format")) format = f->text("'format'");
  std::vector<Axis> axes;
  with_place(node->where, {}, [&] { axes = read_axes(*node, r.quantizers.info(format), {"format"}); });
  std::vector<Spec> out = expand(format, axes, node->where);
  for (const Spec& spec : out) with_place(node->where, axes, [&] { (void)r.quantizers.canonical(spec, r); });
  return out;
}

/// The place of a specification in a list without doubles.
std::size_t place_of(const Spec& spec, std::vector<Spec>& list, const Registries& r) {
  const std::string text = r.quantizers.canonical(spec, r);
  const auto it =
      std::ranges::find_if(list, [&](const Spec& s) { return r.quantizers.canonical(s, r) == text; });
  if (it != list.end()) return static_cast<std::size_t>(it - list.begin());
  list.push_back(spec);
  return list.size() - 1;
}

/// Parameters that take several values over `specs`, as "<what>.<parameter>".
void add_axes(const std::vector<Spec>& specs, const std::string& what, const Registries& r,
              std::vector<std::string>& out) {
  std::map<std::string, std::set<std::string>> values;
  for (const Spec& spec : specs) {
    const Params params = r.quantizers.resolve(spec, r);
    for (const ParamInfo& p : r.quantizers.info(spec.name).params)
      values[p.name].insert(p.format(params.at(p.name)));
  }
  if (specs.empty()) return;
  for (const ParamInfo& p : r.quantizers.info(specs.front().name).params)
    if (values[p.name].size() > 1) out.push_back(what + "." + p.name);
}

/// One map of number formats, or a list of them, which are taken one after the other.
void read_quantizers(const ConfigNode* node, const Registries& r, Study& out) {
  const bool of_model = !out.evaluations.empty();
  const ConfigNode nothing = [] {
    ConfigNode map;
    map.kind = ConfigNode::Kind::map;
    return map;
  }();
  std::vector<const ConfigNode*> entries;
  if (node != nullptr && node->is_list()) {
    for (const ConfigNode& item : node->items) entries.push_back(&item);
    if (entries.empty()) node->fail("'quantizer' is an empty list; leave it out to quantize nothing");
  } else {
    entries.push_back(node == nullptr ? &nothing : node);
  }
  // Two entries with one meaning are one.
  const auto add_choice = [&](const QuantizerChoice& choice) {
    if (std::ranges::find(out.quantizers, choice) == out.quantizers.end()) out.quantizers.push_back(choice);
  };
  for (const ConfigNode* entry : entries) {
    entry->require_map("quantizer", {"activation", "weight", "query", "key", "value"});
    for (const char* key : {"query", "key", "value"})
      if (const ConfigNode* n = entry->find(key); n != nullptr && !of_model)
        n->fail(fmt::format(
            "'{}' is for attention, which only 'evaluate: perplexity' has; a layer has an activation "
            "and a weight",
            key));
    const auto formats = [&](const char* key) { return read_format(entry->find(key), key, r); };
    for (const Spec& activation : formats("activation"))
      for (const Spec& weight : formats("weight"))
        for (const Spec& query : formats("query"))
          for (const Spec& key : formats("key"))
            for (const Spec& value : formats("value"))
              add_choice({place_of(activation, out.activations, r), place_of(weight, out.weights, r),
                          place_of(query, out.queries, r), place_of(key, out.keys, r),
                          place_of(value, out.values, r)});
  }
  std::vector<std::string> axes;
  add_axes(out.activations, "activation", r, axes);
  add_axes(out.weights, "weight", r, axes);
  add_axes(out.queries, "query", r, axes);
  add_axes(out.keys, "key", r, axes);
  add_axes(out.values, "value", r, axes);
  if (of_model) {
    // One name stands for all bits; where it does not tell all of them apart, the other parameters join it.
    std::set<std::string> names;
    for (const QuantizerChoice& choice : out.quantizers) names.insert(quantizer_name(out, choice, r));
    std::erase_if(axes, [&](const std::string& axis) {
      return axis.ends_with(".bits") || names.size() == out.quantizers.size();
    });
    if (names.size() > 1) axes.insert(axes.begin(), "quantizer");
  }
  out.quantizer_axes.insert(out.quantizer_axes.end(), axes.begin(), axes.end());
}

/// evaluate: layers (the default), perplexity, or perplexity with its parameters.
void read_evaluation(const ConfigNode* node, const Registries& r, Study& out) {
  if (node == nullptr) return;
  const bool with_parameters = node->is_map() && node->entries.size() == 1;
  if (!node->is_scalar() && !with_parameters)
    node->fail(
        "'evaluate' is layers, perplexity, or perplexity with parameters: {perplexity: {context: 2048}}");
  const Info& info = perplexity_info();
  const std::string name(with_parameters ? std::string_view(node->entries.front().first)
                                         : trim(node->scalar));
  const std::vector<std::string> known{"layers", info.name};
  if (std::ranges::find(known, name) == known.end())
    node->fail(fmt::format("there is no evaluation '{}'{}", name, suggestion(name, known)));
  if (name == "layers") {
    if (with_parameters) node->fail("the evaluation 'layers' has no parameters");
    return;
  }
  std::vector<Axis> axes;
  std::string where = node->where;
  if (with_parameters && !node->entries.front().second.is_null()) {
    const ConfigNode& body = node->entries.front().second;
    where = body.where;
    if (!body.is_map()) body.fail("the parameters of perplexity must be a map, for example {context: 2048}");
    axes = read_axes(body, info, {});
  }
  out.evaluations = expand(info.name, axes, where);
  for (const Spec& spec : out.evaluations)
    with_place(where, axes, [&] { (void)resolve_params(info, spec, r); });
  for (const Axis& axis : axes)
    if (axis.values.size() > 1) out.quantizer_axes.push_back("evaluate." + axis.key);
}

/// A path in a file is relative to that file; one on the command line to the current folder.
std::string resolved_path(const ConfigNode& node, const std::string& text,
                          const std::filesystem::path& base) {
  const std::filesystem::path path(text);
  if (node.where.starts_with("override") || !path.is_relative() || base.empty() ||
      std::filesystem::exists(path))
    return text;
  return (base / path).string();
}

/// What `evaluate: perplexity` reads: models and texts.
StudyData read_model_data(const ConfigNode& node, const std::filesystem::path& base) {
  for (const char* key : {"recording", "profile"})
    if (const ConfigNode* n = node.find(key); n != nullptr && !n->is_null())
      n->fail(fmt::format(
          "'{}' is for studies of layers; 'evaluate: perplexity' takes data.model and data.text", key));
  node.require_map("data", {"model", "text", "calibration_text", "recording", "profile"});
  StudyData out;
  const auto paths = [&](const char* key, const char* what) {
    const ConfigNode* const n = node.find(key);
    if (n == nullptr || n->is_null())
      node.fail(fmt::format("no data.{}: set data.{}=PATH ({})", key, key, what));
    std::vector<std::string> list;
    for (const std::string& text : n->texts(fmt::format("'{}'", key))) {
      list.push_back(resolved_path(*n, text, base));
      const auto same = [&](const std::string& other) {
        std::error_code ignored;
        return std::filesystem::weakly_canonical(other, ignored) ==
               std::filesystem::weakly_canonical(list.back(), ignored);
      };
      if (std::ranges::count_if(list, same) > 1) n->fail(fmt::format("'{}' lists {} twice", key, text));
    }
    if (list.empty()) n->fail(fmt::format("'{}' is an empty list", key));
    return list;
  };
  out.models = paths("model", "a Hugging Face folder with config.json and safetensors");
  out.texts = paths("text", "a text file, or token ids as .npy or .bin");
  if (const ConfigNode* n = node.find("calibration_text"); n != nullptr && !n->is_null())
    out.calibration_text = resolved_path(*n, n->text("'calibration_text'"), base);
  return out;
}

StudyData read_data(const ConfigNode& node, const std::filesystem::path& base) {
  for (const char* key : {"model", "text", "calibration_text"})
    if (const ConfigNode* n = node.find(key))
      n->fail(fmt::format("'{}' is for studies of models; say 'evaluate: perplexity'", key));
  node.require_map("data", {"recording", "profile", "layers", "calibration_tokens", "calibrate_on",
                            "evaluation_tokens", "evaluate_on_calibration", "share_inputs", "tokens",
                            "in_features", "out_features", "sequence_length", "seed"});
  StudyData out;
  const ConfigNode* const recording = node.find("recording");
  const ConfigNode* const profile = node.find("profile");
  const bool has_recording = recording != nullptr && !recording->is_null();
  const bool has_profile = profile != nullptr && !profile->is_null();
  if (has_recording == has_profile)
    node.fail(has_recording
                  ? "give either a recording or a profile, not both"
                  : "no data: set data.recording=PATH (a recording) or data.profile=NAME (a generated one)");
  if (has_recording) {
    out.recording = recording->text("'recording'");
    out.recording = resolved_path(*recording, out.recording, base);
    for (const char* key : {"tokens", "in_features", "out_features", "sequence_length", "seed"})
      if (const ConfigNode* n = node.find(key))
        n->fail(fmt::format("'{}' is for generated data (data.profile); a recording has its own", key));
  } else {
    out.profile = profile->text("'profile'");
  }
  if (const ConfigNode* n = node.find("layers")) out.layers = n->texts("'layers'");
  if (out.layers.empty()) node.at("layers").fail("'layers' is empty; \"*\" means all");
  if (const ConfigNode* n = node.find("calibration_tokens")) {
    if (n->is_list()) {
      for (const ConfigNode& item : n->items)
        out.calibration_tokens.push_back(item.integer("'calibration_tokens'", 1, kMaxTokens));
    } else {
      out.calibration_tokens.push_back(n->integer("'calibration_tokens'", 1, kMaxTokens));
    }
  }
  if (const ConfigNode* n = node.find("calibrate_on")) {
    for (const std::string& text : n->texts("'calibrate_on'")) {
      const bool is_path = text.find('/') != std::string::npos;
      out.calibrate_on.push_back(is_path ? resolved_path(*n, text, base) : text);
    }
    if (out.calibrate_on.empty()) n->fail("'calibrate_on' is empty; own is the default");
    if (std::set<std::string>(out.calibrate_on.begin(), out.calibrate_on.end()).size() !=
        out.calibrate_on.size())
      n->fail("'calibrate_on' lists a value twice");
  }
  const auto integer = [&](const char* key, std::int64_t low, std::int64_t high, Index& field) {
    if (const ConfigNode* n = node.find(key)) field = n->integer(fmt::format("'{}'", key), low, high);
  };
  integer("evaluation_tokens", 1, kMaxTokens, out.evaluation_tokens);
  integer("tokens", 1, kMaxTokens, out.tokens);
  integer("in_features", 1, kMaxWidth, out.in_features);
  integer("out_features", 1, kMaxWidth, out.out_features);
  integer("sequence_length", 1, kMaxTokens, out.sequence_length);
  if (const ConfigNode* n = node.find("seed"))
    out.seed = static_cast<std::uint64_t>(n->integer("'data.seed'", 0, INT64_MAX));
  if (const ConfigNode* n = node.find("evaluate_on_calibration"))
    out.evaluate_on_calibration = n->boolean("'evaluate_on_calibration'");
  if (const ConfigNode* n = node.find("share_inputs")) out.share_inputs = n->boolean("'share_inputs'");
  if (out.evaluate_on_calibration && out.evaluation_tokens != 0)
    node.at("evaluation_tokens")
        .fail("'evaluation_tokens' has no meaning with evaluate_on_calibration: true");
  return out;
}

StudyView read_view(const ConfigNode& node, const Registries& r) {
  if (!node.is_map() || node.entries.size() != 1)
    node.fail("a view is '- table: {...}' or '- chart: {kind: ..., ...}'");
  const std::string& kind = node.entries.front().first;
  const ConfigNode& body = node.entries.front().second;
  StudyView out;
  out.where = body.where;
  if (kind == "table") {
    out.is_table = true;
    if (body.is_null()) return out;
    body.require_map("a table", {"rows", "columns", "value", "title"});
    const auto text = [&](const char* key, std::string& field) {
      const ConfigNode* n = body.find(key);
      if (n == nullptr) return;
      field =
          n->is_list() ? fmt::format("{}", fmt::join(n->texts(key), ",")) : n->text(fmt::format("'{}'", key));
    };
    text("rows", out.table.rows);
    text("columns", out.table.columns);
    text("value", out.table.value);
    text("title", out.table.title);
    return out;
  }
  if (kind != "chart") {
    const std::vector<std::string> known{"table", "chart"};
    body.fail(fmt::format("no view is called '{}'{}", kind, suggestion(kind, known)));
  }
  if (!body.is_map()) body.fail("a chart must be a map with a 'kind'");
  const ConfigNode& name = body.at("kind");
  std::vector<Axis> axes;
  with_place(name.where, {}, [&] {
    const Info& info = r.charts.info(name.text("'kind'"));
    out.chart.name = info.name;
    for (const auto& [key, value] : body.entries) {
      if (key == "kind") continue;
      // A chart has no axes: a list of stages or layers is one value.
      axes.push_back(
          {key,
           value.where,
           {value.is_list() ? fmt::format("{}", fmt::join(value.texts(key), ",")) : value.text(key)}});
      out.chart.params.emplace_back(key, axes.back().values.front());
    }
  });
  with_place(body.where, axes, [&] { (void)r.charts.canonical(out.chart, r); });
  return out;
}

std::vector<std::uint64_t> read_seeds(const ConfigNode& root) {
  std::vector<std::uint64_t> out;
  const ConfigNode* const seed = root.find("seed");
  if (seed == nullptr) {
    out.push_back(0);
  } else if (seed->is_list()) {
    for (const ConfigNode& item : seed->items)
      out.push_back(static_cast<std::uint64_t>(item.integer("'seed'", 0, INT64_MAX - 100'000)));
    if (out.empty()) seed->fail("'seed' is an empty list");
  } else {
    out.push_back(static_cast<std::uint64_t>(seed->integer("'seed'", 0, INT64_MAX - 100'000)));
  }
  if (const ConfigNode* repeats = root.find("repeats")) {
    const auto n = static_cast<std::uint64_t>(repeats->integer("'repeats'", 1, 10'000));
    if (n > 1 && out.size() > 1) repeats->fail("give either a list of seeds or 'repeats', not both");
    for (std::uint64_t i = 1; i < n; ++i) out.push_back(out.front() + i);
  }
  for (std::size_t i = 0; i < out.size(); ++i)
    if (std::find(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(i), out[i]) !=
        out.begin() + static_cast<std::ptrdiff_t>(i))
      seed->fail(fmt::format("the seed {} stands twice", out[i]));
  return out;
}

/// `glob(had*)` in a list of names stands for the registered names that fit.
template <class Base>
std::vector<std::string> expand_glob(const ConfigNode& node, const Registry<Base>& registry) {
  const std::string text(trim(node.text(registry.kind())));
  if (!text.starts_with("glob(") || text.back() != ')') return {text};
  const std::string pattern(trim(std::string_view(text).substr(5, text.size() - 6)));
  std::vector<std::string> out;
  for (const std::string& name : registry.names())
    // What cannot work without a parameter of the user's is never meant by a pattern.
    if (glob_match(pattern, name) && registry.info(name).note("needs").empty()) out.push_back(name);
  if (out.empty()) node.fail(fmt::format("no {} fits '{}'", registry.kind(), pattern));
  return out;
}

std::vector<std::string> read_metrics(const ConfigNode* node, bool of_model, const Registries& r) {
  std::vector<std::string> out;
  // Of every linear layer of a model: what is cheap and says most about its error.
  if (node == nullptr && of_model) return {"nmse", "sqnr", "kurtosis", "absmax_to_median"};
  if (node == nullptr) {
    for (const std::string& name : r.metrics.names())
      if (r.metrics.info(name).note("series").empty() && r.metrics.info(name).note("timing").empty())
        out.push_back(name);
    return out;
  }
  const auto add = [&](const ConfigNode& item) {
    for (const std::string& text : expand_glob(item, r.metrics)) {
      with_place(item.where, {}, [&] { (void)r.metrics.canonical(text, r); });
      if (of_model && !r.metrics.info(parse_spec(text).name).note("series").empty()) {
        if (trim(item.scalar).starts_with("glob(")) continue;
        item.fail(fmt::format(
            "'{}' gives series of one layer, which runs of whole models do not keep; record the layer "
            "(olab record) and study that",
            text));
      }
      out.push_back(text);
    }
  };
  if (node->is_list()) {
    for (const ConfigNode& item : node->items) add(item);
  } else {
    add(*node);
  }
  return out;
}

/// "4" of integers of 4 bits, "16" of what is not quantized; the name of another format.
std::string bits_of(const Spec& spec, const Registries& r) {
  const ParamInfo* const bits = r.quantizers.info(spec.name).find("bits");
  return bits == nullptr ? spec.name : bits->format(r.quantizers.resolve(spec, r).at(bits->name));
}

}  // namespace

std::string quantizer_name(const Study& study, const QuantizerChoice& choice, const Registries& r) {
  const std::string query = bits_of(study.queries[choice.query], r);
  const std::string key = bits_of(study.keys[choice.key], r);
  const std::string value = bits_of(study.values[choice.value], r);
  std::string out = fmt::format("W{}A{}", bits_of(study.weights[choice.weight], r),
                                bits_of(study.activations[choice.activation], r));
  if (query != "16" && query == key && key == value) return out + fmt::format("QKV{}", value);
  if (query != "16") out += fmt::format("Q{}", query);
  if (key != "16" && key == value) return out + fmt::format("KV{}", value);
  if (key != "16") out += fmt::format("K{}", key);
  if (value != "16") out += fmt::format("V{}", value);
  return out;
}

Spec parse_method(std::string_view text) {
  if (split_top_level(text, '|').size() > 1) return {"pipeline", {{"steps", std::string(trim(text))}}};
  return parse_spec(text);
}

std::vector<std::string> study_names() {
  std::vector<std::string> out;
  for (const auto& [name, text] : shipped_studies()) out.emplace_back(name);
  std::ranges::sort(out);
  return out;
}

std::string shipped_study(const std::string& name) {
  for (const auto& [stem, text] : shipped_studies())
    if (stem == name) return std::string(text);
  const std::vector<std::string> names = study_names();
  throw Error(fmt::format("no file and no shipped study is called '{}'{}", name, suggestion(name, names)));
}

Study load_study(const std::string& name_or_file, std::span<const std::string> overrides,
                 const Registries& r) {
  const std::filesystem::path path(name_or_file);
  if (std::filesystem::exists(path))
    return parse_study(read_text_file(path, "study"), name_or_file, overrides, r);
  if (path.has_parent_path() || path.extension() == ".yaml" || path.extension() == ".yml") {
    const std::vector<std::string> names = study_names();
    throw Error(
        fmt::format("study {}: no such file; shipped studies: {}", name_or_file, fmt::join(names, ", ")));
  }
  return parse_study(shipped_study(name_or_file), name_or_file + ".yaml", overrides, r);
}

Study parse_study(std::string_view text, const std::string& source, std::span<const std::string> overrides,
                  const Registries& r) {
  ConfigNode root = parse_yaml(text, source);
  if (root.is_null()) throw Error(fmt::format("{}: the study is empty", source));
  return parse_study(std::move(root), source, overrides, r);
}

Study parse_study(ConfigNode root, const std::string& source, std::span<const std::string> overrides,
                  const Registries& r) {
  apply_overrides(root, overrides);
  root.require_map("a study", {"study", "description", "seed", "repeats", "evaluate", "data", "quantizer",
                               "methods", "metrics", "views"});
  Study out;
  out.source = source;
  out.name = root.at("study").text("'study'");
  if (out.name.empty() || out.name.find_first_of("/\\ \t\n\"'") != std::string::npos ||
      out.name.starts_with('.'))
    root.at("study").fail("the name of a study makes file names: letters, digits, '-' and '_' only");
  if (const ConfigNode* n = root.find("description")) out.description = n->text("'description'");
  out.seeds = read_seeds(root);
  read_evaluation(root.find("evaluate"), r, out);
  const bool of_model = !out.evaluations.empty();
  const std::filesystem::path base = std::filesystem::path(source).parent_path();
  out.data = of_model ? read_model_data(root.at("data"), base) : read_data(root.at("data"), base);
  read_quantizers(root.find("quantizer"), r, out);
  const ConfigNode& methods = root.at("methods");
  std::vector<Entry> entries;
  if (methods.is_list()) {
    for (const ConfigNode& item : methods.items) {
      if (item.is_scalar() && trim(item.scalar).starts_with("glob(")) {
        for (const std::string& name : expand_glob(item, r.methods)) {
          ConfigNode one = item;
          one.scalar = name;
          entries.push_back(read_method(one, r));
        }
      } else {
        entries.push_back(read_method(item, r));
      }
    }
  } else {
    entries.push_back(read_method(methods, r));
  }
  if (entries.empty()) methods.fail("'methods' is empty; see `olab list methods`");
  out.methods = label_methods(entries, r);
  out.metrics = read_metrics(root.find("metrics"), of_model, r);
  if (const ConfigNode* views = root.find("views")) {
    views->require_list("'views'");
    for (const ConfigNode& item : views->items) out.views.push_back(read_view(item, r));
  }
  if (out.views.empty()) {
    StudyView table;
    table.is_table = true;
    table.where = source;
    if (of_model) {
      table.table.columns = "layer";
      table.table.value = "model.perplexity";
    }
    out.views.push_back(table);
  }
  // What is stored must lead to the data from where the program was started, not from where the file lies.
  ConfigNode& data = *root.find("data");
  const auto put = [&](const char* key, const std::vector<std::string>& paths) {
    ConfigNode* const node = data.find(key);
    if (node == nullptr || node->is_null() || paths.empty()) return;
    if (node->is_list()) {
      for (std::size_t i = 0; i < node->items.size() && i < paths.size(); ++i)
        node->items[i].scalar = paths[i];
    } else {
      node->scalar = paths.front();
    }
  };
  put("model", out.data.models);
  put("text", out.data.texts);
  if (!out.data.calibration_text.empty()) put("calibration_text", {out.data.calibration_text});
  if (!out.data.recording.empty()) put("recording", {out.data.recording});
  put("calibrate_on", out.data.calibrate_on);
  out.text = to_yaml(root);
  return out;
}

}  // namespace olab

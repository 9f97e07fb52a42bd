#include "experiments/cost.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/random.hpp"
#include "core/text.hpp"
#include "datasets/profile.hpp"
#include "experiments/provenance.hpp"
#include "experiments/study.hpp"
#include "methods/common/method.hpp"
#include "results/table_grid.hpp"

namespace olab {
namespace {

using Json = nlohmann::ordered_json;

constexpr Index kCalibrationTokens = 64;

/// The layers of the first block that hold more than one kind, those with one input as one.
std::vector<CostShape> shapes_like(const std::string& like, const Registries& r) {
  std::shared_ptr<const Recording> data;
  if (std::filesystem::exists(like)) {
    data = open_recording(like, r);
  } else {
    GenerateOptions options;
    options.tokens = 1;
    data = open_profile(like, options);
  }
  std::vector<CostShape> out;
  std::vector<std::string> inputs;
  std::vector<std::string> kinds;
  for (std::size_t i = 0; i < data->layers().size(); ++i) {
    const LayerInfo& layer = data->layers()[i];
    const std::string kind = layer_kind(layer.name);
    if (std::ranges::find(kinds, kind) != kinds.end()) break;  // the next block
    kinds.push_back(kind);
    if (layer.out_features == 0) continue;
    const std::string input = data->input_hash(i);
    if (!inputs.empty() && inputs.back() == input) {
      out.back().name += "+" + kind;
      out.back().out_features += layer.out_features;
      continue;
    }
    inputs.push_back(input);
    out.push_back({kind, layer.in_features, layer.out_features});
  }
  if (out.empty())
    throw Error(fmt::format("cost: {} has no layers with weights; give --shapes IN:OUT", like));
  return out;
}

Chain find_chain(const std::string& spec, Index channels, const CostOptions& options, const Registries& r) {
  const auto method = r.methods.make(parse_method(spec), r);
  method->check(channels, r);
  RandomStream random(0);
  Matrix x(kCalibrationTokens, channels);
  random.fill_normal(x);
  const Matrix w(0, channels);
  return method->calibrate({x, w, random, r, options.stop});
}

double percent(double ratio) {
  return 100 * ratio;
}

/// All layers together: sums of medians.
double total_overhead(const std::vector<const MeasuredCost*>& costs) {
  double extra = 0;
  double layer = 0;
  for (const MeasuredCost* c : costs) {
    extra += c->seconds.transform.median - c->seconds.quantize.median;
    layer += c->seconds.quantize.median + c->seconds.product.median;
  }
  return extra / layer;
}

std::vector<std::vector<const MeasuredCost*>> by_method(const CostReport& report) {
  std::vector<std::vector<const MeasuredCost*>> out;
  for (const MeasuredCost& c : report.costs) {
    if (out.empty() || out.back().front()->method != c.method) out.emplace_back();
    out.back().push_back(&c);
  }
  return out;
}

Json spread_json(const Spread& s) {
  return {{"median", s.median}, {"low", s.low}, {"high", s.high}};
}

std::string as_json(const CostReport& report) {
  Json out{{"machine", report.machine},
           {"tokens", report.options.measure.tokens},
           {"bits", report.options.measure.bits},
           {"repeats", report.options.measure.repeats},
           {"unit", "CPU seconds of one thread"}};
  Json costs = Json::array();
  for (const MeasuredCost& c : report.costs)
    costs.push_back({{"method", c.method},
                     {"layer", c.shape.name},
                     {"in_features", c.shape.in_features},
                     {"out_features", c.shape.out_features},
                     {"multiply_adds", c.analytic.multiply_adds},
                     {"bytes", c.analytic.bytes},
                     {"quantize", spread_json(c.seconds.quantize)},
                     {"transform", spread_json(c.seconds.transform)},
                     {"product", spread_json(c.seconds.product)},
                     {"overhead", spread_json(c.seconds.overhead)},
                     {"precision_nmse", c.precision_error}});
  out["costs"] = costs;
  Json totals = Json::array();
  for (const auto& costs_of : by_method(report))
    totals.push_back({{"method", costs_of.front()->method}, {"overhead", total_overhead(costs_of)}});
  out["all_layers"] = totals;
  return out.dump(2) + "\n";
}

/// Every measurement a row.
Grid all_numbers(const CostReport& report) {
  Grid out;
  out.header = {"method",       "layer",         "in_features",   "out_features", "multiply_adds",
                "bytes",        "quantize_s",    "transform_s",   "product_s",    "overhead",
                "overhead_low", "overhead_high", "precision_nmse"};
  for (const MeasuredCost& c : report.costs) {
    std::vector<GridCell>& row = out.rows.emplace_back();
    row = {c.method, c.shape.name};
    for (const double value :
         {static_cast<double>(c.shape.in_features), static_cast<double>(c.shape.out_features),
          c.analytic.multiply_adds, c.analytic.bytes, c.seconds.quantize.median, c.seconds.transform.median,
          c.seconds.product.median, c.seconds.overhead.median, c.seconds.overhead.low,
          c.seconds.overhead.high, c.precision_error})
      row.emplace_back(show_number(value, Format::csv));
  }
  return out;
}

}  // namespace

std::vector<CostShape> parse_shapes(const std::string& text) {
  std::vector<CostShape> out;
  if (text.empty()) return out;
  for (const std::string& item : split(text, ',')) {
    const std::vector<std::string> parts = split(item, ':');
    std::int64_t in = 0;
    std::int64_t wide = 0;
    if (parts.size() != 2 || !parse_integer(parts[0], in) || !parse_integer(parts[1], wide) || in < 1 ||
        wide < 1)
      throw Error(fmt::format("--shapes: '{}' is not IN:OUT, for example 4096:11008", item));
    out.push_back({item, in, wide});
  }
  return out;
}

CostReport measure_costs(const CostOptions& options, const Registries& r) {
  CostReport report;
  report.options = options;
  if (report.options.shapes.empty()) report.options.shapes = shapes_like(options.like, r);
  const Provenance here = make_provenance(1);
  report.machine = fmt::format("{}, {}", here.cpu, here.kernel_level);
  // Every name and width before the first measurement.
  for (const std::string& spec : options.methods)
    for (const CostShape& shape : report.options.shapes)
      r.methods.make(parse_method(spec), r)->check(shape.in_features, r);

  std::vector<std::vector<MeasuredCost>> by_shape;
  for (const CostShape& shape : report.options.shapes) {
    const OnlineLayer layer(shape.in_features, shape.out_features, options.measure);
    by_shape.emplace_back();
    for (const std::string& spec : options.methods) {
      if (options.stop != nullptr) options.stop->check();
      const Chain chain = find_chain(spec, shape.in_features, options, r);
      const auto stages = chain.online_stages();
      if (!stages) throw Error(fmt::format("cost: {} has a transform without an online form", spec));
      MeasuredCost cost;
      cost.method = spec;  // as written: a pipeline with every parameter would be a long line
      cost.shape = shape;
      cost.analytic = chain.online_cost();
      cost.seconds = layer.measure(*stages);
      RandomStream random(1);
      Matrix x(kCalibrationTokens, shape.in_features);
      random.fill_normal(x);
      cost.precision_error =
          OnlineTransform(shape.in_features, *stages, options.measure.precision).precision_error(x);
      by_shape.back().push_back(std::move(cost));
    }
  }
  for (std::size_t m = 0; m < options.methods.size(); ++m)
    for (auto& costs : by_shape) report.costs.push_back(std::move(costs[m]));
  return report;
}

std::string render_costs(const CostReport& report, Format format) {
  if (format == Format::json) return as_json(report);
  if (format == Format::csv) return render_grid(all_numbers(report), format);
  if (format == Format::latex) throw Error("cost: the formats are text, json, csv and md");
  const OnlineCostSettings& measure = report.options.measure;
  Grid grid;
  grid.header = {"method"};
  for (const CostShape& shape : report.options.shapes) grid.header.push_back(shape.name);
  grid.header.insert(grid.header.end(), {"all layers", "multiply-adds", "bytes"});
  grid.numeric.assign(grid.header.size(), true);
  grid.numeric.front() = false;
  for (const auto& costs : by_method(report)) {
    std::vector<GridCell> row{costs.front()->method};
    double multiply_adds = 0;
    double bytes = 0;
    for (const MeasuredCost* c : costs) {
      row.emplace_back(fmt::format("{:+.1f} % ({:.1f} to {:.1f})", percent(c->seconds.overhead.median),
                                   percent(c->seconds.overhead.low), percent(c->seconds.overhead.high)));
      multiply_adds += c->analytic.multiply_adds;
      bytes += c->analytic.bytes;
    }
    row.emplace_back(fmt::format("{:+.1f} %", percent(total_overhead(costs))));
    row.emplace_back(fmt::format("{:.4g}", multiply_adds));
    row.emplace_back(fmt::format("{:.4g}", bytes));
    grid.rows.push_back(std::move(row));
  }
  std::string out = render_grid(grid, format);
  out += fmt::format(
      "\nTime of the transform in percent of the layer without it (tokens to integers, integer product), {} "
      "bits, {} "
      "tokens,\nCPU time of one thread of {}; median of {} rounds (smallest to largest). Multiply-adds and "
      "bytes: of a "
      "token, all layers.\n",
      measure.bits, measure.tokens, report.machine, measure.repeats);
  std::vector<std::string> layers;
  for (std::size_t i = 0; i < report.options.shapes.size(); ++i) {
    const MeasuredCost& c = report.costs[i];
    layers.push_back(fmt::format("{} {} -> {}: {:.1f} + {:.1f} ms", c.shape.name, c.shape.in_features,
                                 c.shape.out_features, 1e3 * c.seconds.quantize.median,
                                 1e3 * c.seconds.product.median));
  }
  out += fmt::format("The layer alone: {}.\n", fmt::join(layers, "; "));
  return out;
}

}  // namespace olab

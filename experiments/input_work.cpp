#include "experiments/input_work.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

#include "core/hash.hpp"
#include "core/integer_product.hpp"
#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "experiments/observe.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"
#include "metrics/common/metric.hpp"

namespace olab {
namespace {

/// Tokens of Ŷ that are in memory at a time.
constexpr Index kTokensPerTile = 512;

/// out ← in, by all threads.
// NOLINTNEXTLINE(performance-unnecessary-value-param): a writable view
void copy_rows(const ConstMatrixRef& in, MatrixRef out) {
  constexpr Index kRowsPerTask = 32;
  parallel_for(in.rows(), kRowsPerTask, [&](Index begin, Index end) {
    out.middleRows(begin, end - begin) = in.middleRows(begin, end - begin);
  });
}

/// A matrix behind a quantizer: as integers where that is exact, else in float.
struct Quantized {
  bool is_integer = false;
  IntegerMatrix codes;
  LargeMatrix values;  ///< empty where is_integer and nobody has asked for floats
  Measured measured;
  double bits = 0;
  double seconds = 0;
};

/// A quantized weight: its memory serves one weight after the other.
struct WeightBuffers {
  Quantized quantized;
  PackedCodes packed;
};

}  // namespace

struct WorkMemory::State {
  MatrixPool pool;
  std::mutex mutex;  ///< guards free_buffers
  std::vector<std::unique_ptr<WeightBuffers>> free_buffers;

  std::unique_ptr<WeightBuffers> take_buffers() {
    const std::lock_guard lock(mutex);
    if (free_buffers.empty()) return std::make_unique<WeightBuffers>();
    auto out = std::move(free_buffers.back());
    free_buffers.pop_back();
    return out;
  }
  void give_buffers(std::unique_ptr<WeightBuffers> buffers) {
    const std::lock_guard lock(mutex);
    free_buffers.push_back(std::move(buffers));
  }
};

WorkMemory::WorkMemory() : state_(std::make_unique<State>()) {}
WorkMemory::~WorkMemory() = default;

struct InputWork::State {
  /// One layer that reads the input.
  struct Side {
    const PlannedLayer* layer = nullptr;
    Index first_row = 0;  ///< of its W in `w`
    Index out_features = 0;
    LargeMatrix y;  ///< X Wᵀ on evaluation tokens
    std::map<Index, Measured> originals;
  };

  /// What the runs of a group share.
  struct Shared {
    Chain chain;
    Matrix x;  ///< X T on evaluation tokens
    Measured measured;
    Index block_size = 0;
    double calibrate_seconds = 0;
    double input_seconds = 0;  ///< of X T
    double measure_seconds = 0;
    std::map<std::size_t, Quantized> activations;
  };

  State(const Plan& the_plan, const PlannedInput& the_input, const Registries& r, const StopFlag* stop_flag,
        WorkShares& work_shares, WorkMemory::State& work_memory)
      : plan(the_plan),
        input(the_input),
        registries(r),
        stop(stop_flag),
        shares(work_shares),
        memory(work_memory),
        metrics(the_plan.metrics, r) {}

  const Plan& plan;
  const PlannedInput& input;
  const Registries& registries;
  const StopFlag* stop;
  WorkShares& shares;
  WorkMemory::State& memory;
  MatrixPool& pool = memory.pool;
  MetricSet metrics;
  Matrix x;
  LargeMatrix w;  ///< of all layers, one below the other
  std::vector<Side> sides;
  std::mutex mutex;  ///< guards the originals and `steps`
  std::map<Index, Measured> originals;
  /// Steps that several methods have in common, by calibration tokens, their source and seed.
  std::map<std::tuple<Index, std::size_t, std::uint64_t>, std::unique_ptr<SharedSteps>> steps;

  const PlannedLayer& front() const { return plan.layers[input.first]; }
  bool has_weights() const { return w.rows() > 0; }
  ConstMatrixRef evaluation() const {
    return x.middleRows(front().evaluation_begin, front().evaluation_tokens);
  }
  ConstMatrixRef weight(const Side& side) const {
    return w.view().middleRows(side.first_row, side.out_features);
  }

  bool wants(Stage stage) const { return metrics.wants(stage); }
  bool errors_suffice(Stage stage) const { return metrics.errors_suffice(stage); }
  void observe(const Observation& observation, Measured& out) const { metrics.observe(observation, out); }

  void load() {
    Timer timer(shares.load);
    x = plan.recording->load_input(front().index, front().tokens_needed());
    Index rows = 0;
    for (std::size_t i = 0; i < input.count; ++i) {
      Side side;
      side.layer = &plan.layers[input.first + i];
      side.first_row = rows;
      side.out_features = side.layer->info.out_features;
      rows += side.out_features;
      sides.push_back(std::move(side));
    }
    w = pool.take(rows, x.cols());
    for (const Side& side : sides)
      plan.recording->load_weight_into(side.layer->index,
                                       w.view().middleRows(side.first_row, side.out_features));
  }

  void multiply_originals() {
    if (!has_weights()) return;
    const Timer timer(shares.product);
    for (Side& side : sides) {
      side.y = pool.take(front().evaluation_tokens, side.out_features);
      multiply_transposed(evaluation(), weight(side), side.y.view());
    }
  }

  /// Numbers of the untouched input and of an untouched weight; computed once for each block size.
  const Measured& original_input(Index block_size) {
    const std::lock_guard lock(mutex);
    const auto [slot, is_new] = originals.try_emplace(block_size);
    if (is_new)
      observe(Observation(Stage::original, evaluation(), std::nullopt, block_size, -1), slot->second);
    return slot->second;
  }
  const Measured& original_weight(Side& side, Index block_size) {
    const std::lock_guard lock(mutex);
    const auto [slot, is_new] = side.originals.try_emplace(block_size);
    if (is_new)
      observe(Observation(Stage::weight_original, weight(side), std::nullopt, block_size, -1), slot->second);
    return slot->second;
  }

  SharedSteps* shared_steps(const PlannedRun& run) {
    if (!plan.sharing) return nullptr;
    const std::lock_guard lock(mutex);
    auto& slot = steps[{run.calibration_tokens, run.source, run.seed}];
    if (!slot) slot = std::make_unique<SharedSteps>();
    return slot.get();
  }

  /// Whose weights stand where in `w`.
  std::vector<LayerRows> layer_rows() const {
    std::vector<LayerRows> out;
    for (const Side& side : sides)
      if (side.out_features > 0) out.push_back({side.layer->info.name, side.first_row, side.out_features});
    return out;
  }

  std::unique_ptr<Method> method_of(const PlannedRun& run) const {
    auto method = registries.methods.make(plan.methods[run.method].spec, registries);
    method->check(x.cols(), registries);
    return method;
  }

  /// `seconds`: of the calibration itself, without the loading of other tokens.
  Chain calibrate(const PlannedRun& run, const Method& method, double& seconds) {
    // Seed and data make the stream, not the parameters: ablations then compare the same draws.
    const RandomStream random(hash64(front().stream_hash(), run.seed));
    const CalibrationSource& source = plan.sources[run.source];
    Matrix other;
    if (!source.is_own()) {
      const Timer timer(shares.load);
      other = calibration_tokens(source, front().info.name, x.topRows(run.calibration_tokens),
                                 random.fork("calibration tokens"));
    }
    Timer calibrating(shares.calibrate);
    const ConstMatrixRef tokens =
        source.is_own() ? ConstMatrixRef(x.topRows(run.calibration_tokens)) : ConstMatrixRef(other);
    Chain chain = method.calibrate(
        {tokens, w.view(), random, registries, stop, nullptr, shared_steps(run), {}, layer_rows()});
    seconds = calibrating.seconds();
    return chain;
  }

  void prepare(const PlannedRun& run, Shared& g) {
    const std::unique_ptr<Method> method = method_of(run);
    g.block_size = method->block_size(x.cols());
    g.chain = calibrate(run, *method, g.calibrate_seconds);
    Timer transforming(shares.transform);
    g.x = large_matrix(front().evaluation_tokens, x.cols());
    copy_rows(evaluation(), g.x);
    g.chain.apply_to_activations(g.x);
    g.input_seconds = transforming.seconds();
    Timer measuring(shares.measure);
    merge(g.measured, original_input(g.block_size));
    observe(Observation(Stage::transformed, g.x, std::nullopt, g.block_size, -1), g.measured);
    if (wants(Stage::online)) {
      const auto stages = g.chain.online_stages();
      Observation online(Stage::online, g.x, std::nullopt, g.block_size, -1);
      online.set_online({stages ? &*stages : nullptr, w.rows()});
      observe(online, g.measured);
    }
    g.measure_seconds = measuring.seconds();
    const Cost cost = g.chain.online_cost();
    g.measured.values["online.multiply_adds"] = cost.multiply_adds;
    g.measured.values["online.bytes"] = cost.bytes;
  }

  /// Values behind a quantizer, and what the metrics say of them. `out` may be one that was used before.
  void quantize(const ResolvedSpec& spec, Role role, const ConstMatrixRef& in, Index block_size,
                Quantized& out) {
    const auto quantizer = registries.quantizers.make(spec.spec, registries);
    quantizer->check(role, in.cols());
    const Stage stage = role == Role::activation ? Stage::quantized : Stage::weight_quantized;
    out.bits = quantizer->bits_per_value(role, in.rows(), in.cols());
    out.measured = {};
    pool.give(std::move(out.values));
    Index clipped = -1;
    Timer timer(shares.quantize);
    out.is_integer = quantizer->quantize_to_codes(role, in, out.codes, clipped);
    if (!out.is_integer || !errors_suffice(stage)) {
      out.values = pool.take(in.rows(), in.cols());
      if (out.is_integer) {
        dequantize_rows(out.codes, 0, out.values.view());
      } else {
        clipped = quantizer->quantize(role, in, out.values.view());
      }
      out.seconds = timer.seconds();
      const Timer measuring(shares.measure);
      observe(Observation(stage, out.values.view(), in, block_size, clipped), out.measured);
    } else {
      out.seconds = timer.seconds();
      const Timer measuring(shares.measure);
      if (wants(stage)) observe(Observation(stage, errors_of(out.codes, in), block_size), out.measured);
    }
    if (out.is_integer) pool.give(std::move(out.values));
  }

  /// Of the values behind `codes` against `in`; a few rows of them are in memory at a time.
  static ErrorSums errors_of(const IntegerMatrix& codes, const ConstMatrixRef& in) {
    ErrorSums out;
    add_errors_of(
        out, [&](Index first, MatrixRef rows) { dequantize_rows(codes, first, rows); }, in);
    return out;
  }

  Quantized& activation(Shared& g, const PlannedRun& run) {
    const auto known = g.activations.find(run.activation);
    if (known != g.activations.end()) return known->second;
    Quantized fresh;
    quantize(plan.activations[run.activation], Role::activation, g.x, g.block_size, fresh);
    return g.activations.emplace(run.activation, std::move(fresh)).first->second;
  }

  /// The values in float, made from the codes where need be.
  ConstMatrixRef values_of(Quantized& q) const {
    if (q.values.size() == 0) {
      const Timer timer(shares.quantize);
      q.values = pool.take(q.codes.rows, q.codes.cols);
      dequantize_rows(q.codes, 0, q.values.view());
    }
    return std::as_const(q.values).view();
  }

  /// Compares X̂ Ŵᵀ with Y. The product is exact in integers where both sides are integers; only a tile of
  /// tokens of it is in memory unless a metric wants to see it whole.
  void compare_outputs(const Side& side, Quantized& a, Quantized& b, const PackedCodes& packed,
                       Index block_size, Measured& out) const {
    const bool integers = a.is_integer && b.is_integer;
    const bool whole = !errors_suffice(Stage::output);
    const Index tokens = side.y.rows();
    const ConstMatrixRef y = side.y.view();
    LargeMatrix y_hat = pool.take(whole ? tokens : std::min(kTokensPerTile, tokens), side.out_features);
    ErrorSums errors;
    for (Index from = 0; from < tokens; from += y_hat.rows()) {
      const Index rows = std::min(y_hat.rows(), tokens - from);
      MatrixRef tile = y_hat.view().topRows(rows);
      if (integers) {
        const Timer timer(shares.product);
        multiply_codes(a.codes, from, packed, tile);
      } else {
        const ConstMatrixRef left = values_of(a);
        const ConstMatrixRef right = values_of(b);
        const Timer timer(shares.product);
        multiply_transposed(left.middleRows(from, rows), right, tile);
      }
      const Timer measuring(shares.measure);
      if (whole) {
        observe(Observation(Stage::output, tile, y, block_size, -1), out);
      } else {
        add_errors(errors, tile, y.middleRows(from, rows));
      }
    }
    pool.give(std::move(y_hat));
    const Timer measuring(shares.measure);
    if (!whole) observe(Observation(Stage::output, errors, block_size), out);
  }

  double equivalence_error(const Side& side, const Chain& chain) const {
    Matrix xt = evaluation();
    chain.apply_to_activations(xt);
    const bool weights = side.out_features > 0;
    Matrix wt = weights ? Matrix(weight(side)) : Matrix(Matrix::Identity(x.cols(), x.cols()));
    chain.apply_to_weights(wt);
    Matrix y(xt.rows(), wt.rows());
    multiply_transposed(xt, wt, y);
    ErrorSums sums;
    add_errors(sums, y, weights ? side.y.view() : evaluation());
    return std::sqrt(relative_error(sums.error, sums.signal));
  }

  /// W T⁻ᵀ of a layer: where nothing is transformed, W itself.
  ConstMatrixRef transformed_of(const Side& side, const LargeMatrix& w_transformed) const {
    return w_transformed.size() > 0 ? w_transformed.view() : weight(side);
  }

  /// The runs of a group on one layer, weight quantizer by weight quantizer: each is applied once.
  void run_side(Side& side, Shared& g, std::vector<InputRun> runs, double group_size, const Done& done) {
    std::ranges::stable_sort(runs, {}, [](const InputRun& r) { return r.run->weight; });
    const auto side_size = static_cast<double>(runs.size());
    LargeMatrix w_transformed;
    Measured transformed;
    double transform_seconds = 0;
    double measure_seconds = 0;
    if (side.out_features > 0) {
      Timer transforming(shares.transform);
      if (!g.chain.empty()) {
        w_transformed = pool.take(side.out_features, x.cols());
        copy_rows(weight(side), w_transformed.view());
        g.chain.apply_to_weights(w_transformed.view());
      }
      transform_seconds = transforming.seconds();
      Timer measuring(shares.measure);
      merge(transformed, original_weight(side, g.block_size));
      observe(Observation(Stage::weight_transformed, transformed_of(side, w_transformed), std::nullopt,
                          g.block_size, -1),
              transformed);
      measure_seconds = measuring.seconds();
    }
    const std::size_t none = plan.weights.size();
    std::size_t at = none;  // the weight quantizer that w_hat went through
    std::unique_ptr<WeightBuffers> buffers = memory.take_buffers();
    Quantized& w_hat = buffers->quantized;
    for (const InputRun& run : runs) {
      if (stop != nullptr) stop->check();
      try {
        std::atomic<double> own{0};
        Timer timer(own);
        Quantized& x_hat = activation(g, *run.run);
        Measured out = g.measured;
        merge(out, transformed);
        merge(out, x_hat.measured);
        out.values["bits.activation"] = x_hat.bits;
        double quantize_seconds = x_hat.seconds;
        if (side.out_features > 0) {
          if (at != run.run->weight) {
            at = none;
            quantize(plan.weights[run.run->weight], Role::weight, transformed_of(side, w_transformed),
                     g.block_size, w_hat);
            if (w_hat.is_integer) {
              const Timer packing(shares.product);
              buffers->packed.pack(w_hat.codes);
            }
            at = run.run->weight;
          }
          merge(out, w_hat.measured);
          out.values["bits.weight"] = w_hat.bits;
          quantize_seconds += w_hat.seconds;
          compare_outputs(side, x_hat, w_hat, buffers->packed, g.block_size, out);
          out.values["online.relative_multiply_adds"] =
              g.measured.values.at("online.multiply_adds") /
              (static_cast<double>(x.cols()) * static_cast<double>(side.out_features));
        }
        out.values["time.calibrate_s"] = g.calibrate_seconds;
        out.values["time.apply_s"] = g.input_seconds + transform_seconds;
        out.values["time.quantize_s"] = quantize_seconds;
        out.values["time.run_s"] = timer.seconds() + (transform_seconds + measure_seconds) / side_size +
                                   (g.calibrate_seconds + g.input_seconds + g.measure_seconds) / group_size;
        done(run, &out, "");
      } catch (const Error& e) {
        done(run, nullptr, e.what());
      }
    }
    pool.give(std::move(w_transformed));
    memory.give_buffers(std::move(buffers));
  }
};

InputWork::InputWork(const Plan& plan, const PlannedInput& input, const Registries& r, const StopFlag* stop,
                     WorkShares& shares, WorkMemory& memory)
    : state_(std::make_unique<State>(plan, input, r, stop, shares, *memory.state_)) {
  state_->load();
  state_->multiply_originals();
}

InputWork::~InputWork() {
  state_->pool.give(std::move(state_->w));
  for (State::Side& side : state_->sides) state_->pool.give(std::move(side.y));
}

void InputWork::prefetch(const Plan& plan, const PlannedInput& input) {
  const PlannedLayer& front = plan.layers[input.first];
  for (std::size_t i = 0; i < input.count; ++i)
    plan.recording->prefetch(plan.layers[input.first + i].index, front.tokens_needed());
}

void InputWork::run(const RunGroup& group, const Done& done) {
  State& s = *state_;
  State::Shared shared;
  try {
    s.prepare(*group.front().run, shared);
  } catch (const Error& e) {
    for (const InputRun& run : group) done(run, nullptr, e.what());
    return;
  }
  for (std::size_t i = 0; i < s.sides.size(); ++i) {
    std::vector<InputRun> runs;
    for (const InputRun& run : group)
      if (run.layer == i) runs.push_back(run);
    if (!runs.empty())
      s.run_side(s.sides[i], shared, std::move(runs), static_cast<double>(group.size()), done);
  }
}

Chain InputWork::calibrate(const PlannedRun& run) {
  double seconds = 0;
  return state_->calibrate(run, *state_->method_of(run), seconds);
}

double InputWork::equivalence_error(std::size_t layer, const Chain& transform) const {
  return state_->equivalence_error(state_->sides[layer - state_->input.first], transform);
}

const PlannedInput& input_of(const Plan& plan, std::size_t layer) {
  const auto it = std::ranges::find_if(plan.inputs, [&](const PlannedInput& input) {
    return input.first <= layer && layer < input.first + input.count;
  });
  return *it;
}

std::vector<RunGroup> make_groups(const Plan& plan, const PlannedInput& input) {
  std::map<std::tuple<std::size_t, Index, std::size_t, std::uint64_t>, std::size_t> where;
  std::vector<RunGroup> out;
  for (std::size_t i = 0; i < input.count; ++i) {
    for (const PlannedRun& run : plan.layers[input.first + i].runs) {
      if (run.stored) continue;
      const auto [it, is_new] =
          where.try_emplace({run.method, run.calibration_tokens, run.source, run.seed}, out.size());
      if (is_new || !plan.sharing) {
        it->second = out.size();
        out.emplace_back();
      }
      out[it->second].push_back({i, &run});
    }
  }
  return out;
}

}  // namespace olab

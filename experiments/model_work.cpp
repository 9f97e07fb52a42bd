#include "experiments/model_work.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "core/hash.hpp"
#include "core/integer_product.hpp"
#include "core/library_product.hpp"
#include "core/parallel.hpp"
#include "methods/common/method.hpp"
#include "methods/common/quantizer.hpp"
#include "models/decoder.hpp"

namespace olab {
namespace {

constexpr std::array<Site, kSites> kAllSites{Site::attention_in, Site::attention_out, Site::mlp_in,
                                             Site::mlp_out};

std::size_t place(Site site) {
  return static_cast<std::size_t>(site);
}

/// A quantized matrix: integers where that is exact, else floats.
struct PreparedWeight {
  bool is_integer = false;
  IntegerMatrix codes;
  PackedCodes packed;
  Matrix values;
  double bits = 0;

  /// The values in float.
  Matrix floats() const {
    if (!is_integer) return values;
    Matrix out(codes.rows, codes.cols);
    dequantize_rows(codes, 0, out);
    return out;
  }
  /// y ← x Ŵᵀ in float.
  void multiply(const ConstMatrixRef& x, Matrix& y) const {
    if (is_integer) {
      library_multiply_transposed(x, floats(), y);
    } else {
      library_multiply_transposed(x, values, y);
    }
  }
};

/// Linear layers with one transform.
struct Group {
  std::vector<std::size_t> linears;  ///< places within the site
  Chain chain;
  Index block_size = 0;
};

struct PreparedGroup {
  const Group* group = nullptr;
  Chain online;  ///< the chain without what is folded away
  std::vector<PreparedWeight> weights;
};

/// Transforms of one block. They stay in memory for the whole run.
struct BlockTransforms {
  std::array<std::vector<Group>, kSites> groups;
};

struct PreparedBlock {
  Block frame;  ///< norms and biases: what a pass needs beside the prepared weights
  std::array<std::vector<PreparedGroup>, kSites> sites;
  Chain value_fold;  ///< what values are scaled by before they are quantized
};

/// Places of attention's number formats, and the rotation of heads.
struct AttentionFormats {
  std::unique_ptr<Quantizer> query;
  std::unique_ptr<Quantizer> key;
  std::unique_ptr<Quantizer> value;
  HeadRotation rotation;
};

/// Heads of all tokens as rows. Decoder hands out matrices whose rows follow one another.
Eigen::Map<Matrix> heads_of(MatrixRef m, Index head_dim) {
  assert(m.outerStride() == m.cols());
  return {m.data(), m.rows() * m.cols() / head_dim, head_dim};
}

class StoppingWork : public OriginalWork {
 public:
  explicit StoppingWork(const StopFlag* stop, WorkShares& shares) : stop_(stop), shares_(shares) {}
  void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
    check_stop();
    const Timer timer(shares_.product);
    OriginalWork::linear(block, site, x, y);
    check_outputs(block, site, y, "the original model");
  }

 protected:
  void check_stop() const {
    if (stop_ != nullptr) stop_->check();
  }
  static void check_outputs(const Block& block, Site site, std::span<const Matrix> y,
                            std::string_view model) {
    std::size_t i = 0;
    for (const Linear& linear : block.linears) {
      if (linear.spec.site != site) continue;
      if (!y[i].allFinite())
        throw Error(
            fmt::format("{}: the output of layer '{}' has NaN or infinity in {}; what comes behind it means "
                        "nothing, so the run stops here",
                        block.name, linear.name, model));
      ++i;
    }
  }
  const StopFlag* stop_;
  WorkShares& shares_;
};

}  // namespace

std::vector<double> WindowNumbers::pack() const {
  return {predictions, nll, original_nll, kl, agreement};
}

WindowNumbers WindowNumbers::unpack(std::span<const double> stored) {
  if (stored.size() != WindowNumbers{}.pack().size())
    throw Error(fmt::format("a stored window has {} numbers, expected {}; compute the run again with --force",
                            stored.size(), WindowNumbers{}.pack().size()));
  return {stored[0], stored[1], stored[2], stored[3], stored[4]};
}

Measured summarize_windows(const std::map<std::int64_t, WindowNumbers>& windows) {
  Measured out;
  double predictions = 0;
  double nll = 0;
  double original = 0;
  double kl = 0;
  double agreement = 0;
  std::vector<double> window_nll;
  std::vector<double> window_original;
  std::vector<double> window_kl;
  for (const auto& [index, w] : windows) {
    predictions += w.predictions;
    nll += w.predictions * w.nll;
    original += w.predictions * w.original_nll;
    kl += w.predictions * w.kl;
    agreement += w.predictions * w.agreement;
    window_nll.push_back(w.nll);
    window_original.push_back(w.original_nll);
    window_kl.push_back(w.kl);
  }
  out.values["model.nll"] = nll / predictions;
  out.values["model.perplexity"] = std::exp(nll / predictions);
  out.values["model.original_nll"] = original / predictions;
  out.values["model.original_perplexity"] = std::exp(original / predictions);
  out.values["model.perplexity_ratio"] = std::exp((nll - original) / predictions);
  out.values["model.kl"] = kl / predictions;
  out.values["model.agreement"] = agreement / predictions;
  out.values["model.predictions"] = predictions;
  const auto series = [&](const char* name, std::vector<double> values) {
    Series one;
    one.name = name;
    one.rows = 1;
    one.columns = static_cast<Index>(values.size());
    one.values = std::move(values);
    one.facts["columns"] = "windows";
    out.series.push_back(std::move(one));
  };
  series("windows.nll", std::move(window_nll));
  series("windows.original_nll", std::move(window_original));
  series("windows.kl", std::move(window_kl));
  return out;
}

struct ModelWork::State {
  State(const ModelPlan& the_plan, std::size_t the_input, const Registries& r, const StopFlag* stop_flag,
        WorkShares& work_shares)
      : plan(the_plan),
        input(the_plan.inputs[the_input]),
        registries(r),
        stop(stop_flag),
        shares(work_shares),
        decoder(input.checkpoint),
        memory(model_memory(input, plan.memory_limit, plan.threads)),
        metrics(plan.metrics, r) {}

  const ModelPlan& plan;
  const ModelInput& input;
  const Registries& registries;
  const StopFlag* stop;
  WorkShares& shares;
  Decoder decoder;
  ModelMemory memory;
  MetricSet metrics;
  std::optional<Head> head;
  /// The original's hidden states behind the final norm, and its numbers, by window.
  std::map<std::int64_t, Matrix> original_states;
  std::map<std::int64_t, WindowScore> original_scores;

  const ModelSpec& spec() const { return decoder.spec(); }

  void check_stop() const {
    if (stop != nullptr) stop->check();
  }

  Block load_block(Index index) {
    check_stop();
    const Timer timer(shares.load);
    Block block = decoder.load_block(index);
    if (index + 1 < spec().layers) input.checkpoint->prefetch_block(index + 1);
    return block;
  }

  const Head& the_head() {
    if (!head) {
      const Timer timer(shares.load);
      head = decoder.load_head();
    }
    return *head;
  }

  // ---- one run's parts

  /// What a run is made of, and what was found so far.
  struct Run {
    Run(State& the_state, const PlannedModelRun& the_planned) : state(the_state), planned(the_planned) {
      const ModelPlan& p = state.plan;
      const QuantizerChoice& q = p.quantizer(planned);
      const Registries& r = state.registries;
      method = r.methods.make(p.methods[planned.method].spec, r);
      activation = r.quantizers.make(p.activations[q.activation].spec, r);
      weight = r.quantizers.make(p.weights[q.weight].spec, r);
      formats.query = r.quantizers.make(p.queries[q.query].spec, r);
      formats.key = r.quantizers.make(p.keys[q.key].spec, r);
      formats.value = r.quantizers.make(p.values[q.value].spec, r);
      const Index head_dim = state.spec().head_dim;
      formats.rotation = head_rotation(state.input.settings, head_dim,
                                       !formats.query->is_identity() || !formats.key->is_identity(),
                                       !formats.value->is_identity());
      for (const Quantizer* one : {formats.query.get(), formats.key.get(), formats.value.get()})
        one->check(Role::activation, head_dim);
      transforms.resize(static_cast<std::size_t>(state.spec().layers));
      kept.resize(transforms.size());
      layer_values.resize(transforms.size());
    }

    State& state;
    const PlannedModelRun& planned;
    std::unique_ptr<Method> method;
    std::unique_ptr<Quantizer> activation;
    std::unique_ptr<Quantizer> weight;
    AttentionFormats formats;
    std::vector<BlockTransforms> transforms;                 ///< by block
    std::vector<std::shared_ptr<const PreparedBlock>> kept;  ///< by block, where memory allows
    std::vector<std::vector<Values>> layer_values;           ///< by block, by linear layer
    std::vector<double> block_nmse;                          ///< of hidden states behind each block
    double calibrate_seconds = 0;

    /// Values have the smoothing scales of the layer behind attention.
    bool folds() const {
      return state.input.settings.fold_smoothing && !formats.value->is_identity() &&
             state.spec().heads == state.spec().kv_heads;
    }

    /// Queries, keys and values as attention sees them.
    // NOLINTBEGIN(performance-unnecessary-value-param): writable views
    void quantize_attention(const Chain& value_fold, MatrixRef queries, MatrixRef keys,
                            MatrixRef values) const {
      const Index head_dim = state.spec().head_dim;
      const bool rotates = formats.rotation.queries_and_keys;
      const auto pass = [&](MatrixRef m, const Quantizer& quantizer, bool rotate, bool rotate_back) {
        if (quantizer.is_identity() && !rotate) return;
        Eigen::Map<Matrix> heads = heads_of(m, head_dim);
        if (rotate) formats.rotation.matrix->apply_to_activations(heads);
        if (!quantizer.is_identity()) quantizer.quantize(Role::activation, heads, heads);
        if (rotate_back)
          formats.rotation.matrix->apply_to_activations(heads);  // symmetric and orthogonal: its own inverse
      };
      const Timer timer(state.shares.quantize);
      pass(queries, *formats.query, rotates, false);
      pass(keys, *formats.key, rotates, false);
      value_fold.apply_to_activations(values);
      pass(values, *formats.value, formats.rotation.values, formats.rotation.values);
    }
    // NOLINTEND(performance-unnecessary-value-param)

    /// y[i] ← X̂ Ŵᵀ for the layers of a group; `x` is what the group reads, `y` are all outputs of the site,
    /// `chain` what is still to be done to x.
    void apply(const PreparedGroup& prepared, const Chain& chain, const ConstMatrixRef& x,
               std::span<Matrix> y) const {
      Matrix values;
      if (!chain.empty()) {
        const Timer timer(state.shares.transform);
        values = x;
        chain.apply_to_activations(values);
      }
      const ConstMatrixRef transformed = chain.empty() ? x : ConstMatrixRef(values);
      IntegerMatrix codes;
      Matrix rounded;
      bool is_integer = false;
      {
        const Timer timer(state.shares.quantize);
        Index clipped = 0;
        is_integer = activation->quantize_to_codes(Role::activation, transformed, codes, clipped);
        if (!is_integer && !activation->is_identity()) {
          rounded.resize(transformed.rows(), transformed.cols());
          activation->quantize(Role::activation, transformed, rounded);
        }
      }
      const Timer timer(state.shares.product);
      for (std::size_t i = 0; i < prepared.weights.size(); ++i) {
        const PreparedWeight& w = prepared.weights[i];
        Matrix& out = y[prepared.group->linears[i]];
        if (is_integer && w.is_integer) {
          multiply_codes(codes, 0, w.packed, out);
          continue;
        }
        if (is_integer && rounded.size() == 0) {
          rounded.resize(codes.rows, codes.cols);
          dequantize_rows(codes, 0, rounded);
        }
        w.multiply(activation->is_identity() ? transformed : ConstMatrixRef(rounded), out);
      }
    }

    /// The layers of a site, in groups that share a transform.
    std::vector<Group> empty_groups(Site site) const {
      const std::size_t count = state.spec().linears_of(site).size();
      std::vector<Group> out;
      if (state.input.settings.share_inputs) {
        Group all;
        for (std::size_t i = 0; i < count; ++i) all.linears.push_back(i);
        out.push_back(std::move(all));
      } else {
        for (std::size_t i = 0; i < count; ++i) out.push_back({{i}, {}, 0});
      }
      return out;
    }

    /// Finds the transforms of a site from what its layers read.
    void calibrate(const Block& block, Site site, const ConstMatrixRef& x) {
      const Registries& r = state.registries;
      std::vector<const Linear*> linears;
      for (const std::size_t i : state.spec().linears_of(site)) linears.push_back(&block.linears[i]);
      std::vector<Group>& groups = transforms[static_cast<std::size_t>(block.index)].groups[place(site)];
      groups = empty_groups(site);
      for (Group& group : groups) {
        Index rows = 0;
        std::string names;
        for (const std::size_t i : group.linears) {
          rows += linears[i]->weight.rows();
          names += linears[i]->name + "\n";
        }
        Matrix w = large_matrix(rows, x.cols());
        std::vector<LayerRows> layers;
        Index at = 0;
        for (const std::size_t i : group.linears) {
          w.middleRows(at, linears[i]->weight.rows()) = linears[i]->weight;
          layers.push_back({linears[i]->name, at, linears[i]->weight.rows()});
          at += linears[i]->weight.rows();
        }
        // Content and seed make the stream, not the parameters: ablations compare the same draws.
        const RandomStream random(
            hash64(state.input.checkpoint->content_hash() + state.input.calibration_hash + "\n" + names,
                   planned.seed));
        method->check(x.cols(), r);
        group.block_size = method->block_size(x.cols());
        Timer timer(state.shares.calibrate);
        group.chain = method->calibrate({x, w, random, r, state.stop, nullptr, nullptr, {}, layers});
        calibrate_seconds += timer.seconds();
      }
    }

    /// Quantizes the weights of a site. `measured`: what the metrics say of each of its layers; null: they
    /// are not asked.
    std::vector<PreparedGroup> prepare_site(const Block& block, Site site, Chain& value_fold,
                                            std::vector<Values>* measured) const {
      std::vector<const Linear*> linears;
      const std::vector<std::size_t> places = state.spec().linears_of(site);
      for (const std::size_t i : places) linears.push_back(&block.linears[i]);
      std::vector<PreparedGroup> out;
      for (const Group& group : transforms[static_cast<std::size_t>(block.index)].groups[place(site)]) {
        PreparedGroup prepared;
        prepared.group = &group;
        prepared.online = group.chain;
        if (site == Site::attention_out && folds() && !group.chain.empty() &&
            group.chain.transforms().front()->kind() == "channel_scale") {
          value_fold = {};
          value_fold.add(group.chain.transforms().front());
          prepared.online = {};
          for (std::size_t i = 1; i < group.chain.transforms().size(); ++i)
            prepared.online.add(group.chain.transforms()[i]);
        }
        for (const std::size_t i : group.linears) {
          state.check_stop();
          Measured of_layer;
          prepared.weights.push_back(
              prepare_weight(*linears[i], group, measured != nullptr ? &of_layer : nullptr));
          if (measured != nullptr) {
            Values& values = (*measured)[places[i]];
            values.insert(of_layer.values.begin(), of_layer.values.end());
          }
        }
        out.push_back(std::move(prepared));
      }
      return out;
    }

    PreparedWeight prepare_weight(const Linear& linear, const Group& group, Measured* measured) const {
      const auto observe = [&](Stage stage, const ConstMatrixRef& x,
                               const std::optional<ConstMatrixRef>& reference, Index clipped) {
        if (measured == nullptr || !state.metrics.wants(stage)) return;
        const Timer timer(state.shares.measure);
        state.metrics.observe(Observation(stage, x, reference, group.block_size, clipped), *measured);
      };
      observe(Stage::weight_original, linear.weight, std::nullopt, -1);
      Matrix w;
      {
        const Timer timer(state.shares.transform);
        w = linear.weight;
        group.chain.apply_to_weights(w);
      }
      observe(Stage::weight_transformed, w, std::nullopt, -1);
      PreparedWeight out;
      out.bits = weight->bits_per_value(Role::weight, w.rows(), w.cols());
      Index clipped = -1;
      {
        const Timer timer(state.shares.quantize);
        // Integers serve only a product of integers.
        out.is_integer =
            !activation->is_identity() && weight->quantize_to_codes(Role::weight, w, out.codes, clipped);
        if (out.is_integer) {
          out.packed.pack(out.codes);
        } else {
          out.values.resize(w.rows(), w.cols());
          clipped = weight->quantize(Role::weight, w, out.values);
        }
      }
      if (measured != nullptr) {
        if (state.metrics.wants(Stage::weight_quantized))
          observe(Stage::weight_quantized, out.floats(), ConstMatrixRef(w), clipped);
        measured->values["bits.weight"] = out.bits;
      }
      return out;
    }

    /// All of a block again, from transforms that are known.
    std::shared_ptr<const PreparedBlock> prepare_again(Block block) const {
      auto out = std::make_shared<PreparedBlock>();
      for (const Site site : kAllSites)
        out->sites[place(site)] = prepare_site(block, site, out->value_fold, nullptr);
      block.drop_weights();
      out->frame = std::move(block);
      return out;
    }
  };

  // ---- kinds of passes

  /// The quantized model.
  class QuantizedWork final : public StoppingWork {
   public:
    QuantizedWork(const Run& run, const PreparedBlock& prepared)
        : StoppingWork(run.state.stop, run.state.shares), run_(run), prepared_(prepared) {}
    void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
      check_stop();
      for (const PreparedGroup& group : prepared_.sites[place(site)]) run_.apply(group, group.online, x, y);
      check_outputs(block, site, y, "the quantized model");
    }
    void attention(const Block& /*block*/, MatrixRef queries, MatrixRef keys, MatrixRef values) override {
      run_.quantize_attention(prepared_.value_fold, queries, keys, values);
    }

   private:
    const Run& run_;
    const PreparedBlock& prepared_;
  };

  /// Finds transforms and quantizes weights on the way. On the quantized stream the pass goes on with what
  /// the quantized layers give, as in the released code; else with the original outputs.
  class CalibratingWork final : public StoppingWork {
   public:
    enum class Part { whole, attention, mlp };
    CalibratingWork(Run& run, PreparedBlock& prepared, std::vector<Values>& measured, Part part)
        : StoppingWork(run.state.stop, run.state.shares),
          run_(run),
          prepared_(prepared),
          measured_(measured),
          part_(part) {}
    void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
      check_stop();
      const bool of_attention = site == Site::attention_in || site == Site::attention_out;
      if (part_ == Part::attention && !of_attention) {
        for (Matrix& one : y) one.setZero();  // nobody reads what this pass ends with
        return;
      }
      const bool known = part_ == Part::mlp && of_attention;
      if (!known) {
        run_.calibrate(block, site, x);
        prepared_.sites[place(site)] = run_.prepare_site(block, site, prepared_.value_fold, &measured_);
      }
      if (run_.state.input.settings.calibrate_inputs == "original") {
        StoppingWork::linear(block, site, x, y);
        return;
      }
      // Where values have no smoothing scales yet, the whole chain is still to be done.
      for (const PreparedGroup& group : prepared_.sites[place(site)])
        run_.apply(group, known ? group.online : group.group->chain, x, y);
      check_outputs(block, site, y, "the quantized model");
    }
    void attention(const Block& /*block*/, MatrixRef queries, MatrixRef keys, MatrixRef values) override {
      if (run_.state.input.settings.calibrate_inputs == "quantized")
        run_.quantize_attention(part_ == Part::mlp ? prepared_.value_fold : Chain(), queries, keys, values);
    }

   private:
    Run& run_;
    PreparedBlock& prepared_;
    std::vector<Values>& measured_;
    Part part_;
  };

  /// The original model, with what the metrics say of every layer on its way.
  class MeasuringWork final : public StoppingWork {
   public:
    MeasuringWork(const Run& run, const PreparedBlock& prepared, std::vector<Values>& measured)
        : StoppingWork(run.state.stop, run.state.shares),
          run_(run),
          prepared_(prepared),
          measured_(measured) {}

    void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
      StoppingWork::linear(block, site, x, y);
      const State& s = run_.state;
      const std::vector<std::size_t> places = s.spec().linears_of(site);
      std::vector<Matrix> y_hat;
      for (const Matrix& one : y) y_hat.emplace_back(one.rows(), one.cols());
      for (const PreparedGroup& group : prepared_.sites[place(site)]) {
        Measured input;
        Matrix transformed = x;
        // As a study of the layer has it: the whole transform, wherever its parts are merged.
        group.group->chain.apply_to_activations(transformed);
        Matrix rounded(x.rows(), x.cols());
        const Index clipped = run_.activation->quantize(Role::activation, transformed, rounded);
        {
          const Timer timer(s.shares.measure);
          const Index size = group.group->block_size;
          observe(Observation(Stage::original, x, std::nullopt, size, -1), input);
          observe(Observation(Stage::transformed, transformed, std::nullopt, size, -1), input);
          observe(Observation(Stage::quantized, rounded, ConstMatrixRef(transformed), size, clipped), input);
        }
        input.values["bits.activation"] =
            run_.activation->bits_per_value(Role::activation, x.rows(), x.cols());
        const Cost cost = group.group->chain.online_cost();
        input.values["online.multiply_adds"] = cost.multiply_adds;
        input.values["online.bytes"] = cost.bytes;
        for (std::size_t i = 0; i < group.group->linears.size(); ++i) {
          const std::size_t at = group.group->linears[i];
          const PreparedWeight& w = group.weights[i];
          w.multiply(rounded, y_hat[at]);
          Measured of_layer = input;
          const Timer timer(s.shares.measure);
          observe(Observation(Stage::output, y_hat[at], ConstMatrixRef(y[at]), group.group->block_size, -1),
                  of_layer);
          Values& values = measured_[places[at]];
          values.insert(of_layer.values.begin(), of_layer.values.end());
        }
      }
    }

   private:
    void observe(const Observation& observation, Measured& out) const {
      run_.state.metrics.observe(observation, out);
    }
    const Run& run_;
    const PreparedBlock& prepared_;
    std::vector<Values>& measured_;
  };

  // ---- the steps

  std::vector<std::vector<TokenId>> ids_of(std::span<const std::int64_t> windows) const {
    std::vector<std::vector<TokenId>> out;
    for (const std::int64_t w : windows) out.push_back(input.windows[static_cast<std::size_t>(w)].ids);
    return out;
  }

  /// All windows through one block, several at once.
  static void pass(const Decoder& decoder, const Block& block, std::span<Matrix> hidden,
                   const std::function<std::unique_ptr<BlockWork>()>& make) {
    parallel_for(static_cast<Index>(hidden.size()), 1, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const std::unique_ptr<BlockWork> work = make();
        decoder.run_block(block, hidden[static_cast<std::size_t>(i)], *work);
      }
    });
  }

  WindowScore score(std::int64_t window, const ConstMatrixRef& normed, const ConstMatrixRef& original) {
    const ModelWindow& w = input.windows[static_cast<std::size_t>(window)];
    const Index rows = normed.rows() - w.first;
    const WindowScore out = score_window(
        the_head(), std::span(w.ids).subspan(static_cast<std::size_t>(w.first)), normed.bottomRows(rows),
        original.rows() == 0 ? original : ConstMatrixRef(original.bottomRows(rows)));
    if (!std::isfinite(out.nll))
      throw Error(fmt::format("{}: the logits of window {} have NaN or infinity behind the final norm '{}'",
                              input.model, window, spec().final_norm));
    return out;
  }

  /// Final states and scores of the original model for these windows, unless they are kept already.
  void run_original(std::span<const std::int64_t> windows, const ModelProgress& progress) {
    std::vector<std::int64_t> todo;
    for (const std::int64_t w : windows)
      if (!original_states.contains(w)) todo.push_back(w);
    if (todo.empty()) return;
    std::vector<Matrix> hidden = decoder.embed(ids_of(todo));
    for (Index b = 0; b < spec().layers; ++b) {
      const Block block = load_block(b);
      pass(decoder, block, hidden, [&] { return std::make_unique<StoppingWork>(stop, shares); });
      progress(0, fmt::format("original {}", block.name));
    }
    for (std::size_t i = 0; i < todo.size(); ++i) {
      Matrix normed = decoder.final_norm(the_head(), hidden[i]);
      original_scores[todo[i]] = score(todo[i], normed, Matrix(0, normed.cols()));
      original_states[todo[i]] = std::move(normed);
      hidden[i].resize(0, 0);
    }
  }

  /// The hidden states that methods are calibrated on.
  Matrix calibration_states() const {
    const auto count = static_cast<Index>(input.calibration.size());
    if (input.settings.average_windows) {
      constexpr std::size_t kAtATime = 2;
      Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(input.context, spec().hidden_size);
      for (std::size_t begin = 0; begin < input.calibration.size(); begin += kAtATime) {
        const std::span some = std::span(input.calibration).subspan(begin);
        for (const Matrix& w : decoder.embed(some.first(std::min(kAtATime, some.size()))))
          sum += w.cast<double>();
      }
      return (sum / static_cast<double>(count)).cast<float>();
    }
    const std::vector<Matrix> windows = decoder.embed(input.calibration);
    Matrix out = large_matrix(count * input.context, spec().hidden_size);
    for (Index i = 0; i < count; ++i)
      out.middleRows(i * input.context, input.context) = windows[static_cast<std::size_t>(i)];
    return out;
  }

  /// Finds all transforms, quantizes all weights, and measures every layer.
  void prepare(Run& run, const ModelProgress& progress) {
    const bool two_passes = run.folds() && input.settings.calibrate_inputs == "quantized";
    Matrix calibration = calibration_states();
    // The first evaluated window, through the original model and through the quantized one.
    std::vector<Matrix> probe = decoder.embed(std::vector<std::vector<TokenId>>{input.windows.front().ids});
    Matrix original = std::move(probe.front());
    Matrix quantized = original;
    for (Index b = 0; b < spec().layers; ++b) {
      Block block = load_block(b);
      const auto at = static_cast<std::size_t>(b);
      std::vector<Values>& measured = run.layer_values[at];
      measured.assign(spec().linears.size(), {});
      auto prepared = std::make_shared<PreparedBlock>();
      using Part = CalibratingWork::Part;
      if (two_passes) {
        Matrix ahead = calibration;
        CalibratingWork first(run, *prepared, measured, Part::attention);
        decoder.run_block(block, ahead, first, input.context);
      }
      CalibratingWork calibrating(run, *prepared, measured, two_passes ? Part::mlp : Part::whole);
      decoder.run_block(block, calibration, calibrating, input.context);
      QuantizedWork quantized_work(run, *prepared);
      MeasuringWork measuring(run, *prepared, measured);
      decoder.run_block(block, original, measuring);
      decoder.run_block(block, quantized, quantized_work);
      ErrorSums sums;
      add_errors(sums, quantized, original);
      run.block_nmse.push_back(relative_error(sums.error, sums.signal));
      if (memory.keeps_prepared) {
        block.drop_weights();
        prepared->frame = std::move(block);
        run.kept[at] = std::move(prepared);
      }
      progress(1,
               fmt::format("{}: {} prepared", plan.methods[run.planned.method].label, spec().block_name(b)));
    }
  }

  /// Mean over the linear layers of everything that was measured of them, and each layer's own.
  void add_layers(const Run& run, Measured& out) const {
    std::map<std::string, std::pair<double, Index>, std::less<>> sums;
    for (const std::vector<Values>& block : run.layer_values)
      for (const Values& layer : block)
        for (const auto& [name, value] : layer) {
          auto& [sum, count] = sums[name];
          sum += value;
          ++count;
        }
    std::vector<std::string> names;
    for (const LinearSpec& l : spec().linears) names.push_back(l.name);
    for (const auto& [name, sum] : sums) {
      out.values[name] = sum.first / static_cast<double>(sum.second);
      Series series;
      series.name = "layers." + name;
      series.rows = spec().layers;
      series.columns = static_cast<Index>(names.size());
      series.facts["rows"] = "blocks";
      series.facts["columns"] = fmt::format("{}", fmt::join(names, ","));
      for (const std::vector<Values>& block : run.layer_values)
        for (const Values& layer : block) {
          const auto it = layer.find(name);
          series.values.push_back(it == layer.end() ? std::numeric_limits<double>::quiet_NaN() : it->second);
        }
      out.series.push_back(std::move(series));
    }
    Series blocks;
    blocks.name = "blocks.hidden_nmse";
    blocks.rows = 1;
    blocks.columns = spec().layers;
    blocks.values = run.block_nmse;
    blocks.facts["columns"] = "blocks";
    out.values["model.hidden_nmse"] = run.block_nmse.back();
    out.series.push_back(std::move(blocks));
  }
};

ModelWork::ModelWork(const ModelPlan& plan, std::size_t input, const Registries& r, const StopFlag* stop,
                     WorkShares& shares)
    : state_(std::make_unique<State>(plan, input, r, stop, shares)) {}

ModelWork::~ModelWork() = default;

Measured ModelWork::run(const PlannedModelRun& planned, std::map<std::int64_t, WindowNumbers>& known,
                        const std::function<void(std::int64_t, const WindowNumbers&)>& done,
                        const ModelProgress& progress) {
  State& s = *state_;
  std::atomic<double> unused{0};
  Timer whole(unused);
  State::Run run(s, planned);
  Timer preparing(unused);
  s.prepare(run, progress);
  const double prepare_seconds = preparing.seconds();

  std::vector<std::int64_t> todo;
  for (std::int64_t w = 0; w < static_cast<std::int64_t>(s.input.windows.size()); ++w)
    if (!known.contains(w)) todo.push_back(w);
  double window_seconds = 0;
  double score_seconds = 0;
  for (std::size_t begin = 0; begin < todo.size(); begin += static_cast<std::size_t>(s.memory.batch)) {
    const std::span batch = std::span(todo).subspan(
        begin, std::min(todo.size() - begin, static_cast<std::size_t>(s.memory.batch)));
    s.run_original(batch, progress);
    Timer windows(unused);
    std::vector<Matrix> hidden = s.decoder.embed(s.ids_of(batch));
    for (Index b = 0; b < s.spec().layers; ++b) {
      const auto at = static_cast<std::size_t>(b);
      std::shared_ptr<const PreparedBlock> prepared = run.kept[at];
      if (!prepared) prepared = run.prepare_again(s.load_block(b));
      State::pass(s.decoder, prepared->frame, hidden,
                  [&] { return std::make_unique<State::QuantizedWork>(run, *prepared); });
      progress(batch.size(), fmt::format("{}: window {} of {}, {}", s.plan.methods[planned.method].label,
                                         batch.front() + 1, s.input.windows.size(), prepared->frame.name));
    }
    window_seconds += windows.seconds();
    Timer scoring(unused);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      s.check_stop();
      const std::int64_t w = batch[i];
      const Matrix normed = s.decoder.final_norm(s.the_head(), hidden[i]);
      const WindowScore score = s.score(w, normed, s.original_states.at(w));
      WindowNumbers numbers;
      numbers.predictions = static_cast<double>(score.predictions);
      numbers.nll = score.nll;
      numbers.original_nll = s.original_scores.at(w).nll;
      numbers.kl = score.kl;
      numbers.agreement = score.agreement;
      known[w] = numbers;
      done(w, numbers);
      if (!s.memory.keeps_original) s.original_states.erase(w);
    }
    score_seconds += scoring.seconds();
  }
  Measured out = summarize_windows(known);
  s.add_layers(run, out);
  out.values["time.calibrate_s"] = run.calibrate_seconds;
  out.values["time.prepare_s"] = prepare_seconds;
  if (!todo.empty()) {
    const auto count = static_cast<double>(todo.size());
    out.values["time.window_s"] = window_seconds / count;
    out.values["time.score_s"] = score_seconds / count;
  }
  out.values["time.run_s"] = whole.seconds();
  return out;
}

}  // namespace olab

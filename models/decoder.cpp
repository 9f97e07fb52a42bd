#include "models/decoder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/error.hpp"
#include "core/library_product.hpp"
#include "core/moments.hpp"
#include "core/parallel.hpp"
#include "models/attention.hpp"

namespace olab {
namespace {

constexpr Index kRowsATask = 16;
/// Tables for so many positions are kept; a longer window makes its own.
constexpr Index kPositionsKept = 4096;

void for_rows(Index rows, const std::function<void(Index)>& body) {
  parallel_for(rows, kRowsATask, [&](Index begin, Index end) {
    for (Index t = begin; t < end; ++t) body(t);
  });
}

// ---- norms ----------------------------------------------------------------------------------------------

/// Zhang and Sennrich 2019, arXiv:1910.07467: x / sqrt(mean(x²) + eps) · gain. In place where to is from.
void rms_norm(const float* from, const Vector& gain, double eps, float* to) {
  const Index n = gain.size();
  const double mean_square = power_sums(from, n, 0).s2 / static_cast<double>(n);
  const double scale = 1 / std::sqrt(mean_square + eps);
  for (Index j = 0; j < n; ++j)
    to[j] = static_cast<float>(static_cast<double>(from[j]) * scale * static_cast<double>(gain(j)));
}

/// Ba et al. 2016, arXiv:1607.06450: (x − mean) / sqrt(variance + eps) · gain + bias.
void layer_norm(const float* from, const Norm& norm, double eps, float* to) {
  const Index n = norm.gain.size();
  const auto count = static_cast<double>(n);
  const double mean = power_sums(from, n, 0).s1 / count;
  const double scale = 1 / std::sqrt(power_sums(from, n, mean).s2 / count + eps);
  for (Index j = 0; j < n; ++j) {
    const double normal = (static_cast<double>(from[j]) - mean) * scale;
    to[j] =
        static_cast<float>(normal * static_cast<double>(norm.gain(j)) + static_cast<double>(norm.bias(j)));
  }
}

Matrix normed(const ModelSpec& spec, const Norm& norm, const ConstMatrixRef& x) {
  assert(x.cols() == norm.gain.size());
  Matrix out = large_matrix(x.rows(), x.cols());
  for_rows(x.rows(), [&](Index t) {
    if (spec.norm == NormKind::layer)
      layer_norm(x.row(t).data(), norm, spec.norm_eps, out.row(t).data());
    else
      rms_norm(x.row(t).data(), norm.gain, spec.norm_eps, out.row(t).data());
  });
  return out;
}

/// Every head by itself (Qwen3).
void norm_heads(const Vector& gain, double eps, MatrixRef x) {
  for_rows(x.rows(), [&](Index t) {
    for (Index j = 0; j < x.cols(); j += gain.size())
      rms_norm(x.row(t).data() + j, gain, eps, x.row(t).data() + j);
  });
}

// ---- activations ----------------------------------------------------------------------------------------

using Array = Eigen::Array<float, 1, Eigen::Dynamic>;

void activate(ActivationKind kind, Eigen::Ref<Array> x) {
  switch (kind) {
    case ActivationKind::silu:
      x /= 1 + (-x).exp();
      return;
    case ActivationKind::relu:
      x = x.unaryExpr([](float v) { return v < 0 ? 0 : v; });
      return;  // a NaN stays
    case ActivationKind::gelu:
      x = x.unaryExpr(
          [](float v) { return 0.5F * v * (1 + std::erf(v * (std::numbers::sqrt2_v<float> / 2))); });
      return;
    case ActivationKind::gelu_tanh:
      // Hendrycks and Gimpel 2016, arXiv:1606.08415.
      x = x.unaryExpr([](float v) {
        constexpr float kScale = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
        return 0.5F * v * (1 + std::tanh(kScale * (v + 0.044715F * v * v * v)));
      });
      return;
  }
}

void activate_rows(ActivationKind kind, Matrix& x) {
  for_rows(x.rows(), [&](Index t) { activate(kind, x.row(t).array()); });
}

/// gate ← act(gate) · up.
void activate_gate(ActivationKind kind, Matrix& gate, const Matrix& up) {
  for_rows(gate.rows(), [&](Index t) {
    activate(kind, gate.row(t).array());
    gate.row(t).array() *= up.row(t).array();
  });
}

// ---- linear layers --------------------------------------------------------------------------------------

/// What the linears of a site give, with their biases.
class SiteOutputs {
 public:
  SiteOutputs(const ModelSpec& spec, const Block& block, Site site, const ConstMatrixRef& x, BlockWork& work)
      : block_(block), linears_(spec.linears_of(site)) {
    for (const std::size_t i : linears_)
      outputs_.push_back(large_matrix(x.rows(), block.linears[i].spec.out_features));
    work.linear(block, site, x, outputs_);
    for (std::size_t k = 0; k < linears_.size(); ++k) {
      const Vector& bias = block.linears[linears_[k]].bias;
      assert(outputs_[k].rows() == x.rows());
      if (bias.size() > 0) for_rows(x.rows(), [&](Index t) { outputs_[k].row(t) += bias; });
    }
  }

  Matrix& of(LinearRole role) {
    std::size_t k = 0;
    while (block_.linears.at(linears_.at(k)).spec.role != role) ++k;
    return outputs_[k];
  }

 private:
  const Block& block_;
  std::vector<std::size_t> linears_;
  std::vector<Matrix> outputs_;
};

void add_rows(const Matrix& x, MatrixRef& to) {
  for_rows(x.rows(), [&](Index t) { to.row(t) += x.row(t); });
}

Norm read_norm(const Checkpoint& checkpoint, const std::string& name) {
  Norm out;
  out.gain = checkpoint.read(name + ".weight").row(0);
  if (checkpoint.spec().norm == NormKind::layer) out.bias = checkpoint.read(name + ".bias").row(0);
  return out;
}

}  // namespace

void Block::drop_weights() {
  for (Linear& linear : linears) linear.weight.resize(0, 0);
}

BlockWork::~BlockWork() = default;
void BlockWork::attention(const Block& /*block*/, MatrixRef /*queries*/, MatrixRef /*keys*/,
                          MatrixRef /*values*/) {}

void OriginalWork::linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) {
  std::size_t k = 0;
  for (const Linear& linear : block.linears)
    if (linear.spec.site == site) library_multiply_transposed(x, linear.weight, y[k++]);
}

Decoder::Decoder(std::shared_ptr<const Checkpoint> checkpoint) : checkpoint_(std::move(checkpoint)) {
  if (spec().rotary)
    rotary_ = rotary_tables(spec().rope, spec().head_dim, std::min(spec().max_positions, kPositionsKept));
}

std::vector<Matrix> Decoder::embed(std::span<const std::vector<TokenId>> windows) const {
  const ModelSpec& s = spec();
  const Matrix table = checkpoint_->read(s.embedding);
  Matrix positions;
  if (!s.position_embedding.empty()) positions = checkpoint_->read(s.position_embedding);
  std::vector<Matrix> out;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    const std::vector<TokenId>& ids = windows[w];
    const auto tokens = static_cast<Index>(ids.size());
    if (!s.rotary && tokens > s.max_positions)
      throw Error(
          fmt::format("{}: window {} has {} tokens, but the model has learned {} positions; cut the "
                      "text into windows of at most so many",
                      checkpoint_->name(), w, tokens, s.max_positions));
    Matrix& x = out.emplace_back(large_matrix(tokens, s.hidden_size));
    for (Index t = 0; t < tokens; ++t) {
      const TokenId id = ids[static_cast<std::size_t>(t)];
      if (id < 0 || id >= s.vocab_size)
        throw Error(
            fmt::format("{}: token {} of window {} is {}, but the model's vocabulary is 0 to {}; make "
                        "the ids with the model's own tokenizer",
                        checkpoint_->name(), t, w, id, s.vocab_size - 1));
      x.row(t) = table.row(id);
      if (positions.size() > 0) x.row(t) += positions.row(t + s.position_offset);
    }
  }
  return out;
}

Block Decoder::load_block(Index index) const {
  const ModelSpec& s = spec();
  Block block;
  block.index = index;
  block.name = s.block_name(index);
  block.attention_norm = read_norm(*checkpoint_, block.name + "." + s.attention_norm);
  block.mlp_norm = read_norm(*checkpoint_, block.name + "." + s.mlp_norm);
  if (s.query_key_norm) {
    block.query_gain = checkpoint_->read(block.name + "." + s.query_norm + ".weight").row(0);
    block.key_gain = checkpoint_->read(block.name + "." + s.key_norm + ".weight").row(0);
  }
  block.linears.resize(s.linears.size());
  parallel_for(static_cast<Index>(s.linears.size()), 1, [&](Index begin, Index end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      Linear& linear = block.linears[i];
      linear.spec = s.linears[i];
      linear.name = s.linear_name(index, linear.spec);
      linear.weight = checkpoint_->read(linear.name + ".weight");
      if (linear.spec.bias) linear.bias = checkpoint_->read(linear.name + ".bias").row(0);
    }
  });
  return block;
}

void Decoder::run_block(const Block& block, MatrixRef hidden, BlockWork& work) const {
  run_attention(block, hidden, work);
  run_mlp(block, hidden, work);
}

void Decoder::run_attention(const Block& block, MatrixRef& hidden, BlockWork& work) const {
  const ModelSpec& s = spec();
  Matrix seen;
  {
    SiteOutputs in(s, block, Site::attention_in, normed(s, block.attention_norm, hidden), work);
    Matrix& queries = in.of(LinearRole::query);
    Matrix& keys = in.of(LinearRole::key);
    if (s.query_key_norm) {
      norm_heads(block.query_gain, s.norm_eps, queries);
      norm_heads(block.key_gain, s.norm_eps, keys);
    }
    if (s.rotary) {
      const bool kept = hidden.rows() <= rotary_.cosines.rows();
      const RotaryTables longer = kept ? RotaryTables() : rotary_tables(s.rope, s.head_dim, hidden.rows());
      const RotaryTables& tables = kept ? rotary_ : longer;
      rotate_heads(tables, queries);
      rotate_heads(tables, keys);
    }
    Matrix& values = in.of(LinearRole::value);
    work.attention(block, queries, keys, values);
    seen = causal_attention(queries, keys, values, s.heads, s.kv_heads);
  }
  SiteOutputs out(s, block, Site::attention_out, seen, work);
  add_rows(out.of(LinearRole::attention_out), hidden);
}

void Decoder::run_mlp(const Block& block, MatrixRef& hidden, BlockWork& work) const {
  const ModelSpec& s = spec();
  SiteOutputs in(s, block, Site::mlp_in, normed(s, block.mlp_norm, hidden), work);
  Matrix& up = in.of(LinearRole::up);
  Matrix& inner = s.gated ? in.of(LinearRole::gate) : up;
  if (s.gated)
    activate_gate(s.activation, inner, up);
  else
    activate_rows(s.activation, inner);
  SiteOutputs out(s, block, Site::mlp_out, inner, work);
  add_rows(out.of(LinearRole::down), hidden);
}

Head Decoder::load_head() const {
  return {read_norm(*checkpoint_, spec().final_norm), checkpoint_->read(spec().head)};
}

Matrix Decoder::final_norm(const Head& head, const ConstMatrixRef& hidden) const {
  return normed(spec(), head.norm, hidden);
}

Matrix Decoder::logits(const Head& head, const ConstMatrixRef& normed) const {
  Matrix out = large_matrix(normed.rows(), head.weight.rows());
  library_multiply_transposed(normed, head.weight, out);
  return out;
}

}  // namespace olab

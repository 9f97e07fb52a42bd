// The forward pass of a decoder, block by block, with its linear layers open to be replaced.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/checkpoint.hpp"
#include "models/rope.hpp"
#include "models/tokenizer.hpp"

namespace olab {

struct Linear {
  LinearSpec spec;
  std::string name;  ///< "model.layers.3.self_attn.q_proj"
  Matrix weight;     ///< out_features × in_features
  Vector bias;       ///< empty: none
};

struct Norm {
  Vector gain;
  Vector bias;  ///< empty: none
};

/// The parameters of one block in memory.
struct Block {
  Index index = 0;
  std::string name;  ///< "model.layers.3"
  Norm attention_norm;
  Norm mlp_norm;
  Vector query_gain;  ///< empty: none
  Vector key_gain;
  std::vector<Linear> linears;  ///< as ModelSpec::linears

  /// Without the weights of the linear layers, which take nearly all of the memory.
  void drop_weights();
};

/// Final norm and language-model head.
struct Head {
  Norm norm;
  Matrix weight;  ///< vocab_size × hidden_size
};

/// What is done at the linear layers of a block and in front of its attention. One object serves one forward
/// pass at a time.
class BlockWork {
 public:
  BlockWork() = default;
  BlockWork(const BlockWork&) = delete;
  BlockWork& operator=(const BlockWork&) = delete;
  virtual ~BlockWork();
  /// y[i] ← x W_iᵀ (tokens × out_features) for the linears of the site in model order; biases are added by
  /// the caller. y[i] has its size.
  virtual void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) = 0;
  /// Queries (tokens × heads · head_dim) and keys (tokens × kv_heads · head_dim) behind their positions, and
  /// values, as they enter attention: in place. Default: nothing.
  virtual void attention(const Block& block, MatrixRef queries, MatrixRef keys, MatrixRef values);
};

/// The model as it is: y = x Wᵀ.
class OriginalWork : public BlockWork {
 public:
  void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override;
};

/// All calls are reproducible to the bit for any number of threads, and use all of them.
class Decoder {
 public:
  explicit Decoder(std::shared_ptr<const Checkpoint> checkpoint);
  const ModelSpec& spec() const { return checkpoint_->spec(); }
  const Checkpoint& checkpoint() const { return *checkpoint_; }

  /// Embeddings of many windows: one matrix (tokens × hidden_size) a window, learned positions included.
  /// Positions begin at 0 in every window. Error on a window longer than max_positions where positions are
  /// learned, and on an id that the model does not have.
  std::vector<Matrix> embed(std::span<const std::vector<TokenId>> windows) const;
  Block load_block(Index index) const;
  /// One window through one block, in place. Attention is causal, scores scaled by 1 / sqrt(head_dim).
  void run_block(const Block& block, MatrixRef hidden, BlockWork& work) const;
  Head load_head() const;
  /// hidden (tokens × hidden_size) behind the final norm.
  Matrix final_norm(const Head& head, const ConstMatrixRef& hidden) const;
  /// Logits (tokens × vocab_size) of hidden states behind the final norm.
  Matrix logits(const Head& head, const ConstMatrixRef& normed) const;

 private:
  void run_attention(const Block& block, MatrixRef& hidden, BlockWork& work) const;
  void run_mlp(const Block& block, MatrixRef& hidden, BlockWork& work) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  RotaryTables rotary_;  ///< of the first positions; a longer window makes its own
};

/// What a window's predictions are worth. Token t predicts token t + 1, so there are tokens − 1 predictions.
struct WindowScore {
  Index predictions = 0;
  double nll = 0;  ///< mean negative log-likelihood, nats
  double kl = 0;   ///< mean KL(original ‖ this) over the vocabulary, nats; 0 where there is no original
  double agreement = 0;  ///< share of predictions whose most likely token is the original's
};

/// Scores hidden states behind the final norm; `original` (of the original model, same shape) may be empty (0
/// rows). Logits are made a few tokens at a time. Sums in double, in a fixed order.
WindowScore score_window(const Head& head, std::span<const TokenId> ids, const ConstMatrixRef& normed,
                         const ConstMatrixRef& original);

}  // namespace olab

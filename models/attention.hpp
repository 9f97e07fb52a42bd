// Causal attention.
#pragma once

#include "core/matrix.hpp"

namespace olab {

/// Softmax(q kᵀ / sqrt(head_dim)) v of every head, where token t sees tokens 0 … t: queries (tokens ×
/// heads · head_dim), keys and values (tokens × kv_heads · head_dim); heads is a multiple of kv_heads, and
/// neighbouring heads share keys and values (Ainslie et al. 2023, arXiv:2305.13245). Result: tokens ×
/// heads · head_dim. Scores are there for a few hundred tokens of a head at a time, so memory grows with
/// tokens and threads alone. Exponentials are float, their sum double; the same bits for any number of
/// threads.
Matrix causal_attention(const ConstMatrixRef& queries, const ConstMatrixRef& keys,
                        const ConstMatrixRef& values, Index heads, Index kv_heads);

}  // namespace olab

// Transforms in files: what `olab export-transform` writes and the method from_file reads.
//
// Tensors are those of Chain::save. The metadata (all of it texts) says what they are:
//
//   format           "outlierlab-transform"
//   format_version   "1"
//   channels         width that the transform applies to
//   stages           JSON: the parts of T = T1 · T2 · … in their order, each
//                      {"kind": "hadamard", "odd_part": "hartley", "tensors": {"block": "1.hadamard.block",
//                      …}}
//
//   kind             tensors (dtype, shape)              x ← x T
//   channel_scale    scale (F32, 1 × C)                  x_j / scale_j
//   permutation      order (I64, C)                      channel order[j] at position j
//   block_rotation   rotation (F32, n b × b; n = 1 or    x · blockdiag(R_1, …), or one R for all blocks
//                    C / b matrices, one below the other)
//   hadamard         block (I64, 1), signs (F32, 1 × C;  (x ∘ signs) · blockdiag(F ⊗ Sylvester(block / m)),
//                    may be absent), core (F32, m × m:   divided by sqrt(block); "odd_part" says whether F
//                    F; absent: F = 1)                   is a matrix of ±1 ("hadamard") or "hartley"
//
// Weights become w T⁻ᵀ: scales multiply, everything else is orthogonal and does the same as to x. Whoever
// writes a file may add metadata of its own; a tensor that no stage names is an error.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor_sink.hpp"
#include "core/tensor_source.hpp"
#include "methods/common/transform.hpp"

namespace olab {

inline constexpr std::string_view kTransformFormat = "outlierlab-transform";
inline constexpr std::int64_t kTransformVersion = 1;

/// Puts the chain's tensors into `sink` and returns the metadata that reading needs. Error on a transform of
/// a kind (a plug-in's) that files do not know.
std::map<std::string, std::string> save_transform(const Chain& chain, Index channels, TensorSink& sink);

/// One entry of the stage list.
struct StageEntry {
  std::string kind;
  bool hartley = false;                        ///< hadamard: F is Hartley's matrix
  std::map<std::string, std::string> tensors;  ///< "scale" → "0.channel_scale.scale"
};

/// A transform in a file, as its metadata tells it.
struct TransformOutline {
  Index channels = 0;
  std::vector<StageEntry> stages;
};

/// Error where the file is no transform, is newer than this program, or where its stage list is damaged: no
/// list, an unknown stage, a tensor that is missing, named twice or named by no stage.
TransformOutline read_outline(const TensorSource& file);

/// The transform of one stage. Error, with file and stage, where its tensors do not fit the outline.
std::shared_ptr<const Transform> read_stage(const TensorSource& file, const TransformOutline& outline,
                                            std::size_t stage);

/// All stages.
Chain read_transform(const TensorSource& file);

}  // namespace olab

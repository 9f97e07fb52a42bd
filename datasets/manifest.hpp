// manifest.json: what a recording in a folder consists of.
//
//   {
//     "format": "outlierlab-recording",           fixed
//     "version": 1,                               fixed
//     "model": "meta-llama/Llama-2-7b-hf",        text or null, may be absent
//     "source": "wikitext-2, 2048 tokens",        text or null, may be absent
//     "tokens": 2048,                             of the layer with the most; may be absent
//     "provenance": {"commit": "…", "date": "…"}, free; may be absent
//     "layers": [
//       {
//         "name": "model.layers.0.self_attn.q_proj",
//         "tokens": 2048, "in_features": 4096,    must be the shape of x
//         "out_features": 4096,                   must be the rows of weight; without one free, may be absent
//         "x": {"file": "000.safetensors", "tensor": "x"},
//         "weight": {"file": "000.safetensors", "tensor": "weight"}     null or absent: no weight
//       }
//     ]
//   }
//
// Files lie in the folder or below it (.safetensors, .npy, .npz; the tensor of an .npy is named after its
// stem). Several layers may name the same tensor, as q, k and v share one X.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// Where a tensor lies: a file, relative to the manifest's folder, and a name in it.
struct TensorPlace {
  std::string file;
  std::string tensor;
};

struct ManifestLayer {
  std::string name;
  Index tokens = 0;
  Index in_features = 0;
  Index out_features = 0;  ///< of the model's layer, even where its weight was not recorded; 0: unknown
  TensorPlace x;
  std::optional<TensorPlace> weight;
};

struct Manifest {
  /// "model", "source", the entries of provenance under their own keys (a free text as "provenance"), and
  /// every unknown key of the top level; values that are no texts as JSON.
  std::map<std::string, std::string> facts;
  std::vector<ManifestLayer> layers;
};

/// Parses manifest.json; `source` stands in messages. Error on bad JSON, a key that stands twice or is
/// missing, a key of a layer or tensor that is not known, another format or version, a layer's name that
/// stands twice, no layers, and a file outside of the folder (absolute, or with a part "..").
Manifest parse_manifest(std::string_view text, const std::string& source);

/// The manifest as JSON; parse_manifest reads it back equal. Error where a text is not valid UTF-8.
std::string manifest_text(const Manifest& manifest);

}  // namespace olab

// Models of karpathy/llama2.c as Hugging Face folders.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "datasets/mapped_file.hpp"
#include "datasets/tensor.hpp"
#include "models/model_spec.hpp"

namespace olab {

/// What a llama2.c file holds, in the terms of Hugging Face.
struct Llama2cModel {
  ModelSpec spec;
  std::vector<TensorView> tensors;            ///< F32, in the file's memory or in `reordered`
  std::vector<std::vector<float>> reordered;  ///< the weights of queries and keys
};

/// Reads a legacy (version 0) llama2.c checkpoint: 7 int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads,
/// vocab_size, negative where the classifier is not shared, seq_len), then float32 tensors. The rows of wq
/// and wk are reordered from interleaved pairs to halves, which is how Hugging Face pairs channels for RoPE.
/// The tables of RoPE in the file are skipped, as llama2.c's run.c does: theta is 10000. `file` must outlive
/// the result. Error on a header that makes no sense (each number is shown), a file that is shorter or longer
/// than its header says (both sizes), a newer version (magic "ak42"), NaN and infinity.
Llama2cModel parse_llama2c(const MappedFile& file);

struct ImportReport {
  std::filesystem::path folder;
  std::string config;  ///< "5 layers, hidden 64, …" in one line
};

/// Writes a llama2.c checkpoint as config.json and model.safetensors (F32), and copies `tokenizer` (a
/// SentencePiece .model; may be empty) as tokenizer.model. The folder appears whole or not at all. Error
/// where the file cannot be parsed, on a tokenizer that is no SentencePiece model or whose vocabulary
/// differs, and where the folder exists and is not empty.
ImportReport import_llama2c(const std::filesystem::path& file, const std::filesystem::path& tokenizer,
                            const std::filesystem::path& folder);

}  // namespace olab

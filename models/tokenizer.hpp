// Text to token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/model_spec.hpp"

namespace olab {

using TokenId = std::int32_t;

/// A SentencePiece model (`tokenizer.model`).
class Tokenizer {
 public:
  /// `path`: the file, or a model's folder that has a tokenizer.model. A tokenizer_config.json beside it may
  /// say add_bos_token and add_eos_token; where it does not, BOS is added if there is one, and EOS is not, as
  /// LLaMA has it. Error where there is none, with what to do: a tokenizer.json alone cannot be read here, so
  /// make ids (.npy) with the model's own tokenizer; on a damaged file; on add_bos_token where there is no
  /// BOS.
  explicit Tokenizer(const std::filesystem::path& path);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  ~Tokenizer();

  Index vocab_size() const;
  TokenId bos() const;  ///< -1: none
  bool adds_bos() const;
  /// All of `text` (UTF-8), with BOS in front and EOS behind it where the model wants them. `limit` > 0: the
  /// first ids only, the same as of all of the text, which is not encoded much further than needed.
  std::vector<TokenId> encode(std::string_view text, Index limit = 0) const;
  /// Error on an id that does not exist, with its index.
  std::string decode(std::span<const TokenId> ids) const;
  const std::string& source() const;  ///< the file, for messages

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Error where ids of the tokenizer do not fit the model: its vocabulary is larger, or smaller by more than
/// the padding and the added tokens that are usual (the next larger multiple of 128). `model` is its name for
/// messages.
void check_vocabulary(const Tokenizer& tokenizer, const ModelSpec& spec, const std::string& model);

/// The token ids of `file` for a model in `model_folder`: a .npy (rank 1, or rank 2 read row by row;
/// integers), a .bin (raw little-endian uint16, uint32 where the vocabulary is larger than 65536), or any
/// other file as UTF-8 text through the folder's tokenizer. `limit` > 0: the first ids only (a text is not
/// encoded much further than needed). Error where the file is missing, empty or not what its name says, on a
/// text that is not UTF-8, on a tokenizer that does not fit the model, and on an id that the model does not
/// have (with its index).
std::vector<TokenId> read_tokens(const std::filesystem::path& file, const std::filesystem::path& model_folder,
                                 const ModelSpec& spec, Index limit = 0);

}  // namespace olab

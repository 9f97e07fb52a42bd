#include "models/tokenizer.hpp"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <system_error>

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/mapped_file.hpp"
#include "datasets/npy.hpp"
#include "datasets/path_suggestion.hpp"
#include "models/json_config.hpp"

namespace olab {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPieces = "tokenizer.model";
constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581, which stands for a space in pieces

std::string_view text_of(const MappedFile& file) {
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

fs::path find_pieces(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error))
    throw Error(fmt::format("{}: there is no such tokenizer{}", path.string(), path_suggestion(path)));
  if (!fs::is_directory(path, error)) return path;
  if (fs::exists(path / kPieces, error)) return path / kPieces;
  throw Error(fmt::format(
      "{}: there is no {} in this folder{}; give token ids instead of a text: a .npy of integers, made with "
      "the "
      "model's own tokenizer",
      path.string(), kPieces,
      fs::exists(path / "tokenizer.json", error) ? ", and a tokenizer.json alone cannot be read" : ""));
}

// No piece goes on behind a space within it, so every encoding has a boundary between a character and a space
// that follows it.
bool pieces_end_at_spaces(const sentencepiece::SentencePieceProcessor& processor) {
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    std::string_view piece = processor.IdToPiece(id);
    while (piece.starts_with(kSpace)) piece.remove_prefix(kSpace.size());
    if (piece.find(kSpace) != std::string_view::npos || piece.find(' ') != std::string_view::npos)
      return false;
  }
  return true;
}

// The first end of a word at or behind `from`: a visible ASCII character with a space behind it.
std::size_t end_of_word(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find(' ', from); at != std::string_view::npos; at = text.find(' ', at + 1))
    if (at > 0 && text[at - 1] > ' ' && text[at - 1] < '\x7F') return at;
  return text.size();
}

}  // namespace

struct Tokenizer::State {
  sentencepiece::SentencePieceProcessor processor;
  std::string source;
  bool adds_bos = false;
  bool adds_eos = false;
  bool can_be_cut = false;

  void read_options(const fs::path& file);
  std::vector<TokenId> encode(std::string_view text) const {
    std::vector<TokenId> ids;
    const auto status = processor.Encode(text, &ids);
    if (!status.ok())
      throw Error(fmt::format("{}: a text cannot be encoded ({})", source, status.ToString()));
    return ids;
  }
};

void Tokenizer::State::read_options(const fs::path& file) {
  adds_bos = processor.bos_id() >= 0;
  std::error_code error;
  if (!fs::exists(file, error)) return;
  const ConfigNode config = load_json(file, "tokenizer's config");
  const auto flag = [&](std::string_view key, int id, bool& out) {
    const ConfigNode* const node = find_value(config, key);
    if (node == nullptr) return;
    out = node->boolean("it");
    if (out && id < 0) node->fail(fmt::format("it is true, but {} has no such token", source));
  };
  flag("add_bos_token", processor.bos_id(), adds_bos);
  flag("add_eos_token", processor.eos_id(), adds_eos);
}

Tokenizer::Tokenizer(const fs::path& path) : state_(std::make_unique<State>()) {
  const fs::path file = find_pieces(path);
  state_->source = file.string();
  const MappedFile mapped(file, "tokenizer");
  const auto status = state_->processor.LoadFromSerializedProto(text_of(mapped));
  if (!status.ok() || state_->processor.GetPieceSize() == 0)
    throw Error(fmt::format("{}: this is no SentencePiece model, or a damaged one; copy or download it again",
                            state_->source));
  state_->can_be_cut = pieces_end_at_spaces(state_->processor);
  state_->read_options(file.parent_path() / "tokenizer_config.json");
}

Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Index Tokenizer::vocab_size() const {
  return state_->processor.GetPieceSize();
}
TokenId Tokenizer::bos() const {
  return state_->processor.bos_id();
}
bool Tokenizer::adds_bos() const {
  return state_->adds_bos;
}
const std::string& Tokenizer::source() const {
  return state_->source;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, Index limit) const {
  std::vector<TokenId> out;
  if (state_->adds_bos) out.push_back(bos());
  const auto wanted = static_cast<std::size_t>(limit);
  // The ids of a text up to the end of a word are the first ids of all of it: pieces do not reach over it,
  // BPE merges no pair across it, and the best path of a unigram model leads through it. Most tokens have
  // fewer than eight bytes.
  std::size_t end = text.size();
  if (limit > 0 && state_->can_be_cut && wanted < text.size() / 8) end = end_of_word(text, 8 * wanted);
  for (;;) {
    const std::vector<TokenId> ids = state_->encode(text.substr(0, end));
    if (end == text.size() || out.size() + ids.size() >= wanted) {
      out.insert(out.end(), ids.begin(), ids.end());
      break;
    }
    end = end_of_word(text, end < text.size() / 2 ? 2 * end : text.size());
  }
  if (end == text.size() && state_->adds_eos) out.push_back(state_->processor.eos_id());
  if (limit > 0 && out.size() > wanted) out.resize(wanted);
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocab_size())
      throw Error(fmt::format("{}: id {} at index {} is not one of its {} tokens", source(), ids[i], i,
                              vocab_size()));
  std::string out;
  const auto status = state_->processor.Decode(std::vector<int>(ids.begin(), ids.end()), &out);
  if (!status.ok()) throw Error(fmt::format("{}: ids cannot be decoded ({})", source(), status.ToString()));
  return out;
}

void check_vocabulary(const Tokenizer& tokenizer, const ModelSpec& spec, const std::string& model) {
  constexpr Index kPadding = 128;
  const Index tokens = tokenizer.vocab_size();
  if (tokens <= spec.vocab_size && spec.vocab_size <= (tokens / kPadding + 1) * kPadding) return;
  throw Error(fmt::format("{}: this tokenizer has {} tokens, but the model {} has {}; use the model's own",
                          tokenizer.source(), tokens, model, spec.vocab_size));
}

namespace {

// Collects ids that a model has.
class Ids {
 public:
  Ids(const fs::path& file, const ModelSpec& spec) : file_(file), tokens_(spec.vocab_size) {}
  void add(std::int64_t id) {
    if (id < 0 || id >= tokens_)
      throw Error(
          fmt::format("{}: id {} at index {} is not one of the model's {} tokens; were the ids made "
                      "with its own tokenizer?",
                      file_.string(), id, ids_.size(), tokens_));
    ids_.push_back(static_cast<TokenId>(id));
  }
  std::vector<TokenId> take() { return std::move(ids_); }

 private:
  const fs::path& file_;
  Index tokens_;
  std::vector<TokenId> ids_;
};

void read_npy(const fs::path& path, Index limit, Ids& out) {
  const auto file = open_npy(path);
  const TensorInfo& info = file->tensors().front();
  if (is_floating(info.dtype) || info.dtype == DType::unsupported)
    throw Error(
        fmt::format("{}: token ids must be signed integers, not {}; save them with .astype(numpy.int32)",
                    path.string(), info.dtype_text));
  if (info.shape.size() != 1 && info.shape.size() != 2)
    throw Error(fmt::format("{}: token ids must have shape [tokens] or [windows, tokens], not {}",
                            path.string(), shape_text(info.shape)));
  const Index columns = info.shape.back();
  const Index rows = info.shape.size() == 1 || limit == 0 || columns == 0 ? 0 : (limit - 1) / columns + 1;
  // Through floats, which hold every id of a vocabulary as large as any that read_common() takes.
  const Matrix values = file->read_matrix(info.name, rows);
  const Index count = limit > 0 ? std::min(limit, values.size()) : values.size();
  for (Index i = 0; i < count; ++i) {
    // No float in between is rounded into the range of a vocabulary.
    constexpr float kBeyond = 1e9F;
    out.add(static_cast<std::int64_t>(std::clamp(values.data()[i], -kBeyond, kBeyond)));
  }
}

template <class T>
void read_raw(const MappedFile& file, Index limit, Ids& out) {
  const auto bytes = file.bytes();
  if (bytes.size() % sizeof(T) != 0)
    throw Error(
        fmt::format("{}: {} bytes are no whole number of ids of {} bytes; it is truncated or no file of "
                    "raw ids",
                    file.source(), bytes.size(), sizeof(T)));
  const auto wanted = limit > 0 ? static_cast<std::size_t>(limit) : bytes.size();
  const std::size_t count = std::min(bytes.size() / sizeof(T), wanted);
  for (std::size_t i = 0; i < count; ++i) {
    T id{};
    std::memcpy(&id, bytes.data() + i * sizeof(T), sizeof(T));
    out.add(id);
  }
}

void read_text(const MappedFile& file, const fs::path& model_folder, const ModelSpec& spec, Index limit,
               Ids& out) {
  const std::string_view text = text_of(file);
  if (const std::size_t bad = scan_utf8(text, {}); bad != std::string_view::npos)
    throw Error(
        fmt::format("{}: byte {} is not UTF-8; save the text as UTF-8, or give token ids as .npy or .bin",
                    file.source(), bad));
  const Tokenizer tokenizer(model_folder);
  check_vocabulary(tokenizer, spec, model_folder.string());
  for (const TokenId id : tokenizer.encode(text, limit)) out.add(id);
}

}  // namespace

std::vector<TokenId> read_tokens(const fs::path& file, const fs::path& model_folder, const ModelSpec& spec,
                                 Index limit) {
  constexpr Index kLargest16 = 65536;
  std::error_code error;
  if (!fs::exists(file, error))
    throw Error(fmt::format("{}: there is no such file of text or token ids{}", file.string(),
                            path_suggestion(file)));
  Ids out(file, spec);
  const std::string extension = file.extension().string();
  if (extension == ".npy") {
    read_npy(file, limit, out);
  } else if (extension == ".bin") {
    const MappedFile mapped(file, "file of token ids");
    if (spec.vocab_size > kLargest16)
      read_raw<std::uint32_t>(mapped, limit, out);
    else
      read_raw<std::uint16_t>(mapped, limit, out);
  } else {
    read_text(MappedFile(file, "text"), model_folder, spec, limit, out);
  }
  std::vector<TokenId> ids = out.take();
  if (ids.empty()) throw Error(fmt::format("{}: there are no token ids in it", file.string()));
  return ids;
}

}  // namespace olab

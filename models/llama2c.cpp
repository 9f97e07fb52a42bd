#include "models/llama2c.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <string_view>
#include <system_error>

#include "core/error.hpp"
#include "datasets/atomic_file.hpp"
#include "datasets/path_suggestion.hpp"
#include "datasets/safetensors.hpp"
#include "models/llama_config.hpp"
#include "models/tokenizer.hpp"

namespace olab {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kNumbers = 7;
constexpr std::size_t kHeaderBytes = kNumbers * sizeof(std::int32_t);
constexpr std::int32_t kNewerMagic = 0x616b3432;  // "ak42"

enum Number : std::size_t { dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len };
struct Field {
  std::string_view name;
  std::int32_t largest;  // beyond what any such model has, and small enough for products to fit 64 bits
};
constexpr std::array<Field, kNumbers> kFields{{{"dim", 1 << 20},
                                               {"hidden_dim", 1 << 22},
                                               {"n_layers", 1 << 12},
                                               {"n_heads", 1 << 16},
                                               {"n_kv_heads", 1 << 16},
                                               {"vocab_size", 1 << 24},
                                               {"seq_len", 1 << 26}}};
using Header = std::array<std::int32_t, kNumbers>;

std::string header_text(const Header& header) {
  std::string out;
  for (std::size_t i = 0; i < kNumbers; ++i)
    out += fmt::format("{}{} {}", i == 0 ? "" : ", ", kFields.at(i).name, header.at(i));
  return out;
}

Header read_header(std::span<const std::byte> bytes, const std::string& source) {
  if (bytes.size() < kHeaderBytes)
    throw Error(fmt::format("{}: {} bytes are too few for a llama2.c model; copy or download it again",
                            source, bytes.size()));
  Header header{};
  std::memcpy(header.data(), bytes.data(), kHeaderBytes);
  if (header[0] == kNewerMagic)
    throw Error(
        fmt::format("{}: this llama2.c model has version {} of the format (magic \"ak42\"); only the legacy "
                    "version can be read, so export it with --version 0",
                    source, header[1]));
  const auto require = [&](bool fits, const std::string& wanted) {
    if (!fits)
      throw Error(fmt::format("{}: the header makes no sense for a llama2.c model ({}): {}", source,
                              header_text(header), wanted));
  };
  for (std::size_t i = 0; i < kNumbers; ++i) {
    const auto [name, largest] = kFields.at(i);
    // In 64 bits, because the smallest number has no opposite in 32.
    const std::int64_t value = header.at(i);
    const std::int64_t size = i == vocab_size ? std::abs(value) : value;
    require(size >= 1 && size <= largest, fmt::format("{} must be from 1 to {}", name, largest));
  }
  require(header[dim] % header[n_heads] == 0, "dim must be a multiple of n_heads");
  require(header[dim] / header[n_heads] % 2 == 0, "dim / n_heads must be even");
  require(header[n_heads] % header[n_kv_heads] == 0, "n_heads must be a multiple of n_kv_heads");
  return header;
}

ModelSpec spec_of(const Header& header) {
  ModelSpec spec;
  spec.architecture = "LlamaForCausalLM";
  spec.vocab_size = std::abs(header[vocab_size]);
  spec.hidden_size = header[dim];
  spec.intermediate_size = header[hidden_dim];
  spec.layers = header[n_layers];
  spec.heads = header[n_heads];
  spec.kv_heads = header[n_kv_heads];
  spec.head_dim = spec.hidden_size / spec.heads;
  spec.max_positions = header[seq_len];
  spec.norm_eps = 1e-5;
  spec.tied_head = header[vocab_size] > 0;
  if (spec.tied_head) spec.head = spec.embedding;
  spec.linears = llama_linears(spec, false, false, false);
  return spec;
}

// A kind of tensor in the order of the file.
struct Part {
  std::string name;  // within the block where there is one a block; "": skipped
  Index count = 1;
  std::vector<Index> shape;
  bool in_block = false;
  Index heads = 0;  // above 0: rows in interleaved pairs, to be reordered
};

std::vector<Part> parts_of(const ModelSpec& s) {
  const auto linear = [&](LinearRole role) {
    const LinearSpec& l = *std::ranges::find(s.linears, role, &LinearSpec::role);
    const Index heads = role == LinearRole::query ? s.heads : role == LinearRole::key ? s.kv_heads : 0;
    return Part{l.name + ".weight", s.layers, {l.out_features, l.in_features}, true, heads};
  };
  using enum LinearRole;
  std::vector<Part> out{{s.embedding, 1, {s.vocab_size, s.hidden_size}},
                        {s.attention_norm + ".weight", s.layers, {s.hidden_size}, true},
                        linear(query),
                        linear(key),
                        linear(value),
                        linear(attention_out),
                        {s.mlp_norm + ".weight", s.layers, {s.hidden_size}, true},
                        linear(gate),
                        linear(down),
                        linear(up),
                        {s.final_norm + ".weight", 1, {s.hidden_size}},
                        {"", 2, {s.max_positions, s.head_dim / 2}}};
  if (!s.tied_head) out.push_back({s.head, 1, {s.vocab_size, s.hidden_size}});
  return out;
}

Index elements(const Part& part) {
  Index out = 1;
  for (const Index extent : part.shape) out *= extent;
  return out;
}

// Within each head the rows 2i and 2i + 1, a pair, become the rows i and i + head_dim / 2.
std::vector<float> pairs_to_halves(const ConstMatrixRef& rows, Index heads) {
  std::vector<float> out(static_cast<std::size_t>(rows.size()));
  Eigen::Map<Matrix> to(out.data(), rows.rows(), rows.cols());
  const Index head_dim = rows.rows() / heads;
  for (Index head = 0; head < heads; ++head)
    for (Index i = 0; i < head_dim; ++i)
      to.row(head * head_dim + i / 2 + (i % 2) * (head_dim / 2)) = rows.row(head * head_dim + i);
  return out;
}

}  // namespace

Llama2cModel parse_llama2c(const MappedFile& file) {
  const auto bytes = file.bytes();
  const Header header = read_header(bytes, file.source());
  Llama2cModel out;
  out.spec = spec_of(header);
  const std::vector<Part> parts = parts_of(out.spec);
  std::uint64_t expected = kHeaderBytes;
  for (const Part& part : parts)
    expected += static_cast<std::uint64_t>(part.count * elements(part)) * sizeof(float);
  if (expected != bytes.size())
    throw Error(fmt::format(
        "{}: by its header ({}) this llama2.c model must have {} bytes, but it has {}: {}", file.source(),
        header_text(header), expected, bytes.size(),
        bytes.size() < expected ? "it is truncated; copy or download it again" : "it is no such model"));

  std::size_t at = kHeaderBytes;
  for (const Part& part : parts) {
    const auto size = static_cast<std::size_t>(elements(part)) * sizeof(float);
    for (Index i = 0; i < part.count; ++i, at += size) {
      if (part.name.empty()) continue;
      TensorView view{part.in_block ? fmt::format("{}.{}", out.spec.block_name(i), part.name) : part.name,
                      DType::f32, part.shape, bytes.subspan(at, size)};
      const Index columns = part.shape.back();
      // Aligned: a mapping begins with a page, and the header is a multiple of a float.
      const Eigen::Map<const Matrix> values(reinterpret_cast<const float*>(view.bytes.data()),
                                            elements(part) / columns, columns);
      check_finite(values, fmt::format("{}: tensor '{}'", file.source(), view.name));
      if (part.heads > 0) {
        out.reordered.push_back(pairs_to_halves(values, part.heads));
        view.bytes = std::as_bytes(std::span(out.reordered.back()));
      }
      out.tensors.push_back(std::move(view));
    }
  }
  return out;
}

ImportReport import_llama2c(const fs::path& file, const fs::path& tokenizer, const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(file, error))
    throw Error(
        fmt::format("{}: this llama2.c model does not exist{}", file.string(), path_suggestion(file)));
  require_no_content(folder);  // before the work, and once more after it
  const MappedFile mapped(file, "llama2.c model");
  Llama2cModel model = parse_llama2c(mapped);
  const ModelSpec& s = model.spec;
  fs::path pieces;
  if (!tokenizer.empty()) {
    const Tokenizer checked(tokenizer);
    if (checked.vocab_size() != s.vocab_size)
      throw Error(
          fmt::format("{}: this tokenizer has {} tokens, but the model {} has {}; give the one that "
                      "the model was trained with",
                      checked.source(), checked.vocab_size(), mapped.source(), s.vocab_size));
    pieces = checked.source();
  }
  write_folder_atomically(folder, [&](const fs::path& part) {
    write_safetensors(part / "model.safetensors", std::move(model.tensors), {{"format", "pt"}});
    write_atomically(part / "config.json",
                     [&](std::ostream& out) { out << llama_config_text(s, DType::f32); });
    if (!pieces.empty()) fs::copy_file(pieces, part / "tokenizer.model", error);
    if (error)
      throw Error(fmt::format("{}: {} cannot be copied into it ({})", folder.string(), pieces.string(),
                              error.message()));
  });
  return {folder,
          fmt::format(
              "{} layers, hidden {}, intermediate {}, {} heads on {} of keys, {} tokens, {} positions, {}",
              s.layers, s.hidden_size, s.intermediate_size, s.heads, s.kv_heads, s.vocab_size,
              s.max_positions, s.tied_head ? "the head is the embedding" : "a head of its own")};
}

}  // namespace olab

// SentencePiece models built by hand.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "raw_formats.hpp"
#include "temp_dir.hpp"

namespace olab::test {

/// A field of a protocol buffer: a number, or bytes.
inline std::string proto_varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7U) out += static_cast<char>(value | 0x80U);
  return out + static_cast<char>(value);
}
inline std::string proto_number(unsigned field, std::uint64_t value) {
  return proto_varint(field << 3U) + proto_varint(value);
}
inline std::string proto_bytes(unsigned field, std::string_view bytes) {
  return proto_varint(field << 3U | 2U) + proto_varint(bytes.size()) + std::string(bytes);
}

enum class PieceModel { unigram = 1, bpe = 2 };

/// <unk>, <s> (where `bos`), </s>, then the pieces ("▁" stands for a space), each less likely than the one
/// before it. Spaces are kept as they are; one is put in front of a text.
inline std::string toy_tokenizer(const std::vector<std::string>& pieces, PieceModel kind = PieceModel::bpe,
                                 bool bos = true) {
  constexpr unsigned kNormal = 1;
  constexpr unsigned kUnknown = 2;
  constexpr unsigned kControl = 3;
  std::string out;
  float score = 0;
  const auto add = [&](std::string_view text, unsigned type) {
    const std::string score_field = proto_varint(2U << 3U | 5U) + bytes_of(type == kNormal ? score-- : 0.0F);
    out += proto_bytes(1, proto_bytes(1, text) + score_field + proto_number(3, type));
  };
  add("<unk>", kUnknown);
  if (bos) add("<s>", kControl);
  add("</s>", kControl);
  for (const std::string& piece : pieces) add(piece, kNormal);
  const std::string trainer =
      proto_number(3, static_cast<std::uint64_t>(kind)) +
      (bos ? std::string() : proto_varint(41U << 3U) + proto_varint(~std::uint64_t{0}) + proto_number(42, 1));
  return out + proto_bytes(2, trainer) + proto_bytes(3, proto_bytes(1, "identity") + proto_number(4, 0));
}

/// "▁", the letters a to z, and a few words, some of them with a space in front: 40 tokens in all.
inline std::vector<std::string> toy_pieces() {
  std::vector<std::string> out{"▁t", "he", "▁the", "in", "▁a", "an", "▁▁", "ca", "cat", "▁s"};
  out.emplace_back("▁");
  for (char c = 'a'; c <= 'z'; ++c) out.emplace_back(1, c);
  return out;
}

}  // namespace olab::test

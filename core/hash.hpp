// Content hashes: the identity of tensors and of runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace olab {

/// 128-bit XXH3 over a stream of fields; every field is hashed with its length, so ("ab","c") differs from
/// ("a","bc"). Not cryptographic: it names content, it does not defend against an attacker.
class Hasher {
 public:
  Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  ~Hasher();

  Hasher& add(std::string_view text);
  Hasher& add(std::span<const std::byte> bytes);
  Hasher& add(std::uint64_t value);
  /// 32 lower-case hexadecimal digits.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 64 bits of the hash of `text`: seeds random streams.
std::uint64_t hash64(std::string_view text, std::uint64_t seed);

}  // namespace olab

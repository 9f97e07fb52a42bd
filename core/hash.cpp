#include "core/hash.hpp"

#include <fmt/format.h>
#include <xxhash.h>

#include "core/error.hpp"

namespace olab {

struct Hasher::State {
  struct Free {
    void operator()(XXH3_state_t* s) const { XXH3_freeState(s); }
  };
  std::unique_ptr<XXH3_state_t, Free> xxh{XXH3_createState()};
};

Hasher::Hasher() : state_(std::make_unique<State>()) {
  if (!state_->xxh || XXH3_128bits_reset(state_->xxh.get()) != XXH_OK)
    throw Error("out of memory while hashing");
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

Hasher& Hasher::add(std::span<const std::byte> bytes) {
  const std::uint64_t size = bytes.size();
  XXH3_128bits_update(state_->xxh.get(), &size, sizeof size);
  XXH3_128bits_update(state_->xxh.get(), bytes.data(), bytes.size());
  return *this;
}
Hasher& Hasher::add(std::string_view text) {
  return add(std::as_bytes(std::span(text.data(), text.size())));
}
Hasher& Hasher::add(std::uint64_t value) {
  return add(std::as_bytes(std::span(&value, 1)));
}

std::string Hasher::hex() const {
  const XXH128_hash_t h = XXH3_128bits_digest(state_->xxh.get());
  return fmt::format("{:016x}{:016x}", h.high64, h.low64);
}

std::uint64_t hash64(std::string_view text, std::uint64_t seed) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

}  // namespace olab

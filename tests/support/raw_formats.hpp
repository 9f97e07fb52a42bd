// Files built by hand, byte by byte, so that they can lie.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace olab::test {

/// The bytes of a number, little-endian.
template <class T>
std::string bytes_of(T value) {
  std::string out(sizeof value, '\0');
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

/// The bytes of several floats.
template <class... T>
std::string floats(T... values) {
  return (bytes_of(static_cast<float>(values)) + ... + std::string());
}

/// A safetensors file with this header as it stands.
inline std::string raw_safetensors(std::string_view header, std::string_view data) {
  return bytes_of(std::uint64_t{header.size()}) + std::string(header) + std::string(data);
}

/// An npy file of version 1, 2 or 3 with this dict as it stands; the newline is added, padding is not.
inline std::string raw_npy(int version, std::string_view dict, std::string_view data) {
  std::string out("\x93NUMPY");
  out += static_cast<char>(version);
  out += '\0';
  const std::size_t length = dict.size() + 1;
  out += version == 1 ? bytes_of(static_cast<std::uint16_t>(length))
                      : bytes_of(static_cast<std::uint32_t>(length));
  return out + std::string(dict) + '\n' + std::string(data);
}

}  // namespace olab::test

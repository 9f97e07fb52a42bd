// What a text in UTF-8 holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace olab {

/// Calls `visit` (which may be empty) with the byte offset and the code point of every character up to the
/// first byte that is not UTF-8. That byte's offset, or npos where all of the text is UTF-8.
std::size_t scan_utf8(std::string_view text,
                      const std::function<void(std::size_t offset, std::uint32_t code)>& visit);

}  // namespace olab

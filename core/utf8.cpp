#include "core/utf8.hpp"

#include <boost/locale/utf.hpp>

namespace olab {

std::size_t scan_utf8(std::string_view text,
                      const std::function<void(std::size_t offset, std::uint32_t code)>& visit) {
  using Utf8 = boost::locale::utf::utf_traits<char>;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    const auto offset = static_cast<std::size_t>(at - text.data());
    const boost::locale::utf::code_point c = Utf8::decode(at, end);
    if (c == boost::locale::utf::illegal || c == boost::locale::utf::incomplete) return offset;
    if (visit) visit(offset, c);
  }
  return std::string_view::npos;
}

}  // namespace olab

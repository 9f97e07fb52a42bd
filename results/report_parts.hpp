// Parts of the report that stand on their own: escaping, inline pictures, style and script.
#pragma once

#include <string>
#include <string_view>

namespace olab {

/// Text for HTML, in elements and in quoted attributes. Control characters other than line ends and tabs,
/// which HTML cannot hold, become question marks.
std::string escape_html(std::string_view text);

/// An SVG file of gnuplot's as an element of a page: every id gets `prefix` (gnuplot names them alike in all
/// files), scripts and links out are dropped, and the charts' own ink and paper become the page's, so that a
/// chart follows a dark page. `label` is read out instead of the picture.
std::string inline_svg(std::string_view svg, std::string_view prefix, std::string_view label);

std::string base64(std::string_view bytes);

/// CSS and JavaScript of the page.
std::string_view report_style();
std::string_view report_script();

}  // namespace olab

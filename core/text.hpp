// Small text tools: near matches, globs, numbers that round-trip.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace olab {

std::string_view trim(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);

/// Splits at `separator` outside of (), [], {} and quotes; parts are trimmed. Error on unbalanced brackets.
std::vector<std::string> split_top_level(std::string_view text, char separator);

/// The known name with the smallest edit distance to `name`, or "" where none is near (distance above
/// max(2, length / 3)).
std::string nearest(std::string_view name, std::span<const std::string> known);

/// "; did you mean 'x'?" or "; known: a, b, c": the tail of every unknown-name message.
std::string suggestion(std::string_view name, std::span<const std::string> known);

/// Shell-like pattern over the whole of `text`: `*` any run, `?` one character, `{a,b}` alternatives.
bool glob_match(std::string_view pattern, std::string_view text);

/// Shortest decimal that reads back as the same double; "nan", "inf", "-inf".
std::string to_text(double value);
/// Reads all of `text` as a number ("nan", "inf" included); false where it is none.
bool parse_double(std::string_view text, double& out);
bool parse_integer(std::string_view text, std::int64_t& out);

/// "1.5 GiB", "12 KiB".
std::string human_bytes(double bytes);
/// "1 h 02 min", "3.2 s", "14 ms".
std::string human_seconds(double seconds);

}  // namespace olab

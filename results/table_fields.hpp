// The fields of a run by name: one list for tables, exports and comparisons.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "results/store.hpp"

namespace olab {

struct RunField {
  enum class Kind { text, integer, flag };

  std::string_view name;
  Kind kind = Kind::text;
  bool brief = false;     ///< shown where people read
  bool compared = false;  ///< a difference of it explains a difference of values
  std::string (*get)(const RunRecord&) = nullptr;
};

/// In the order of the columns of an export.
std::span<const RunField> run_fields();

/// The name of a parameter among the fields: its own, or "param.<name>" where a field has that.
std::string param_field(const std::string& param);

}  // namespace olab

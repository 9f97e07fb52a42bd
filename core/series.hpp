// Small arrays that metrics hand to charts.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/matrix.hpp"

namespace olab {

/// A named array of `rows` × `columns` values (row-major) with facts about its axes. Small by construction
/// (at most some ten thousand values, whatever the layer's size), so the store can hold one for every run.
struct Series {
  std::string name;  ///< "<stage>.<metric>", for example "transformed.surface"
  Index rows = 0;
  Index columns = 0;
  std::vector<double> values;                             ///< rows · columns
  std::map<std::string, std::string, std::less<>> facts;  ///< "tokens": "1024", "channels": "4096", …
};

}  // namespace olab

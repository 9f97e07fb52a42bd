#include "experiments/model_windows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "experiments/model_plan.hpp"

namespace olab {
namespace {

/// A value, the series that it comes from, and whether it is exp of it.
struct Source {
  std::string_view value;
  const char* series;
  bool exponential;
};
constexpr std::array<Source, 5> kSources{{{"model.perplexity", "windows.nll", true},
                                          {"model.nll", "windows.nll", false},
                                          {"model.original_perplexity", "windows.original_nll", true},
                                          {"model.original_nll", "windows.original_nll", false},
                                          {"model.kl", "windows.kl", false}}};

}  // namespace

bool is_window_value(std::string_view value) {
  return std::ranges::any_of(kSources, [&](const Source& s) { return s.value == value; });
}

WindowValues window_values(const Store& store, std::span<const RunRecord> runs) {
  WindowValues out;
  for (const RunRecord& run : runs) {
    if (run.layer_kind != kModelKind || run.status != "finished") continue;
    for (const Source& source : kSources) {
      const std::optional<Series> series = store.series(run.id, source.series);
      if (!series) continue;
      std::vector<double> values = series->values;
      if (source.exponential)
        for (double& v : values) v = std::exp(v);
      out[run.id][std::string(source.value)] = std::move(values);
    }
  }
  return out;
}

std::vector<RunRecord> runs_by_window(std::span<const RunRecord> runs, const WindowValues& values) {
  std::vector<RunRecord> out;
  for (const RunRecord& run : runs) {
    if (run.layer_kind != kModelKind) continue;
    const auto known = values.find(run.id);
    if (known == values.end()) {
      out.push_back(run);
      continue;
    }
    const std::size_t count = known->second.begin()->second.size();
    for (std::size_t w = 0; w < count; ++w) {
      RunRecord& one = out.emplace_back(run);
      one.layer = fmt::format("{} window {}", run.layer, w + 1);
      one.values.clear();
      for (const auto& [name, list] : known->second) one.values[name] = list[w];
    }
  }
  return out;
}

}  // namespace olab

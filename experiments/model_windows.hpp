// Runs of whole models by their windows of tokens: what tests over such runs take as observations.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "results/store.hpp"

namespace olab {

/// Values that every window of a run has: model.perplexity, model.nll, model.original_perplexity, model.kl.
bool is_window_value(std::string_view value);

/// By the run's id, by the value's name: one number a window.
using WindowValues = std::map<std::int64_t, std::map<std::string, std::vector<double>, std::less<>>>;

/// Of all finished runs of models among `runs`.
WindowValues window_values(const Store& store, std::span<const RunRecord> runs);

/// Every run of a model once for each of its windows, with "window 17" behind the layer's name and the
/// window's own values; runs that did not finish as they are. Runs of layers are left out.
std::vector<RunRecord> runs_by_window(std::span<const RunRecord> runs, const WindowValues& values);

}  // namespace olab

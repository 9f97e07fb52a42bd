// `olab compare` of methods: finds the study and the methods, and says whether the difference is real.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/registries.hpp"
#include "results/paired.hpp"
#include "results/store.hpp"

namespace olab {

/// The newest version of a stored study by its name, or by the name of its file. Error with the nearest name.
StudyRecord find_stored_study(const Store& store, const std::string& name);

/// The labels of the methods that a text may mean: the label itself; else a specification's with the same
/// canonical text; else those of all methods of that name, which may be several. None where nothing fits.
std::vector<std::string> find_labels(std::span<const RunRecord> runs, const std::string& text,
                                     const Registries& r);

struct CompareOptions {
  bool all = false;  ///< every pair of methods of the study, instead of a and b
  std::string a;     ///< labels or specifications
  std::string b;
  std::string study;  ///< empty: the study put last that holds both (all: the last)
  std::string value = "output.nmse";
  Observations over = Observations::layers;
};

/// Runs of whole models are compared window by window where every window has the value, else model by model.
///
/// The comparison as `render_comparison` or `render_all_pairs` prints it. Values in dB are compared by
/// difference, others by ratio. Error on an unknown study, method or value (with the nearest names), on a
/// name that means several methods, and where the two have no pair of runs (with the reasons).
std::string compare_methods(const Store& store, const CompareOptions& options, const Registries& r,
                            Format format);

}  // namespace olab

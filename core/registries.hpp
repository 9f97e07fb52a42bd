// All registries of the program, and the one macro by which a .cpp adds itself to them.
#pragma once

#include "core/registry.hpp"
#include "core/tensor_source.hpp"
#include "core/version.hpp"

namespace olab {

// The rooms define these; core only knows that they exist.
class Method;
class PermutationStrategy;
class Quantizer;
class Metric;
class Reader;
class Chart;
class Architecture;

struct Registries {
  Registry<Method> methods{"method"};
  Registry<PermutationStrategy> permutations{"permutation"};
  Registry<Quantizer> quantizers{"number format"};
  Registry<Metric> metrics{"metric"};
  Registry<Reader> readers{"reader"};
  Registry<Chart> charts{"chart"};
  Registry<Architecture> architectures{"architecture"};
  /// How methods, which know of no file formats, read tensors from files. Whoever knows both rooms sets it;
  /// empty: tensors cannot be read.
  OpenTensors open_tensors;
};

// Each room adds its own plug-ins; the bodies are generated from the file names
// (scripts/cmake/OlabRooms.cmake).
void register_datasets(Registries& r);
void register_methods(Registries& r);
void register_metrics(Registries& r);
void register_results(Registries& r);
void register_models(Registries& r);

}  // namespace olab

// OLAB_REGISTER(<file stem>) { r.methods.add(...); }
// In the tree, CMake collects the stems of a room's plug-in folders and generates the list of calls: no
// static initialiser that a static library would drop, and a file that forgets the macro fails to link. Out
// of the tree (olab_add_plugin defines OLAB_OUT_OF_TREE) the same line makes a shared library that --plugin
// loads.
#ifdef OLAB_OUT_OF_TREE
#define OLAB_REGISTER(NAME)                                    \
  extern "C" const char* olab_plugin_abi();                    \
  extern "C" void olab_plugin_register(::olab::Registries& r); \
  extern "C" const char* olab_plugin_abi() {                   \
    return OLAB_ABI_TAG;                                       \
  }                                                            \
  extern "C" void olab_plugin_register(::olab::Registries& r)
#else
#define OLAB_REGISTER(NAME)                         \
  void olab_register_##NAME(::olab::Registries& r); \
  void olab_register_##NAME(::olab::Registries& r)
#endif

// A specification of a study, resolved once.
#pragma once

#include <string>
#include <utility>

#include "core/registries.hpp"

namespace olab {

/// A specification with its canonical text.
struct ResolvedSpec {
  Spec spec;
  std::string canonical;
  std::string label;
  Params params;
};

template <class Base>
ResolvedSpec resolve_spec(const Registry<Base>& registry, const Spec& spec, const Registries& r,
                          std::string label = {}) {
  Params params = registry.resolve(spec, r);
  std::string canonical = canonical_text(registry.info(spec.name), params);
  return {spec, std::move(canonical), std::move(label), std::move(params)};
}

}  // namespace olab

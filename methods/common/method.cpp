#include "methods/common/method.hpp"

#include <algorithm>

namespace olab {

Index Calibration::number_of(std::string_view kind) const {
  if (before == nullptr) return 1;
  return 1 + std::ranges::count_if(before->transforms(), [&](const auto& t) { return t->kind() == kind; });
}

Method::~Method() = default;

void Method::check(Index /*channels*/, const Registries& /*registries*/) const {}

double Method::calibration_work(Index tokens, Index channels, const Registries& /*registries*/) const {
  return 12.0 * static_cast<double>(tokens) * static_cast<double>(channels);
}

Index Method::block_size(Index /*channels*/) const {
  return 0;
}

}  // namespace olab

#include "methods/common/method.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <mutex>

namespace olab {

struct SharedSteps::State {
  /// A slot has its own lock: who needs another step does not wait.
  struct Slot {
    std::mutex busy;
    std::shared_ptr<const Transform> transform;
  };
  mutable std::mutex lock;
  std::map<std::string, std::shared_ptr<Slot>, std::less<>> slots;
};

SharedSteps::SharedSteps() : state_(std::make_unique<State>()) {}
SharedSteps::~SharedSteps() = default;

std::shared_ptr<const Transform> SharedSteps::get(const std::string& key, const Find& find) {
  std::shared_ptr<State::Slot> slot;
  {
    const std::lock_guard guard(state_->lock);
    auto& place = state_->slots[key];
    if (!place) place = std::make_shared<State::Slot>();
    slot = place;
  }
  const std::lock_guard guard(slot->busy);
  if (!slot->transform) slot->transform = find();
  return slot->transform;
}

std::vector<std::string> SharedSteps::keys() const {
  const std::lock_guard guard(state_->lock);
  std::vector<std::string> out;
  for (const auto& [key, slot] : state_->slots)
    if (slot->transform) out.push_back(key);
  return out;
}

Index Calibration::number_of(std::string_view kind) const {
  if (before == nullptr) return 1;
  return 1 + std::ranges::count_if(before->transforms(), [&](const auto& t) { return t->kind() == kind; });
}

std::shared_ptr<const Transform> Calibration::find_step(const std::string& step,
                                                        const SharedSteps::Find& find) const {
  if (shared == nullptr) return find();
  return shared->get(path.empty() ? step : fmt::format("{} | {}", fmt::join(path, " | "), step), find);
}

Method::~Method() = default;

void Method::check(Index /*channels*/, const Registries& /*registries*/) const {}

double Method::calibration_work(Index tokens, Index channels, const Registries& /*registries*/) const {
  return 12.0 * static_cast<double>(tokens) * static_cast<double>(channels);
}

void Method::steps(Index /*channels*/, const Registries& /*registries*/,
                   std::vector<std::string>& /*path*/) const {}

Index Method::block_size(Index /*channels*/) const {
  return 0;
}

}  // namespace olab

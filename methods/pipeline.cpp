// Any recipe as one line of text: "smooth(alpha=0.6) | rotate(block_size=128) | permute(zigzag) | rotate".
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/registries.hpp"
#include "core/text.hpp"
#include "methods/common/block_size.hpp"
#include "methods/common/method.hpp"

namespace olab {
namespace {

/// The steps of "a | b(c=1)"; Error on an empty one.
std::vector<std::string> split_steps(std::string_view text) {
  std::vector<std::string> steps = split_top_level(text, '|');
  for (const std::string& step : steps)
    if (step.empty()) throw Error(fmt::format("'{}': a step is missing; write a | b(key=value)", text));
  return steps;
}

std::string normalize_steps(std::string_view text, const Registries& registries) {
  std::vector<std::string> out;
  for (const std::string& step : split_steps(text))
    out.push_back(registries.methods.canonical(step, registries));
  return fmt::format("{}", fmt::join(out, " | "));
}

/// The parameter block_size of the last step that has one; 0: none has. The steps are canonical texts, so
/// every parameter is written out, and no registry is needed to read it.
Index last_block(std::string_view steps, Index channels) {
  Index block = 0;
  for (const std::string& step : split_steps(steps)) {
    for (const auto& [key, value] : parse_spec(step).params) {
      std::int64_t size = 0;
      if (key == "block_size" && value == "full") block = resolve_block(kFullBlock, channels);
      if (key == "block_size" && value == "auto") block = resolve_block(kAutoBlock, channels);
      if (key == "block_size" && parse_integer(value, size)) block = size;
      if (key == "steps" && value.starts_with('[')) {
        const Index inner = last_block(std::string_view(value).substr(1, value.size() - 2), channels);
        if (inner != 0) block = inner;
      }
    }
  }
  return block;
}

/// What one step appends to a path. A method that tells no steps is one by its name: its result, too, follows
/// from what is in front of it.
void append_step(const std::string& text, Index channels, const Registries& registries,
                 std::vector<std::string>& path) {
  const std::size_t before = path.size();
  registries.methods.make(text, registries)->steps(channels, registries, path);
  if (path.size() == before) path.push_back(text);
}

/// Each step is calibrated on what the steps in front of it made of x and w.
struct Pipeline final : Method {
  std::string recipe = "rtn";

  std::vector<std::unique_ptr<Method>> methods(const Registries& registries) const {
    std::vector<std::unique_ptr<Method>> out;
    for (const std::string& step : split_steps(recipe))
      out.push_back(registries.methods.make(step, registries));
    return out;
  }

  Index block_size(Index channels) const override { return last_block(recipe, channels); }

  void check(Index channels, const Registries& registries) const override {
    for (const auto& method : methods(registries)) method->check(channels, registries);
  }

  double calibration_work(Index tokens, Index channels, const Registries& registries) const override {
    double out = 0;
    for (const auto& method : methods(registries))
      out += method->calibration_work(tokens, channels, registries);
    return out;
  }

  void steps(Index channels, const Registries& registries, std::vector<std::string>& path) const override {
    for (const std::string& step : split_steps(recipe)) append_step(step, channels, registries, path);
  }

  Chain calibrate(const Calibration& calibration) const override {
    const std::vector<std::string> texts = split_steps(recipe);
    Matrix x = calibration.x;
    Matrix w = calibration.w;
    Chain done;  // with what stood before this pipeline: it numbers the random streams
    if (calibration.before != nullptr) done.append(*calibration.before);
    Calibration step{x,
                     w,
                     calibration.random,
                     calibration.registries,
                     calibration.stop,
                     &done,
                     calibration.shared,
                     calibration.path,
                     calibration.layers};
    Chain chain;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      calibration.check_stop();
      const auto method = calibration.registries.methods.make(texts[i], calibration.registries);
      method->check(x.cols(), calibration.registries);
      const Chain found = method->calibrate(step);
      chain.append(found);
      done.append(found);
      if (i + 1 == texts.size()) break;
      found.apply_to_activations(x);
      if (w.rows() > 0) found.apply_to_weights(w);
      append_step(texts[i], x.cols(), calibration.registries, step.path);
    }
    return chain;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(pipeline) {
  using namespace olab;
  r.methods.add(Schema<Pipeline>("pipeline", "Methods one after the other, in any order")
                    .param("steps", &Pipeline::recipe, "methods with their parameters, separated by |")
                    .normalize(normalize_steps)
                    .joins(" | "));
}

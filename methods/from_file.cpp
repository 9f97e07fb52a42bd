// A transform that was found before: the file that `olab export-transform` wrote, or another program in its
// format (methods/common/transform_file.hpp).
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/registries.hpp"
#include "core/text.hpp"
#include "methods/common/method.hpp"
#include "methods/common/rotate_permute.hpp"
#include "methods/common/transform_file.hpp"

namespace olab {
namespace {

constexpr char kPin = '#';
constexpr std::size_t kHashDigits = 32;

/// "FILE#<content hash>", or a path alone.
struct PinnedPath {
  std::string path;
  std::string hash;  ///< "": not pinned yet
};

PinnedPath split_pin(std::string_view text) {
  const std::size_t at = text.rfind(kPin);
  if (at != std::string_view::npos) {
    const std::string_view tail = text.substr(at + 1);
    if (tail.size() == kHashDigits && tail.find_first_not_of("0123456789abcdef") == std::string_view::npos)
      return {std::string(text.substr(0, at)), std::string(tail)};
  }
  return {std::string(text), ""};
}

struct OpenedTransform {
  std::unique_ptr<TensorSource> file;
  TransformOutline outline;
  std::string hash;
};

OpenedTransform open_transform(const PinnedPath& pinned, const Registries& registries) {
  if (pinned.path.empty()) throw Error("from_file: no file is given; write from_file(path=FILE.safetensors)");
  if (!registries.open_tensors)
    throw Error(fmt::format("from_file: {}: this program has no reader for tensor files", pinned.path));
  OpenedTransform out;
  out.file = registries.open_tensors(pinned.path);
  out.outline = read_outline(*out.file);
  out.hash = out.file->content_hash();
  if (!pinned.hash.empty() && pinned.hash != out.hash)
    throw Error(fmt::format(
        "{}: its content is {}, but {} was asked for: the file has changed; put the old one back, or leave "
        "out '{}{}' to use the new one",
        pinned.path, out.hash, pinned.hash, kPin, pinned.hash));
  return out;
}

/// The canonical form of a path names the content too: it is part of every run's key, so results of another
/// file are never taken for those of this one.
std::string pin(std::string_view text, const Registries& registries) {
  if (text.empty()) return {};
  const PinnedPath pinned = split_pin(text);
  return pinned.path + kPin + open_transform(pinned, registries).hash;
}

/// Stages are told in the words of the steps that find such transforms, so that rotations and permutations
/// behind them are numbered on.
std::string step_text(const OpenedTransform& from, std::size_t stage, const std::vector<std::string>& path) {
  const std::string& kind = from.outline.stages[stage].kind;
  const std::string what = fmt::format("(from {}, stage {})", from.hash, stage);
  if (kind == "block_rotation") return fmt::format("rotation {}{}", next_rotation(path), what);
  if (kind == "permutation") return fmt::format("permutation {}{}", next_permutation(path), what);
  return kind + what;
}

struct FromFile final : Method {
  std::string path;
  Index block = 0;

  Index block_size(Index /*channels*/) const override { return block; }

  // Reading all of it is the check: every reason to refuse is found there.
  void check(Index channels, const Registries& registries) const override {
    const OpenedTransform from = open(channels, registries);
    for (std::size_t k = 0; k < from.outline.stages.size(); ++k)
      (void)read_stage(*from.file, from.outline, k);
  }

  double calibration_work(Index /*tokens*/, Index channels, const Registries& /*registries*/) const override {
    return static_cast<double>(channels);
  }

  void steps(Index channels, const Registries& registries, std::vector<std::string>& told) const override {
    const OpenedTransform from = open(channels, registries);
    for (std::size_t k = 0; k < from.outline.stages.size(); ++k) told.push_back(step_text(from, k, told));
  }

  Chain calibrate(const Calibration& calibration) const override {
    const OpenedTransform from = open(calibration.x.cols(), calibration.registries);
    Calibration at = calibration;
    Chain chain;
    for (std::size_t k = 0; k < from.outline.stages.size(); ++k) {
      const std::string step = step_text(from, k, at.path);
      chain.add(at.find_step(step, [&] { return read_stage(*from.file, from.outline, k); }));
      at.path.push_back(step);
    }
    return chain;
  }

 private:
  OpenedTransform open(Index channels, const Registries& registries) const {
    OpenedTransform out = open_transform(split_pin(path), registries);
    if (out.outline.channels != channels)
      throw Error(fmt::format(
          "{}: the transform is for {} channels, but the layer has {}; choose layers of that width",
          out.file->source(), out.outline.channels, channels));
    return out;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(from_file) {
  using namespace olab;
  r.methods.add(
      Schema<FromFile>("from_file", "A transform out of a file that olab export-transform wrote")
          .param(
              "path", &FromFile::path,
              "the file, relative to the current folder; canonical texts add '#' and the hash of its content")
          .normalize(pin)
          .param("block_size", &FromFile::block,
                 "channels per block for block metrics, as of the exported method; none: 128, or the largest "
                 "divisor below",
                 2, 65536)
          .also("none", 0)
          .note("needs", "path"));
}

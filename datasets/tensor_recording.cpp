#include "datasets/tensor_recording.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdint>

#include "core/error.hpp"
#include "core/hash.hpp"

namespace olab {
namespace {

std::string describe(const TensorPart& part) {
  std::string out = fmt::format("{}: tensor '{}'", part.source, part.info.name);
  if (part.slice >= 0) out += fmt::format(", layer {}", part.slice);
  return out;
}

// The file of a part, still with the tensor that was there when the recording was opened.
std::shared_ptr<const TensorFile> reopen(const TensorPart& part) {
  std::shared_ptr<const TensorFile> file = part.open();
  const TensorInfo& now = file->at(part.info.name);
  if (now.shape != part.info.shape || now.dtype_text != part.info.dtype_text ||
      now.fortran != part.info.fortran)
    throw Error(fmt::format(
        "{}: it was {} {} when the recording was opened and is {} {} now; open the recording again",
        describe(part), part.info.dtype_text, shape_text(part.info.shape), now.dtype_text,
        shape_text(now.shape)));
  return file;
}

void read_into(const TensorPart& part, MatrixRef out) {
  reopen(part)->read_into(part.info.name, part.slice, out);
  if (part.scale) out *= *part.scale;
  check_finite(out, describe(part));
}

void add_hash(Hasher& hasher, const TensorPart& part) {
  const auto file = reopen(part);
  hasher.add(part.slice >= 0 ? file->content_hash(part.info.name, part.slice)
                             : file->content_hash(part.info.name));
  hasher.add(part.scale ? std::uint64_t{std::bit_cast<std::uint32_t>(*part.scale)} : std::uint64_t{1} << 32U);
}

}  // namespace

TensorPart part_of(const std::shared_ptr<const TensorFile>& file, std::string_view tensor) {
  TensorPart part;
  part.open = [file] { return file; };
  part.source = file->source();
  part.info = file->at(tensor);
  return part;
}

TensorRecording::TensorRecording(std::string source, std::vector<LayerParts> layers,
                                 std::map<std::string, std::string> facts)
    : parts_(std::move(layers)), facts_(std::move(facts)) {
  if (parts_.empty()) throw Error(fmt::format("{}: there are no layers in this recording", source));
  std::ranges::sort(parts_,
                    [](const LayerParts& a, const LayerParts& b) { return in_model_order(a.name, b.name); });
  for (const LayerParts& layer : parts_) {
    if (!infos_.empty() && infos_.back().name == layer.name)
      throw Error(fmt::format("{}: two layers are named '{}'", source, layer.name));
    LayerInfo info;
    info.name = layer.name;
    const auto [tokens, in_features] = matrix_shape(layer.x.info, layer.x.slice, layer.x.source);
    info.tokens = tokens;
    info.in_features = in_features;
    info.x_dtype = layer.x.info.dtype_text;
    if (layer.weight) {
      info.out_features = matrix_shape(layer.weight->info, layer.weight->slice, layer.weight->source).first;
      info.w_dtype = layer.weight->info.dtype_text;
    }
    infos_.push_back(std::move(info));
  }
}

std::string TensorRecording::where(std::size_t index) const {
  return fmt::format("{}: layer '{}'", parts_[index].x.source, parts_[index].name);
}

void TensorRecording::check_shapes(std::size_t index) const {
  const LayerParts& parts = parts_.at(index);
  const LayerInfo& info = infos_[index];
  if (info.tokens == 0 || info.in_features == 0)
    throw Error(fmt::format("{}: X has shape {}, so there are no {} in it; record it again", where(index),
                            shape_text(parts.x.info.shape), info.tokens == 0 ? "tokens" : "channels"));
  if (parts.weight) {
    const auto [rows, columns] = matrix_shape(parts.weight->info, parts.weight->slice, parts.weight->source);
    if (columns != info.in_features || rows == 0)
      throw Error(fmt::format("{}: X has shape [{}, {}] and W [{}, {}]; W must be [out_features, {}]{}",
                              where(index), info.tokens, info.in_features, rows, columns, info.in_features,
                              rows == info.in_features ? ", so it may be transposed" : ""));
  }
}

Matrix TensorRecording::load_input(std::size_t index, Index tokens) const {
  assert(tokens >= 0);
  check_shapes(index);
  if (tokens > infos_[index].tokens)
    throw Error(fmt::format("{}: {} tokens were asked for, but X has {}; ask for fewer or record more",
                            where(index), tokens, infos_[index].tokens));
  Matrix out = large_matrix(tokens > 0 ? tokens : infos_[index].tokens, infos_[index].in_features);
  read_into(parts_[index].x, out);
  return out;
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): a writable view
void TensorRecording::load_weight_into(std::size_t index, MatrixRef out) const {
  check_shapes(index);
  if (parts_[index].weight) read_into(*parts_[index].weight, out);
}

void TensorRecording::prefetch(std::size_t index, Index tokens) const {
  const LayerParts& parts = parts_.at(index);
  try {
    parts.x.open()->prefetch(parts.x.info.name, tokens);
    if (parts.weight) parts.weight->open()->prefetch(parts.weight->info.name);
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch): the load that follows will say it
  }
}

std::string TensorRecording::content_hash(std::size_t index) const {
  const LayerParts& parts = parts_.at(index);
  Hasher hasher;
  add_hash(hasher, parts.x);
  if (parts.weight) add_hash(hasher, *parts.weight);
  return hasher.hex();
}

std::string TensorRecording::input_hash(std::size_t index) const {
  Hasher hasher;
  add_hash(hasher, parts_.at(index).x);
  return hasher.hex();
}

std::unique_ptr<Recording> layers_by_name(const std::shared_ptr<const TensorFile>& file,
                                          std::map<std::string, std::string> facts) {
  constexpr std::string_view kSuffix = ".x";
  std::vector<LayerParts> layers;
  for (const TensorInfo& info : file->tensors()) {
    if (!info.name.ends_with(kSuffix) || info.name.size() == kSuffix.size()) continue;
    LayerParts layer;
    layer.name = info.name.substr(0, info.name.size() - kSuffix.size());
    layer.x = part_of(file, info.name);
    const std::string weight = layer.name + ".weight";
    if (file->contains(weight)) layer.weight = part_of(file, weight);
    layers.push_back(std::move(layer));
  }
  if (layers.empty())
    throw Error(fmt::format(
        "{}: none of its {} tensors is named '<layer>.x'; a file is a recording when it holds the "
        "activations of a layer as '<layer>.x' [tokens, in_features], and '<layer>.weight' beside them",
        file->source(), file->tensors().size()));
  return std::make_unique<TensorRecording>(file->source(), std::move(layers), std::move(facts));
}

}  // namespace olab

#include "datasets/recording.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <ostream>
#include <set>
#include <span>
#include <system_error>
#include <tuple>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/text.hpp"
#include "datasets/atomic_file.hpp"
#include "datasets/manifest.hpp"
#include "datasets/path_suggestion.hpp"
#include "datasets/safetensors.hpp"

namespace olab {
namespace fs = std::filesystem;
namespace {

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// A part of a name that compares as a number where it is one: numbers before words, by length and then
// digits.
std::tuple<bool, std::size_t, std::string> natural(std::string_view part) {
  if (!is_number(part)) return {true, 0, std::string(part)};
  part.remove_prefix(std::min(part.find_first_not_of('0'), part.size() - 1));
  return {false, part.size(), std::string(part)};
}

int kind_rank(std::string_view kind) {
  constexpr std::array<std::string_view, 12> kOrder{"q_proj",       "k_proj",   "v_proj",    "qkv_proj",
                                                    "o_proj",       "out_proj", "gate_proj", "up_proj",
                                                    "gate_up_proj", "fc1",      "down_proj", "fc2"};
  const auto it = std::ranges::find(kOrder, kind);
  return static_cast<int>(it - kOrder.begin());
}

using NaturalName = std::vector<std::tuple<bool, std::size_t, std::string>>;

struct OrderKey {
  bool head;          // lm_head is no part of a block
  NaturalName block;  // up to the last number: "model.layers.3"
  int rank;
  NaturalName rest;
};

OrderKey order_key(std::string_view name) {
  const std::vector<std::string> parts = split(name, '.');
  OrderKey key{parts.back() == "lm_head", {}, kind_rank(parts.back()), {}};
  const auto last_number =
      std::find_if(parts.rbegin(), parts.rend(), [](const std::string& p) { return is_number(p); });
  const auto block_end = last_number.base();
  for (auto it = parts.begin(); it != block_end; ++it) key.block.push_back(natural(*it));
  for (auto it = block_end; it != parts.end(); ++it) key.rest.push_back(natural(*it));
  return key;
}

[[noreturn]] void refuse_unknown(const fs::path& path, const Registries& registries) {
  std::string known;
  for (const std::string& name : registries.readers.names())
    known += fmt::format("\n  {}: {}", name, registries.readers.info(name).summary);
  throw Error(fmt::format("{}: no reader knows this {}; the readers are{}", path.string(),
                          fs::is_directory(path) ? "folder" : "file", known.empty() ? " none" : known));
}

}  // namespace

Recording::~Recording() = default;

Matrix Recording::load_weight(std::size_t index) const {
  const LayerInfo& info = layers().at(index);
  Matrix out = large_matrix(info.out_features, info.in_features);
  load_weight_into(index, out);
  return out;
}

Layer Recording::load(std::size_t index, Index tokens) const {
  return {layers().at(index).name, load_input(index, tokens), load_weight(index)};
}

Reader::~Reader() = default;

std::unique_ptr<Recording> open_recording(const fs::path& path, const Registries& registries) {
  std::error_code error;
  if (!fs::exists(path, error))
    throw Error(fmt::format("{}: there is no such recording{}", path.string(), path_suggestion(path)));
  std::unique_ptr<Reader> found;
  std::vector<std::string> fitting;
  for (const std::string& name : registries.readers.names()) {
    std::unique_ptr<Reader> reader = registries.readers.make(Spec{name, {}}, registries);
    if (!reader->recognises(path)) continue;
    fitting.push_back(name);
    found = std::move(reader);
  }
  if (fitting.empty()) refuse_unknown(path, registries);
  if (fitting.size() > 1)
    throw Error(
        fmt::format("{}: the readers {} all claim it; give one of the files in it, or move them apart",
                    path.string(), fmt::join(fitting, ", ")));
  return found->open(path);
}

std::string layer_kind(std::string_view layer_name) {
  return std::string(layer_name.substr(layer_name.rfind('.') + 1));  // npos + 1 is 0
}

bool in_model_order(std::string_view a, std::string_view b) {
  const OrderKey left = order_key(a);
  const OrderKey right = order_key(b);
  const auto tie = [](const OrderKey& key, std::string_view name) {
    return std::tuple<bool, const NaturalName&, int, const NaturalName&, std::string_view>(
        key.head, key.block, key.rank, key.rest, name);
  };
  return tie(left, a) < tie(right, b);
}

struct RecordingWriter::State {
  fs::path folder;
  DType dtype = DType::f32;
  Manifest manifest;
  std::set<std::string> names;
  std::map<std::string, TensorPlace> inputs;  ///< where an X lies, by the hash of its values
  std::vector<fs::path> written;
  bool made_folder = false;
  bool finished = false;
};

RecordingWriter::RecordingWriter(fs::path folder, std::string dtype, std::map<std::string, std::string> facts)
    : state_(std::make_unique<State>()) {
  state_->dtype = find_dtype(dtype);
  if (!is_floating(state_->dtype) || state_->dtype == DType::f64)
    throw Error(fmt::format("recording dtype '{}': F32, F16 or BF16 was expected", dtype));
  require_no_content(folder);
  std::error_code error;
  if (!fs::exists(folder, error)) {
    if (!fs::create_directories(folder, error) && error)
      throw Error(fmt::format("{}: the folder cannot be made ({})", folder.string(), error.message()));
    state_->made_folder = true;
  }
  state_->folder = std::move(folder);
  state_->manifest.facts = std::move(facts);
}

RecordingWriter::~RecordingWriter() {
  if (state_->finished) return;
  std::error_code ignored;
  for (const fs::path& file : state_->written) fs::remove(file, ignored);
  if (state_->made_folder) fs::remove(state_->folder, ignored);  // only where it is empty
}

void RecordingWriter::add(const Layer& layer) {
  const std::string where = fmt::format("{}: layer '{}'", state_->folder.string(), layer.name);
  if (layer.name.empty()) throw Error(fmt::format("{}: it has no name", where));
  if (state_->names.contains(layer.name)) throw Error(fmt::format("{}: it was added before", where));
  if (layer.x.size() == 0) throw Error(fmt::format("{}: X has no tokens or no channels", where));
  const bool has_weight = layer.w.rows() > 0;
  if (has_weight && layer.w.cols() != layer.x.cols())
    throw Error(
        fmt::format("{}: X has shape [{}, {}] and W [{}, {}]; both must have the same number of columns",
                    where, layer.x.rows(), layer.x.cols(), layer.w.rows(), layer.w.cols()));
  check_finite(layer.x, where + ", X");
  check_finite(layer.w, where + ", W");

  std::vector<std::byte> x;
  std::vector<std::byte> w;
  const auto bytes_of = [&](const Matrix& values,
                            std::vector<std::byte>& copy) -> std::span<const std::byte> {
    if (state_->dtype == DType::f32)
      return std::as_bytes(std::span(values.data(), static_cast<std::size_t>(values.size())));
    copy = encode(values, state_->dtype);
    return copy;
  };
  const std::string file_name = fmt::format("{:03}.safetensors", state_->manifest.layers.size());
  const std::string x_hash =
      Hasher()
          .add(static_cast<std::uint64_t>(layer.x.rows()))
          .add(std::as_bytes(std::span(layer.x.data(), static_cast<std::size_t>(layer.x.size()))))
          .hex();
  const auto [place, is_new] = state_->inputs.try_emplace(x_hash, TensorPlace{file_name, "x"});
  std::vector<TensorView> tensors;
  try {
    if (is_new)
      tensors.push_back({"x", state_->dtype, {layer.x.rows(), layer.x.cols()}, bytes_of(layer.x, x)});
    if (has_weight)
      tensors.push_back({"weight", state_->dtype, {layer.w.rows(), layer.w.cols()}, bytes_of(layer.w, w)});
  } catch (const Error& e) {
    throw Error(fmt::format("{}: {}", where, e.what()));
  }

  ManifestLayer entry;
  entry.name = layer.name;
  entry.tokens = layer.x.rows();
  entry.in_features = layer.x.cols();
  entry.out_features = layer.w.rows();
  entry.x = place->second;
  if (has_weight) entry.weight = TensorPlace{file_name, "weight"};
  if (!tensors.empty()) {
    const fs::path file = state_->folder / file_name;
    write_safetensors(file, std::move(tensors), {{"layer", layer.name}});
    state_->written.push_back(file);
  }
  state_->names.insert(layer.name);
  state_->manifest.layers.push_back(std::move(entry));
}

void RecordingWriter::finish() {
  if (state_->manifest.layers.empty())
    throw Error(
        fmt::format("{}: no layer was added, so there is nothing to record", state_->folder.string()));
  const std::string text = manifest_text(state_->manifest);
  write_atomically(state_->folder / "manifest.json", [&](std::ostream& out) { out << text; });
  state_->finished = true;
}

}  // namespace olab

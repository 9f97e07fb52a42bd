// Small llama2.c models as .npz: recorded inputs "layers.N.{attn_in,o_in,ffn_in,down_in}" and weights that
// are stacked by layer, plain ("wq" [layers, out, in]) or ternary ("wq_ternary" with one factor a layer,
// "wq_scale").
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <system_error>

#include "core/text.hpp"
#include "datasets/npz.hpp"
#include "datasets/tensor_recording.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;

struct Linear {
  std::string_view input;   // of the recorded activations
  std::string_view weight;  // of the weights
  std::string_view name;    // in Hugging Face
};
constexpr std::array<Linear, 7> kLinears{{{"attn_in", "wq", "self_attn.q_proj"},
                                          {"attn_in", "wk", "self_attn.k_proj"},
                                          {"attn_in", "wv", "self_attn.v_proj"},
                                          {"o_in", "wo", "self_attn.o_proj"},
                                          {"ffn_in", "w1", "mlp.gate_proj"},
                                          {"ffn_in", "w3", "mlp.up_proj"},
                                          {"down_in", "w2", "mlp.down_proj"}}};

std::vector<fs::path> files_where(const fs::path& folder, const auto& wanted) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".npz" && wanted(it->path().stem().string())) out.push_back(it->path());
  std::ranges::sort(out);
  return out;
}

std::vector<fs::path> activation_files(const fs::path& folder) {
  return files_where(folder,
                     [](const std::string& stem) { return stem.starts_with("recorded_activations"); });
}

std::string list_names(const std::vector<fs::path>& files) {
  std::string out;
  for (const fs::path& file : files) out += (out.empty() ? "" : ", ") + file.filename().string();
  return out;
}

// One recorded input of one layer: "layers.3.attn_in" → 3, "attn_in".
struct Input {
  Index layer = 0;
  std::string_view kind;
};
bool parse_input(std::string_view name, Input& out) {
  const auto dot = name.rfind('.');
  constexpr std::string_view kPrefix = "layers.";
  if (!name.starts_with(kPrefix) || dot <= kPrefix.size()) return false;
  out.kind = name.substr(dot + 1);
  std::int64_t layer = 0;
  if (!parse_integer(name.substr(kPrefix.size(), dot - kPrefix.size()), layer) || layer < 0) return false;
  out.layer = layer;
  return std::ranges::any_of(kLinears, [&](const Linear& l) { return l.input == out.kind; });
}

using File = std::shared_ptr<const TensorFile>;

// All recorded inputs by name; several files together are one recording.
std::map<std::string, TensorPart> unite(const std::vector<fs::path>& files, const fs::path& folder) {
  std::map<std::string, TensorPart> out;
  for (const fs::path& path : files) {
    const File file = open_npz(path);
    for (const TensorInfo& info : file->tensors()) {
      Input input;
      if (!parse_input(info.name, input)) continue;
      const auto [it, fresh] = out.emplace(info.name, part_of(file, info.name));
      if (!fresh)
        throw Error(fmt::format(
            "{}: '{}' stands in {} and in {}; move the files of different models to folders of their "
            "own",
            folder.string(), info.name, it->second.source, path.string()));
    }
  }
  if (out.empty())
    throw Error(fmt::format("{}: {} hold no 'layers.N.attn_in', 'o_in', 'ffn_in' or 'down_in'",
                            folder.string(), list_names(files)));
  return out;
}

// The weight of layer `layer`, or what is wrong with it.
std::optional<TensorPart> find_weight(const File& file, std::string_view weight, Index layer,
                                      const TensorPart& x, std::string& reason) {
  const std::string plain(weight);
  const std::string ternary = plain + "_ternary";
  const bool is_ternary = !file->contains(plain) && file->contains(ternary);
  if (!is_ternary && !file->contains(plain)) {
    reason = fmt::format("it has no '{}'", plain);
    return std::nullopt;
  }
  TensorPart part = part_of(file, is_ternary ? ternary : plain);
  const std::vector<Index>& shape = part.info.shape;
  const Index width = matrix_shape(x.info, -1, x.source).second;
  if (shape.size() != 3 || layer >= shape[0] || shape[2] != width) {
    reason = fmt::format("'{}' is {}, but '{}' is {}", part.info.name, shape_text(shape), x.info.name,
                         shape_text(x.info.shape));
    return std::nullopt;
  }
  part.slice = layer;
  if (is_ternary) {
    const std::string name = plain + "_scale";
    if (!file->contains(name) || file->at(name).shape != std::vector<Index>{shape[0]}) {
      reason = fmt::format("it has no '{}' with one factor for each of {} layers", name, shape[0]);
      return std::nullopt;
    }
    part.scale = file->read_matrix(name)(0, layer);
  }
  return part;
}

std::optional<std::vector<LayerParts>> combine(const std::map<std::string, TensorPart>& inputs,
                                               const File& weights, std::string& reason) {
  std::vector<LayerParts> layers;
  for (const auto& [name, x] : inputs) {
    Input input;
    parse_input(name, input);
    for (const Linear& linear : kLinears) {
      if (linear.input != input.kind) continue;
      std::optional<TensorPart> weight = find_weight(weights, linear.weight, input.layer, x, reason);
      if (!weight) return std::nullopt;
      layers.push_back({fmt::format("model.layers.{}.{}", input.layer, linear.name), x, std::move(weight)});
    }
  }
  return layers;
}

class Llama2cReader final : public Reader {
 public:
  bool recognises(const fs::path& path) const override {
    std::error_code ignored;
    return fs::is_directory(path, ignored) && !fs::exists(path / "manifest.json", ignored) &&
           !activation_files(path).empty();
  }
  std::unique_ptr<Recording> open(const fs::path& path) const override {
    const auto inputs = unite(activation_files(path), path);
    const auto candidates =
        files_where(path, [](const std::string& stem) { return stem.ends_with("_weights"); });
    std::optional<std::vector<LayerParts>> layers;
    std::vector<fs::path> fitting;
    std::string reasons;
    for (const fs::path& candidate : candidates) {
      std::string reason;
      auto found = combine(inputs, open_npz(candidate), reason);
      if (found) {
        fitting.push_back(candidate);
        layers = std::move(found);
      } else {
        reasons += fmt::format("; {}: {}", candidate.filename().string(), reason);
      }
    }
    if (fitting.empty())
      throw Error(fmt::format("{}: no '*_weights.npz' fits the recorded activations{}", path.string(),
                              candidates.empty() ? std::string("; there is none in the folder") : reasons));
    if (fitting.size() > 1)
      throw Error(
          fmt::format("{}: several weights fit the recorded activations ({}); leave one in the folder",
                      path.string(), list_names(fitting)));
    std::string model = fitting.front().stem().string();
    model.resize(model.size() - std::string_view("_weights").size());
    return std::make_unique<TensorRecording>(
        path.string(), *std::move(layers),
        std::map<std::string, std::string>{{"model", std::move(model)},
                                           {"format", "llama2.c weights as npz"}});
  }
};

}  // namespace

}  // namespace olab

OLAB_REGISTER(llama2c) {
  r.readers.add(olab::Schema<olab::Llama2cReader>(
      "llama2c", "A folder with recorded_activations*.npz and *_weights.npz of a llama2.c model",
      "karpathy/llama2.c"));
}

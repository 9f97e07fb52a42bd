#include "models/checkpoint.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <system_error>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/parallel.hpp"
#include "datasets/path_suggestion.hpp"
#include "datasets/safetensors.hpp"
#include "models/architecture.hpp"
#include "models/json_config.hpp"
#include "models/model_tensors.hpp"

namespace olab {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kConfig = "config.json";
constexpr std::string_view kWeights = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kBaseModel = "model.";

void require_folder(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error))
    throw Error(fmt::format("{}: there is no such model{}", folder.string(), path_suggestion(folder)));
  if (!fs::is_directory(folder, error))
    throw Error(fmt::format("{}: a model is a folder with {} and {}, but this is a file", folder.string(),
                            kConfig, kWeights));
  if (!fs::exists(folder / kConfig, error))
    throw Error(
        fmt::format("{}: there is no {} in this folder, so it holds no model in the format of Hugging "
                    "Face",
                    folder.string(), kConfig));
}

// The files whose names end like weights in formats that are not read.
std::string other_weights(const fs::path& folder) {
  std::error_code error;
  std::set<std::string> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    for (const char* extension : {".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack"})
      if (it->path().extension() == extension) found.insert(it->path().filename().string());
  return fmt::format("{}", fmt::join(found, ", "));
}

[[noreturn]] void refuse_without_weights(const fs::path& folder) {
  const std::string others = other_weights(folder);
  throw Error(fmt::format("{}: there is no {} and no {} in this folder{}", folder.string(), kWeights, kIndex,
                          others.empty()
                              ? std::string("; download the weights too")
                              : fmt::format("; {} cannot be read, so save the model as safetensors "
                                            "(save_pretrained with safe_serialization=True)",
                                            others)));
}

ModelSpec read_spec(const fs::path& folder, const Registries& registries) {
  const ConfigNode config = load_json(folder / kConfig, "model's config");
  if (!config.is_map()) config.fail("an object {…} was expected");
  const ConfigNode& list = config.at("architectures");
  const std::vector<std::string> names = list.texts("it");
  if (names.size() != 1) list.fail(fmt::format("it names {} architectures; one was expected", names.size()));
  const std::vector<std::string> known = registries.architectures.names();
  if (!registries.architectures.contains(names.front()))
    list.fail(fmt::format("the architecture '{}' is not supported; supported are {}", names.front(),
                          fmt::join(known, ", ")));
  ModelSpec spec = registries.architectures.make(Spec{names.front(), {}}, registries)->read(config);
  spec.architecture = names.front();
  return spec;
}

std::map<std::string, std::string> shards_of(const ConfigNode& root) {
  if (!root.is_map()) root.fail("an object {…} was expected");
  const ConfigNode& map = root.at("weight_map");
  if (!map.is_map() || map.entries.empty()) map.fail("it must map the names of tensors to files");
  std::map<std::string, std::string> out;
  for (const auto& [tensor, node] : map.entries) {
    const std::string& file = node.text("it");
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos)
      node.fail(fmt::format("a plain name of a file in the model's folder was expected, not '{}'", file));
    out.emplace(tensor, file);
  }
  return out;
}

// All that decides what the model computes but its tensors.
std::string model_text(const ModelSpec& s) {
  return fmt::format(
      "{} vocab={} hidden={} intermediate={} layers={} heads={} kv_heads={} head_dim={} positions={} norm={} "
      "eps={} rotary={} rope={} theta={} factor={} low={} high={} original={} offset={} gated={} "
      "activation={} qk_norm={} tied={}",
      s.architecture, s.vocab_size, s.hidden_size, s.intermediate_size, s.layers, s.heads, s.kv_heads,
      s.head_dim, s.max_positions, static_cast<int>(s.norm), s.norm_eps, s.rotary,
      static_cast<int>(s.rope.kind), s.rope.theta, s.rope.factor, s.rope.low_freq_factor,
      s.rope.high_freq_factor, s.rope.original_max_positions, s.position_offset, s.gated,
      static_cast<int>(s.activation), s.query_key_norm, s.tied_head);
}

double elements(const ModelTensor& tensor) {
  double out = 1;
  for (const Index extent : tensor.shape) out *= static_cast<double>(extent);
  return out;
}

}  // namespace

std::map<std::string, std::string> parse_shard_index(std::string_view text, const std::string& source) {
  return shards_of(parse_json(text, source));
}

struct Checkpoint::State {
  std::vector<std::unique_ptr<TensorFile>> files;
  std::map<std::string, const TensorFile*, std::less<>> places;  // by the name in the file
  std::vector<ModelTensor> tensors;                              // of the model
  std::string source;                                            // of all tensors, for messages
  bool without_prefix = false;  // saved without the head: no "model." before the names
  std::once_flag hashed;
  std::string hash;

  void open(const fs::path& folder);
  void open_shards(const fs::path& folder);
  // The name of a tensor in the files.
  std::string_view stored_name(std::string_view name) const {
    if (without_prefix && name.starts_with(kBaseModel)) name.remove_prefix(kBaseModel.size());
    return name;
  }
  const TensorFile& file_of(std::string_view name) const;
  const TensorInfo& info(std::string_view name) const { return file_of(name).at(stored_name(name)); }
  void check(const ModelTensor& wanted) const;
  void take(std::vector<ModelTensor> wanted) {
    for (ModelTensor& tensor : wanted) {
      check(tensor);
      tensors.push_back(std::move(tensor));
    }
  }
};

void Checkpoint::State::open(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder / kWeights, error)) {
    if (!fs::exists(folder / kIndex, error)) refuse_without_weights(folder);
    open_shards(folder);
    return;
  }
  source = (folder / kWeights).string();
  files.push_back(open_safetensors(folder / kWeights));
  for (const TensorInfo& info : files.front()->tensors()) places.emplace(info.name, files.front().get());
}

void Checkpoint::State::open_shards(const fs::path& folder) {
  source = (folder / kIndex).string();
  std::map<std::string, const TensorFile*> opened;
  for (const auto& [tensor, file] : shards_of(load_json(folder / kIndex, "index of shards"))) {
    const TensorFile*& shard = opened[file];
    if (shard == nullptr) {
      std::error_code error;
      if (!fs::exists(folder / file, error))
        throw Error(
            fmt::format("{}: the index names the shard {} (for '{}'), which is not there; download it",
                        source, file, tensor));
      files.push_back(open_safetensors(folder / file));
      shard = files.back().get();
    }
    if (!shard->contains(tensor))
      throw Error(
          fmt::format("{}: '{}' should lie in {}, which has no such tensor; index and shards do not "
                      "belong together, so download them again",
                      source, tensor, file));
    places.emplace(tensor, shard);
  }
}

const TensorFile& Checkpoint::State::file_of(std::string_view name) const {
  const auto it = places.find(stored_name(name));
  if (it != places.end()) return *it->second;
  throw Error(fmt::format(
      "{}: the tensor '{}' is missing among its {}; it is incomplete or does not belong to the {} "
      "beside it, so download both again",
      source, stored_name(name), places.size(), kConfig));
}

void Checkpoint::State::check(const ModelTensor& wanted) const {
  const TensorFile& file = file_of(wanted.name);
  const TensorInfo& found = file.at(stored_name(wanted.name));
  if (found.shape != wanted.shape)
    throw Error(fmt::format("{}: tensor '{}' has shape {}, but by {} it must have {}", file.source(),
                            found.name, shape_text(found.shape), kConfig, shape_text(wanted.shape)));
  if (!is_floating(found.dtype))
    throw Error(
        fmt::format("{}: tensor '{}' is {}; F32, F16, BF16 and F64 can be read, so take the original "
                    "model or dequantize it first",
                    file.source(), found.name, found.dtype_text));
}

Checkpoint::Checkpoint(fs::path folder, const Registries& registries)
    : folder_(std::move(folder)), state_(std::make_unique<State>()) {
  require_folder(folder_);
  spec_ = read_spec(folder_, registries);
  state_->open(folder_);
  state_->without_prefix =
      !state_->places.contains(spec_.embedding) && spec_.embedding.starts_with(kBaseModel) &&
      state_->places.contains(std::string_view(spec_.embedding).substr(kBaseModel.size()));
  state_->take(outer_tensors(spec_));
  // Block by block: the number of blocks is only believed as far as there are tensors.
  for (Index block = 0; block < spec_.layers; ++block) state_->take(block_tensors(spec_, block));
}

Checkpoint::~Checkpoint() = default;

std::string Checkpoint::name() const {
  const fs::path path = fs::absolute(folder_).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

Matrix Checkpoint::read(const std::string& tensor) const {
  const TensorFile& file = state_->file_of(tensor);
  const std::string_view stored = state_->stored_name(tensor);
  Matrix out = file.read_matrix(stored);
  check_finite(out, fmt::format("{}: tensor '{}'", file.source(), stored));
  return out;
}

void Checkpoint::prefetch_block(Index block) const {
  for (const ModelTensor& tensor : block_tensors(spec_, block))
    state_->file_of(tensor.name).prefetch(state_->stored_name(tensor.name));
}

double Checkpoint::parameters() const {
  double out = 0;
  for (const ModelTensor& tensor : state_->tensors) out += elements(tensor);
  return out;
}

double Checkpoint::bytes() const {
  double out = 0;
  for (const ModelTensor& tensor : state_->tensors)
    out += elements(tensor) * static_cast<double>(dtype_size(state_->info(tensor.name).dtype));
  return out;
}

std::string Checkpoint::dtype() const {
  return state_->info(spec_.embedding).dtype_text;
}

const std::string& Checkpoint::content_hash() const {
  std::call_once(state_->hashed, [&] {
    std::vector<std::string> hashes(state_->tensors.size());
    parallel_for(static_cast<Index>(hashes.size()), 1, [&](Index begin, Index end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        const std::string& name = state_->tensors[i].name;
        hashes[i] = state_->file_of(name).content_hash(state_->stored_name(name));
      }
    });
    Hasher hasher;
    hasher.add(model_text(spec_));
    for (std::size_t i = 0; i < hashes.size(); ++i) hasher.add(state_->tensors[i].name).add(hashes[i]);
    state_->hash = hasher.hex();
  });
  return state_->hash;
}

}  // namespace olab

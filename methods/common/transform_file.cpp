#include "methods/common/transform_file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "core/config.hpp"
#include "core/error.hpp"
#include "core/linalg.hpp"
#include "core/text.hpp"

namespace olab {
namespace {

constexpr const char* kRemedy = "write it again with olab export-transform";
constexpr double kSameMatrix = 1e-5;
constexpr double kOrthogonal = 1e-3;

/// A kind of stage with the tensors that it has: the first always, the others (blank: none) perhaps.
struct StageKind {
  std::string_view name;
  std::array<std::string_view, 3> tensors;
};
constexpr std::array<StageKind, 4> kKinds{{{"channel_scale", {"scale"}},
                                           {"permutation", {"order"}},
                                           {"block_rotation", {"rotation"}},
                                           {"hadamard", {"block", "signs", "core"}}}};

const StageKind* find_kind(std::string_view name) {
  const auto* const it = std::ranges::find(kKinds, name, &StageKind::name);
  return it == kKinds.end() ? nullptr : it;
}

std::vector<std::string> kind_names() {
  std::vector<std::string> out;
  for (const StageKind& kind : kKinds) out.emplace_back(kind.name);
  return out;
}

/// Hands tensors on and remembers their names.
class NamingSink final : public TensorSink {
 public:
  explicit NamingSink(TensorSink& to) : to_(to) {}
  void put(const std::string& name, const ConstMatrixRef& values) override {
    names_.push_back(name);
    to_.put(name, values);
  }
  void put(const std::string& name, std::span<const Index> values) override {
    names_.push_back(name);
    to_.put(name, values);
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  TensorSink& to_;
  std::vector<std::string> names_;
};

bool is_hartley(const Transform& transform) {
  std::vector<OnlineStage> stages;
  return transform.append_online(stages) && stages.size() == 1 &&
         stages.front().kind == OnlineStage::Kind::hadamard && stages.front().hadamard->factor().is_hartley();
}

std::string stages_text(const Chain& chain, const std::vector<std::string>& names) {
  std::vector<std::string> entries;
  for (std::size_t k = 0; k < chain.transforms().size(); ++k) {
    const Transform& transform = *chain.transforms()[k];
    const std::string prefix = fmt::format("{}.{}.", k, transform.kind());
    std::vector<std::string> tensors;
    for (const std::string& name : names)
      if (name.starts_with(prefix))
        tensors.push_back(fmt::format(R"("{}": "{}")", name.substr(prefix.size()), name));
    std::string extra;
    if (std::ranges::find(names, prefix + "core") != names.end())
      extra = fmt::format(R"("odd_part": "{}", )", is_hartley(transform) ? "hartley" : "hadamard");
    entries.push_back(fmt::format(R"({{"kind": "{}", {}"tensors": {{{}}}}})", transform.kind(), extra,
                                  fmt::join(tensors, ", ")));
  }
  return fmt::format("[{}]", fmt::join(entries, ", "));
}

const std::string& metadata_text(const TensorSource& file, const std::string& key) {
  const auto it = file.metadata().find(key);
  if (it == file.metadata().end())
    throw Error(fmt::format("{}: the metadata '{}' is missing: the file is damaged; {}", file.source(), key,
                            kRemedy));
  return it->second;
}

std::int64_t metadata_number(const TensorSource& file, const std::string& key) {
  const std::string& text = metadata_text(file, key);
  std::int64_t out = 0;
  if (!parse_integer(text, out) || out < 1)
    throw Error(
        fmt::format("{}: the metadata '{}' is '{}', expected a whole number from 1 on: the file is "
                    "damaged; {}",
                    file.source(), key, text, kRemedy));
  return out;
}

StageEntry read_entry(const ConfigNode& node) {
  node.require_map("a stage", {"kind", "odd_part", "tensors"});
  StageEntry out;
  out.kind = node.at("kind").text("'kind'");
  const StageKind* const kind = find_kind(out.kind);
  if (kind == nullptr)
    node.at("kind").fail(
        fmt::format("no stage is called '{}'{}", out.kind, suggestion(out.kind, kind_names())));
  std::vector<std::string> known;
  for (const std::string_view role : kind->tensors)
    if (!role.empty()) known.emplace_back(role);
  const ConfigNode& tensors = node.at("tensors");
  tensors.require_map(fmt::format("'tensors' of a {}", out.kind), known);
  (void)tensors.at(known.front());
  for (const auto& [role, name] : tensors.entries) out.tensors.emplace(role, name.text("a tensor's name"));
  if (const ConfigNode* odd = node.find("odd_part")) {
    const std::string& word = odd->text("'odd_part'");
    if (word != "hadamard" && word != "hartley")
      odd->fail(fmt::format("'odd_part' must be hadamard or hartley, not '{}'", word));
    if (!out.tensors.contains("core")) odd->fail("there is an 'odd_part', but no tensor 'core'");
    out.hartley = word == "hartley";
  } else if (out.tensors.contains("core")) {
    node.fail("there is a tensor 'core', but no 'odd_part'");
  }
  return out;
}

/// Every tensor of the file belongs to one stage: a list that lost an entry must not pass for a shorter one.
void check_tensors(const TensorSource& file, const TransformOutline& outline) {
  const std::vector<std::string> names = file.names();
  std::set<std::string> left(names.begin(), names.end());
  for (std::size_t k = 0; k < outline.stages.size(); ++k) {
    for (const auto& [role, name] : outline.stages[k].tensors) {
      if (left.erase(name) == 1) continue;
      const bool twice = std::ranges::find(names, name) != names.end();
      throw Error(fmt::format("stage {} ({}): the tensor '{}' {}", k, outline.stages[k].kind, name,
                              twice ? "belongs to another stage already" : "is not in the file"));
    }
  }
  if (!left.empty())
    throw Error(fmt::format("no stage names the tensor '{}'; {} stages are listed", *left.begin(),
                            outline.stages.size()));
}

Matrix matrix_of(const TensorSource& file, const StageEntry& entry, const std::string& role) {
  return file.matrix(entry.tensors.at(role));
}

Vector row_of(const TensorSource& file, const StageEntry& entry, const std::string& role, Index channels) {
  const Matrix values = matrix_of(file, entry, role);
  if (values.rows() != 1 || values.cols() != channels)
    throw Error(
        fmt::format("'{}' is {} x {}, expected 1 x {}", role, values.rows(), values.cols(), channels));
  return values.row(0);
}

std::shared_ptr<const Transform> read_permutation(const TensorSource& file, const StageEntry& entry,
                                                  Index channels) {
  const std::vector<Index> order = file.indices(entry.tensors.at("order"));
  if (static_cast<Index>(order.size()) != channels)
    throw Error(fmt::format("'order' holds {} channels, expected {}", order.size(), channels));
  return make_permutation(order);
}

std::shared_ptr<const Transform> read_rotation(const TensorSource& file, const StageEntry& entry,
                                               Index channels) {
  const Matrix all = matrix_of(file, entry, "rotation");
  const Index b = all.cols();
  if (b < 1 || all.rows() < 1 || all.rows() % b != 0)
    throw Error(fmt::format("'rotation' is {} x {}, expected square matrices one below the other", all.rows(),
                            all.cols()));
  std::vector<Matrix> rotations;
  for (Index first = 0; first < all.rows(); first += b) rotations.emplace_back(all.middleRows(first, b));
  return make_block_rotation(channels, rotations);
}

OddFactor read_factor(const TensorSource& file, const StageEntry& entry) {
  if (!entry.tensors.contains("core")) return {};
  const Matrix core = matrix_of(file, entry, "core");
  const Index m = core.rows();
  if (m != core.cols() || m < 2)
    throw Error(fmt::format("'core' is {} x {}, expected a square matrix", core.rows(), core.cols()));
  if (entry.hartley) {
    if (m % 2 == 0) throw Error(fmt::format("'core' has order {}, but Hartley's factor is odd", m));
    OddFactor factor = OddFactor::hartley(m);
    // The file's own values only confirm what the odd part is: it is applied by its halves.
    if (!((factor.matrix() - core).cwiseAbs().maxCoeff() <= kSameMatrix))
      throw Error(fmt::format("'core' is not Hartley's matrix of order {}", m));
    return factor;
  }
  if (!(core.array().abs() == 1.0F).all()) throw Error("'core' holds entries other than 1 and -1");
  const double off = orthogonality_error(Matrix(core / std::sqrt(static_cast<float>(m))));
  if (!(off <= kOrthogonal))
    throw Error(fmt::format("'core' is no Hadamard matrix: max |F^T F / {} - I| is {:.3g}", m, off));
  return OddFactor::signs(core);
}

std::shared_ptr<const Transform> read_hadamard(const TensorSource& file, const StageEntry& entry,
                                               Index channels) {
  const std::vector<Index> block = file.indices(entry.tensors.at("block"));
  if (block.size() != 1) throw Error(fmt::format("'block' holds {} numbers, expected one", block.size()));
  Vector signs;
  if (entry.tensors.contains("signs")) signs = row_of(file, entry, "signs", channels);
  return make_hadamard_of(channels, block.front(), read_factor(file, entry), std::move(signs));
}

}  // namespace

std::map<std::string, std::string> save_transform(const Chain& chain, Index channels, TensorSink& sink) {
  for (std::size_t k = 0; k < chain.transforms().size(); ++k) {
    const std::string kind = chain.transforms()[k]->kind();
    if (find_kind(kind) == nullptr)
      throw Error(
          fmt::format("transform {} of the chain is a {}, which transform files do not know; known: {}", k,
                      kind, fmt::join(kind_names(), ", ")));
  }
  NamingSink naming(sink);
  chain.save(naming);
  return {{"format", std::string(kTransformFormat)},
          {"format_version", std::to_string(kTransformVersion)},
          {"channels", std::to_string(channels)},
          {"stages", stages_text(chain, naming.names())}};
}

TransformOutline read_outline(const TensorSource& file) {
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() || format->second != kTransformFormat)
    throw Error(
        fmt::format("{}: it holds no transform: the metadata 'format' is {}, expected '{}'; write one "
                    "with olab export-transform",
                    file.source(), format == file.metadata().end() ? "missing" : "'" + format->second + "'",
                    kTransformFormat));
  const std::int64_t version = metadata_number(file, "format_version");
  if (version > kTransformVersion)
    throw Error(
        fmt::format("{}: it has version {} of the format, this program reads up to version {}; use a "
                    "newer olab, or export it again with this one",
                    file.source(), version, kTransformVersion));
  TransformOutline out;
  out.channels = metadata_number(file, "channels");
  const std::string& text = metadata_text(file, "stages");
  try {
    // JSON is YAML, and this reader knows places and near names.
    const ConfigNode list = parse_yaml(text, "stages");
    list.require_list("the list of stages");
    for (const ConfigNode& node : list.items) out.stages.push_back(read_entry(node));
    check_tensors(file, out);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: the list of stages is damaged: {}; {}", file.source(), e.what(), kRemedy));
  }
  return out;
}

std::shared_ptr<const Transform> read_stage(const TensorSource& file, const TransformOutline& outline,
                                            std::size_t stage) {
  const StageEntry& entry = outline.stages.at(stage);
  try {
    if (entry.kind == "channel_scale")
      return make_channel_scale(row_of(file, entry, "scale", outline.channels));
    if (entry.kind == "permutation") return read_permutation(file, entry, outline.channels);
    if (entry.kind == "block_rotation") return read_rotation(file, entry, outline.channels);
    return read_hadamard(file, entry, outline.channels);
  } catch (const Error& e) {
    throw Error(fmt::format("{}: stage {} ({}) cannot be used: {}; {}", file.source(), stage, entry.kind,
                            e.what(), kRemedy));
  }
}

Chain read_transform(const TensorSource& file) {
  const TransformOutline outline = read_outline(file);
  Chain chain;
  for (std::size_t k = 0; k < outline.stages.size(); ++k) chain.add(read_stage(file, outline, k));
  return chain;
}

}  // namespace olab

#include "models/record.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "core/config.hpp"
#include "core/hash.hpp"
#include "core/library_product.hpp"
#include "core/text.hpp"
#include "datasets/atomic_file.hpp"
#include "datasets/recording.hpp"
#include "datasets/safetensors.hpp"
#include "datasets/safetensors_rows.hpp"
#include "models/checkpoint.hpp"
#include "models/decoder.hpp"
#include "models/tokenizer.hpp"

namespace olab {
namespace fs = std::filesystem;
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

constexpr Index kLongestDefaultContext = 2048;
// Of windows that are embedded together: reading the embedding costs more than using it.
constexpr Index kEmbeddedValues = Index{1} << 24;

constexpr double kProgramBytes = 32 << 20;  // of the program and its libraries in memory

struct RecordDType {
  DType dtype;
  std::string_view name;        // of the option
  std::string_view torch_name;  // as PyTorch says it
  float limit;                  // the smallest magnitude that is rounded to infinity
};
constexpr std::array<RecordDType, 3> kDTypes{
    {{DType::bf16, "bf16", "bfloat16", std::bit_cast<float>(0x7F7F8000U)},
     {DType::f16, "fp16", "float16", 65520.0F},
     {DType::f32, "fp32", "float32", std::numeric_limits<float>::infinity()}}};

const RecordDType& record_dtype(DType dtype) {
  const auto* const it = std::ranges::find(kDTypes, dtype, &RecordDType::dtype);
  if (it == kDTypes.end())
    throw Error(fmt::format("recording dtype {}: BF16, F16 or F32 was expected", dtype_name(dtype)));
  return *it;
}

// A value that cannot be recorded, now or ever.
class BadValue : public Error {
 public:
  using Error::Error;
};

// `where(row, column)` says whose value it is.
template <class F>
void check_values(const ConstMatrixRef& values, DType dtype, const F& where) {
  const RecordDType& to = record_dtype(dtype);
  for (Index r = 0; r < values.rows(); ++r) {
    for (Index c = 0; c < values.cols(); ++c) {
      const float value = values(r, c);
      if (std::abs(value) < to.limit) continue;
      if (std::isnan(value)) throw BadValue(fmt::format("{} is NaN", where(r, c)));
      if (std::isinf(value)) throw BadValue(fmt::format("{} is infinite", where(r, c)));
      throw BadValue(fmt::format("{} is {:g} and does not fit {}; use --dtype {}fp32", where(r, c), value,
                                 to.name, dtype == DType::f16 ? "bf16 or " : ""));
    }
  }
}

// ---- which layers

std::vector<std::string> linear_names(const ModelSpec& spec) {
  std::vector<std::string> out;
  for (Index block = 0; block < spec.layers; ++block)
    for (const LinearSpec& linear : spec.linears) out.push_back(spec.linear_name(block, linear));
  return out;
}

// "; did you mean '*.down_proj'?" for a glob that fits nothing.
std::string near_layers(std::string_view pattern, std::span<const std::string> names) {
  if (const std::string near = nearest(pattern, names); !near.empty())
    return fmt::format("; did you mean '{}'?", near);
  std::set<std::string> kind_set;
  for (const std::string& name : names) kind_set.insert(layer_kind(name));
  const std::vector<std::string> kinds(kind_set.begin(), kind_set.end());
  const std::string last = layer_kind(pattern);
  if (const std::string near = nearest(last, kinds); !near.empty()) {
    const std::string better = std::string(pattern.substr(0, pattern.size() - last.size())) + near;
    if (std::ranges::any_of(names, [&](const std::string& n) { return glob_match(better, n); }))
      return fmt::format("; did you mean '{}'?", better);
  }
  return fmt::format("; the layers are {} to {}, of the kinds {}", names.front(), names.back(),
                     fmt::join(kinds, ", "));
}

// Positions of the names that a pattern fits and no "!pattern" does.
std::vector<std::size_t> choose_layers(std::span<const std::string> names,
                                       std::span<const std::string> patterns, const std::string& model) {
  std::vector<std::string> wanted;
  std::vector<std::string> unwanted;
  for (const std::string& pattern : patterns) {
    const bool leaves_out = pattern.starts_with('!');
    const std::string bare = pattern.substr(leaves_out ? 1 : 0);
    if (std::ranges::none_of(names, [&](const std::string& n) { return glob_match(bare, n); })) {
      if (glob_match(bare, "lm_head"))
        throw Error(
            fmt::format("--layers {}: lm_head is no layer of a block and is not recorded; "
                        "scripts/record_activations.py records it",
                        pattern));
      throw Error(
          fmt::format("--layers {}: no linear layer of {} fits{}", pattern, model, near_layers(bare, names)));
    }
    (leaves_out ? unwanted : wanted).push_back(bare);
  }
  if (wanted.empty()) wanted.emplace_back("*");
  const auto fits = [](const std::vector<std::string>& globs, const std::string& name) {
    return std::ranges::any_of(globs, [&](const std::string& g) { return glob_match(g, name); });
  };
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < names.size(); ++i)
    if (fits(wanted, names[i]) && !fits(unwanted, names[i])) out.push_back(i);
  if (out.empty()) throw Error(fmt::format("--layers {}: no layer is left", fmt::join(patterns, ",")));
  return out;
}

// ---- the work as a whole

// One X: a file that one or more layers read.
struct Input {
  Index block = 0;
  Site site = Site::attention_in;
  Index channels = 0;
  std::string file;
  std::string layer;  // the first of its layers, for messages
};

// The weight of a layer.
struct Weight {
  Index block = 0;
  std::size_t linear = 0;  // in ModelSpec::linears
  std::string file;
  std::string layer;
};

struct Job {
  RecordOptions options;
  std::shared_ptr<const Checkpoint> checkpoint;
  std::vector<std::vector<TokenId>> windows;
  std::string ids_hash;
  RecordPlan plan;
  std::vector<Input> inputs;
  std::vector<Weight> weights;

  const ModelSpec& spec() const { return checkpoint->spec(); }
  Index steps() const { return plan.blocks * plan.windows; }
};

void check_options(const RecordOptions& options) {
  (void)record_dtype(options.dtype);
  if (options.tokens < 1) throw Error(fmt::format("--tokens {}: at least 1 was expected", options.tokens));
  if (options.context < 0) throw Error(fmt::format("--context {}: at least 1 was expected", options.context));
}

// The folder as an absolute path. Error where it cannot become a recording.
fs::path check_target(const fs::path& out) {
  if (out.empty()) throw Error("-o: the recording needs a folder");
  const fs::path absolute = fs::weakly_canonical(fs::absolute(out));
  fs::path target = absolute.has_filename() ? absolute : absolute.parent_path();
  if (!target.has_filename())
    throw Error(fmt::format("{}: this cannot be a recording's folder", out.string()));
  require_no_content(target);
  return target;
}

std::vector<TokenId> read_ids(const RecordOptions& options, const ModelSpec& spec) {
  std::vector<TokenId> ids = read_tokens(options.text, options.model, spec, options.tokens);
  if (static_cast<Index>(ids.size()) < options.tokens)
    throw Error(
        fmt::format("{}: it has {} tokens, but {} are to be recorded; give a longer text, or --tokens {}",
                    options.text.string(), ids.size(), options.tokens, ids.size()));
  ids.resize(static_cast<std::size_t>(options.tokens));
  return ids;
}

void cut_windows(Job& job, const std::vector<TokenId>& ids) {
  const Index positions = job.spec().max_positions;
  const Index context =
      job.options.context > 0 ? job.options.context : std::min(kLongestDefaultContext, positions);
  if (context > positions)
    throw Error(fmt::format("--context {}: {} has {} positions", context, job.checkpoint->name(), positions));
  for (auto at = ids.begin(); at != ids.end();) {
    const auto end = at + std::min<std::ptrdiff_t>(context, ids.end() - at);
    job.windows.emplace_back(at, end);
    at = end;
  }
  job.ids_hash = Hasher().add(std::as_bytes(std::span(ids))).hex();
  job.plan.tokens = static_cast<Index>(ids.size());
  job.plan.context = context;
  job.plan.windows = static_cast<Index>(job.windows.size());
}

void place_layers(Job& job) {
  const ModelSpec& spec = job.spec();
  const std::vector<std::string> names = linear_names(spec);
  std::map<std::pair<Index, Site>, std::string> files;
  for (const std::size_t chosen : choose_layers(names, job.options.layers, job.checkpoint->name())) {
    const auto block = static_cast<Index>(chosen / spec.linears.size());
    const std::size_t linear = chosen % spec.linears.size();
    const LinearSpec& l = spec.linears[linear];
    const std::string number = fmt::format("{:03}", job.plan.layers.size());
    const auto [file, is_new] = files.try_emplace({block, l.site}, number + ".safetensors");
    if (is_new) job.inputs.push_back({block, l.site, l.in_features, file->second, names[chosen]});
    ManifestLayer layer{names[chosen],  job.plan.tokens,     l.in_features,
                        l.out_features, {file->second, "x"}, {}};
    if (job.options.weights) {
      layer.weight = TensorPlace{number + ".weight.safetensors", "weight"};
      job.weights.push_back({block, linear, layer.weight->file, names[chosen]});
    }
    job.plan.layers.push_back(std::move(layer));
    job.plan.blocks = block + 1;
  }
  job.plan.inputs = job.inputs.size();
}

SafetensorsRows x_file(const Job& job, const fs::path& folder, const Input& input) {
  return {folder / input.file, "x", job.options.dtype, job.plan.tokens, input.channels};
}

SafetensorsRows weight_file(const Job& job, const fs::path& folder, const Weight& weight) {
  const LinearSpec& linear = job.spec().linears[weight.linear];
  return {folder / weight.file, "weight", job.options.dtype, linear.out_features, linear.in_features};
}

// Nobody reads what comes behind the last recorded input, so the products from its site on are left out.
bool is_behind_last_input(const Job& job, Index block, Site site) {
  return block + 1 == job.plan.blocks && site >= job.inputs.back().site;
}

// Multiply-adds of one window in one block: the linear layers, and the two products of attention.
double window_work(const Job& job, Index block, double tokens) {
  const ModelSpec& spec = job.spec();
  double out = 2 * tokens * tokens * static_cast<double>(spec.heads * spec.head_dim);
  for (const LinearSpec& l : spec.linears)
    if (!is_behind_last_input(job, block, l.site))
      out += tokens * static_cast<double>(l.in_features) * static_cast<double>(l.out_features);
  return out;
}

// Seconds of a multiply-add in a product as the model's, timed.
double seconds_of_multiply_add(const ModelSpec& spec, Index tokens) {
  constexpr Index kRows = 256;
  constexpr Index kOutputs = 2048;
  const Matrix a = Matrix::Ones(std::min(tokens, kRows), spec.hidden_size);
  const Matrix b = Matrix::Ones(std::min(spec.intermediate_size, kOutputs), spec.hidden_size);
  Matrix y(a.rows(), b.rows());
  double best = std::numeric_limits<double>::infinity();
  for (int repeat = 0; repeat < 4; ++repeat) {  // the first also starts threads
    const auto start = Clock::now();
    library_multiply_transposed(a, b, y);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best / (static_cast<double>(y.size()) * static_cast<double>(spec.hidden_size));
}

void estimate(Job& job) {
  const ModelSpec& spec = job.spec();
  RecordPlan& plan = job.plan;
  for (const Input& input : job.inputs)
    plan.recording_bytes += static_cast<double>(x_file(job, {}, input).file_bytes());
  for (const Weight& weight : job.weights)
    plan.recording_bytes += static_cast<double>(weight_file(job, {}, weight).file_bytes());
  const auto hidden = static_cast<double>(spec.hidden_size);
  plan.waiting_bytes = static_cast<double>(plan.tokens) * hidden * sizeof(float);
  for (const std::vector<TokenId>& window : job.windows)
    for (Index block = 0; block < plan.blocks; ++block)
      plan.multiply_adds += window_work(job, block, static_cast<double>(window.size()));

  // Of a window in a block: hidden states before, between and behind; queries, keys, values and what
  // attention makes of them; or the inside of the MLP.
  const auto tokens = static_cast<double>(std::min(plan.context, plan.tokens));
  const auto queries = static_cast<double>(spec.heads * spec.head_dim);
  const auto keys = static_cast<double>(spec.kv_heads * spec.head_dim);
  const double inside = std::max(2 * queries + 2 * keys,
                                 (spec.gated ? 3.0 : 2.0) * static_cast<double>(spec.intermediate_size));
  const double window = tokens * (4 * hidden + inside);
  const double block = spec.linear_work() / static_cast<double>(spec.layers);
  const double embedding = static_cast<double>(spec.vocab_size) * hidden +
                           std::min(static_cast<double>(plan.tokens) * hidden,
                                    std::max(static_cast<double>(kEmbeddedValues), tokens * hidden));
  plan.memory_bytes = kProgramBytes + sizeof(float) * std::max(block + window, embedding);
}

Job make_job(const RecordOptions& options, const Registries& registries) {
  check_options(options);
  (void)check_target(options.out);
  Job job{.options = options,
          .checkpoint = std::make_shared<const Checkpoint>(options.model, registries),
          .windows = {},
          .ids_hash = {},
          .plan = {},
          .inputs = {},
          .weights = {}};
  job.plan.model = job.checkpoint->name();
  cut_windows(job, read_ids(options, job.spec()));
  place_layers(job);
  estimate(job);
  return job;
}

// ---- the unfinished recording

// Names, sizes and times of the model's files: cheap where to read all of its bytes is not.
std::string files_hash(const fs::path& model) {
  std::map<std::string, std::string> facts;
  for (const fs::directory_entry& entry : fs::directory_iterator(model)) {
    const fs::path& path = entry.path();
    if (path.extension() != ".safetensors" && path.extension() != ".json") continue;
    std::error_code error;
    const auto size = entry.file_size(error);
    facts[path.filename().string()] =
        fmt::format("{} {}", size, entry.last_write_time(error).time_since_epoch().count());
  }
  Hasher hasher;
  for (const auto& [name, text] : facts) hasher.add(name).add(text);
  return hasher.hex();
}

// All that decides the bits of a recording, in words.
std::vector<std::pair<std::string, std::string>> settings_of(const Job& job) {
  Hasher layers;
  for (const ManifestLayer& layer : job.plan.layers) layers.add(layer.name);
  return {
      {"model", job.plan.model},
      {"model files (names, sizes, times)", files_hash(job.checkpoint->folder())},
      {"token ids", job.ids_hash},
      {"tokens", std::to_string(job.plan.tokens)},
      {"context", std::to_string(job.plan.context)},
      {"layers", fmt::format("{} from {} to {} ({})", job.plan.layers.size(), job.plan.layers.front().name,
                             job.plan.layers.back().name, layers.hex().substr(0, 8))},
      {"dtype", std::string(record_dtype(job.options.dtype).name)},
      {"weights", job.options.weights ? "yes" : "no"},
      {"program",
       fmt::format("olab {}, numerics {}, {}", OLAB_VERSION, OLAB_NUMERICS_VERSION, library_product_name())}};
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

constexpr std::string_view kFormat = "outlierlab-unfinished-recording";

// The folder where a recording waits until it is whole. Holds a lock while it lives.
class Workplace {
 public:
  Workplace(const Job& job, const fs::path& target);

  fs::path tensors() const { return folder_ / "recording"; }
  const fs::path& folder() const { return folder_; }
  // Blocks that a window has gone through; -1: not yet embedded.
  Index depth(Index window) const { return depths_.at(static_cast<std::size_t>(window)); }
  Matrix hidden(Index window) const;
  void put_hidden(Index window, const Matrix& values, Index blocks);
  // Steps that are done.
  Index steps() const;
  void remove() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(fmt::format("{}: {}", folder_.string(), message));
  }
  fs::path hidden_file(Index window) const {
    return folder_ / "hidden" / fmt::format("{:06}.safetensors", window);
  }
  void take_lock();
  void check_settings(const std::vector<std::pair<std::string, std::string>>& settings) const;
  void read_depths(const Job& job);

  fs::path folder_;
  std::unique_ptr<std::FILE, CloseFile> lock_;
  std::vector<Index> depths_;
};

Workplace::Workplace(const Job& job, const fs::path& target) : folder_(unfinished_recording(target)) {
  const fs::path settings_file = folder_ / "settings.json";
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail(fmt::format("the folder cannot be made ({})", error.message()));
  take_lock();
  (void)check_target(target);  // another process may have finished it before we had the lock
  if (!fs::exists(settings_file)) {
    // They are written before anything else, so what lies here without them is not ours.
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_))
      if (entry.path().filename() != "lock" && !entry.path().filename().string().ends_with(".part"))
        fail(fmt::format("'{}' lies here, and no {}: this is no unfinished recording; move it away",
                         entry.path().filename().string(), settings_file.filename().string()));
  } else if (job.options.restart) {
    fs::remove_all(folder_ / "hidden");
    fs::remove_all(tensors());
    fs::remove(settings_file);
  }
  const auto settings = settings_of(job);
  if (fs::exists(settings_file)) {
    check_settings(settings);
  } else {
    ordered_json json{{"format", kFormat}, {"version", 1}, {"settings", ordered_json::object()}};
    for (const auto& [key, value] : settings) json["settings"][key] = value;
    write_atomically(settings_file, [&](std::ostream& out) { out << json.dump(1) << '\n'; });
  }
  fs::create_directories(folder_ / "hidden");
  fs::create_directories(tensors());
  read_depths(job);
}

void Workplace::take_lock() {
  const fs::path file = folder_ / "lock";
  lock_.reset(std::fopen(file.c_str(), "ae"));
  if (!lock_) fail(fmt::format("it cannot be written ({})", std::generic_category().message(errno)));
  if (::flock(::fileno(lock_.get()), LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK)
    fail("another process is making this recording; wait for it or choose another folder");
  fail(fmt::format("it cannot be locked ({})", std::generic_category().message(errno)));
}

void Workplace::check_settings(const std::vector<std::pair<std::string, std::string>>& settings) const {
  const fs::path file = folder_ / "settings.json";
  const ordered_json json = ordered_json::parse(read_text_file(file, "unfinished recording"), nullptr, false);
  if (!json.is_object() || json.value("format", std::string()) != kFormat || json.value("version", 0) != 1 ||
      !json.contains("settings") || !json["settings"].is_object())
    throw Error(fmt::format("{}: it is damaged or was written by another version; --restart begins anew",
                            file.string()));
  std::vector<std::string> differences;
  for (const auto& [key, value] : settings) {
    const auto it = json["settings"].find(key);
    const std::string was =
        it != json["settings"].end() && it->is_string() ? it->get<std::string>() : "unknown";
    if (was != value) differences.push_back(fmt::format("{}: {} now, {} then", key, value, was));
  }
  if (!differences.empty())
    fail(fmt::format(
        "an unfinished recording with other settings waits here ({}); give it the same to go on, or "
        "--restart to begin anew",
        fmt::join(differences, "; ")));
}

void Workplace::read_depths(const Job& job) {
  const auto count = static_cast<Index>(job.windows.size());
  depths_.assign(job.windows.size(), -1);
  for (Index w = 0; w < count; ++w) {
    const fs::path file = hidden_file(w);
    if (!fs::exists(file)) continue;
    std::int64_t blocks = -1;
    try {
      const auto tensors = open_safetensors(file);
      const auto& facts = tensors->metadata();
      const std::vector<Index> shape{static_cast<Index>(job.windows[static_cast<std::size_t>(w)].size()),
                                     job.spec().hidden_size};
      if (tensors->at("hidden").shape != shape || !facts.contains("blocks") ||
          !parse_integer(facts.at("blocks"), blocks))
        blocks = -1;
    } catch (const Error& e) {
      throw Error(fmt::format("{}; --restart begins anew", e.what()));
    }
    if (blocks < 0 || blocks > job.plan.blocks)
      fail(fmt::format("{} is damaged; --restart begins anew", file.string()));
    depths_[static_cast<std::size_t>(w)] = blocks;
  }
  // Windows go through a block in order, so the first ones are at most one block ahead.
  const Index last = depths_.back();
  if (!std::ranges::is_sorted(depths_, std::greater<>()) || depths_.front() > last + 1)
    fail("the hidden states of its windows do not belong together; --restart begins anew");
}

Matrix Workplace::hidden(Index window) const {
  return open_safetensors(hidden_file(window))->read_matrix("hidden");
}

void Workplace::put_hidden(Index window, const Matrix& values, Index blocks) {
  write_safetensors(hidden_file(window),
                    {{"hidden",
                      DType::f32,
                      {values.rows(), values.cols()},
                      std::as_bytes(std::span(values.data(), static_cast<std::size_t>(values.size())))}},
                    {{"blocks", std::to_string(blocks)}});
  depths_[static_cast<std::size_t>(window)] = blocks;
}

Index Workplace::steps() const {
  Index out = 0;
  for (const Index depth : depths_) out += std::max<Index>(depth, 0);
  return out;
}

// ---- recording

// Appends the inputs of the chosen layers of one block while a window goes through it.
class RecordWork final : public OriginalWork {
 public:
  RecordWork(const Job& job, const Workplace& place, Index block, const StopFlag* stop)
      : job_(job), stop_(stop) {
    for (const Input& input : job.inputs) {
      if (input.block != block) continue;
      Open& open = open_.at(static_cast<std::size_t>(input.site));
      open.input = &input;
      open.file.emplace(place.tensors() / input.file, "x", job.options.dtype, job.plan.tokens,
                        input.channels);
    }
  }

  // `rows`: of the windows that have gone through the block already.
  void begin(Index rows) {
    each([&](SafetensorsRows& file) { rows == 0 ? file.create() : file.resume(rows); });
  }
  void finish() {
    each([](SafetensorsRows& file) { file.finish(); });
  }

  void linear(const Block& block, Site site, const ConstMatrixRef& x, std::span<Matrix> y) override {
    if (stop_ != nullptr) stop_->check();
    Open& open = open_.at(static_cast<std::size_t>(site));
    if (open.file) {
      const Index first = open.file->written();
      check_values(x, job_.options.dtype, [&](Index row, Index column) {
        return fmt::format("layer '{}': the input of token {}, channel {},", open.input->layer, first + row,
                           column);
      });
      open.file->append(x);
    }
    if (is_behind_last_input(job_, block.index, site)) {
      for (Matrix& values : y) values.setZero();
    } else {
      OriginalWork::linear(block, site, x, y);
    }
  }

 private:
  struct Open {
    const Input* input = nullptr;
    std::optional<SafetensorsRows> file;
  };
  template <class F>
  void each(const F& f) {
    for (Open& open : open_)
      if (open.file) f(*open.file);
  }

  const Job& job_;
  const StopFlag* stop_;
  std::array<Open, kSites> open_;
};

class Recorder {
 public:
  Recorder(const Job& job, Workplace& place, const std::function<void(const RecordProgress&)>& progress,
           const StopFlag* stop)
      : job_(job), place_(place), progress_(progress), stop_(stop), decoder_(job.checkpoint) {}

  void run() {
    tell("");
    embed();
    const Index last = place_.depth(job_.plan.windows - 1);
    for (Index block = last; block < job_.plan.blocks; ++block) run_block(block);
    write_manifest();
  }

 private:
  void tell(const std::string& now) const {
    if (progress_) progress_({place_.steps(), job_.steps(), now});
  }
  void check_stop() const {
    if (stop_ != nullptr) stop_->check();
  }

  void embed() {
    const std::vector<std::vector<TokenId>>& windows = job_.windows;
    const Index together =
        std::max<Index>(1, kEmbeddedValues / (job_.plan.context * job_.spec().hidden_size));
    for (Index w = 0; w < job_.plan.windows;) {
      if (place_.depth(w) >= 0) {
        ++w;
        continue;
      }
      check_stop();
      const Index count = std::min(together, job_.plan.windows - w);
      const std::vector<Matrix> hidden = decoder_.embed(
          std::span(windows).subspan(static_cast<std::size_t>(w), static_cast<std::size_t>(count)));
      for (const Matrix& values : hidden) place_.put_hidden(w++, values, 0);
    }
  }

  void run_block(Index index) {
    check_stop();
    const Block block = decoder_.load_block(index);
    if (index + 1 < job_.plan.blocks) job_.checkpoint->prefetch_block(index + 1);
    write_weights(block);
    RecordWork work(job_, place_, index, stop_);
    Index window = 0;
    Index rows = 0;
    for (; window < job_.plan.windows && place_.depth(window) > index; ++window) rows += tokens(window);
    work.begin(rows);
    for (; window < job_.plan.windows; ++window) {
      check_stop();
      Matrix hidden = place_.hidden(window);
      decoder_.run_block(block, hidden, work);
      // Rows first, then the mark that they count: what lies behind the mark is cut off when it goes on.
      if (window + 1 == job_.plan.windows) work.finish();
      place_.put_hidden(window, hidden, index + 1);
      tell(fmt::format("{}, window {} of {}", block.name, window + 1, job_.plan.windows));
    }
  }

  Index tokens(Index window) const {
    return static_cast<Index>(job_.windows[static_cast<std::size_t>(window)].size());
  }

  void write_weights(const Block& block) const {
    for (const Weight& weight : job_.weights) {
      if (weight.block != block.index) continue;
      check_stop();
      SafetensorsRows file = weight_file(job_, place_.tensors(), weight);
      if (file.is_complete_on_disk()) continue;
      const Matrix& values = block.linears.at(weight.linear).weight;
      check_values(values, job_.options.dtype, [&](Index row, Index column) {
        return fmt::format("layer '{}': the weight at row {}, column {},", weight.layer, row, column);
      });
      file.create();
      file.append(values);
      file.finish();
    }
  }

  void write_manifest() const {
    // A crash of the machine can lose the end of a file that was written long before.
    const auto require = [&](const SafetensorsRows& file, const std::string& name) {
      if (!file.is_complete_on_disk())
        throw Error(fmt::format("{}: it is not what was written; --restart begins anew",
                                (place_.tensors() / name).string()));
    };
    for (const Input& input : job_.inputs) require(x_file(job_, place_.tensors(), input), input.file);
    for (const Weight& weight : job_.weights)
      require(weight_file(job_, place_.tensors(), weight), weight.file);
    const std::string text = manifest_text({facts(), job_.plan.layers});
    write_atomically(place_.tensors() / "manifest.json", [&](std::ostream& out) { out << text; });
  }

  std::map<std::string, std::string> facts() const {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    std::array<char, 32> date{};
    std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    std::string model_dtype = job_.checkpoint->dtype();
    for (const RecordDType& known : kDTypes)
      if (dtype_name(known.dtype) == model_dtype) model_dtype = known.torch_name;
    const std::string input = job_.options.text.filename().string();
    return {{"model", job_.plan.model},
            {"source", fmt::format("{}, sequences of {} tokens", input, job_.plan.context)},
            {"recorder", "olab record"},
            {"recorded", date.data()},
            {"olab", OLAB_VERSION},
            {"products", library_product_name()},
            {"stored_as", std::string(record_dtype(job_.options.dtype).name)},
            {"device", "cpu"},
            {"model_dtype", model_dtype},
            {"input", input},
            {"token_ids_xxh3", job_.ids_hash},
            {"sequence_length", std::to_string(job_.plan.context)},
            {"skipped_tokens", "0"}};
  }

  const Job& job_;
  Workplace& place_;
  const std::function<void(const RecordProgress&)>& progress_;
  const StopFlag* stop_;
  Decoder decoder_;
};

double bytes_in(const fs::path& folder) {
  double out = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    out += static_cast<double>(entry.file_size());
  return out;
}

RecordReport make_recording(const Job& job, const fs::path& target, Clock::time_point start,
                            const std::function<void(const RecordProgress&)>& progress,
                            const StopFlag* stop) {
  Workplace place(job, target);
  const Index resumed = place.steps();
  try {
    Recorder(job, place, progress, stop).run();
  } catch (const BadValue&) {
    place.remove();
    throw;
  }
  std::error_code error;
  fs::rename(place.tensors(), target, error);
  if (error)
    throw Error(fmt::format("{}: the recording cannot be put in place ({}); it lies whole in {}",
                            target.string(), error.message(), place.tensors().string()));
  place.remove();
  return {.folder = job.options.out,
          .layers = job.plan.layers.size(),
          .inputs = job.plan.inputs,
          .tokens = job.plan.tokens,
          .bytes = bytes_in(target),
          .seconds = std::chrono::duration<double>(Clock::now() - start).count(),
          .resumed_steps = resumed,
          .steps = job.steps()};
}

}  // namespace

DType parse_record_dtype(std::string_view name) {
  std::vector<std::string> known;
  for (const RecordDType& d : kDTypes) {
    if (d.name == name) return d.dtype;
    known.emplace_back(d.name);
  }
  throw Error(fmt::format("--dtype: there is no '{}'{}", name, suggestion(name, known)));
}

fs::path unfinished_recording(const fs::path& out) {
  const fs::path target = check_target(out);
  return target.parent_path() / fmt::format(".{}.recording", target.filename().string());
}

RecordPlan plan_recording(const RecordOptions& options, const Registries& registries) {
  Job job = make_job(options, registries);
  job.plan.seconds = job.plan.multiply_adds * seconds_of_multiply_add(job.spec(), job.plan.context);
  return job.plan;
}

RecordReport record_model(const RecordOptions& options, const Registries& registries,
                          const std::function<void(const RecordProgress&)>& progress, const StopFlag* stop) {
  const auto start = Clock::now();
  const Job job = make_job(options, registries);
  const fs::path target = check_target(options.out);
  try {
    return make_recording(job, target, start, progress, stop);
  } catch (const fs::filesystem_error& e) {
    throw Error(fmt::format("{}: {} ({})", target.string(), e.code().message(), e.path1().string()));
  }
}

}  // namespace olab

// Parity with the released DuQuant code (commit 62c5844): the files of a golden folder against ours.
//
// The folder is OLAB_GOLDEN_DIR, else OLAB_SHARED_DATA/golden. What it holds is found from manifest.json (the
// entries duquant_*) and from file names, so a folder with other shapes, settings or fewer parts works too:
//
//   manifest.json            duquant_<name>: {block_size, max_rotation_step, permutation_times = 1, …}
//   duquant_<name>/          x, step_rotation_<k>, rotation_<k>, permutation ([times ×] channels),
//   x_transformed,
//                            x_fake_quant_a<bits>_clip<ratio, "09" = 0.9>;
//                            search_{step_rotation,exchange_ids,result}
//   fake_quant/              x, b<bits>_{asym,sym}[_group<size>]_clip<ratio>
//   smoothquant/             x, w, scale_alpha<alpha>
//   zigzag/                  x, permutation_block<size>
//   hadamard_<order>, base_rotation_<order>
//
// A part that is not there is skipped; a folder without any part fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "core/registries.hpp"
#include "datasets/npy.hpp"
#include "methods/common/permutation.hpp"
#include "methods/common/quantizer.hpp"
#include "methods/common/rotate_permute.hpp"

namespace olab {
namespace {

namespace fs = std::filesystem;

/// "transformed X within 1e-4 relative", of each token's largest value. (Here every value comes out equal to
/// the bit, because core/linalg sums in the same order as the library that made the files.)
constexpr float kRelative = 1e-4F;

const char* chosen_folder() {
  return std::getenv("OLAB_GOLDEN_DIR");  // NOLINT(concurrency-mt-unsafe): tests run in one thread
}

fs::path golden() {
  const char* const chosen = chosen_folder();
  return chosen != nullptr ? fs::path(chosen) : fs::path(OLAB_SHARED_DATA) / "golden";
}

Matrix load(const fs::path& file) {
  const auto opened = open_npy(file);
  return opened->read_matrix(opened->tensors().front().name);
}

std::vector<std::vector<Index>> load_orders(const fs::path& file) {
  const Matrix values = load(file);
  std::vector<std::vector<Index>> out;
  for (Index i = 0; i < values.rows(); ++i) {
    out.emplace_back();
    for (Index j = 0; j < values.cols(); ++j) out.back().push_back(static_cast<Index>(values(i, j)));
  }
  return out;
}

/// A file whose name matches a pattern, with the groups of the match.
struct Named {
  fs::path path;
  std::string name;
  std::vector<std::string> groups;
};

/// Files of a folder by a pattern for the whole name, sorted; none where there is no such folder.
std::vector<Named> files(const fs::path& folder, const std::string& pattern) {
  std::vector<Named> out;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    std::smatch match;
    if (!std::regex_match(name, match, std::regex(pattern))) continue;
    Named found{entry.path(), name, {}};
    for (const auto& group : match) found.groups.push_back(group.str());
    out.push_back(found);
  }
  std::ranges::sort(out, {}, &Named::name);
  return out;
}

struct DuQuantCase {
  std::string name;
  fs::path folder;
  nlohmann::json facts;
  RotatePermute recipe;
};

std::vector<DuQuantCase> duquant_cases() {
  std::vector<DuQuantCase> out;
  std::ifstream stream(golden() / "manifest.json");
  if (!stream) return out;
  const nlohmann::json manifest = nlohmann::json::parse(stream);
  for (const auto& [name, facts] : manifest.items()) {
    if (name.rfind("duquant", 0) != 0 || !fs::is_directory(golden() / name)) continue;
    DuQuantCase found{name, golden() / name, facts, {}};
    found.recipe.search.block_size = facts.at("block_size").get<Index>();
    found.recipe.search.steps = facts.at("max_rotation_step").get<Index>();
    found.recipe.search.pivot = "row";
    found.recipe.search.fresh_q = "per-search";
    found.recipe.search.score = "peak-to-peak";
    found.recipe.search.share_rotation = true;
    found.recipe.permutation_times = facts.value("permutation_times", Index{1});
    out.push_back(found);
  }
  return out;
}

std::vector<Named> fake_quant_files() {
  return files(golden() / "fake_quant", R"(b(\d+)_(asym|sym)(?:_group(\d+))?_clip([0-9.]+)\.npy)");
}
std::vector<Named> smoothing_files() {
  return files(golden() / "smoothquant", R"(scale_alpha([0-9.]+)\.npy)");
}
std::vector<Named> zigzag_files() {
  return files(golden() / "zigzag", R"(permutation_block(\d+)\.npy)");
}
std::vector<Named> hadamard_files() {
  return files(golden(), R"(hadamard_(\d+)\.npy)");
}
std::vector<Named> base_rotation_files() {
  return files(golden(), R"(base_rotation_(\d+)\.npy)");
}

/// "09" is how file names write 0.9.
std::string ratio_text(const std::string& text) {
  if (text.find('.') != std::string::npos || text.size() < 2) return text;
  return text.substr(0, 1) + "." + text.substr(1);
}

Registries registries() {
  Registries r;
  register_methods(r);
  return r;
}

void expect_near(const Matrix& ours, const Matrix& golden_values, const std::string& what) {
  ASSERT_EQ(ours.rows(), golden_values.rows()) << what;
  ASSERT_EQ(ours.cols(), golden_values.cols()) << what;
  for (Index t = 0; t < ours.rows(); ++t) {
    const float allowed = kRelative * golden_values.row(t).cwiseAbs().maxCoeff();
    const float off = (ours.row(t) - golden_values.row(t)).cwiseAbs().maxCoeff();
    ASSERT_LE(off, allowed) << what << ", row " << t;
  }
}

/// Equal to the bit but for float ties: x lies midway between our value and the golden one to within 1e-5 of
/// the row's largest value, so that the last bit of x / step decides. At most one value in a thousand.
void expect_quantized(const Matrix& x, const Matrix& ours, const Matrix& golden_values,
                      const std::string& what) {
  ASSERT_EQ(ours.rows(), golden_values.rows()) << what;
  ASSERT_EQ(ours.cols(), golden_values.cols()) << what;
  Index ties = 0;
  for (Index t = 0; t < x.rows(); ++t) {
    const float slack = 1e-5F * x.row(t).cwiseAbs().maxCoeff();
    for (Index j = 0; j < x.cols(); ++j) {
      if (ours(t, j) == golden_values(t, j)) continue;
      const float here = std::abs(x(t, j) - ours(t, j));
      const float there = std::abs(x(t, j) - golden_values(t, j));
      ASSERT_LE(std::abs(here - there), slack)
          << what << ": row " << t << ", column " << j << ": x " << x(t, j) << ", ours " << ours(t, j)
          << ", golden " << golden_values(t, j);
      ++ties;
    }
  }
  EXPECT_LE(ties, std::max<Index>(1, x.size() / 1000)) << what;
}

Matrix quantize(const std::string& spec, Role role, const Matrix& x, const Registries& r) {
  Matrix out(x.rows(), x.cols());
  r.quantizers.make(spec, r)->quantize(role, x, out);
  return out;
}

/// Whether the two numerics may differ in x's group around (t, j): all values equal, or some further than
/// 2000 steps from zero, where the released code runs out of fp16 integers (2048) and of zero points (1e4).
bool far_from_zero(const Matrix& x, Index t, Index j, Index group, double steps) {
  const Matrix values = x.block(t, j / group * group, 1, group);
  const double range = static_cast<double>(values.maxCoeff()) - static_cast<double>(values.minCoeff());
  return static_cast<double>(values.cwiseAbs().maxCoeff()) * steps > 2000 * range;
}

TEST(Golden, FolderHoldsSomething) {
  if (!fs::is_directory(golden())) {
    if (chosen_folder() != nullptr) FAIL() << "OLAB_GOLDEN_DIR: " << golden() << " is no folder";
    GTEST_SKIP() << "no golden data: " << golden() << " does not exist";
  }
  const std::size_t found = duquant_cases().size() + fake_quant_files().size() + smoothing_files().size() +
                            zigzag_files().size() + hadamard_files().size() + base_rotation_files().size();
  EXPECT_GT(found, 0U) << golden() << " holds no golden case that is known here";
  for (const Named& folder : files(golden(), "duquant.*")) {
    const auto cases = duquant_cases();
    EXPECT_TRUE(std::ranges::any_of(cases, [&](const DuQuantCase& c) { return c.name == folder.name; }))
        << folder.path << " is not in manifest.json, so its settings are unknown";
  }
}

TEST(Golden, SearchFindsTheReleasedExchangesAndRotation) {
  std::size_t checked = 0;
  for (const DuQuantCase& c : duquant_cases()) {
    SCOPED_TRACE(c.name);
    if (!fs::exists(c.folder / "search_step_rotation.npy")) continue;
    Matrix step = load(c.folder / "search_step_rotation.npy");
    const RotationSearch found = search_rotation(
        load(c.folder / "x.npy"), c.recipe.search, [&](Index) { return step; }, nullptr);
    const auto exchanges = load_orders(c.folder / "search_exchange_ids.npy");
    EXPECT_EQ(found.exchanges, exchanges.empty() ? std::vector<Index>{} : exchanges.front());
    EXPECT_EQ(found.scores.size(), static_cast<std::size_t>(c.recipe.search.steps) + 1);
    expect_near(found.rotation, load(c.folder / "search_result.npy"), "search_result");
    if (c.facts.contains("search_length")) {
      EXPECT_EQ(static_cast<Index>(found.exchanges.size()), c.facts.at("search_length").get<Index>());
    }
    ++checked;
  }
  if (checked == 0) GTEST_SKIP() << "no duquant case with a search here";
}

TEST(Golden, DuQuantFindsTheReleasedRotationsAndPermutations) {
  const Registries r = registries();
  const RandomStream unused(0);
  std::size_t checked = 0;
  for (const DuQuantCase& c : duquant_cases()) {
    SCOPED_TRACE(c.name);
    if (!fs::exists(c.folder / "step_rotation_1.npy")) continue;
    const Matrix x = load(c.folder / "x.npy");
    const StepSource steps = [&](Index number, Index /*block*/) -> StepRotation {
      Matrix step = load(c.folder / ("step_rotation_" + std::to_string(number + 1) + ".npy"));
      return [step](Index) { return step; };
    };
    RotatePermuteTrace trace;
    const Chain chain = rotate_and_permute(x, c.recipe, {x, Matrix(0, x.cols()), unused, r}, steps, &trace);
    for (std::size_t k = 0; k < trace.rotations.size(); ++k) {
      const fs::path file = c.folder / ("rotation_" + std::to_string(k + 1) + ".npy");
      if (fs::exists(file))
        expect_near(trace.rotations[k].searches.front().rotation, load(file), file.filename());
    }
    if (fs::exists(c.folder / "permutation.npy")) {
      EXPECT_EQ(trace.permutations, load_orders(c.folder / "permutation.npy"));
    }
    Matrix transformed = x;
    chain.apply_to_activations(transformed);
    const Matrix want = load(c.folder / "x_transformed.npy");
    expect_near(transformed, want, "x_transformed");
    RecordProperty(c.name + ".equal_to_the_bit", transformed == want ? "true" : "false");

    for (const Named& file : files(c.folder, R"(x_fake_quant_a(\d+)_clip([0-9.]+)\.npy)")) {
      const std::string spec =
          "integer(bits=" + file.groups[1] + ",clip=" + ratio_text(file.groups[2]) + ",numerics=released)";
      expect_quantized(want, quantize(spec, Role::activation, want, r), load(file.path), file.name);
      expect_quantized(transformed, quantize(spec, Role::activation, transformed, r), load(file.path),
                       file.name + " of our own x");
    }
    ++checked;
  }
  if (checked == 0) GTEST_SKIP() << "no duquant case with step rotations here";
}

/// Standard deviation over blocks (population) of the mean channel maximum, the root of Eq. (4).
double spread_of_block_means(const Vector& maxima, Index block) {
  const Index blocks = maxima.size() / block;
  Eigen::VectorXd means(blocks);
  for (Index k = 0; k < blocks; ++k) means[k] = maxima.segment(k * block, block).cast<double>().mean();
  return std::sqrt((means.array() - means.mean()).square().mean());
}

TEST(Golden, MaximaAndBlockMeansAreThoseOfTheManifest) {
  std::size_t checked = 0;
  for (const DuQuantCase& c : duquant_cases()) {
    SCOPED_TRACE(c.name);
    for (const auto& [file, when] :
         {std::pair<std::string, std::string>{"x", "before"}, {"x_transformed", "after"}}) {
      if (!fs::exists(c.folder / (file + ".npy"))) continue;
      const Vector maxima = channel_absmax(load(c.folder / (file + ".npy")));
      const double spread = spread_of_block_means(maxima, c.recipe.search.block_size);
      if (c.facts.contains("max_" + when)) {
        EXPECT_FLOAT_EQ(maxima.maxCoeff(), c.facts.at("max_" + when).get<float>());
        ++checked;
      }
      if (c.facts.contains("std_block_means_" + when)) {
        EXPECT_NEAR(spread, c.facts.at("std_block_means_" + when).get<double>(), 1e-5 * spread);
        ++checked;
      }
    }
  }
  if (checked == 0) GTEST_SKIP() << "no duquant case with such facts here";
}

TEST(Golden, IntegersEqualTheReleasedFakeQuantization) {
  const std::vector<Named> found = fake_quant_files();
  if (found.empty()) GTEST_SKIP() << "no fake_quant files here";
  const Registries r = registries();
  const Matrix x = load(golden() / "fake_quant" / "x.npy");
  for (const Named& file : found) {
    SCOPED_TRACE(file.name);
    const bool grouped = !file.groups[3].empty();
    const std::string spec = "integer(bits=" + file.groups[1] +
                             ",symmetric=" + (file.groups[2] == "sym" ? "true" : "false") +
                             ",group_size=" + (grouped ? file.groups[3] : "none") +
                             ",clip=" + ratio_text(file.groups[4]) + ",numerics=";
    const Matrix want = load(file.path);
    for (const Role role : {Role::activation, Role::weight})
      expect_quantized(x, quantize(spec + "released)", role, x, r), want, "released");

    // The exact numerics differ far from zero only, and keep equal values.
    const Index group = grouped ? std::stol(file.groups[3]) : x.cols();
    const double steps = std::pow(2.0, std::stod(file.groups[1])) / std::stod(ratio_text(file.groups[4]));
    Matrix exact = quantize(spec + "exact)", Role::activation, x, r);
    for (Index t = 0; t < x.rows(); ++t) {
      for (Index j = 0; j < x.cols(); ++j) {
        const Matrix values = x.block(t, j / group * group, 1, group);
        if (values.minCoeff() == values.maxCoeff()) {
          EXPECT_EQ(exact(t, j), x(t, j));
        }
        if (far_from_zero(x, t, j, group, steps)) exact(t, j) = want(t, j);
      }
    }
    expect_quantized(x, exact, want, "exact");
  }
}

TEST(Golden, SmoothingScalesEqualTheReleasedOnes) {
  const std::vector<Named> found = smoothing_files();
  if (found.empty()) GTEST_SKIP() << "no smoothing scales here";
  const Registries r = registries();
  const RandomStream unused(0);
  const Matrix x = load(golden() / "smoothquant" / "x.npy");
  const Matrix w = load(golden() / "smoothquant" / "w.npy");
  for (const Named& file : found) {
    SCOPED_TRACE(file.name);
    Matrix scale = Matrix::Ones(1, x.cols());
    r.methods.make("smoothquant(alpha=" + file.groups[1] + ")", r)
        ->calibrate({x, w, unused, r})
        .apply_to_weights(scale);
    const Matrix want = load(file.path);
    ASSERT_EQ(want.cols(), scale.cols());
    EXPECT_LT((scale.array() / want.array() - 1.0F).abs().maxCoeff(), 1e-6F);
  }
}

TEST(Golden, ZigzagEqualsTheReleasedPermutation) {
  const std::vector<Named> found = zigzag_files();
  if (found.empty()) GTEST_SKIP() << "no zigzag permutation here";
  const Registries r = registries();
  const Matrix x = load(golden() / "zigzag" / "x.npy");
  for (const Named& file : found) {
    SCOPED_TRACE(file.name);
    const auto order =
        r.permutations.make("zigzag", r)->order(x, std::stol(file.groups[1]), RandomStream(0), nullptr);
    EXPECT_EQ(order, load_orders(file.path).front());
  }
}

TEST(Golden, HadamardEqualsTheReleasedMatrix) {
  const std::vector<Named> found = hadamard_files();
  if (found.empty()) GTEST_SKIP() << "no Hadamard matrices here";
  for (const Named& file : found) {
    SCOPED_TRACE(file.name);
    const Index order = std::stol(file.groups[1]);
    Matrix h = Matrix::Identity(order, order);
    make_hadamard(order, order, {})->apply_to_activations(h);
    EXPECT_LT((h - load(file.path)).cwiseAbs().maxCoeff(), 1e-6F);
  }
}

TEST(Golden, BaseRotationEqualsTheReleasedOne) {
  const std::vector<Named> found = base_rotation_files();
  if (found.empty()) GTEST_SKIP() << "no base rotations here";
  for (const Named& file : found) {
    SCOPED_TRACE(file.name);
    // The released one is a product of up to n - 1 matrices in float.
    EXPECT_LT((base_rotation(std::stol(file.groups[1])) - load(file.path)).cwiseAbs().maxCoeff(), 2e-6F);
  }
}

}  // namespace
}  // namespace olab

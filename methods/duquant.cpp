// DuQuant (Lin et al. 2024, arXiv:2406.01721, Eq. (5)): smooth? · rotate? · (permute? · rotate?)^times.
//
// Every toggle acts alone; what it leaves out is left out and nothing else changes, random numbers included:
//
//   toggle                        effect
//   smooth: false                 no channel scale in front (alpha is then without effect)
//   rotation: false               no rotation in front; those behind the permutations stay
//   permutation: none             no permutation; the rotation behind it stays
//   second_rotation: false        no rotation behind any permutation
//   permutation_times: n          n times (permute? · rotate?); 0: only the first rotation is left
//   all defaults                  Λ · R1 · P · R2, the paper's DuQuant
//
//   rows of the paper's tables    parameters
//   Table 6, row 1                rotation: false, permutation_times: 0
//   Table 6, row 2                smooth: false, permutation_times: 0
//   Table 6, row 3 = Table E16    permutation_times: 0 (= permutation: none with second_rotation: false)
//     "w.o. permutation" = Perm 0
//   Table 6, row 4                smooth: false
//   Figure 5, "Perm 2"            permutation_times: 2
//
// mode: paper and mode: code set pivot, fresh_q, score, search and the steps at once.
#include "core/registries.hpp"
#include "methods/common/block_size.hpp"
#include "methods/common/method.hpp"
#include "methods/common/permutation.hpp"
#include "methods/common/rotate_permute.hpp"
#include "methods/common/smoothing.hpp"

namespace olab {
namespace {

struct DuQuant final : Method, RotationSettings {
  bool smooth = true;
  double alpha = 0.6;
  bool rotation = RotatePermute{}.first_rotation;
  std::string permutation = RotatePermute{}.permutation;
  Index permutation_times = RotatePermute{}.permutation_times;
  bool second_rotation = RotatePermute{}.second_rotation;

  Index block_size(Index channels) const override {
    return resolve_block(RotationSettings::block_size, channels);
  }

  void check(Index channels, const Registries& /*registries*/) const override {
    check_block_size(channels, block_size(channels), "duquant");
    check_search(at_width(*this, channels), "duquant");
  }

  double calibration_work(Index tokens, Index channels, const Registries& /*registries*/) const override {
    const Index rotations = (rotation ? 1 : 0) + (second_rotation ? permutation_times : 0);
    return static_cast<double>(rotations) * search_work(at_width(*this, channels), tokens, channels);
  }

  Chain calibrate(const Calibration& calibration) const override {
    check(calibration.x.cols(), calibration.registries);
    Chain chain;
    Matrix x = calibration.x;
    Calibration rest = calibration;
    if (smooth) {
      chain.add(find_smoothing(calibration, alpha));
      chain.apply_to_activations(x);
      rest.path.push_back(smoothing_step(alpha));
    }
    chain.append(rotate_and_permute(std::move(x), recipe(calibration.x.cols()), rest));
    return chain;
  }

  void steps(Index channels, const Registries& /*registries*/,
             std::vector<std::string>& path) const override {
    if (smooth) path.push_back(smoothing_step(alpha));
    rotate_and_permute_steps(recipe(channels), path);
  }

 private:
  RotatePermute recipe(Index channels) const {
    return {at_width(*this, channels), rotation, permutation, permutation_times, second_rotation};
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(duquant) {
  using namespace olab;
  Schema<DuQuant> schema("duquant", "Smooths, rotates, permutes and rotates again",
                         "Lin et al. 2024, arXiv:2406.01721 (NeurIPS 2024)");
  schema.param("smooth", &DuQuant::smooth, "divide channels by SmoothQuant's scales first")
      .param("alpha", &DuQuant::alpha, "smoothing strength", 0.0, 1.0)
      .param("rotation", &DuQuant::rotation, "rotate before the permutation")
      .param("permutation", &DuQuant::permutation, "none or a permutation strategy: olab list permutations")
      .normalize(normalize_permutation)
      .param("permutation_times", &DuQuant::permutation_times, "how often (permute, rotate) is done", 0, 16)
      .param("block_size", static_cast<Index DuQuant::*>(&RotationSettings::block_size), "channels per block",
             2, 65536)
      .also("auto", kAutoBlock)
      .param("max_rotation_step", static_cast<Index DuQuant::*>(&RotationSettings::steps),
             "greedy steps that each rotation tries", 1, 1000000)
      .param("second_rotation", &DuQuant::second_rotation, "rotate after each permutation");
  add_search_toggles(schema);
  const auto mode = [](const char* pivot, const char* fresh_q, const char* score) {
    return std::vector<std::pair<std::string, std::string>>{
        {"pivot", pivot},           {"fresh_q", fresh_q},      {"score", score},
        {"share_rotation", "true"}, {"search", "exact"},       {"max_rotation_step", "256"},
        {"block_size", "128"},      {"permutation", "zigzag"}, {"permutation_times", "1"}};
  };
  schema
      .preset("mode", "paper", "as in the paper: Eq. (2), Algorithm 1", mode("channel", "per-step", "absmax"))
      .preset("mode", "code", "as in the released code (commit 62c5844)",
              mode("row", "per-search", "peak-to-peak"));
  r.methods.add(std::move(schema));
}

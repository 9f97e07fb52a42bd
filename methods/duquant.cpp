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
//   mode: paper                   Λ · R1 · P · R2, the paper's DuQuant
//
//   rows of the paper's tables    parameters
//   Table 6, row 1                rotation: false, permutation_times: 0
//   Table 6, row 2                smooth: false, permutation_times: 0
//   Table 6, row 3 = Table E16    permutation_times: 0 (= permutation: none with second_rotation: false)
//     "w.o. permutation" = Perm 0
//   Table 6, row 4                smooth: false
//   Figure 5, "Perm 2"            permutation_times: 2
//
// Where the paper and the released code (commit 62c5844) differ, each is a toggle with both values:
//
//   toggle            mode: paper           mode: code         source
//   pivot             channel               row                Eq. (2); quantizer.py, rotation
//   fresh_q           per-step              per-search         Algorithm 1; rotation calls get_rot once
//   score             absmax                peak-to-peak       Algorithm 1; rotation, peak_values
//   share_rotation    true                  true               Remark 2; x.reshape(-1, block_size)
//   search_on         largest-block         all-blocks         Remark 2; the same line
//   smooth_direction  divide (see below)    divide             (X Λ)(Λ⁻¹ W); smooth_and_let_inplace
//   smooth_weights    all-layers            one-layer          max|W_j|; pairs: q_proj, up_proj
//   smooth_clamps     none                  released           Λ_j; CLIPMIN 1e-5, then lifted to 1e-2
//
// The paper prints (X Λ)(Λ⁻¹ W) with Λ_j = max|X_j|^α / max|W_j|^(1−α): by the letter, outliers grow. It says
// that smoothing lowers them, and its figures cannot have come about otherwise, so mode: paper divides. mode:
// printed is mode: paper by the letter (smooth_direction: multiply).
//
// All modes set search, steps, block_size, permutation and permutation_times too, which are the same.
//
// Without a mode, search is "random-pivot" on all blocks: docs/search-quality.md tells no difference of its
// error on held-out tokens from that of the greedy search, and it takes less than half of the time on the
// same rows. Hadamard matrices (search: hadamards) are faster still and 2 % better there, but not where
// massive tokens are evaluated and activations are clipped (docs/findings.md, questions-search): they spread
// a massive token so evenly that a clip ratio of 0.9 cuts all of its values.
#include "core/registries.hpp"
#include "methods/common/block_size.hpp"
#include "methods/common/method.hpp"
#include "methods/common/permutation.hpp"
#include "methods/common/rotate_permute.hpp"
#include "methods/common/smoothing.hpp"

namespace olab {
namespace {

struct DuQuant final : Method, RotationSettings, SmoothingSettings {
  DuQuant() {
    alpha = 0.6;  // the paper's, Appendix C
    search = "random-pivot";
  }
  bool smooth = true;
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
    refuse_unused(*this, "duquant");
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
      chain.add(find_smoothing(calibration, *this));
      chain.apply_to_activations(x);
      rest.path.push_back(smoothing_step(*this));
    }
    chain.append(rotate_and_permute(std::move(x), recipe(calibration.x.cols()), rest));
    return chain;
  }

  void steps(Index channels, const Registries& /*registries*/,
             std::vector<std::string>& path) const override {
    if (smooth) path.push_back(smoothing_step(*this));
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
      .param("alpha", static_cast<double DuQuant::*>(&SmoothingSettings::alpha), "smoothing strength", 0.0,
             1.0)
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
  add_smoothing_toggles(schema, "smooth_");
  using Values = std::vector<std::pair<std::string, std::string>>;
  const auto mode = [](Values own) {
    for (const auto& [key, value] : Values{{"share_rotation", "true"},
                                           {"search", "exact"},
                                           {"max_rotation_step", "256"},
                                           {"block_size", "128"},
                                           {"permutation", "zigzag"},
                                           {"permutation_times", "1"}})
      own.emplace_back(key, value);
    return own;
  };
  const auto paper = [&](const char* direction) {
    return mode({{"pivot", "channel"},
                 {"fresh_q", "per-step"},
                 {"score", "absmax"},
                 {"search_on", "largest-block"},
                 {"smooth_direction", direction},
                 {"smooth_weights", "all-layers"},
                 {"smooth_clamps", "none"}});
  };
  schema
      .preset("mode", "paper", "as in the paper: Eq. (2), Algorithm 1, Remark 2; smoothing lowers outliers",
              paper("divide"))
      .preset("mode", "code", "as in the released code (commit 62c5844)",
              mode({{"pivot", "row"},
                    {"fresh_q", "per-search"},
                    {"score", "peak-to-peak"},
                    {"search_on", "all-blocks"},
                    {"smooth_direction", "divide"},
                    {"smooth_weights", "one-layer"},
                    {"smooth_clamps", "released"}}))
      .preset("mode", "printed", "as in the paper by the letter: X Λ, which raises outliers",
              paper("multiply"))
      .note(
          "clip_precedence",
          "nothing to choose: in the released code one quantizer takes swc, else lwc, else lac, but weights "
          "are given swc and lwc only and activations lac only, so the two never meet; here they are the "
          "clip of quantizer.weight and of quantizer.activation (learned clipping, lwc, does not exist here)")
      .note("value_hadamard",
            "nothing to choose in a linear layer: whether V is rotated before its quantization (paper: yes, "
            "released code: no) belongs to the KV cache");
  r.methods.add(std::move(schema));
}

// What every registered method must keep, and what each of them is.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "core/linalg.hpp"
#include "core/parallel.hpp"
#include "memory_tensors.hpp"
#include "methods/common/method.hpp"
#include "methods/common/rotate_permute.hpp"
#include "methods/common/smoothing.hpp"
#include "methods/common/transform_file.hpp"
#include "methods_layers.hpp"

namespace olab {
namespace {

using test::as_matrix;
using test::calibrate;
using test::error_of;
using test::make_layer;

/// ‖(xT)(wT⁻ᵀ)ᵀ − xwᵀ‖ / ‖xwᵀ‖ that every method keeps: some tens of float roundings of each entry.
constexpr double kProductBound = 5e-6;

const std::vector<Index> kWidths{128, 256, 384};

/// The method with small blocks and few steps, wherever it has such parameters; recipes of several steps too.
/// Without methods that need a file: from_file_test.cpp.
std::vector<std::string> specs_of_all_methods(const Registries& r) {
  std::vector<std::string> out;
  for (const std::string& name : r.methods.names()) {
    if (!r.methods.info(name).note("needs").empty()) continue;
    std::string params;
    for (const ParamInfo& p : r.methods.info(name).params) {
      if (p.type().rfind("integer", 0) != 0) continue;
      if (p.name == "block_size") params += "block_size=32,";
      if (p.name == "steps" || p.name == "max_rotation_step")
        params.append("search=exact,").append(p.name).append("=6,");
    }
    if (!params.empty()) params.pop_back();
    out.push_back(params.empty() ? name : name + "(" + params + ")");
  }
  out.emplace_back(
      "pipeline(permute(random, block_size=16) | rotate(block_size=16, steps=4, share_rotation=false) | "
      "smooth)");
  out.emplace_back(
      "duquant(block_size=64,search=exact,max_rotation_step=5,pivot=row,fresh_q=per-search,score=peak-to-"
      "peak)");
  out.emplace_back("duquant(block_size=32)");
  out.emplace_back("hadamard(block_size=full,signs=false)");
  // Not mode=printed: outliers of thousands beside ones of one leave less of float than the bounds ask for.
  for (const char* mode : {"paper", "code"})
    out.push_back("duquant(mode=" + std::string(mode) + ",block_size=32,search=exact,max_rotation_step=5)");
  out.emplace_back("smoothquant(direction=multiply,weights=one-layer,clamps=none)");
  for (const char* strategy : {"mass_diffusion", "simulated_annealing(steps=500)", "random(pairing)"})
    out.push_back("permute(" + std::string(strategy) + ",block_size=32)");
  return out;
}

void expect_equal(const Chain& a, const Chain& b, Index channels, const std::string& what) {
  ASSERT_EQ(a.transforms().size(), b.transforms().size()) << what;
  for (std::size_t k = 0; k < a.transforms().size(); ++k) {
    EXPECT_EQ(a.transforms()[k]->kind(), b.transforms()[k]->kind()) << what;
    Matrix left = Matrix::Identity(channels, channels);
    Matrix right = left;
    a.transforms()[k]->apply_to_activations(left);
    b.transforms()[k]->apply_to_activations(right);
    EXPECT_EQ(left, right) << what << ", transform " << k;
  }
}

/// What a method tells of its steps is what it looks up, so a plan tells the truth about sharing.
TEST(SharedSteps, AreFoundUnderTheStepsThatMethodsTell) {
  const Registries r = test::method_registries();
  const test::Layer layer = test::make_layer(24, 64, 8, 3);
  const RandomStream random(5);
  for (const char* spec :
       {"smoothquant(alpha=0.7)", "rotate(block_size=16,steps=3)", "permute(random,block_size=16)",
        "duquant(block_size=16,search=exact,max_rotation_step=3,permutation_times=2)",
        "duquant(block_size=16,rotation=false)",
        "pipeline(smooth | hadamard(block_size=16) | rotate(block_size=16,steps=2) | "
        "permute(zigzag,block_size=16) | "
        "rotate(block_size=16,steps=2))",
        "pipeline(rotate(block_size=16,steps=2) | pipeline([rotate(block_size=16,steps=2) | smooth]))"}) {
    const auto method = r.methods.make(spec, r);
    std::vector<std::string> path;
    method->steps(64, r, path);
    SharedSteps shared;
    const Chain first = method->calibrate({layer.x, layer.w, random, r, nullptr, nullptr, &shared});
    ASSERT_FALSE(path.empty()) << spec;
    std::set<std::string> told;
    std::string so_far;
    for (const std::string& step : path) told.insert(so_far += (so_far.empty() ? "" : " | ") + step);
    ASSERT_FALSE(shared.keys().empty()) << spec;
    for (const std::string& key : shared.keys()) EXPECT_TRUE(told.contains(key)) << spec << ": " << key;
    // A second run finds nothing anew, and the same transforms.
    const std::vector<std::string> before = shared.keys();
    const Chain second = method->calibrate({layer.x, layer.w, random, r, nullptr, nullptr, &shared});
    EXPECT_EQ(shared.keys(), before) << spec;
    EXPECT_EQ(test::as_matrix(first, 64), test::as_matrix(second, 64)) << spec;
    // And without sharing the same.
    EXPECT_EQ(test::as_matrix(first, 64),
              test::as_matrix(method->calibrate({layer.x, layer.w, random, r}), 64))
        << spec;
  }
}
TEST(SharedSteps, KeepNothingOfAFailure) {
  SharedSteps shared;
  int calls = 0;
  const auto fail = [&]() -> std::shared_ptr<const Transform> {
    ++calls;
    throw Error("no");
  };
  EXPECT_THROW((void)shared.get("a", fail), Error);
  EXPECT_THROW((void)shared.get("a", fail), Error);
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(shared.keys().empty());
}

TEST(EveryMethod, KeepsTheProduct) {
  const Registries r = test::method_registries();
  for (const std::string& spec : specs_of_all_methods(r))
    for (const Index width : kWidths)
      for (const std::uint64_t seed : {1U, 2U, 3U}) {
        const test::Layer layer = make_layer(12, width, 20, seed);
        EXPECT_LT(test::product_error(layer, calibrate(spec, layer, r)), kProductBound)
            << spec << " " << width;
      }
}

TEST(EveryMethod, KeepsTheProductWhereItNeverSawTheWeights) {
  const Registries r = test::method_registries();
  for (const std::string& spec : specs_of_all_methods(r)) {
    const test::Layer layer = make_layer(12, 128, 20, 4);
    const test::Layer unseen{layer.x, Matrix(0, 128)};
    EXPECT_LT(test::product_error(layer, calibrate(spec, unseen, r)), kProductBound) << spec;
  }
}

TEST(EveryMethod, WorksOnOneToken) {
  const Registries r = test::method_registries();
  for (const std::string& spec : specs_of_all_methods(r)) {
    const test::Layer layer = make_layer(1, 128, 3, 5);
    EXPECT_LT(test::product_error(layer, calibrate(spec, layer, r)), kProductBound) << spec;
  }
}

TEST(EveryMethod, IsDeterministicForAnyNumberOfThreads) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(70, 256, 8, 6);
  for (const std::string& spec : specs_of_all_methods(r)) {
    std::vector<Chain> chains;
    for (const int threads : {1, 2, 2}) {
      const ThreadLimit limit(threads);
      chains.push_back(calibrate(spec, layer, r));
    }
    expect_equal(chains[0], chains[1], 256, spec);
    expect_equal(chains[1], chains[2], 256, spec);
  }
}

TEST(EveryMethod, RotatesOrthogonallyAndPermutesAll) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(16, 128, 8, 7);
  for (const std::string& spec : specs_of_all_methods(r)) {
    const Chain chain = calibrate(spec, layer, r);
    for (const auto& transform : chain.transforms()) {
      Matrix t = Matrix::Identity(128, 128);
      transform->apply_to_activations(t);
      EXPECT_EQ(transform->channels(), 128) << spec;
      if (transform->kind() == "channel_scale") continue;
      EXPECT_LT(orthogonality_error(t), 1e-5) << spec << " " << transform->kind();
      if (transform->kind() != "permutation") continue;
      EXPECT_TRUE((t.array() == 0.0F || t.array() == 1.0F).all()) << spec;
    }
  }
}

TEST(EveryMethod, LeavesItsInputAsItWas) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(16, 128, 8, 8);
  const test::Layer copy = layer;
  for (const std::string& spec : specs_of_all_methods(r)) {
    calibrate(spec, layer, r);
    EXPECT_EQ(layer.x, copy.x) << spec;
    EXPECT_EQ(layer.w, copy.w) << spec;
  }
}

TEST(EveryMethod, IsReadBackFromItsFileBitByBit) {
  test::MemoryFiles files;
  Registries r = test::method_registries();
  r.open_tensors = test::opener(files);
  std::vector<std::string> specs = specs_of_all_methods(r);
  specs.emplace_back("hadamard(block_size=full,odd_part=hartley)");
  for (const std::string& spec : specs)
    for (const Index width : kWidths) {
      const std::string what = spec + " " + std::to_string(width);
      const test::Layer layer = make_layer(20, width, 18, 9);
      const Chain found = calibrate(spec, layer, r);
      test::MemoryTensors& file = files["t"] = {};
      test::MemorySink sink(file);
      file.metadata = save_transform(found, width, sink);
      const test::Layer other = make_layer(20, width, 18, 10);  // what it was found on does not matter
      const Chain read = calibrate("from_file(path=t)", other, r, 8);
      expect_equal(found, read, width, what);
      test::Layer a = layer;
      test::Layer b = layer;
      found.apply_to_activations(a.x);
      found.apply_to_weights(a.w);
      read.apply_to_activations(b.x);
      read.apply_to_weights(b.w);
      EXPECT_EQ(a.x, b.x) << what;
      EXPECT_EQ(a.w, b.w) << what;
      EXPECT_EQ(a.x == layer.x, found.empty()) << what;
    }
}

TEST(EveryMethod, HasACanonicalTextThatIsAFixedPoint) {
  const Registries r = test::method_registries();
  for (const std::string& spec : specs_of_all_methods(r)) {
    const std::string once = r.methods.canonical(spec, r);
    EXPECT_EQ(r.methods.canonical(once, r), once);
  }
}

TEST(EveryMethod, RefusesUnknownParametersByName) {
  const Registries r = test::method_registries();
  for (const std::string& name : r.methods.names())
    EXPECT_NE(error_of([&] {
                r.methods.make(name + "(blok_size=3)", r);
              }).find(name + " has no parameter 'blok_size'"),
              std::string::npos)
        << name;
}

TEST(Methods, AreRegistered) {
  const Registries r = test::method_registries();
  for (const char* name :
       {"duquant", "hadamard", "permute", "pipeline", "rotate", "rtn", "smooth", "smoothquant"})
    EXPECT_TRUE(r.methods.contains(name)) << name;
  EXPECT_EQ(
      r.methods.canonical("duquant", r),
      "duquant(smooth=true,alpha=0.6,rotation=true,permutation=zigzag,permutation_times=1,block_size=128,"
      "max_rotation_step=256,second_rotation=true,pivot=channel,fresh_q=per-step,score=absmax,"
      "share_rotation=true,search_on=all-blocks,search=random-pivot,candidates=33,sample_rows=512,"
      "smooth_direction=divide,smooth_weights=all-layers,smooth_clamps=released)");
}

TEST(Rtn, ChangesNothing) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(4, 16, 2, 1);
  EXPECT_TRUE(calibrate("rtn", layer, r).empty());
  EXPECT_EQ(r.methods.make("rtn", r)->block_size(16), 0);
}

TEST(SmoothQuant, BalancesActivationsAndWeightsByAlpha) {
  test::Layer layer{Matrix(2, 4), Matrix(1, 4)};
  layer.x << 4, -1, 0, 2,  //
      -16, 1, 0, 9;
  layer.w << 4, -0.25F, 1e-4F, 0;
  const Registries r = test::method_registries();
  const Chain chain = calibrate("smoothquant(alpha=0.5)", layer, r);
  Matrix scale = Matrix::Ones(1, 4);
  chain.apply_to_weights(scale);
  EXPECT_FLOAT_EQ(scale(0, 0), 2);                     // sqrt(16) / sqrt(4)
  EXPECT_FLOAT_EQ(scale(0, 1), 2);                     // 1 / sqrt(1/4)
  EXPECT_FLOAT_EQ(scale(0, 2), std::sqrt(0.1F));       // a dead channel counts 1e-5
  EXPECT_FLOAT_EQ(scale(0, 3), 3 / std::sqrt(1e-5F));  // and so does a dead weight
  SmoothingSettings settings;
  const Vector alone = smoothing_scale(layer.x, Matrix(0, 4), settings);
  EXPECT_FLOAT_EQ(alone[0], 4);      // without weights every max|w| is 1
  EXPECT_FLOAT_EQ(alone[2], 1e-2F);  // scales below 1e-2 are lifted
  settings.clamps = "none";
  const Vector free = smoothing_scale(layer.x, layer.w, settings);
  EXPECT_FLOAT_EQ(free[0], 2);
  EXPECT_EQ(free[2], 1.0F);  // a dead channel has no scale
  EXPECT_EQ(free[3], 1.0F);  // nor has one without weights
  layer.x.col(2).setConstant(1e-6F);
  EXPECT_FLOAT_EQ(smoothing_scale(layer.x, layer.w, settings)[2], 0.1F);  // sqrt(1e-6 / 1e-4): both stand
  layer.w(0, 2) = 100;
  EXPECT_FLOAT_EQ(smoothing_scale(layer.x, layer.w, settings)[2], 1e-4F);  // and nothing is lifted
  settings.clamps = "released";
  EXPECT_FLOAT_EQ(smoothing_scale(layer.x, layer.w, settings)[2], 1e-2F);
  EXPECT_EQ(error_of([&] { r.methods.make("smooth(alpha=1.5)", r); }),
            "smoothquant.alpha: 1.5 is outside 0 to 1");
}

TEST(SmoothQuant, MultipliesActivationsWhereToldAsThePaperOfDuQuantPrintsIt) {
  const Registries r = test::method_registries();
  const test::Layer layer{Matrix{{4.0F, -1.0F}, {-16.0F, 1.0F}}, Matrix{{4.0F, -0.25F}}};  // scales 2, 2
  Matrix x = layer.x;
  Matrix w = layer.w;
  const Chain chain = calibrate("smoothquant(direction=multiply)", layer, r);
  chain.apply_to_activations(x);
  chain.apply_to_weights(w);
  EXPECT_EQ(x, Matrix(2 * layer.x));
  EXPECT_EQ(w, Matrix(layer.w / 2));
}

/// q_proj and k_proj, or gate_proj and up_proj, stand one below the other.
TEST(SmoothQuant, TakesTheMaximaOfAllLayersOrOfTheOneThatTheReleasedCodeTakes) {
  const Registries r = test::method_registries();
  const RandomStream random(1);
  const Matrix x = Matrix::Constant(1, 2, 4.0F);
  const Matrix w{{1.0F, 0.25F}, {-4.0F, 0.0F}, {0.0F, -16.0F}};
  const auto scales = [&](const std::string& spec, const std::vector<LayerRows>& layers) {
    Matrix out = Matrix::Ones(1, 2);
    Calibration calibration{x, w, random, r};
    calibration.layers = layers;
    r.methods.make(spec, r)->calibrate(calibration).apply_to_weights(out);
    return out;
  };
  const Matrix all{{1.0F, 0.5F}};    // maxima 4, 16
  const Matrix first{{2.0F, 4.0F}};  // maxima 1, 1/4
  const Matrix last{{1.0F, 0.5F}};   // maxima 4, 16: those of rows 1 and 2
  const std::vector<LayerRows> qk{{"model.layers.0.self_attn.q_proj", 0, 1},
                                  {"model.layers.0.self_attn.k_proj", 1, 2}};
  const std::vector<LayerRows> gate{{"model.layers.0.mlp.gate_proj", 0, 2},
                                    {"model.layers.0.mlp.up_proj", 2, 1}};
  EXPECT_EQ(scales("smoothquant", qk), all);
  EXPECT_EQ(scales("smoothquant(weights=one-layer)", qk), first);
  EXPECT_EQ(scales("smoothquant(weights=one-layer)", {{"x.mlp.gate_proj", 0, 1}, {"x.mlp.up_proj", 1, 2}}),
            last);
  const Matrix up = scales("smoothquant(weights=one-layer)", gate);  // maxima 0 (1e-5), 16
  EXPECT_FLOAT_EQ(up(0, 0), 2 / std::sqrt(1e-5F));
  EXPECT_FLOAT_EQ(up(0, 1), 0.5F);
  // One layer, or names that say nothing: all of w.
  EXPECT_EQ(scales("smoothquant(weights=one-layer)", {}), all);
  EXPECT_EQ(scales("smoothquant(weights=one-layer)", {{"a.down_proj", 0, 3}}), all);
  // Wherever smoothing stands.
  EXPECT_EQ(
      scales("duquant(block_size=2,alpha=0.5,smooth_weights=one-layer,rotation=false,permutation_times=0)",
             qk),
      first);
  EXPECT_EQ(scales("pipeline(rtn | smooth(weights=one-layer))", qk), first);
}

TEST(SmoothQuant, TellsItsStepsApart) {
  SmoothingSettings settings;
  EXPECT_EQ(smoothing_step(settings), "smooth(0.5)");
  settings.direction = "multiply";
  settings.weights = "one-layer";
  settings.clamps = "none";
  EXPECT_EQ(smoothing_step(settings), "smooth(0.5, direction=multiply, weights=one-layer, clamps=none)");
}

TEST(HadamardMethod, IsFullOrInBlocksWithOrWithoutSigns) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(4, 24, 2, 2);
  EXPECT_EQ(r.methods.make("hadamard(full)", r)->block_size(24), 24);
  EXPECT_EQ(r.methods.make("hadamard(8)", r)->block_size(24), 8);
  const Matrix plain = as_matrix(calibrate("hadamard(8,signs=false)", layer, r), 24);
  EXPECT_TRUE((plain.row(0).head(8).array() > 0).all());
  EXPECT_EQ(plain.topRightCorner(8, 16).cwiseAbs().maxCoeff(), 0.0F);
  const Matrix full = as_matrix(calibrate("hadamard(full,signs=false)", layer, r), 24);
  EXPECT_TRUE((full.array() != 0.0F).all());
  EXPECT_NE(as_matrix(calibrate("hadamard(8)", layer, r), 24), plain);
  EXPECT_EQ(as_matrix(calibrate("hadamard(8)", layer, r), 24).cwiseAbs(), plain.cwiseAbs());
  EXPECT_EQ(error_of([&] { r.methods.make("hadamard(16)", r)->check(24, r); }),
            "hadamard: block size 16 does not divide the 24 channels; sizes that do: 2, 3, 4, 6, 8, 12, 24");
  EXPECT_EQ(error_of([&] { r.methods.make("hadamard(6)", r)->check(24, r); }),
            "hadamard: no Hadamard matrix of order 6 is available; block sizes of the 24 channels that have "
            "one: 2, 4, "
            "8, 12, 24; odd_part=hartley takes any size");
  const Matrix any = as_matrix(calibrate("hadamard(6,signs=false,odd_part=hartley)", layer, r), 24);
  EXPECT_LT(orthogonality_error(any), 1e-6);
  EXPECT_EQ(any.topRightCorner(6, 18).cwiseAbs().maxCoeff(), 0.0F);
  EXPECT_EQ(error_of([&] { r.methods.make("hadamard(0)", r); }),
            "hadamard.block_size: 0 is outside 2 to 65536 or 'full' or 'auto'");
}

TEST(BlockMethods, RefuseAutoWhereNoPowerOfTwoDividesTheWidth) {
  const Registries r = test::method_registries();
  for (const std::string name : {"rotate", "permute", "duquant", "hadamard"}) {
    EXPECT_EQ(r.methods.make(name + "(block_size=auto)", r)->block_size(11008), 128);
    EXPECT_EQ(r.methods.make(name + "(block_size=auto)", r)->block_size(24), 8);
    EXPECT_EQ(
        error_of([&] { r.methods.make(name + "(block_size=auto)", r)->check(15, r); }),
        name + ": a block needs at least 2 channels, got 1; sizes that divide the 15 channels: 3, 5, 15");
  }
}

TEST(BlockMethods, RefuseABlockSizeThatDoesNotDivideTheWidth) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(4, 24, 2, 3);
  for (const std::string name : {"rotate", "permute", "duquant"}) {
    const std::string want =
        name + ": block size 16 does not divide the 24 channels; sizes that do: 2, 3, 4, 6, 8, 12, 24";
    EXPECT_EQ(error_of([&] { r.methods.make(name + "(block_size=16)", r)->check(24, r); }), want);
    EXPECT_EQ(error_of([&] { calibrate(name + "(block_size=16)", layer, r); }), want);
    EXPECT_EQ(error_of([&] { calibrate("pipeline(rtn | " + name + "(block_size=16))", layer, r); }), want);
    EXPECT_EQ(r.methods.make(name + "(block_size=8)", r)->block_size(24), 8);
  }
}

std::vector<std::string> kinds(const Chain& chain) {
  std::vector<std::string> out;
  for (const auto& t : chain.transforms()) out.push_back(t->kind());
  return out;
}

TEST(DuQuant, BuildsTheChainThatItsTogglesName) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(6, 32, 4, 9);
  const std::string s = "channel_scale";
  const std::string p = "permutation";
  const std::string rot = "block_rotation";
  const auto of = [&](const std::string& params) {
    return kinds(calibrate("duquant(block_size=8,search=exact,max_rotation_step=2" + params + ")", layer, r));
  };
  using Kinds = std::vector<std::string>;
  EXPECT_EQ(of(""), (Kinds{s, rot, p, rot}));
  EXPECT_EQ(of(",smooth=false"), (Kinds{rot, p, rot}));
  EXPECT_EQ(of(",rotation=false"), (Kinds{s, p, rot}));
  EXPECT_EQ(of(",permutation=none"), (Kinds{s, rot, rot}));
  EXPECT_EQ(of(",second_rotation=false"), (Kinds{s, rot, p}));
  EXPECT_EQ(of(",permutation=none,second_rotation=false"), (Kinds{s, rot}));
  EXPECT_EQ(of(",permutation_times=0"), (Kinds{s, rot}));
  EXPECT_EQ(of(",permutation_times=2"), (Kinds{s, rot, p, rot, p, rot}));
  EXPECT_EQ(of(",rotation=false,permutation_times=0"), (Kinds{s}));
  EXPECT_EQ(of(",smooth=false,rotation=false,permutation_times=0"), (Kinds{}));
}

TEST(DuQuant, EveryToggleOfTheSearchChangesTheResult) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(6, 64, 4, 21);
  const auto with = [&](const std::string& toggle) {
    std::string spec = "duquant(block_size=16";
    if (toggle.find(",search=") == std::string::npos) spec += ",search=exact";
    if (toggle != ",search=hadamards") spec += ",max_rotation_step=12";
    return as_matrix(calibrate(spec + toggle + ")", layer, r), 64);
  };
  const Matrix paper = with("");
  for (const char* toggle :
       {",pivot=row", ",fresh_q=per-search", ",score=peak-to-peak", ",share_rotation=false",
        ",search_on=largest-block", ",alpha=0.5", ",permutation=random", ",permutation=random(pairing)",
        ",permutation=absmax", ",permutation=mass_diffusion", ",permutation=simulated_annealing",
        ",search=random-pivot", ",search=hadamards", ",search=sample,sample_rows=1",
        ",smooth_direction=multiply", ",smooth_clamps=none"})
    EXPECT_NE(with(toggle), paper) << toggle;
}

TEST(DuQuant, ModesSetEveryToggleOfPaperAndCode) {
  const Registries r = test::method_registries();
  const auto toggles = [&](const std::string& mode) {
    const Params params = r.methods.resolve(parse_spec("duquant(mode=" + mode + ")"), r);
    std::string out;
    for (const ParamInfo& p : r.methods.info("duquant").params)
      if (p.name == "pivot" || p.name == "fresh_q" || p.name == "score" || p.name == "share_rotation" ||
          p.name == "search_on" || p.name.starts_with("smooth_"))
        out += p.format(params.at(p.name)) + " ";
    return out;
  };
  EXPECT_EQ(toggles("paper"), "channel per-step absmax true largest-block divide all-layers none ");
  EXPECT_EQ(toggles("code"), "row per-search peak-to-peak true all-blocks divide one-layer released ");
  EXPECT_EQ(toggles("printed"), "channel per-step absmax true largest-block multiply all-layers none ");
  // What stands beside a mode wins, wherever it stands.
  EXPECT_EQ(toggles("paper,pivot=row"), "row per-step absmax true largest-block divide all-layers none ");
  EXPECT_FALSE(r.methods.info("duquant").note("clip_precedence").empty());
  EXPECT_FALSE(r.methods.info("duquant").note("value_hadamard").empty());
}

TEST(DuQuant, DrawsTheSameRandomNumbersWhateverIsLeftOut) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(6, 32, 4, 11);
  const std::string base =
      "duquant(smooth=false,permutation=random,block_size=8,search=exact,max_rotation_step=4";
  const auto all = calibrate(base + ")", layer, r).transforms();
  const auto no_second = calibrate(base + ",second_rotation=false)", layer, r).transforms();
  const auto no_first = calibrate(base + ",rotation=false)", layer, r).transforms();
  const auto matrix = [](const Transform& t) {
    Matrix out = Matrix::Identity(32, 32);
    t.apply_to_activations(out);
    return out;
  };
  EXPECT_EQ(matrix(*all[0]), matrix(*no_second[0]));
  EXPECT_EQ(matrix(*all[1]), matrix(*no_second[1]));
  EXPECT_EQ(matrix(*all[1]), matrix(*no_first[0]));
}

TEST(DuQuant, IsTheRecipeThatTheGoldenTestsCheck) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(6, 32, 4, 12);
  const RandomStream random(7);
  RotatePermute recipe;
  recipe.search.block_size = 8;
  recipe.search.steps = 5;
  recipe.search.pivot = "row";
  recipe.search.fresh_q = "per-search";
  recipe.search.score = "peak-to-peak";
  RotatePermuteTrace trace;
  const Chain chain = rotate_and_permute(layer.x, recipe, {layer.x, layer.w, random, r}, {}, &trace);
  expect_equal(
      chain,
      calibrate(
          "duquant(smooth=false,block_size=8,search=exact,max_rotation_step=5,pivot=row,fresh_q=per-search,"
          "score=peak-to-peak)",
          layer, r),
      32, "released mode");
  EXPECT_EQ(trace.rotations.size(), 2U);
  EXPECT_EQ(trace.permutations.size(), 1U);
}

TEST(DuQuant, FlattensOutliersMoreThanItsParts) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(64, 128, 4, 13);
  const auto absmax = [&](const std::string& spec) {
    Matrix x = layer.x;
    calibrate(spec, layer, r).apply_to_activations(x);
    return x.cwiseAbs().maxCoeff();
  };
  const float one =
      absmax("duquant(smooth=false,block_size=32,search=exact,max_rotation_step=32,permutation_times=0)");
  const float both = absmax("duquant(smooth=false,block_size=32,search=exact,max_rotation_step=32)");
  EXPECT_LT(one, 0.6F * layer.x.cwiseAbs().maxCoeff());
  EXPECT_LT(both, 0.8F * one);
}

TEST(DuQuant, RefusesBadParameters) {
  const Registries r = test::method_registries();
  EXPECT_EQ(error_of([&] { r.methods.make("duquant(permutation=zigzg)", r); }),
            "duquant.permutation: no permutation is called 'zigzg'; did you mean 'zigzag'? Known: none, "
            "absmax, mass_diffusion, random, simulated_annealing, zigzag");
  EXPECT_EQ(error_of([&] { r.methods.make("duquant(pivot=column)", r); }),
            "duquant.pivot: 'column' is no choice; known: channel, row");
  EXPECT_EQ(error_of([&] { r.methods.make("duquant(max_rotation_step=0)", r); }),
            "duquant.max_rotation_step: 0 is outside 1 to 1000000");
  // What a search has no use for is refused instead of ignored.
  const auto refused = [&](const std::string& params, const std::string& why) {
    const auto method = r.methods.make("duquant(" + params + ")", r);
    EXPECT_EQ(error_of([&] { method->check(128, r); }), why) << params;
  };
  refused("pivot=row",
          "duquant: a pivot has no meaning with search=random-pivot; add search=exact, or leave them out");
  const std::string steps =
      "duquant: greedy steps and their random matrices have no meaning with search=hadamards; add "
      "search=exact, "
      "or leave them out";
  refused("search=hadamards,max_rotation_step=64", steps);
  refused("search=hadamards,fresh_q=per-search", steps);
  EXPECT_NO_THROW(r.methods.make("duquant(max_rotation_step=64)", r)->check(128, r));
  EXPECT_NO_THROW(r.methods.make("duquant(mode=paper,max_rotation_step=64)", r)->check(128, r));
}

TEST(Pipeline, WritesDuQuantAsOneLine) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(4, 256, 4, 14);
  expect_equal(
      calibrate(
          "pipeline(smooth(alpha=0.6) | rotate(block_size=128, search=random-pivot) | permute(zigzag) | "
          "rotate(block_size=128, search=random-pivot))",
          layer, r),
      calibrate("duquant", layer, r), 256, "defaults");
}

TEST(Pipeline, WritesDuQuantWithOtherToggles) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(8, 64, 4, 15);
  const std::string search = ",pivot=row,fresh_q=per-search,score=peak-to-peak,share_rotation=false";
  const std::string rotate = "rotate(block_size=16,steps=9" + search + ")";
  const std::string permute = "permute(random,block_size=16)";
  expect_equal(
      calibrate("pipeline([" + rotate + "|" + permute + "|" + rotate + "|" + permute + "|" + rotate + "])",
                layer, r),
      calibrate("duquant(smooth=false,permutation=random,permutation_times=2,block_size=16,search=exact,max_"
                "rotation_step=9" +
                    search + ")",
                layer, r),
      64, "twice");
  // A part of the line put into a pipeline of its own changes nothing either.
  expect_equal(calibrate("pipeline([pipeline([" + rotate + "|" + permute + "])|" + rotate + "])", layer, r),
               calibrate("pipeline([" + rotate + "|" + permute + "|" + rotate + "])", layer, r), 64,
               "nested");
}

TEST(Pipeline, NumbersTheRandomStreamsOfAllItsSteps) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(8, 32, 4, 16);
  const auto twice = calibrate("pipeline(hadamard(8) | hadamard(8))", layer, r).transforms();
  ASSERT_EQ(twice.size(), 2U);
  Matrix first = Matrix::Identity(32, 32);
  Matrix second = first;
  twice[0]->apply_to_activations(first);
  twice[1]->apply_to_activations(second);
  EXPECT_NE(first, second);
  expect_equal(calibrate("pipeline(hadamard(8))", layer, r), calibrate("hadamard(8)", layer, r), 32,
               "one step");
}

TEST(Pipeline, HasACanonicalTextWithEveryParameter) {
  const Registries r = test::method_registries();
  EXPECT_EQ(r.methods.canonical("pipeline(smooth|permute(none))", r),
            "pipeline(steps=[smoothquant(alpha=0.5,direction=divide,weights=all-layers,clamps=released) | "
            "permute(strategy=none,block_size=128)])");
  EXPECT_EQ(r.methods.canonical("pipeline(\"rtn\")", r), "pipeline(steps=rtn)");
}

TEST(Pipeline, KnowsTheBlockOfItsLastStepThatHasOne) {
  const Registries r = test::method_registries();
  const auto block = [&](const std::string& steps) {
    return r.methods.make("pipeline([" + steps + "])", r)->block_size(96);
  };
  EXPECT_EQ(block("rtn"), 0);
  EXPECT_EQ(block("rotate(block_size=32) | permute(block_size=16) | smooth"), 16);
  EXPECT_EQ(block("rotate | hadamard(full)"), 96);
  EXPECT_EQ(block("rotate | pipeline(steps=[hadamard(8) | rtn])"), 8);
}

TEST(Pipeline, RefusesBadSteps) {
  const Registries r = test::method_registries();
  EXPECT_EQ(error_of([&] { r.methods.make("pipeline(smooth | rotat)", r); }).substr(0, 73),
            "pipeline.steps: no method is called 'rotat'; did you mean 'rotate'? Known");
  EXPECT_EQ(error_of([&] { r.methods.make("pipeline(smooth | )", r); }),
            "pipeline.steps: 'smooth |': a step is missing; write a | b(key=value)");
  EXPECT_EQ(error_of([&] { r.methods.make("pipeline(steps=)", r); }),
            "pipeline.steps: '': a step is missing; write a | b(key=value)");
  EXPECT_EQ(error_of([&] { r.methods.make("pipeline(smooth(alpha=3))", r); }),
            "pipeline.steps: smoothquant.alpha: 3 is outside 0 to 1");
  EXPECT_EQ(error_of([&] { r.methods.make("pipeline(rotate(block_size=16))", r)->check(24, r); }),
            "rotate: block size 16 does not divide the 24 channels; sizes that do: 2, 3, 4, 6, 8, 12, 24");
}

TEST(Pipeline, StopsWhenAsked) {
  const Registries r = test::method_registries();
  const test::Layer layer = make_layer(4, 128, 4, 17);
  const RandomStream random(1);
  StopFlag stop;
  stop.request();
  for (const char* spec : {"pipeline", "duquant", "rotate"})
    EXPECT_THROW(r.methods.make(spec, r)->calibrate({layer.x, layer.w, random, r, &stop}), Interrupted)
        << spec;
}

}  // namespace
}  // namespace olab

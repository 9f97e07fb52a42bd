// A store with a small study that nobody computed: real shapes of outliers, invented methods' results.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "core/linalg.hpp"
#include "core/random.hpp"
#include "core/text.hpp"
#include "results/store.hpp"

namespace olab::testing {

struct SyntheticSize {
  Index tokens = 64;
  Index channels = 256;
  std::vector<int> layers{0, 1, 31};
  std::uint64_t repeats = 3;
};

/// Some channels 20 to 60 times larger than the rest, and a massive value at two tokens.
inline Matrix outlier_matrix(Index tokens, Index channels, RandomStream random) {
  Matrix x(tokens, channels);
  random.fill_normal(x);
  for (Index j = 0; j < channels; ++j) x.col(j) *= static_cast<float>(0.3 * std::exp(0.4 * random.normal()));
  for (Index k = 0; k < std::max<Index>(2, channels / 400); ++k)
    x.col(random.below(channels)) *= static_cast<float>(20 + 40 * random.uniform());
  x(tokens / 16, channels / 3) = 1402.5F;
  x(tokens / 2, channels / 3) = -611.0F;
  return x;
}

inline std::vector<Series> stage_series(const std::string& stage, const Matrix& x, Index block) {
  std::vector<Series> out;
  const auto facts = [&](Series& s) {
    s.facts["tokens"] = std::to_string(x.rows());
    s.facts["channels"] = std::to_string(x.cols());
  };
  Series surface{stage + ".surface", std::min<Index>(64, x.rows()), std::min<Index>(96, x.cols()), {}, {}};
  surface.values.assign(static_cast<std::size_t>(surface.rows * surface.columns), 0.0);
  for (Index t = 0; t < x.rows(); ++t) {
    for (Index j = 0; j < x.cols(); ++j) {
      auto& cell = surface.values[static_cast<std::size_t>((t * surface.rows / x.rows()) * surface.columns +
                                                           j * surface.columns / x.cols())];
      cell = std::max(cell, std::abs(static_cast<double>(x(t, j))));
    }
  }
  facts(surface);
  out.push_back(surface);

  const Vector absmax = channel_absmax(x);
  std::vector<double> sorted(absmax.data(), absmax.data() + absmax.size());
  std::sort(sorted.rbegin(), sorted.rend());
  Series profile{stage + ".channel_profile", 3, x.cols(), {}, {}};
  for (Index j = 0; j < x.cols(); ++j) profile.values.push_back(static_cast<double>(j + 1));
  profile.values.insert(profile.values.end(), sorted.begin(), sorted.end());
  for (const double v : sorted) profile.values.push_back(v / 3.5);
  facts(profile);
  out.push_back(profile);

  constexpr Index kBins = 121;
  const double range = sorted.front() > 0 ? sorted.front() : 1;
  Series histogram{stage + ".histogram", 1, kBins, std::vector<double>(kBins, 0.0), {}};
  for (Index t = 0; t < x.rows(); ++t) {
    for (Index j = 0; j < x.cols(); ++j) {
      const double place = (static_cast<double>(x(t, j)) / range + 1) * kBins / 2;
      histogram
          .values[static_cast<std::size_t>(std::clamp<Index>(static_cast<Index>(place), 0, kBins - 1))] += 1;
    }
  }
  facts(histogram);
  histogram.facts["absmax"] = to_text(sorted.front());
  out.push_back(histogram);

  const Index blocks = x.cols() / block;
  Series bars{stage + ".block_profile",
              3,
              blocks,
              std::vector<double>(static_cast<std::size_t>(3 * blocks), 0.0),
              {}};
  for (Index j = 0; j < blocks * block; ++j) {
    const auto b = static_cast<std::size_t>(j / block);
    const auto n = static_cast<std::size_t>(blocks);
    const double v = absmax[j];
    bars.values[b] += v / static_cast<double>(block);
    bars.values[n + b] = std::max(bars.values[n + b], v);
    bars.values[2 * n + b] += 0.3 * v;
  }
  facts(bars);
  bars.facts["blocks"] = std::to_string(blocks);
  out.push_back(bars);
  return out;
}

/// Study "ablation" with rtn, smoothquant, and duquant over block sizes and permutations; one failed run.
inline Store synthetic_store(const std::filesystem::path& file, const SyntheticSize& size = {}) {
  Store store(file);
  const std::int64_t study = store.put_study("ablation", "study: ablation\nseed: 0\nmethods:\n  - rtn\n");
  std::int64_t position = 0;
  struct Recipe {
    std::string name, label;
    std::map<std::string, std::string, std::less<>> params;
    double error;
  };
  std::vector<Recipe> recipes{{"rtn", "rtn", {}, 0.31},
                              {"smoothquant", "smoothquant", {{"alpha", "0.5"}}, 0.12}};
  double error = 0.03;
  for (const char* block : {"16", "32", "64", "128", "full"}) {
    for (const char* permutation : {"none", "zigzag"}) {
      recipes.push_back({"duquant",
                         fmt::format("duquant(block_size={}, permutation={})", block, permutation),
                         {{"block_size", block}, {"permutation", permutation}},
                         std::string(permutation) == "zigzag" ? error * 0.4 : error});
    }
    error *= 0.62;
  }
  const RandomStream random(7);
  for (const int number : size.layers) {
    const std::string layer = fmt::format("model.layers.{}.mlp.down_proj", number);
    const Matrix x = outlier_matrix(size.tokens, size.channels, random.fork(layer));
    const Index block = std::min<Index>(64, size.channels);
    for (const Recipe& recipe : recipes) {
      for (std::uint64_t seed = 0; seed < size.repeats; ++seed) {
        RunRecord run;
        run.key = fmt::format("{}-{}-{}", layer, recipe.label, seed);
        run.recording = "profile llama2-7b";
        run.layer = layer;
        run.layer_kind = "down_proj";
        run.in_features = size.channels;
        run.out_features = size.channels;
        run.calibration_tokens = size.tokens;
        run.evaluation_tokens = size.tokens;
        run.method = recipe.name;
        run.method_text = recipe.label;
        run.label = recipe.label;
        run.params = recipe.params;
        run.params["activation.bits"] = "4";
        run.activation_text = "int(bits=4, granularity=per-token)";
        run.weight_text = "int(bits=4, granularity=per-channel)";
        run.seed = seed;
        run.started = "2026-01-31T12:00:00Z";
        run.provenance = {"0.1.0", "0123abc", false, "g++ 12.2.0", "-O3", "host", "cpu", "x86-64-v3", 2};
        const std::int64_t id = store.begin(run);
        store.link(study, id, position++, recipe.label);
        if (recipe.name == "smoothquant" && number == size.layers.back()) {
          store.fail(id, "smoothquant: channel 5 has no activation; <remove> it & run again");
          continue;
        }
        auto noise = random.fork(run.key);
        const double nmse = recipe.error * (1 + 0.1 * noise.normal()) * (number == 1 ? 2.5 : 1);
        const double relative = recipe.name == "duquant" ? 0.5 / (1 + 100 * recipe.error) : 0;
        const std::map<std::string, double, std::less<>> values{{"output.nmse", nmse},
                                                                {"online.relative_multiply_adds", relative},
                                                                {"output.sqnr", -10 * std::log10(nmse)},
                                                                {"original.kurtosis", 1250.5},
                                                                {"transformed.kurtosis", 3 + 100 * nmse}};
        std::vector<Series> series;
        const bool shown = recipe.name != "duquant" || recipe.params.at("block_size") == "64";
        if (seed == 0 && shown) {
          Matrix after = x;
          if (recipe.name == "smoothquant") {
            const Vector absmax = channel_absmax(x);
            for (Index j = 0; j < x.cols(); ++j) after.col(j) /= std::max(0.2F, std::sqrt(absmax[j]));
          }
          if (recipe.name == "duquant") {
            auto stream = random.fork("rotation");
            rotate_blocks(after, random_orthogonal(block, stream));
            if (recipe.params.at("permutation") == "zigzag") {
              Matrix shuffled = after;
              for (Index j = 0; j < x.cols(); ++j)
                shuffled.col(j) = after.col((j % (x.cols() / block)) * block + j / (x.cols() / block));
              rotate_blocks(shuffled, random_orthogonal(block, stream));
              after = shuffled;
            }
          }
          for (const auto& [stage, matrix] : {std::pair<std::string, const Matrix*>{"original", &x},
                                              std::pair<std::string, const Matrix*>{"transformed", &after}})
            for (Series& one : stage_series(stage, *matrix, block)) series.push_back(std::move(one));
        }
        // As if the layer were a model of two blocks.
        Series layers{"layers.output.nmse", 2, 2, {nmse, 2 * nmse, nmse / 2, 3 * nmse}, {}};
        layers.facts["columns"] = "self_attn.q_proj,mlp.down_proj";
        series.push_back(std::move(layers));
        const std::vector<std::string> metrics{"nmse", "sqnr", "kurtosis", "surface"};
        store.finish(id, values, series, metrics);
      }
    }
  }
  return store;
}

}  // namespace olab::testing

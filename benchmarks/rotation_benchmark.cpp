// Products, rotations, Hadamard transforms and the online path, each beside what it is measured by: the peak
// of the multiply-add units, memcpy, OpenBLAS where it is installed, Eigen, and the same work in separate
// passes. Everything is checked against a reference before it is timed; one thread.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks.hpp"
#include "core/cpu.hpp"
#include "core/hadamard.hpp"
#include "core/linalg.hpp"
#include "core/online.hpp"
#include "measuring.hpp"
#include "openblas.hpp"

namespace olab {
namespace {

constexpr Index kTokens = 2048;
constexpr Index kBlock = 128;

// ---- baselines ------------------------------------------------------------------------------------------

void copy(benchmark::State& state) {
  const Matrix x = on_huge_pages(kTokens, state.range(0));
  Matrix y = on_huge_pages(kTokens, state.range(0));
  for (auto _ : state) {
    std::memcpy(y.data(), x.data(), static_cast<std::size_t>(x.size()) * sizeof(float));
    benchmark::DoNotOptimize(y.data());
  }
}

enum class Who { ours, openblas, eigen };

std::vector<Who> everybody() {
  std::vector<Who> out{Who::ours, Who::eigen};
  if (openblas().sgemm != nullptr) out.push_back(Who::openblas);
  return out;
}

// ---- products -------------------------------------------------------------------------------------------

void product(benchmark::State& state, Who who) {
  const Matrix x = on_huge_pages(512, 4096);
  const Matrix w = on_huge_pages(4096, 4096);
  Matrix y(512, 4096);
  const auto run = [&] {
    if (who == Who::ours) {
      multiply_transposed(x, w, y);
    } else if (who == Who::openblas) {
      openblas_product(x, w, true, y);
    } else {
      y.noalias() = x * w.transpose();
    }
  };
  run();
  const Matrix some = x.topRows(4) * w.transpose();
  if (!close(y.topRows(4), some)) state.SkipWithError("the product differs from Eigen's");
  time(state, run);
  set_rate(state, 512.0 * 4096 * 4096);
}

/// OpenBLAS and Eigen see the tokens' blocks as rows of one tall matrix, the best form for them.
void rotation(benchmark::State& state, Who who) {
  const Index channels = state.range(0);
  RandomStream random(3);
  const Matrix r = random_orthogonal(kBlock, random);
  const Matrix x = on_huge_pages(kTokens * channels / kBlock, kBlock);
  Matrix y = x;
  const auto run = [&] {
    if (who == Who::ours) {
      rotate_blocks(Eigen::Map<Matrix>(y.data(), kTokens, channels), r);  // in place
    } else if (who == Who::openblas) {
      openblas_product(x, r, false, y);
    } else {
      y.noalias() = x * r;
    }
  };
  run();
  const Matrix some = x.topRows(64) * r;
  if (!close(y.topRows(64), some)) state.SkipWithError("the rotation differs from Eigen's");
  time(state, run);
  set_rate(state, static_cast<double>(kTokens * channels) * kBlock);
}

// ---- Hadamard -------------------------------------------------------------------------------------------

FastHadamard hadamard_of(Index channels, Index block) {
  RandomStream random(4);
  Vector signs(channels);
  for (float& s : signs) s = random.sign();
  const Index odd = block / (block & -block);
  return {block, odd == 1 ? OddFactor() : OddFactor::hartley(odd), signs};
}

void hadamard(benchmark::State& state) {
  const Index channels = state.range(0);
  const FastHadamard fast = hadamard_of(channels, state.range(1));
  Matrix x = on_huge_pages(kTokens, channels);
  // Orthogonal, and its own inverse apart from the signs.
  Matrix two = x.topRows(2);
  fast.apply(two);
  two.array().rowwise() *= fast.signs().array();
  fast.apply(two);
  two.array().rowwise() *= fast.signs().array();
  if (!close(two, x.topRows(2))) state.SkipWithError("the transform is not its own inverse");
  time(state, [&] { fast.apply(x); });
}

// ---- online ---------------------------------------------------------------------------------------------

struct Online {
  std::string name;
  std::vector<OnlineStage> stages;
  Precision precision = Precision::fp32;
};

std::vector<Index> random_order(Index channels) {
  return RandomStream(5).permutation(channels);
}

std::vector<OnlineStage> rotate_permute_rotate(Index channels) {
  RandomStream random(6);
  return {OnlineStage::rotate({random_orthogonal(kBlock, random)}),
          OnlineStage::permute(random_order(channels)),
          OnlineStage::rotate({random_orthogonal(kBlock, random)})};
}

std::vector<OnlineStage> hadamard_permute_hadamard(Index channels) {
  return {OnlineStage::transform(hadamard_of(channels, kBlock)), OnlineStage::permute(random_order(channels)),
          OnlineStage::transform(hadamard_of(channels, kBlock))};
}

std::vector<Online> online_paths(Index channels) {
  return {{"round_to_nearest", {}},
          {"rotate_permute_rotate/fp32", rotate_permute_rotate(channels)},
          {"rotate_permute_rotate/bf16", rotate_permute_rotate(channels), Precision::bf16},
          {"hadamard", {OnlineStage::transform(hadamard_of(channels, kBlock))}},
          {"hadamard_full", {OnlineStage::transform(hadamard_of(channels, channels))}},
          {"hadamard_permute_hadamard", hadamard_permute_hadamard(channels)}};
}

/// A fused path, checked by the error of its dequantized result: that of 4-bit integers on such data.
void fused(benchmark::State& state, std::size_t which) {
  const Index channels = state.range(0);
  const Online path = online_paths(channels)[which];
  const Matrix x = on_huge_pages(kTokens, channels);
  const OnlineTransform online(channels, path.stages, path.precision);
  IntegerMatrix out;
  online.run(x.topRows(64), 4, out);
  Matrix want = x.topRows(64);
  OnlineTransform(channels, path.stages, Precision::stored).apply(want);
  double worst = 0;
  for (Index t = 0; t < 64; ++t) {
    const auto i = static_cast<std::size_t>(t);
    for (Index j = 0; j < channels; ++j) {
      const float got = (static_cast<float>(out.row(t)[j]) - out.zero[i]) * out.step[i];
      worst = std::max(worst, static_cast<double>(std::abs(got - want(t, j)) / out.step[i]));
    }
  }
  if (worst > 1.1) state.SkipWithError("a code is more than a step off");
  time(state, [&] { online.run(x, 4, out); });
  state.counters["nmse"] = online.precision_error(x.topRows(64));
}

/// Rotate, gather, rotate, quantize: each a pass over memory with our own kernels.
void four_passes(benchmark::State& state) {
  const Index channels = state.range(0);
  const std::vector<OnlineStage> stages = rotate_permute_rotate(channels);
  const Matrix x = on_huge_pages(kTokens, channels);
  Matrix y = x;
  Matrix z = x;
  const std::vector<Index>& order = *stages[1].order;
  const OnlineTransform quantize(channels, {});
  IntegerMatrix out;
  time(state, [&] {
    rotate_blocks(y, stages[0].rotations->front());
    for (Index t = 0; t < y.rows(); ++t) {
      const float* const from = y.row(t).data();
      float* const to = z.row(t).data();
      for (Index j = 0; j < channels; ++j) to[j] = from[order[static_cast<std::size_t>(j)]];
    }
    rotate_blocks(z, stages[2].rotations->front());
    quantize.run(z, 4, out);
  });
}

const char* name_of(Who who) {
  return who == Who::ours ? "ours" : who == Who::openblas ? "openblas" : "eigen";
}

}  // namespace

void register_rotation_benchmarks() {
  constexpr auto kUnit = benchmark::kMillisecond;
  for (const Who who : everybody()) {
    const std::string name = name_of(who);
    benchmark::RegisterBenchmark(("product/512x4096x4096/" + name).c_str(), product, who)->Unit(kUnit);
    benchmark::RegisterBenchmark(("rotate_blocks/" + name).c_str(), rotation, who)
        ->Arg(4096)
        ->Arg(11008)
        ->Unit(kUnit);
  }
  if (has_peak()) {
    benchmark::RegisterBenchmark("product/512x4096x4096/multiply_add_peak", peak, 512.0 * 4096 * 4096)
        ->Unit(kUnit);
    for (const Index channels : {4096, 11008})
      benchmark::RegisterBenchmark(fmt::format("rotate_blocks/multiply_add_peak/{}", channels).c_str(), peak,
                                   static_cast<double>(kTokens * channels * kBlock))
          ->Unit(kUnit);
  }
  for (const auto& [channels, block] : std::vector<std::pair<Index, Index>>{
           {4096, 128}, {4096, 4096}, {8192, 8192}, {11008, 128}, {11008, 11008}}) {
    benchmark::RegisterBenchmark("hadamard/ours", hadamard)->Args({channels, block})->Unit(kUnit);
    benchmark::RegisterBenchmark("hadamard/memcpy", copy)->Args({channels, block})->Unit(kUnit);
  }
  const std::vector<Online> paths = online_paths(kBlock);
  for (std::size_t k = 0; k < paths.size(); ++k) {
    if (!precision_available(paths[k].precision)) continue;
    const std::string name = "online/" + paths[k].name;
    benchmark::RegisterBenchmark((name + "/ours").c_str(), fused, k)->Arg(4096)->Arg(11008)->Unit(kUnit);
    if (paths[k].name.starts_with("rotate_permute_rotate/"))
      benchmark::RegisterBenchmark((name + "/four_passes").c_str(), four_passes)
          ->Arg(4096)
          ->Arg(11008)
          ->Unit(kUnit);
  }
}

}  // namespace olab

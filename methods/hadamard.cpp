// Hadamard rotation, full or in blocks, with or without random signs (QuaRot, Ashkboos et al. 2024,
// arXiv:2404.00456, uses it with signs; the released DuQuant code offers it in blocks without). A width that
// is no power of two takes a Hadamard matrix of its odd part times 4 or more, as 11008 = 172 · 64, or an
// orthogonal factor of Hartley for its odd part.
#include <fmt/format.h>

#include <string>

#include "core/registries.hpp"
#include "methods/common/block_size.hpp"
#include "methods/common/hadamard_matrix.hpp"
#include "methods/common/method.hpp"

namespace olab {
namespace {

struct Hadamard final : Method {
  Index block = 128;
  bool signs = true;
  std::string odd_part = "hadamard";

  Index block_size(Index channels) const override { return resolve_block(block, channels); }

  // Building a transform of this width is the check: it knows every reason to refuse.
  void check(Index channels, const Registries& /*registries*/) const override {
    make_hadamard(channels, block_size(channels), {}, odd());
  }

  Chain calibrate(const Calibration& calibration) const override {
    const Index channels = calibration.x.cols();
    Vector drawn;
    if (signs) {
      RandomStream random =
          calibration.random.fork(fmt::format("signs {}", calibration.number_of("hadamard")));
      drawn.resize(channels);
      for (Index j = 0; j < channels; ++j) drawn[j] = random.sign();
    }
    Chain chain;
    chain.add(make_hadamard(channels, block_size(channels), std::move(drawn), odd()));
    return chain;
  }

  void steps(Index channels, const Registries& /*registries*/,
             std::vector<std::string>& path) const override {
    path.push_back(
        fmt::format("hadamard(block_size={}, signs={}, odd_part={})", block_size(channels), signs, odd_part));
  }

 private:
  OddPart odd() const { return odd_part == "hartley" ? OddPart::hartley : OddPart::hadamard; }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(hadamard) {
  using namespace olab;
  r.methods.add(
      Schema<Hadamard>("hadamard", "Rotates by a normalised Hadamard matrix, full or in blocks",
                       "Ashkboos et al. 2024, arXiv:2404.00456")
          .param("block_size", &Hadamard::block,
                 "channels per block; auto: the largest power of two up to 128 that divides the width", 2,
                 65536)
          .also("full", kFullBlock)
          .also("auto", kAutoBlock)
          .param("signs", &Hadamard::signs, "flip channels at random first")
          .choice("odd_part", &Hadamard::odd_part,
                  "what stands for the odd part of a block that is no power of two: a Hadamard matrix, where "
                  "one can be built, or Hartley's matrix cos + sin, orthogonal for any width",
                  {"hadamard", "hartley"}));
}

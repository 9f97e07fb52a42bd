// The library without the program: list the methods, calibrate one.
#include <cstdio>

#include "core/random.hpp"
#include "experiments/builtins.hpp"
#include "methods/common/method.hpp"

int main() {
  const olab::Registries r = olab::make_registries();
  const olab::RandomStream random(1);
  const olab::Matrix x = olab::Matrix::Ones(4, 64);
  const auto method = r.methods.make("hadamard(block_size=32)", r);
  const olab::Chain chain = method->calibrate({x, x, random, r});
  for (const auto& t : chain.transforms()) std::printf("%s\n", t->kind().c_str());
  return chain.empty() ? 1 : 0;
}

// Plug-in of scripts/compare_official.py: DuQuant's rotate, permute, rotate on step matrices from files, so
// that both programs search with the same random numbers. Writes what it found and its CPU time to a file.
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/registries.hpp"
#include "methods/common/rotate_permute.hpp"

namespace olab {
namespace {

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

Matrix read_square(const std::string& path, Index n) {
  Matrix m(n, n);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(m.data()),
            static_cast<std::streamsize>(m.size()) * static_cast<std::streamsize>(sizeof(float)));
  if (!file) throw Error(fmt::format("{}: expected {} x {} values of 32 bits", path, n, n));
  return m;
}

template <class T>
std::string list(const std::vector<T>& items) {
  return fmt::format("[{}]", fmt::join(items, ","));
}

struct GivenSteps final : Method, RotationSettings {
  std::string folder;

  Chain calibrate(const Calibration& calibration) const override {
    RotatePermute recipe;
    recipe.search = at_width(*this, calibration.x.cols());
    const std::vector<Matrix> given{read_square(folder + "/step0.f32", recipe.search.block_size),
                                    read_square(folder + "/step1.f32", recipe.search.block_size)};
    Matrix x = calibration.x;
    RotatePermuteTrace trace;
    const double started = cpu_seconds();
    Chain chain = rotate_and_permute(
        std::move(x), recipe, calibration,
        [&given](Index number, Index /*block*/) -> StepRotation {
          return [&given, number](Index /*step*/) { return given[static_cast<std::size_t>(number)]; };
        },
        &trace);
    const double seconds = cpu_seconds() - started;
    std::ofstream out(folder + "/found.json");
    out << fmt::format(R"({{"cpu_s": {}, "exchanges": [{}, {}], "permutation": {}}})", seconds,
                       list(trace.rotations.at(0).searches.at(0).exchanges),
                       list(trace.rotations.at(1).searches.at(0).exchanges), list(trace.permutations.at(0)));
    if (!out.flush()) throw Error(folder + "/found.json: cannot be written");
    return chain;
  }
};

}  // namespace
}  // namespace olab

OLAB_REGISTER(compare_official_steps) {
  using namespace olab;
  Schema<GivenSteps> schema("given_steps", "DuQuant on step matrices from files",
                            "scripts/compare_official.py");
  schema.param("folder", &GivenSteps::folder, "step0.f32, step1.f32; receives found.json")
      .param("block_size", static_cast<Index GivenSteps::*>(&RotationSettings::block_size),
             "channels per block", 2, 65536)
      .param("max_rotation_step", static_cast<Index GivenSteps::*>(&RotationSettings::steps),
             "steps of a search", 1, 1000000);
  add_search_toggles(schema);
  r.methods.add(std::move(schema));
}

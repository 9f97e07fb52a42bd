// The method from_file and the format that it reads. That every method comes back bit by bit is tested with
// all methods, in methods_test.cpp.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/linalg.hpp"
#include "memory_tensors.hpp"
#include "methods/common/transform_file.hpp"
#include "methods_layers.hpp"

namespace olab {
namespace {

using test::error_of;

/// Registries that see one file, "t", with every kind of stage.
class FromFile : public testing::Test {
 protected:
  static constexpr Index kChannels = 24;

  FromFile() {
    r.open_tensors = test::opener(files);
    const test::Layer layer = test::make_layer(16, kChannels, 4, 1);
    chain = test::calibrate(
        "pipeline([smooth | permute(random,block_size=8) | rotate(block_size=8,steps=3) | hadamard(full)])",
        layer, r);
    test::MemorySink sink(file());
    file().metadata = save_transform(chain, kChannels, sink);
  }

  test::MemoryTensors& file() { return files["t"]; }
  /// The error of from_file where `change` was made to the file.
  std::string error_with(const std::function<void(test::MemoryTensors&)>& change) {
    const test::MemoryTensors whole = file();
    change(file());
    std::string out = error_of([&] { r.methods.make("from_file(t)", r)->check(kChannels, r); });
    file() = whole;
    return out;
  }
  /// The same with a part of the stage list replaced.
  std::string error_with_stages(const std::string& from, const std::string& to) {
    return error_with([&](test::MemoryTensors& f) {
      std::string& stages = f.metadata["stages"];
      const std::size_t at = stages.find(from);
      ASSERT_NE(at, std::string::npos) << stages;
      stages.replace(at, from.size(), to);
    });
  }

  test::MemoryFiles files;
  Registries r = test::method_registries();
  Chain chain;
};

TEST_F(FromFile, TheStageListIsJsonThatNamesEveryTensor) {
  EXPECT_EQ(file().metadata.at("stages"),
            R"([{"kind": "channel_scale", "tensors": {"scale": "0.channel_scale.scale"}}, )"
            R"({"kind": "permutation", "tensors": {"order": "1.permutation.order"}}, )"
            R"({"kind": "block_rotation", "tensors": {"rotation": "2.block_rotation.rotation"}}, )"
            R"({"kind": "hadamard", "odd_part": "hadamard", "tensors": {"block": "3.hadamard.block", )"
            R"("signs": "3.hadamard.signs", "core": "3.hadamard.core"}}])");
  EXPECT_EQ(file().metadata.at("format"), "outlierlab-transform");
  EXPECT_EQ(file().metadata.at("format_version"), "1");
  EXPECT_EQ(file().metadata.at("channels"), "24");
  EXPECT_EQ(error_with([](auto&) {}), "");
}

TEST_F(FromFile, ReadsAStageListWithoutBlanksAndInAnotherOrderOfKeys) {
  file().metadata["stages"] =
      R"([{"tensors":{"scale":"0.channel_scale.scale"},"kind":"channel_scale"},)"
      R"({"kind":"permutation","tensors":{"order":"1.permutation.order"}},)"
      R"({"kind":"block_rotation","tensors":{"rotation":"2.block_rotation.rotation"}},)"
      R"({"kind":"hadamard","tensors":{"core":"3.hadamard.core","block":"3.hadamard.block",)"
      R"("signs":"3.hadamard.signs"},"odd_part":"hadamard"}])";
  const Chain read = read_transform(test::MemorySource(file(), "t"));
  EXPECT_EQ(test::as_matrix(read, kChannels), test::as_matrix(chain, kChannels));
}

TEST_F(FromFile, TheOrderOfTheStagesCounts) {
  test::MemoryTensors swapped = file();
  std::string& stages = swapped.metadata["stages"];
  const std::string scale = R"({"kind": "channel_scale", "tensors": {"scale": "0.channel_scale.scale"}})";
  const std::string order = R"({"kind": "permutation", "tensors": {"order": "1.permutation.order"}})";
  const std::string both = scale + ", " + order;
  ASSERT_NE(stages.find(both), std::string::npos);
  stages.replace(stages.find(both), both.size(), order + ", " + scale);
  EXPECT_NE(test::as_matrix(read_transform(test::MemorySource(swapped, "t")), kChannels),
            test::as_matrix(chain, kChannels));
}

TEST_F(FromFile, ItsCanonicalTextNamesTheContentOfTheFile) {
  const std::string once = r.methods.canonical("from_file(t)", r);
  EXPECT_EQ(once, "from_file(path=t#" + test::MemorySource(file(), "t").content_hash() + ",block_size=none)");
  EXPECT_EQ(r.methods.canonical(once, r), once);
  EXPECT_EQ(r.methods.canonical("pipeline(from_file(t) | rtn)", r), "pipeline(steps=[" + once + " | rtn])");
  const std::string other = "from_file(path=u#" + once.substr(17);
  EXPECT_NE(error_of([&] { r.methods.canonical(other, r); }).find("u: this file does not exist"),
            std::string::npos);
  file().matrices.at("0.channel_scale.scale")(0, 3) *= 2.0F;
  EXPECT_NE(r.methods.canonical("from_file(t)", r), once);
  const std::string changed = error_of([&] { r.methods.canonical(once, r); });
  EXPECT_NE(changed.find("from_file.path: t: its content is "), std::string::npos) << changed;
  EXPECT_NE(changed.find("the file has changed"), std::string::npos) << changed;
}

TEST_F(FromFile, AMethodThatWasMadeRefusesAFileThatChangedSince) {
  const auto method = r.methods.make("from_file(t)", r);
  const test::Layer layer = test::make_layer(4, kChannels, 2, 1);
  const RandomStream random(1);
  EXPECT_EQ(method->calibrate({layer.x, layer.w, random, r}).transforms().size(), 4U);
  file().lists.at("1.permutation.order") = file().lists.at("1.permutation.order");
  std::swap(file().lists.at("1.permutation.order")[0], file().lists.at("1.permutation.order")[1]);
  EXPECT_NE(error_of([&] {
              method->calibrate({layer.x, layer.w, random, r});
            }).find("the file has changed"),
            std::string::npos);
}

TEST_F(FromFile, TellsItsBlockWhereOneIsGiven) {
  EXPECT_EQ(r.methods.make("from_file(t)", r)->block_size(24), 0);
  EXPECT_EQ(r.methods.make("from_file(t,block_size=8)", r)->block_size(24), 8);
  EXPECT_EQ(r.methods.make("pipeline(from_file(t,block_size=8) | rtn)", r)->block_size(24), 8);
  EXPECT_EQ(r.methods.make("pipeline(rotate(block_size=4) | from_file(t))", r)->block_size(24), 4);
}

TEST_F(FromFile, IsReadOnceForRunsThatShareSteps) {
  const test::Layer layer = test::make_layer(16, kChannels, 4, 2);
  const RandomStream random(5);
  const auto method = r.methods.make(
      "pipeline(from_file(t) | rotate(block_size=8,steps=2) | permute(random,block_size=8))", r);
  std::vector<std::string> path;
  method->steps(kChannels, r, path);
  ASSERT_EQ(path.size(), 6U);
  const std::string from = "(from " + test::MemorySource(file(), "t").content_hash() + ", stage ";
  EXPECT_EQ(path[0], "channel_scale" + from + "0)");
  EXPECT_EQ(path[1], "permutation 1" + from + "1)");
  EXPECT_EQ(path[2], "rotation 1" + from + "2)");
  EXPECT_EQ(path[3], "hadamard" + from + "3)");
  EXPECT_EQ(path[4].substr(0, 11), "rotation 2(");
  EXPECT_EQ(path[5].substr(0, 14), "permutation 2(");
  // What is told is what is looked up.
  SharedSteps shared;
  const Chain first = method->calibrate({layer.x, layer.w, random, r, nullptr, nullptr, &shared});
  std::string so_far;
  std::vector<std::string> told;
  for (const std::string& step : path) told.push_back(so_far += (so_far.empty() ? "" : " | ") + step);
  std::ranges::sort(told);
  EXPECT_EQ(shared.keys(), told);
  const Chain second = method->calibrate({layer.x, layer.w, random, r, nullptr, nullptr, &shared});
  for (std::size_t k = 0; k < 4; ++k) EXPECT_EQ(first.transforms()[k], second.transforms()[k]) << k;
}

TEST_F(FromFile, RefusesMissingFiles) {
  EXPECT_EQ(error_of([&] { r.methods.make("from_file(u)", r); }),
            "from_file.path: u: this file does not exist");
  EXPECT_EQ(error_of([&] { r.methods.make("from_file", r)->check(kChannels, r); }),
            "from_file: no file is given; write from_file(path=FILE.safetensors)");
  const Registries blind = test::method_registries();
  EXPECT_EQ(error_of([&] { blind.methods.make("from_file(t)", blind); }),
            "from_file.path: from_file: t: this program has no reader for tensor files");
}

TEST_F(FromFile, RefusesWhatIsNoTransform) {
  EXPECT_EQ(error_with([](auto& f) { f.metadata.clear(); }),
            "from_file.path: t: it holds no transform: the metadata 'format' is missing, expected "
            "'outlierlab-transform'; write one with olab export-transform");
  EXPECT_NE(error_with([](auto& f) { f.metadata["format"] = "pt"; }).find("the metadata 'format' is 'pt'"),
            std::string::npos);
  EXPECT_EQ(
      error_with([](auto& f) { f.metadata["format_version"] = "2"; }),
      "from_file.path: t: it has version 2 of the format, this program reads up to version 1; use a newer "
      "olab, or export it again with this one");
  EXPECT_EQ(
      error_with([](auto& f) { f.metadata["format_version"] = "new"; }),
      "from_file.path: t: the metadata 'format_version' is 'new', expected a whole number from 1 on: the "
      "file is damaged; write it again with olab export-transform");
  EXPECT_NE(error_with([](auto& f) { f.metadata.erase("stages"); }).find("the metadata 'stages' is missing"),
            std::string::npos);
}

TEST_F(FromFile, RefusesAnotherWidth) {
  EXPECT_EQ(error_of([&] { r.methods.make("from_file(t)", r)->check(48, r); }),
            "t: the transform is for 24 channels, but the layer has 48; choose layers of that width");
  const test::Layer layer = test::make_layer(4, 48, 2, 1);
  EXPECT_EQ(error_of([&] { test::calibrate("from_file(t)", layer, r); }),
            "t: the transform is for 24 channels, but the layer has 48; choose layers of that width");
  // A width that the tensors do not have.
  EXPECT_EQ(error_with([](auto& f) { f.metadata["channels"] = "48"; }),
            "t: the transform is for 48 channels, but the layer has 24; choose layers of that width");
}

TEST_F(FromFile, RefusesADamagedListOfStages) {
  const std::string head = "from_file.path: t: the list of stages is damaged: ";
  const std::string tail = "; write it again with olab export-transform";
  EXPECT_EQ(error_with([](auto& f) { f.metadata["stages"] = "{}"; }),
            head + "stages:1:1: the list of stages must be a list" + tail);
  EXPECT_NE(error_with([](auto& f) { f.metadata["stages"].pop_back(); }).find(head + "stages:1:"),
            std::string::npos);
  EXPECT_EQ(error_with_stages(R"("kind": "permutation")", R"("kind": "permutatin")"),
            head + "stages:1:77: no stage is called 'permutatin'; did you mean 'permutation'?" +
                " Known: channel_scale, permutation, block_rotation, hadamard" + tail);
  EXPECT_NE(error_with_stages(R"("kind": "permutation")", R"("knd": "permutation")")
                .find("a stage has no key 'knd'; did you mean 'kind'?"),
            std::string::npos);
  EXPECT_NE(error_with_stages(R"("order":)", R"("ordr":)").find("did you mean 'order'?"), std::string::npos);
  EXPECT_NE(error_with_stages(R"({"order": "1.permutation.order"})", "{}").find("the key 'order' is missing"),
            std::string::npos);
  EXPECT_EQ(error_with_stages("1.permutation.order", "1.permutation.odor"),
            head + "stage 1 (permutation): the tensor '1.permutation.odor' is not in the file" + tail);
  EXPECT_EQ(error_with_stages("1.permutation.order", "0.channel_scale.scale"),
            head +
                "stage 1 (permutation): the tensor '0.channel_scale.scale' belongs to another stage already" +
                tail);
  // A list that lost an entry is valid by itself, and another transform.
  EXPECT_EQ(
      error_with_stages(R"({"kind": "permutation", "tensors": {"order": "1.permutation.order"}}, )", ""),
      head + "no stage names the tensor '1.permutation.order'; 3 stages are listed" + tail);
  EXPECT_NE(error_with_stages(R"("odd_part": "hadamard", )", "").find("a tensor 'core', but no 'odd_part'"),
            std::string::npos);
  EXPECT_NE(error_with_stages(R"("odd_part": "hadamard", )", R"("odd_part": "paley", )")
                .find("'odd_part' must be hadamard or hartley, not 'paley'"),
            std::string::npos);
}

TEST_F(FromFile, RefusesTensorsThatAreNoSuchStage) {
  const std::string tail = "; write it again with olab export-transform";
  const auto scale = [](auto& f) -> Matrix& { return f.matrices.at("0.channel_scale.scale"); };
  EXPECT_EQ(
      error_with([&](auto& f) { scale(f)(0, 1) = -1.0F; }),
      "t: stage 0 (channel_scale) cannot be used: channel scale: -1 at channel 1; every scale must be finite "
      "and positive" +
          tail);
  EXPECT_EQ(error_with([&](auto& f) { scale(f).conservativeResize(1, 23); }),
            "t: stage 0 (channel_scale) cannot be used: 'scale' is 1 x 23, expected 1 x 24" + tail);
  const auto order = [](auto& f) -> std::vector<Index>& { return f.lists.at("1.permutation.order"); };
  EXPECT_NE(error_with([&](auto& f) { order(f)[1] = order(f)[0]; }).find("a second time"), std::string::npos);
  EXPECT_EQ(error_with([&](auto& f) { order(f).pop_back(); }),
            "t: stage 1 (permutation) cannot be used: 'order' holds 23 channels, expected 24" + tail);
  const auto rotation = [](auto& f) -> Matrix& { return f.matrices.at("2.block_rotation.rotation"); };
  EXPECT_NE(error_with([&](auto& f) { rotation(f)(0, 0) += 1.0F; }).find("matrix 0 is not orthogonal"),
            std::string::npos);
  EXPECT_NE(error_with([&](auto& f) { rotation(f)(0, 0) = NAN; }).find("is not orthogonal"),
            std::string::npos);
  EXPECT_EQ(
      error_with([&](auto& f) { rotation(f).conservativeResize(7, 8); }),
      "t: stage 2 (block_rotation) cannot be used: 'rotation' is 7 x 8, expected square matrices one below "
      "the other" +
          tail);
  EXPECT_NE(error_with([&](auto& f) {
              rotation(f) = Matrix::Identity(7, 7);
            }).find("block size 7 does not divide the 24 channels"),
            std::string::npos);
  const auto core = [](auto& f) -> Matrix& { return f.matrices.at("3.hadamard.core"); };
  EXPECT_NE(
      error_with([&](auto& f) { core(f)(0, 0) = 0.5F; }).find("'core' holds entries other than 1 and -1"),
      std::string::npos);
  EXPECT_NE(error_with([&](auto& f) { core(f)(0, 0) *= -1.0F; }).find("'core' is no Hadamard matrix"),
            std::string::npos);
  EXPECT_NE(error_with([&](auto& f) { f.lists.at("3.hadamard.block") = {20}; }).find("block size 20"),
            std::string::npos);
  EXPECT_NE(error_with([&](auto& f) {
              f.lists.at("3.hadamard.block") = {8};
            }).find("a block of 8 is no power of two times the odd factor's order 12"),
            std::string::npos);
  EXPECT_NE(error_with([&](auto& f) {
              f.matrices.at("3.hadamard.signs")(0, 2) = 2.0F;
            }).find("sign 2 at channel 2"),
            std::string::npos);
}

TEST_F(FromFile, HartleysFactorIsToldFromAHadamardMatrix) {
  const test::Layer layer = test::make_layer(16, kChannels, 4, 3);
  const Chain hartley = test::calibrate("hadamard(6,odd_part=hartley)", layer, r);
  file() = {};
  test::MemorySink sink(file());
  file().metadata = save_transform(hartley, kChannels, sink);
  EXPECT_NE(file().metadata.at("stages").find(R"("odd_part": "hartley")"), std::string::npos);
  EXPECT_EQ(test::as_matrix(test::calibrate("from_file(t)", layer, r), kChannels),
            test::as_matrix(hartley, kChannels));
  EXPECT_NE(error_with_stages("hartley", "hadamard").find("'core' holds entries other than 1 and -1"),
            std::string::npos);
  EXPECT_NE(error_with([](auto& f) {
              f.matrices.at("0.hadamard.core")(1, 1) += 0.01F;
            }).find("'core' is not Hartley's matrix of order 3"),
            std::string::npos);
}

TEST(TransformFiles, RefuseATransformOfAPluginsOwnKind) {
  struct Own final : Transform {
    std::string kind() const override { return "own"; }
    Index channels() const override { return 4; }
    void apply_to_activations(MatrixRef) const override {}
    void apply_to_weights(MatrixRef) const override {}
    Cost online_cost() const override { return {}; }
    void save(TensorSink&, const std::string&) const override {}
  };
  Chain chain;
  chain.add(std::make_shared<Own>());
  test::MemoryTensors file;
  test::MemorySink sink(file);
  EXPECT_EQ(error_of([&] { save_transform(chain, 4, sink); }),
            "transform 0 of the chain is a own, which transform files do not know; known: channel_scale, "
            "permutation, block_rotation, hadamard");
}

TEST(TransformFiles, TheIdentityHasNoStages) {
  test::MemoryTensors file;
  test::MemorySink sink(file);
  file.metadata = save_transform({}, 4, sink);
  EXPECT_EQ(file.metadata.at("stages"), "[]");
  EXPECT_TRUE(read_transform(test::MemorySource(file, "t")).empty());
}

}  // namespace
}  // namespace olab

#include "models/checkpoint.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "core/error.hpp"
#include "messages.hpp"
#include "raw_formats.hpp"
#include "toy_model.hpp"

namespace {

namespace fs = std::filesystem;
using olab::Checkpoint;
using olab::DType;
using olab::Index;
using olab::Matrix;
using olab::test::error_of;
using olab::test::expect_contains;
using olab::test::TempDir;
using olab::test::toy_llama_config;
using olab::test::toy_model;
using olab::test::toy_opt_config;
using olab::test::ToyModel;

std::string refusal(const fs::path& folder) {
  return error_of([&] { const Checkpoint checkpoint(folder, olab::test::model_registries()); });
}

class CheckpointTest : public testing::Test {
 protected:
  std::string refused(const ToyModel& model, DType dtype = DType::f32, std::size_t shards = 0) {
    fs::remove_all(folder_);
    model.write(folder_, dtype, shards);
    return refusal(folder_);
  }
  std::string weights() const { return (folder_ / "model.safetensors").string(); }

  TempDir dir_;
  fs::path folder_ = dir_ / "toy";
  olab::Registries registries_ = olab::test::model_registries();
  ToyModel model_ = toy_model(toy_llama_config());
};

TEST_F(CheckpointTest, EveryTensorIsReadWithItsShapeAndValues) {
  for (const auto& config : {toy_llama_config(), toy_opt_config()}) {
    const ToyModel model = toy_model(config);
    fs::remove_all(folder_);
    model.write(folder_);
    const Checkpoint checkpoint(folder_, registries_);
    EXPECT_EQ(checkpoint.spec().architecture, config["architectures"][0]);
    EXPECT_EQ(checkpoint.name(), "toy");
    EXPECT_EQ(checkpoint.folder(), folder_);
    EXPECT_EQ(checkpoint.dtype(), "F32");
    double elements = 0;
    for (const auto& [name, tensor] : model.tensors) {
      const Matrix got = checkpoint.read(name);
      EXPECT_EQ(got.rows(), tensor.shape.size() == 1 ? 1 : tensor.shape[0]) << name;
      EXPECT_EQ(got.cols(), tensor.shape.back()) << name;
      EXPECT_TRUE(std::equal(got.data(), got.data() + got.size(), tensor.values.data())) << name;
      elements += static_cast<double>(got.size());
    }
    EXPECT_EQ(checkpoint.parameters(), elements);
    EXPECT_EQ(checkpoint.bytes(), 4 * elements);
  }
}

TEST_F(CheckpointTest, TheNumberOfParametersIsCountedByHand) {
  model_.write(folder_);
  // Per block: two norms of 16, q and o 16×16, k and v 8×16, gate, up and down 24×16.
  const double block = 2 * 16 + 2 * 16 * 16 + 2 * 8 * 16 + 3 * 24 * 16;
  EXPECT_EQ(Checkpoint(folder_, registries_).parameters(), 2 * block + 16 + 2 * 32 * 16);
}

TEST_F(CheckpointTest, HalvesOfFloatsAreRead) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    fs::remove_all(folder_);
    model_.write(folder_, dtype);
    const Checkpoint checkpoint(folder_, registries_);
    EXPECT_EQ(checkpoint.dtype(), olab::dtype_name(dtype));
    EXPECT_EQ(checkpoint.bytes(), 2 * checkpoint.parameters());
    const Matrix got = checkpoint.read("lm_head.weight");
    const Matrix& want = model_.tensors.at("lm_head.weight").values;
    for (Index i = 0; i < got.size(); ++i) EXPECT_NEAR(got.data()[i], want.data()[i], 0.005);
  }
}

TEST_F(CheckpointTest, ATiedHeadNeedsNoTensorAndOneInTheFileIsIgnored) {
  model_.config["tie_word_embeddings"] = true;
  const ToyModel tied = toy_model(model_.config);
  EXPECT_FALSE(tied.tensors.contains("lm_head.weight"));
  tied.write(folder_);
  const Checkpoint checkpoint(folder_, registries_);
  EXPECT_EQ(checkpoint.spec().head, checkpoint.spec().embedding);
  EXPECT_EQ(refused(model_), "");  // as some programs save it
}

TEST_F(CheckpointTest, TensorsThatTheModelDoesNotUseAreIgnored) {
  model_.write(folder_);
  const std::string hash = Checkpoint(folder_, registries_).content_hash();
  model_.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{2}, Matrix::Ones(1, 2)};
  model_.tensors["model.layers.7.mlp.up_proj.weight"] = {{1, 1}, Matrix::Zero(1, 1)};
  EXPECT_EQ(refused(model_), "");
  EXPECT_EQ(Checkpoint(folder_, registries_).content_hash(), hash);
}

TEST_F(CheckpointTest, NamesWithoutTheirPrefixAreFound) {
  ToyModel opt = toy_model(toy_opt_config());
  opt.write(dir_ / "with");
  ToyModel bare{opt.config, {}};
  for (const auto& [name, tensor] : opt.tensors)
    bare.tensors[name.substr(std::string("model.").size())] = tensor;
  bare.write(folder_);
  const Checkpoint with(dir_ / "with", registries_);
  const Checkpoint without(folder_, registries_);
  const std::string name = "model.decoder.layers.1.fc1.weight";
  EXPECT_EQ(without.read(name), with.read(name));
  EXPECT_EQ(without.content_hash(), with.content_hash());
  EXPECT_EQ(without.dtype(), "F32");
  without.prefetch_block(1);
  bare.tensors.erase("decoder.layers.1.fc1.weight");
  expect_contains(refused(bare), "the tensor 'decoder.layers.1.fc1.weight' is missing");
}

TEST_F(CheckpointTest, ShardsGiveTheSameModel) {
  model_.write(folder_, DType::bf16);
  model_.write(dir_ / "sharded", DType::bf16, 3);
  const Checkpoint whole(folder_, registries_);
  const Checkpoint sharded(dir_ / "sharded", registries_);
  for (const auto& [name, tensor] : model_.tensors) EXPECT_EQ(whole.read(name), sharded.read(name)) << name;
  EXPECT_EQ(whole.content_hash(), sharded.content_hash());
  EXPECT_EQ(whole.bytes(), sharded.bytes());
  sharded.prefetch_block(0);
}

TEST_F(CheckpointTest, TheContentHashTellsModelsApart) {
  const auto hash = [&](const ToyModel& model, DType dtype = DType::f32) {
    fs::remove_all(folder_);
    model.write(folder_, dtype);
    const Checkpoint checkpoint(folder_, registries_);
    EXPECT_EQ(checkpoint.content_hash(), checkpoint.content_hash());
    return checkpoint.content_hash();
  };
  const std::string base = hash(model_);
  EXPECT_EQ(base.size(), 32U);
  EXPECT_EQ(hash(model_), base);
  EXPECT_NE(hash(model_, DType::bf16), base);
  ToyModel other = model_;
  other.config["transformers_version"] = "4.0";
  EXPECT_EQ(hash(other), base);
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, nlohmann::json>>{{"rope_theta", 500000.0},
                                                           {"rms_norm_eps", 1e-6},
                                                           {"num_attention_heads", 4},
                                                           {"hidden_act", "gelu"},
                                                           {"max_position_embeddings", 128}}) {
    other = model_;
    other.config[key] = value;
    EXPECT_EQ(hash(other) == base, key == "num_attention_heads") << key;
  }
  other = model_;
  Matrix& values = other.tensors.at("model.layers.1.mlp.down_proj.weight").values;
  values(0, values.size() - 1) += 1;
  EXPECT_NE(hash(other), base);
  // The same bytes under each other's names.
  other = model_;
  std::swap(other.tensors.at("model.layers.0.mlp.up_proj.weight"),
            other.tensors.at("model.layers.0.mlp.gate_proj.weight"));
  EXPECT_NE(hash(other), base);
}

TEST_F(CheckpointTest, TheNameIsTheLastPartOfTheFolderHoweverItIsWritten) {
  model_.write(folder_);
  EXPECT_EQ(Checkpoint(folder_.string() + "/", registries_).name(), "toy");
  EXPECT_EQ(Checkpoint(folder_ / ".." / "toy" / ".", registries_).name(), "toy");
}

TEST_F(CheckpointTest, AFolderThatIsMissingIsRefusedWithTheNearest) {
  model_.write(folder_);
  EXPECT_EQ(refusal(dir_ / "tpy"),
            (dir_ / "tpy").string() + ": there is no such model; did you mean '" + folder_.string() + "'?");
  EXPECT_EQ(refusal((dir_ / "tpy").string() + "/"),
            (dir_ / "tpy").string() + "/: there is no such model; did you mean '" + folder_.string() + "'?");
  EXPECT_EQ(refusal(dir_ / "mistral-7b"),
            (dir_ / "mistral-7b").string() + ": there is no such model; check the path");
  expect_contains(
      refusal(folder_ / "config.json"),
      "config.json: a model is a folder with config.json and model.safetensors, but this is a file");
}

TEST_F(CheckpointTest, AFolderWithoutConfigOrWeightsIsRefused) {
  model_.write(folder_);
  fs::remove(folder_ / "model.safetensors");
  expect_contains(refusal(folder_),
                  "there is no model.safetensors and no model.safetensors.index.json in this "
                  "folder; download the weights too");
  olab::test::write_file(folder_ / "pytorch_model.bin", "x");
  expect_contains(refusal(folder_), "pytorch_model.bin cannot be read, so save the model as safetensors");
  fs::remove(folder_ / "config.json");
  expect_contains(refusal(folder_), "there is no config.json in this folder");
}

TEST_F(CheckpointTest, AnArchitectureThatIsNotSupportedIsRefusedWithThoseThatAre) {
  const std::string config = (folder_ / "config.json").string();
  model_.config["architectures"] = {"MambaForCausalLM"};
  EXPECT_EQ(refused(model_),
            config +
                ": architectures: the architecture 'MambaForCausalLM' is not supported; supported are "
                "LlamaForCausalLM, MistralForCausalLM, OPTForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM");
  model_.config["architectures"] = nlohmann::json::array();
  EXPECT_EQ(refused(model_), config + ": architectures: it names 0 architectures; one was expected");
  model_.config.erase("architectures");
  EXPECT_EQ(refused(model_), config + ": the key 'architectures' is missing");
  model_.config = {1, 2};
  EXPECT_EQ(refused(model_), config + ": an object {…} was expected");
}

TEST_F(CheckpointTest, AMissingTensorIsRefused) {
  model_.tensors.erase("model.layers.1.mlp.up_proj.weight");
  EXPECT_EQ(refused(model_),
            weights() +
                ": the tensor 'model.layers.1.mlp.up_proj.weight' is missing among its 20; it is "
                "incomplete or does not belong to the config.json beside it, so download both "
                "again");
  // A config of more blocks than there are costs nothing.
  ToyModel more = toy_model(toy_llama_config());
  more.config["num_hidden_layers"] = 2147483647;
  expect_contains(refused(more), "the tensor 'model.layers.2.input_layernorm.weight' is missing");
}

TEST_F(CheckpointTest, AWrongShapeIsRefusedWithBoth) {
  model_.config["intermediate_size"] = 32;
  EXPECT_EQ(refused(model_), weights() +
                                 ": tensor 'model.layers.0.mlp.gate_proj.weight' has shape [24, 16], but by "
                                 "config.json it must have [32, 16]");
}

TEST_F(CheckpointTest, AnUnsupportedDtypeIsRefused) {
  model_.tensors.at("model.norm.weight").values.setOnes();
  ToyModel rounded = model_;
  for (auto& [name, tensor] : rounded.tensors) tensor.values.setOnes();
  EXPECT_EQ(refused(rounded, DType::i8),
            weights() +
                ": tensor 'model.embed_tokens.weight' is I8; F32, F16, BF16 and F64 can be read, so take "
                "the original model or dequantize it first");
}

TEST_F(CheckpointTest, NanAndInfinityAreRefusedWhenTheyAreRead) {
  Matrix& values = model_.tensors.at("model.layers.0.self_attn.v_proj.weight").values;
  values(0, 16 * 3 + 5) = std::numeric_limits<float>::quiet_NaN();
  ASSERT_EQ(refused(model_), "");
  const Checkpoint checkpoint(folder_, registries_);
  expect_contains(error_of([&] { checkpoint.read("model.layers.0.self_attn.v_proj.weight"); }),
                  weights() +
                      ": tensor 'model.layers.0.self_attn.v_proj.weight': NaN at row 3, column 5; every "
                      "value must be finite");
  expect_contains(error_of([&] { checkpoint.read("model.layers.0.self_attn.w_proj.weight"); }),
                  "the tensor 'model.layers.0.self_attn.w_proj.weight' is missing among its 21");
}

TEST_F(CheckpointTest, DamagedWeightsAreRefused) {
  model_.write(folder_);
  fs::resize_file(folder_ / "model.safetensors", fs::file_size(folder_ / "model.safetensors") - 3);
  expect_contains(refusal(folder_), "it is truncated");
}

TEST_F(CheckpointTest, AMissingOrWrongShardIsRefused) {
  model_.write(folder_, DType::f32, 2);
  const std::string index = (folder_ / "model.safetensors.index.json").string();
  const std::string text = olab::test::read_file(index);
  fs::rename(folder_ / "model-1.safetensors", folder_ / "moved");
  EXPECT_EQ(refusal(folder_), index +
                                  ": the index names the shard model-1.safetensors (for "
                                  "'model.embed_tokens.weight'), which is not there; download it");
  fs::copy(folder_ / "model-0.safetensors", folder_ / "model-1.safetensors");
  EXPECT_EQ(refusal(folder_),
            index +
                ": 'model.embed_tokens.weight' should lie in model-1.safetensors, which has no such tensor; "
                "index and shards do not belong together, so download them again");
  fs::remove(folder_ / "model-1.safetensors");
  fs::rename(folder_ / "moved", folder_ / "model-1.safetensors");
  EXPECT_EQ(refusal(folder_), "");
  olab::test::write_file(index, text.substr(0, text.size() / 2));
  expect_contains(refusal(folder_), index + ": byte ");
}

TEST(ShardIndex, FilesMustLieInTheFolder) {
  const auto parse = [](const std::string& text) {
    return error_of([&] { olab::parse_shard_index(text, "i"); });
  };
  for (const char* file : {"../a", "/a", "a/b", "..", ".", "", "a\\u0000"})
    expect_contains(parse(std::string(R"({"weight_map": {"t": ")") + file + "\"}}"),
                    "a plain name of a file in the model's folder was expected, not '");
  EXPECT_EQ(parse("[]"), "i: an object {…} was expected");
  EXPECT_EQ(parse("{}"), "i: the key 'weight_map' is missing");
  EXPECT_EQ(parse(R"({"weight_map": {}})"), "i: weight_map: it must map the names of tensors to files");
  EXPECT_EQ(parse(R"({"weight_map": {"t": {}}})"), "i: weight_map.t: it must be a single text");
  const auto map = olab::parse_shard_index(R"({"metadata": {}, "weight_map": {"b": "1", "a": "2"}})", "i");
  EXPECT_EQ(map, (std::map<std::string, std::string>{{"a", "2"}, {"b", "1"}}));
}

}  // namespace

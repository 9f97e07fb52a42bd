# A model of llama2.c becomes a folder in the format of Hugging Face; every mistake gets one clear line.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"

# A model whose floats are all 0.5: dim 8, hidden 12, 2 blocks, 2 heads on 1, 40 tokens, 16 positions.
python3 - <<'PY' || fail "no model"
import struct
header = [8, 12, 2, 2, 1, 40, 16]
floats = 40 * 8 + 2 * (8 + 8 * 8 + 2 * 4 * 8 + 8 * 8 + 8 + 3 * 12 * 8) + 8 + 2 * 16 * 2
open("toy.bin", "wb").write(struct.pack("<7i", *header) + struct.pack(f"<{floats}f", *[0.5] * floats))

def bytes_field(field, data):
    return bytes([field << 3 | 2, len(data)]) + data
def piece(text, kind):
    return bytes_field(1, bytes_field(1, text.encode()) + struct.pack("<Bf", 2 << 3 | 5, -1.0) + bytes([3 << 3, kind]))
def tokenizer(count):
    pieces = [piece("<unk>", 2), piece("<s>", 3), piece("</s>", 3)]
    pieces += [piece(chr(ord("A") + i), 1) for i in range(count - 3)]
    return b"".join(pieces) + bytes_field(2, bytes([3 << 3, 2])) + bytes_field(3, bytes_field(1, b"identity"))
open("toy.model", "wb").write(tokenizer(40))
open("other.model", "wb").write(tokenizer(41))
PY

run 0 import-llama2c toy.bin -o toy --tokenizer toy.model
says "$out" "toy: 2 layers, hidden 8, intermediate 12, 2 heads on 1 of keys, 40 tokens, 16 positions"
[ "$(ls toy | tr '\n' ' ')" = "config.json model.safetensors tokenizer.model " ] || fail "the folder holds $(ls toy)"
python3 - <<'PY' || fail "the folder's content"
import json, struct
config = json.load(open("toy/config.json"))
assert config["architectures"] == ["LlamaForCausalLM"] and config["num_key_value_heads"] == 1, config
data = open("toy/model.safetensors", "rb").read()
(length,) = struct.unpack("<Q", data[:8])
header = json.loads(data[8:8 + length])
assert header["model.layers.1.self_attn.k_proj.weight"]["shape"] == [4, 8], header
assert "lm_head.weight" not in header
PY
cmp -s toy.model toy/tokenizer.model || fail "another tokenizer than the one given"
run 0 import-llama2c toy.bin -o bare
says "$err" "warning: the folder has no tokenizer"
cmp -s toy/model.safetensors bare/model.safetensors || fail "the same model gave another file"

one "toy: it exists and is not an empty folder; choose another name or remove it" import-llama2c toy.bin -o toy
one "tiy.bin: this llama2.c model does not exist; did you mean './toy.bin'?" import-llama2c tiy.bin -o new
one "tok.model: there is no such tokenizer; did you mean './toy.model'?" import-llama2c toy.bin -o new --tokenizer tok.model
one "other.model: this tokenizer has 41 tokens, but the model toy.bin has 40" import-llama2c toy.bin -o new --tokenizer other.model
head -c 3000 toy.bin >short.bin
one "it has 3000: it is truncated; copy or download it again" import-llama2c short.bin -o new
cat toy.bin toy.bin >long.bin
one "it is no such model" import-llama2c long.bin -o new
one "the header makes no sense for a llama2.c model" import-llama2c toy/model.safetensors -o new
one "a llama2.c model was expected, but this is no regular file" import-llama2c toy -o new
run 2 import-lama2c toy.bin -o new
run 2 import-llama2c toy.bin
says "$err" "--output is required"
[ -e new ] && fail "a refused import made a folder"
[ -z "$(find . -name '.*.part')" ] || fail "unfinished folders are left: $(find . -name '.*.part')"

run 0 list architectures
says "$out" "LlamaForCausalLM"
says "$out" "OPTForCausalLM"
run 0 show LlamaForCausalLM
says "$out" "architecture LlamaForCausalLM"
run 2 show LlamaForCausalML
says "$err" "did you mean 'LlamaForCausalLM'?"
run 2 list architecturs
says "$err" "did you mean 'architectures'?"
finish

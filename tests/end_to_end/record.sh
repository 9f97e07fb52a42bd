# A language model is recorded, looked at and studied; every mistake gets one line; Ctrl-C in the middle changes no bit.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"

# model FOLDER HIDDEN INTERMEDIATE BLOCKS: a LLaMA with random weights; and ids.bin, 20,000 token ids.
model() {
  python3 - "$@" <<'PY' || fail "the model of the test"
import array, json, os, random, struct, sys
folder, (hidden, inside, blocks) = sys.argv[1], map(int, sys.argv[2:])
heads, kv_heads, words = 8, 4, 512
kv = hidden // heads * kv_heads
os.makedirs(folder)
json.dump({"architectures": ["LlamaForCausalLM"], "vocab_size": words, "hidden_size": hidden,
           "intermediate_size": inside, "num_hidden_layers": blocks, "num_attention_heads": heads,
           "num_key_value_heads": kv_heads, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
           "tie_word_embeddings": True}, open(f"{folder}/config.json", "w"))
shapes = {"model.embed_tokens.weight": (words, hidden), "model.norm.weight": (hidden,)}
for b in range(blocks):
    for name, shape in {"input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
                        "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv, hidden),
                        "self_attn.v_proj": (kv, hidden), "self_attn.o_proj": (hidden, hidden),
                        "mlp.gate_proj": (inside, hidden), "mlp.up_proj": (inside, hidden),
                        "mlp.down_proj": (hidden, inside)}.items():
        shapes[f"model.layers.{b}.{name}.weight"] = shape
random.seed(1)
header, body = {}, bytearray()
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) == 2 else 1)
    span = 2 / shape[-1] ** 0.5 if len(shape) == 2 else 0
    values = array.array("f", ((random.random() - 0.5) * span if span else 1.0 for _ in range(count)))
    begin = len(body)
    body += values.tobytes()
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(body)]}
text = json.dumps(header).encode()
open(f"{folder}/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + body)
array.array("H", (random.randrange(words) for _ in range(20000))).tofile(open("ids.bin", "wb"))
PY
}
model small 32 64 3

run 0 record small --text ids.bin --tokens 256 --context 100 -o rec --dry-run
says "$out" "small: 21 layers with 12 different inputs, 256 tokens in 3 windows of at most 100"
says "$out" "model.layers.2.mlp.down_proj"
says "$out" "memory:  up to "
says "$out" "multiply-adds in 3 blocks"
[ -e rec ] || [ -e .rec.recording ] && fail "a dry run wrote something"

run 0 record small --text ids.bin --tokens 256 --context 100 -o rec
says "$out" "rec: 21 layers with 12 different inputs, 256 tokens, bf16, "
says "$out" "look at it: olab inspect rec"
[ -e .rec.recording ] && fail "the folder of unfinished work is left"
run 0 inspect rec
says "$out" "model.layers.2.mlp.down_proj"
says "$out" "recorder: olab record"
says "$out" "X 256 × 64 BF16, W 32 × 64 BF16"
run 0 run tiny-llama data.recording=rec data.layers='*.{q,down}_proj' repeats=1 --out o
says "$out" "duquant"
run 0 record small --text ids.bin --layers '*.{q,k}_proj,!model.layers.0.*' --layers '*.down_proj' --no-weights \
  --tokens 64 --dtype fp32 --quiet -o few
says "$out" "few: 6 layers with 4 different inputs, 64 tokens, fp32"
[ -z "$(cat stderr.txt)" ] || fail "--quiet was not quiet"
[ "$(echo few/*)" = "few/000.safetensors few/002.safetensors few/003.safetensors few/005.safetensors few/manifest.json" ] ||
  fail "files: $(echo few/*)"

one "rec: it exists and is not an empty folder" record small --text ids.bin -o rec
one "no linear layer of small fits; did you mean '*.down_proj'?" record small --text ids.bin --layers '*.down_prj' -o r
one "smal: there is no such model; did you mean 'small'?" record smal --text ids.bin -o r
one "missing.txt" record small --text missing.txt -o r
one "ids.bin: it has 20000 tokens, but 20001 are to be recorded" record small --text ids.bin --tokens 20001 -o r
one "--context 513: small has 512 positions" record small --text ids.bin --context 513 -o r
one "--dtype: there is no 'bf61'; did you mean 'bf16'?" record small --text ids.bin --dtype bf61 -o r
one "lm_head is no layer of a block" record small --text ids.bin --layers lm_head -o r
run 2 record small -o r
says "$err" "--text is required"
run 2 record small --text ids.bin --tokens 0 -o r
[ -e r ] || [ -e .r.recording ] && fail "a refused recording left something"

model large 128 352 4
long="record large --text ids.bin --tokens 20000 --context 256 --layers !*.gate_proj"
# stop_at SIGNAL NUMBER: records into `cut` and sends the signal when the file of that number is there.
stop_at() {
  setsid "$OLAB" $long -o cut >stdout.txt 2>stderr.txt </dev/null &
  local pid=$!
  for _ in $(seq 1000); do
    [ -e ".cut.recording/recording/$2.safetensors" ] && break
    sleep 0.01
  done
  kill "-$1" $pid
  wait $pid 2>/dev/null
}

run 0 $long -o whole
# Ctrl-C while the second block is run.
stop_at INT 006
code=$?
[ "$code" -eq 130 ] || { fail "exit code $code instead of 130"; cat stderr.txt; }
says "$(cat stderr.txt)" "of 316 steps are done and wait in "
says "$(cat stderr.txt)" "the same command goes on"
[ -e cut ] && fail "an interrupted recording stands under its name"
one "an unfinished recording with other settings waits here (dtype: fp16 now, bf16 then)" $long --dtype fp16 -o cut
run 0 $long -o cut --dry-run
says "$out" "an unfinished recording waits in "

# Killed without a word while it goes on, and gone on with again.
stop_at KILL 012
run 0 $long -o cut
says "$err" "steps are done already; going on"
for file in whole/*.safetensors; do
  cmp -s "$file" "cut/$(basename "$file")" || fail "an interruption changed $file"
done
diff <(grep -v '"recorded"' whole/manifest.json) <(grep -v '"recorded"' cut/manifest.json) || fail "another manifest"
[ "$(ls whole)" = "$(ls cut)" ] || fail "other files"
[ -e .cut.recording ] && fail "the folder of unfinished work is left"

# A trained model on a text, where they are at hand.
shared=$OLAB_SHARED_DATA
if [ -e "$shared/08_model_stories260K/stories260K.bin" ]; then
  run 0 import-llama2c "$shared/08_model_stories260K/stories260K.bin" -o stories \
    --tokenizer "$shared/15_tokenizers/tok512.model"
  head -c 8000 "$shared/14_text/tinystories_1MB.txt" >story.txt
  run 0 record stories --text story.txt --tokens 1024 -o told
  says "$out" "told: 35 layers with 20 different inputs, 1024 tokens, bf16"
  run 0 run tiny-llama data.recording=told repeats=1 --out s
  says "$out" "duquant"
  says "$err" "175 computed, 0 stored before, 0 failed"
  head -c 2000 story.txt >short.txt
  one "tokens, but 2048 are to be recorded; give a longer text, or --tokens " record stories --text short.txt -o r
else
  echo "no shared data: a trained model and a text are not tested"
fi
finish

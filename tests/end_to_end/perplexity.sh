# Perplexity of a quantized model: the tables, a typo in every place, Ctrl-C in the middle, and what a second start does.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
export NO_COLOR=1

run 0 generate-model -o model --like tiny --blocks 3 --outliers 4 --dtype F32
says "$out" "3 blocks"
python3 - <<'PY'
import random, struct
random.seed(1)
open("ids.bin", "wb").write(struct.pack("<4000H", *(random.randrange(256) for _ in range(4000))))
open("short.bin", "wb").write(struct.pack("<40H", *(7 for _ in range(40))))
open("beyond.bin", "wb").write(struct.pack("<400H", *(999 for _ in range(400))))
PY
small="--with context=64 --with windows=6"

run 0 perplexity model --text ids.bin $small --bits W4A4QKV4 --bits W4A16 --dry-run
says "$out" "4 methods"
says "$out" "8 to do"
says "$out" "6 windows of 64 tokens"
run 0 perplexity model --text ids.bin $small --dry-run --blocks 32
says "$out" "as if every model had 32 blocks"
[ ! -e results ] || fail "a dry run wrote something"

run 0 perplexity model --text ids.bin $small --bits W4A4QKV4 --bits W4A16 --method rtn --method 'duquant(block_size=16)'
says "$out" "Perplexity"
says "$out" "W4A4QKV4"
says "$out" "KL divergence from the original model"
says "$out" "duquant "
says "$err" "4 computed"
numbers results/output/olab.db >first.txt
[ "$(wc -l <first.txt)" -eq 4 ] || fail "expected 4 runs: $(cat first.txt)"
run 0 perplexity model --text ids.bin $small --bits W4A4QKV4 --bits W4A16 --method rtn --method 'duquant(block_size=16)'
says "$err" "nothing to do"
run 0 verify 2
says "$out" "have the same bits"
run 0 compare rtn 'duquant(block_size=16)' --value model.perplexity
says "$out" "windows"
run 0 table perplexity --rows method --columns quantizer --value model.perplexity
run 2 export-transform 1 -o t.safetensors
says "$err" "whole model"

# What a user may get wrong.
run 2 perplexity modle --text ids.bin
says "$err" "did you mean 'model'"
run 2 perplexity model --text idz.bin
says "$err" "idz.bin"
run 2 perplexity model --text short.bin --with context=64
says "$err" "40 tokens"
run 2 perplexity model --text beyond.bin $small
says "$err" "999"
run 2 perplexity model --text ids.bin --bits W44
says "$err" "W4A4"
run 2 perplexity model --text ids.bin --method duqant
says "$err" "did you mean 'duquant'"
run 2 perplexity model --text ids.bin --with contxt=64
says "$err" "did you mean 'context'"
run 2 perplexity model --text ids.bin --with context=100000
says "$err" "positions"
run 1 perplexity model --text ids.bin $small --method 'hadamard(block_size=48)' --method rtn
says "$err" "48"
mkdir other && cp model/*.safetensors* other && sed 's/LlamaForCausalLM/BloomForCausalLM/' model/config.json >other/config.json
run 2 perplexity other --text ids.bin $small
says "$err" "LlamaForCausalLM"
cp -r model gone && rm gone/model-00002-of-*.safetensors
run 2 perplexity gone --text ids.bin $small
says "$err" "model-00002-of-"
cp -r model bent && sed -i 's/"intermediate_size": 176/"intermediate_size": 160/' bent/config.json
run 2 perplexity bent --text ids.bin $small
says "$err" "176"

# Ctrl-C while windows are computed, then the same command again: the same numbers as without it.
run 0 generate-model -o larger --like tiny --hidden 512 --intermediate 1376 --heads 8 --kv-heads 8 --blocks 6 --dtype F32
long="perplexity larger --text ids.bin --with context=64 --with windows=56 --method duquant(block_size=16) --study long"
setsid "$OLAB" $long --db broken.db >/dev/null 2>broken.err </dev/null &
pid=$!
for _ in $(seq 600); do
  windows=$(python3 -c '
import sqlite3, sys
try: print(sqlite3.connect("broken.db", timeout=5).execute("SELECT count(*) FROM part").fetchone()[0])
except Exception: print(0)')
  [ "$windows" -gt 0 ] && break
  sleep 0.05
done
kill -INT $pid || fail "it had ended before it could be interrupted"
wait $pid
code=$?
[ "$code" -eq 130 ] || fail "Ctrl-C gave $code: $(cat broken.err)"
run 0 perplexity larger --text ids.bin --with context=64 --with windows=56 --method 'duquant(block_size=16)' --study long --db broken.db --dry-run
says "$out" "(1 of them begun)"
run 0 $long --db broken.db
run 0 $long --db whole.db
numbers broken.db >broken.txt
numbers whole.db >whole.txt
cmp broken.txt whole.txt || fail "an interruption changed numbers"

# Real models, where they are.
if [ -d "$OLAB_SHARED_DATA" ]; then
  run 0 import-llama2c "$OLAB_SHARED_DATA/08_model_stories260K/stories260K.bin" -o models/stories260K \
    --tokenizer "$OLAB_SHARED_DATA/15_tokenizers/tok512.model"
  run 2 reproduce perplexity-tiny
  says "$err" "--model FOLDER"
  run 0 reproduce perplexity-tiny --model models/stories260K --text "$OLAB_SHARED_DATA/14_text/tinystories_1MB.txt" \
    --set evaluate.perplexity.windows=6 --set evaluate.perplexity.calibration_windows=1 --set evaluate.perplexity.context=128 --set repeats=1
  says "$out" "Table 1 2-7B (published)"
  says "$out" "Spearman's rho with model.perplexity"
  says "$(cat results/output/reproduce.md)" "perplexities"
fi
finish

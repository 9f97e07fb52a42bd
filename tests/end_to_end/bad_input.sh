# Every mistake gets one clear line and exit code 2.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
write_study

# bad EXPECTED_TEXT SED_SCRIPT: the study with a change must be refused with this text.
bad() {
  sed "$2" study.yaml >bad.yaml
  cmp -s study.yaml bad.yaml && fail "the change '$2' changed nothing"
  run 2 run bad.yaml
  says "$err" "$1"
  [ "$(wc -l <stderr.txt)" -eq 1 ] || { fail "not one line: $2"; cat stderr.txt; }
}

run 2 run missing.yaml
says "$err" "study missing.yaml: no such file"
run 2 run quickstrt
says "$err" "did you mean 'quickstart'?"
bad "bad.yaml:3:1: a study has no key 'dat'; did you mean 'data'?" 's/^data:/dat:/'
bad "bad.yaml:5:3: data has no key 'layer'; did you mean 'layers'?" 's/layers:/layer:/'
bad "bad.yaml:5:3: 'layers' is empty" 's/layers: .*/layers: []/'
bad "no layer of profile gaussian fits '*.99.*'" 's/"\*\.0\.\*"/"*.99.*"/'
bad "bad.yaml:6:3: 'calibration_tokens' is 0; it must be from 1" 's/calibration_tokens: 32/calibration_tokens: 0/'
bad "bad.yaml:6:3: 'calibration_tokens' must be a whole number, not 'many'" 's/calibration_tokens: 32/calibration_tokens: many/'
bad "no profile" 's/profile: gaussian/profile: gausian/'
bad "no method is called 'rtx'" 's/- rtn/- rtx/'
bad "duquant has no parameter 'block'; did you mean 'block_size'?" 's/mode: paper, block_size/mode: paper, block/'
bad "hadamard.block_size: 'x' is not a whole number" 's/\[16, 32\]/[16, x]/'
bad "bits" 's/bits: 4, clip/bits: 9, clip/'
bad "integer.clip: 2 is outside" 's/clip: 0.9/clip: 2/'
bad "no chart is called 'lin'" 's/kind: line/kind: lin/'
bad "no view is called 'tabel'; did you mean 'table'?" 's/- table:/- tabel:/'
bad "the key 'seed' stands twice" 's/^seed: 1/seed: 1\nseed: 2/'
bad "not valid YAML" 's/methods:/methods: [/'
bad "'repeats' is 0" 's/^seed: 1/repeats: 0/'

run 2 run study.yaml metrics=mse,mess
says "$err" "no metric is called 'mess'; did you mean 'mse'?"
run 2 run study.yaml data.layer=x
says "$err" "override 'data.layer=x': data has no key 'layer'"
run 2 run study.yaml methods.duqant.alpha=1
says "$err" "did you mean 'duquant'?"
run 2 run study.yaml nonsense
says "$err" "expected key=value"
run 2 run study.yaml --shard 5/4
says "$err" "--shard 5/4"
run 2 run study.yaml --format xml
says "$err" "xml"
run 2 run study.yaml --memory 0.1MiB
says "$err" "more than the limit of 102 KiB"
run 2 run study.yaml --plugin missing.so
says "$err" "plug-in missing.so: no such file"
run 2 run study.yaml --jobs 0
run 2 frobnicate
run 2
run 2 run study.yaml data.calibration_tokens=100 data.tokens=50
says "$err" "tokens"

run 2 list methdos
says "$err" "did you mean 'methods'?"
run 2 show duqant
says "$err" "did you mean 'duquant'?"
run 2 list runs --db none/olab.db
says "$err" "olab.db"
run 2 inspect missing_folder
says "$err" "missing_folder"
run 2 inspect
says "$err" "give a recording, or --profile NAME"
printf 'no tensors here' >text.txt
run 2 inspect text.txt
says "$err" "text.txt"

# Databases.
: >empty_folder_file
run 2 run study.yaml --out empty_folder_file/sub
says "$err" "empty_folder_file"
printf 'this is no database at all, just a text of some length.......' >foreign.db
run 2 run study.yaml --db foreign.db
says "$err" "foreign.db"
run 0 run study.yaml methods=rtn '~views' --db newer.db
python3 -c "
import sqlite3; c = sqlite3.connect('newer.db'); c.execute('pragma user_version = 999'); c.commit()"
run 2 run study.yaml --db newer.db
says "$err" "newer"
run 0 run study.yaml methods=rtn '~views'
run 2 show 999
run 2 table nosuch
says "$err" "no study called 'nosuch'"
run 2 table small --value output.nmsee
says "$err" "did you mean 'output.nmse'?"
run 2 table small --rows methd
says "$err" "method"
run 2 verify 999

# Recordings: X and W that do not match, NaN, truncation, zero tokens.
run 0 generate gaussian -o good --layers '*.0.*' --tokens 16 --in-features 64 --out-features 8
run 0 inspect good
run 2 generate gaussian -o good
says "$err" "good"
python3 - <<'PY'
import json, os, shutil, struct
def tensors(path, items):
    header, data, at = {}, b"", 0
    for name, (shape, values) in items.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
tensors("mismatch.safetensors", {"a.x": ([2, 3], [1.0] * 6), "a.weight": ([2, 4], [1.0] * 8)})
tensors("nan.safetensors", {"a.x": ([2, 3], [1.0, 2.0, 3.0, 4.0, float("nan"), 6.0]), "a.weight": ([1, 3], [1.0] * 3)})
tensors("infinite.safetensors", {"a.x": ([2, 3], [1.0] * 6), "a.weight": ([1, 3], [1.0, float("inf"), 1.0])})
tensors("empty.safetensors", {"a.x": ([0, 3], []), "a.weight": ([1, 3], [1.0] * 3)})
tensors("whole.safetensors", {"a.x": ([4, 3], [1.0] * 12), "a.weight": ([1, 3], [1.0] * 3)})
raw = open("whole.safetensors", "rb").read()
open("short.safetensors", "wb").write(raw[:-3])
open("lying.safetensors", "wb").write(struct.pack("<Q", 1 << 60) + raw[8:])
open("dtype.safetensors", "wb").write(raw.replace(b'"F32"', b'"F4 "'))
PY
for name in mismatch nan infinite empty short lying dtype; do
  run 2 inspect $name.safetensors
  says "$err" "$name.safetensors"
done
run 2 inspect nan.safetensors
says "$err" "row 1, column 1"
run 2 inspect infinite.safetensors
says "$err" "column 1"
run 2 inspect mismatch.safetensors
says "$err" "3"
says "$err" "4"
run 2 run study.yaml '~data.profile' '~data.in_features' '~data.out_features' data.recording=whole.safetensors data.layers=* data.calibration_tokens=100
says "$err" "100"
says "$err" "4 tokens"
finish

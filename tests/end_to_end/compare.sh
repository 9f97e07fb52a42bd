# Two methods of a study with three seeds: is the difference real? And what does not work, with exit code 2.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
cat >study.yaml <<'YAML'
study: small
repeats: 3
data:
  profile: llama2-7b
  layers: "*.{1,2}.*"
  calibration_tokens: 32
  evaluation_tokens: 32
  in_features: 128
  out_features: 32
quantizer:
  activation: {bits: 4}
  weight: {bits: [4, 8]}
methods:
  - rtn
  - hadamard: {block_size: [32, 64], signs: true}
metrics: [nmse, sqnr]
views:
  - table: {rows: method, columns: layer_kind, value: output.nmse}
YAML
run 0 run study.yaml --quiet
says "$out" "± is the sample standard deviation over 3 seeds"

# A real difference, with its numbers, and the verdict as the last line.
run 0 compare rtn 'hadamard(block_size=64)'
says "$out" "output.nmse of study small, lower is better; A = rtn, B = hadamard(block_size=64)"
says "$out" "down_proj"
says "$out" "weight.bits=8"
says "$(tail -1 stdout.txt)" "hadamard(block_size=64) is better than rtn: ratio 0."
says "$(tail -1 stdout.txt)" "(n = 14 layers, 3 seeds)"
# The other way round only the ratio turns; a specification is as good as a label, a file's name as a study's.
cp study.yaml small.yaml
run 0 compare 'hadamard(signs=true, block_size=64)' rtn --study small.yaml
says "$out" "A = hadamard(block_size=64), B = rtn"
says "$(tail -1 stdout.txt)" "hadamard(block_size=64) is better than rtn: ratio "
says_not "$(tail -1 stdout.txt)" "ratio 0."
run 2 compare hadamard rtn
says "$err" "study small: 'hadamard' may be any of 2 methods; give one of: hadamard(block_size=32); hadamard(block_size=64)"
run 0 compare rtn 'hadamard(block_size=64)' --value output.sqnr
says "$out" "output.sqnr of study small, higher is better"
says "$(tail -1 stdout.txt)" "hadamard(block_size=64) is better than rtn: difference "

# The numbers are those of the stored runs, computed again here.
run 0 compare rtn 'hadamard(block_size=64)' --format json
cp stdout.txt compared.json
"$OLAB" export small --format csv >all.csv
python3 - <<'PY' || fail "the comparison is not that of the stored runs"
import collections, csv, json, math
pairs, layers = {}, collections.defaultdict(list)
for run in csv.DictReader(open("all.csv")):
    key = tuple(run[k] for k in ("layer", "seed", "calibration_tokens", "activation", "weight"))
    pairs.setdefault(key, {})[run["method"]] = float(run["output.nmse"])
for key, pair in pairs.items():
    layers[key[0]].append(math.log(pair["hadamard(block_size=64)"] / pair["rtn"]))
logs = [sum(v) / len(v) for v in layers.values()]
ratio = math.exp(sum(logs) / len(logs))
found = json.load(open("compared.json"))
all_ = found["groups"][-1]
assert all_["n"] == len(logs) == 14 and all_["pairs"] == 84 == len(found["pairs"]), all_
assert abs(all_["center"] / ratio - 1) < 1e-12, (all_["center"], ratio)
assert all_["low"] < ratio < all_["high"] < 1, all_
assert all_["positive"] == sum(x > 0 for x in logs), all_
assert found["unpaired"] == [] and found["verdict"].startswith("hadamard(block_size=64) is better")
PY

# A method with itself.
run 0 compare rtn rtn
says "$(tail -1 stdout.txt)" "no difference can be told between rtn and rtn: all 84 pairs have the same output.nmse"
# rtn has no random numbers, but the signs have: seeds may be compared, three are too few.
run 0 compare rtn 'hadamard(block_size=32)' --over seeds
says "$(tail -1 stdout.txt)" "3 seeds cannot give p below 0.25: 6 are needed, 3 more"
run 0 compare rtn rtn --over seeds
says "$(tail -1 stdout.txt)" "no difference can be told"
for format in text csv json md latex; do
  run 0 compare rtn 'hadamard(block_size=32)' --format $format
  [ -n "$out" ] || fail "compare --format $format is empty"
  run 0 compare --all --format $format
  [ -n "$out" ] || fail "compare --all --format $format is empty"
done
run 0 compare --all
says "$out" "p Holm"
[ "$(grep -c '^rtn ' stdout.txt)" -eq 2 ] || fail "rtn is not compared with both others"

# Too few layers: what is needed. A run that fails is told, and a study without a common pair is refused.
run 1 run study.yaml study=few data.layers='*.1.mlp.*' methods.hadamard.block_size=32,48 repeats=1 '~views' --quiet
run 0 compare rtn 'hadamard(block_size=32)' --study few
says "$(tail -1 stdout.txt)" "3 layers cannot give p below 0.25: 6 are needed, 3 more; or 5 seeds more, if seeds change anything, for a comparison over seeds"
run 2 compare rtn 'hadamard(block_size=48)'
says "$err" "study few: rtn and hadamard(block_size=48) have no pair of runs: 6 × hadamard(block_size=48) failed: "
run 0 compare --all --study few
says "$out" "left out: "

# The newest study that holds both: block_size=64 is in the older one.
run 0 compare rtn 'hadamard(block_size=64)'
says "$out" "of study small"
run 0 compare rtn 'hadamard(block_size=32)'
says "$out" "of study few"

# Mistakes.
run 2 compare rtx 'hadamard(block_size=32)'
says "$err" "no stored study has a method 'rtx'; did you mean 'rtn'?"
run 2 compare rtn 'hadamard(block_size=33)' --study small
says "$err" "study small: it has no method 'hadamard(block_size=33)'; did you mean 'hadamard(block_size=32)'?"
run 2 compare rtn 'hadamard(block_size=32)' --study smal
says "$err" "no study called 'smal'; did you mean 'small'?"
run 2 compare rtn 'hadamard(block_size=32)' --value output.nmsee
says "$err" "no finished run has the value 'output.nmsee'; did you mean 'output.nmse'?"
run 2 compare 'hadamard(block_size=48)' 'hadamard(block_size=64)'
says "$err" "no stored study has both"
run 2 compare rtn
says "$err" "give two methods or two runs"
run 2 compare --all rtn rtn
says "$err" "takes no names"
run 2 compare rtn rtn --over tokens
run 2 compare rtn rtn rtn
run 2 compare --all --format xml
says "$err" "xml"

# Runs side by side, as before.
run 0 compare 1 2
says "$out" "Values"
run 2 compare 1 99999
says "$err" "99999"
finish

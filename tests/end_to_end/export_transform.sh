# The transform of a stored run goes to a file and comes back as a method; every mistake gets one clear line.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
write_study
run 0 run study.yaml '~views'
id=$("$OLAB" list runs --json | python3 -c '
import json, sys
print(next(r["id"] for r in json.load(sys.stdin) if "duquant" in json.dumps(r)))') || fail "no run of duquant"

run 0 export-transform "$id" -o duquant.safetensors
says "$out" "T = channel_scale · block_rotation · permutation · block_rotation"
says "$out" "equivalence error"
says "$out" "from_file(path=duquant.safetensors,block_size=32)"
python3 - duquant.safetensors "$("$OLAB" show "$id" --json)" <<'PY' || fail "the file's metadata"
import json, struct, sys
data = open(sys.argv[1], "rb").read()
(length,) = struct.unpack("<Q", data[:8])
header = json.loads(data[8:8 + length])
facts = header.pop("__metadata__")
assert facts["format"] == "outlierlab-transform" and facts["channels"] == "128", facts
assert facts["key"] in sys.argv[2], facts
listed = [name for stage in json.loads(facts["stages"]) for name in stage["tensors"].values()]
assert sorted(listed) == sorted(header), (listed, sorted(header))
PY

# As a method it gives the numbers of the run that it came from.
layer=$("$OLAB" show "$id" --json | python3 -c 'import json, sys; r = json.load(sys.stdin); print((r[0] if isinstance(r, list) else r)["layer"])')
run 0 run study.yaml '~views' study=again data.layers="$layer" \
  'methods=["duquant(mode=paper,block_size=32,max_rotation_step=8)", "from_file(path=duquant.safetensors,block_size=32)"]'
says "$err" "4 runs, 2 stored already"
run 0 export again --format csv
printf '%s' "$out" >again.csv
python3 - again.csv <<'PY' || fail "other numbers than the run that was exported"
import csv
rows = list(csv.DictReader(open("again.csv")))
assert len(rows) == 4, len(rows)  # two methods, two weight formats
told = {}
for row in rows:
    told.setdefault(row["weight.bits"], []).append({k: v for k, v in row.items() if k.startswith(("output.", "transformed."))})
for pair in told.values():
    assert len(pair) == 2 and pair[0] == pair[1] and pair[0]["output.nmse"], pair
PY
run 0 run study.yaml '~views' study=pipe data.layers="$layer" \
  'methods=["from_file(path=duquant.safetensors) | hadamard(block_size=16)"]'

one "duquant.safetensors: it exists already; --force replaces it" export-transform "$id" -o duquant.safetensors
cp duquant.safetensors before.safetensors
run 0 export-transform "$id" -o duquant.safetensors --force
cmp -s before.safetensors duquant.safetensors || fail "the same run gave another file"
one "999999" export-transform 999999 -o t.safetensors
one "transforms are written as .safetensors" export-transform "$id" -o t.pt
one "there is no folder missing" export-transform "$id" -o missing/t.safetensors
one "olab.db" export-transform "$id" -o t.safetensors --db none/olab.db
run 2 export-transfrom "$id" -o t.safetensors
run 2 export-transform "$id"
says "$err" "--output is required"
[ -e t.safetensors ] && fail "a refused export wrote a file"

method() { one "$1" run study.yaml '~views' data.layers="$layer" "methods=[\"from_file(path=$2)\"]"; }
method "duqant.safetensors: this safetensors file does not exist" duqant.safetensors
one "from_file has no parameter 'pth'; did you mean 'path'?" run study.yaml 'methods=["from_file(pth=a)"]'
head -c 3000 duquant.safetensors >short.safetensors
method "short.safetensors: tensor" short.safetensors
# change NAME PYTHON: a copy with other metadata m.
change() {
  python3 - "$1" "$2" <<'PY' || fail "change $1"
import json, struct, sys
data = open("duquant.safetensors", "rb").read()
(length,) = struct.unpack("<Q", data[:8])
header = json.loads(data[8:8 + length])
m = header["__metadata__"]
exec(sys.argv[2])
text = json.dumps(header).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + data[8 + length:])
PY
}
change none.safetensors 'del m["format"]'
method "it holds no transform" none.safetensors
change newer.safetensors 'm["format_version"] = "7"'
method "it has version 7 of the format, this program reads up to version 1; use a newer olab" newer.safetensors
change cut.safetensors 'm["stages"] = m["stages"][:-20]'
method "the list of stages is damaged: stages:1:" cut.safetensors
change stage.safetensors 'm["stages"] = m["stages"].replace("\"permutation\"", "\"permutaton\"")'
method "no stage is called 'permutaton'; did you mean 'permutation'?" stage.safetensors
change fewer.safetensors 'm["stages"] = json.dumps(json.loads(m["stages"])[1:])'
method "no stage names the tensor '0.channel_scale.scale'; 3 stages are listed" fewer.safetensors

# A layer of another width is a failed run; the others go on.
run 1 run study.yaml '~views' data.in_features=64 'methods=[rtn, "from_file(path=duquant.safetensors)"]'
says "$err" "the transform is for 128 channels, but the layer has 64; choose layers of that width"
run 2 verify 999999
finish

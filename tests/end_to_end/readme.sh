# Every command of the README works as printed. The two that build (scripts/quickstart, scripts/test) are what CI
# itself runs; lines with a path of the reader's own data get real or generated data in its place.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
export PATH=$(dirname "$OLAB"):$PATH
python3 - "$OLAB_SOURCE_DIR/README.md" >commands.txt <<'PY'
import re, sys
text = open(sys.argv[1]).read()
for block in re.findall(r"```sh\n(.*?)```", text, re.S):
    for line in re.sub(r"\\\n\s*", " ", block).splitlines():
        line = line.split(" #")[0].strip()
        if line:
            print(line)
PY
[ "$(wc -l <commands.txt)" -ge 12 ] || fail "the README has too few commands: $(cat commands.txt)"
run 0 generate llama3.2-1b -o recordings/my-model --layers '*.{0,1}.*' --tokens 64 --in-features 256 --out-features 64
mkdir -p shared && ln -s "$OLAB_SHARED_DATA" shared/data
ln -s "$OLAB_SOURCE_DIR/experiments" experiments

# The tables are what the program says.
for kind in methods permutations metrics studies; do
  "$OLAB" list $kind --format md >table.md
  python3 - "$OLAB_SOURCE_DIR/README.md" table.md <<'PY' || fail "README's table of $kind is not what olab list $kind --format md prints"
import sys
sys.exit(open(sys.argv[2]).read().strip() not in open(sys.argv[1]).read())
PY
done

while IFS= read -r line; do
  case $line in
    git\ clone* | cd\ * | sudo\ * | scripts/quickstart* | scripts/test* | cmake* | ctest* | python3\ scripts/record_activations.py* | scripts/apply_transform.py* | .ci/run*)
      for word in $line; do
        case $word in scripts/* | .ci/*) [ -x "$OLAB_SOURCE_DIR/$word" ] || fail "README names $word, which is not there" ;; esac
      done
      continue
      ;;
    *shared/data*) [ -d "$OLAB_SHARED_DATA" ] || continue ;;
  esac
  echo "$ $line"
  bash -c "$line" >stdout.txt 2>stderr.txt </dev/null || {
    fail "exit code $? of: $line"
    tail -5 stdout.txt stderr.txt
  }
done <commands.txt
finish

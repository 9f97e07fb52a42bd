# Shared by the end-to-end tests: a folder of their own, runs of the program, and checks that say what they saw.
set -u
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failures=0

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# run EXPECTED_EXIT ARGS...: runs olab; leaves its output in $out (stdout) and $err (stderr).
run() {
  local expected=$1
  shift
  "$OLAB" "$@" >stdout.txt 2>stderr.txt </dev/null
  local got=$?
  out=$(cat stdout.txt)
  err=$(cat stderr.txt)
  if [ "$got" -ne "$expected" ]; then
    fail "olab $* gave exit code $got instead of $expected"
    echo "--- stdout"; head -20 stdout.txt
    echo "--- stderr"; head -20 stderr.txt
  fi
}

# says TEXT PATTERN: PATTERN (fixed string) must stand in TEXT.
says() {
  case "$1" in
    *"$2"*) ;;
    *)
      fail "expected to read: $2"
      printf '%s\n' "--- but read" "$1" | head -20
      ;;
  esac
}

says_not() {
  case "$1" in
    *"$2"*)
      fail "did not expect to read: $2"
      printf '%s\n' "--- but read" "$1" | head -20
      ;;
  esac
}

# one EXPECTED_TEXT ARGS...: refused with exit code 2 and this one line.
one() {
  local text=$1
  shift
  run 2 "$@"
  says "$err" "$text"
  [ "$(wc -l <stderr.txt)" -eq 1 ] || { fail "not one line: $*"; cat stderr.txt; }
}

# numbers DATABASE: every stored number that may be compared between runs, sorted.
numbers() {
  "$OLAB" export --db "$1" --format csv >all.csv || fail "export of $1"
  python3 - all.csv <<'PY'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
for row in sorted(rows, key=lambda r: r["key"]):
    print(row["key"], row["status"], *[f"{k}={v}" for k, v in sorted(row.items())
          if "." in k and not k.startswith(("time.", "activation.", "weight."))])
PY
}

finish() {
  [ "$failures" -eq 0 ] && echo "all good"
  exit $((failures > 0))
}

write_study() {
  cat >study.yaml <<'YAML'
study: small
seed: 1
data:
  profile: gaussian
  layers: "*.0.*"
  calibration_tokens: 32
  evaluation_tokens: 32
  in_features: 128
  out_features: 32
quantizer:
  activation: {bits: 4, clip: 0.9}
  weight: {bits: [4, 8]}
methods:
  - rtn
  - hadamard: {block_size: [16, 32], signs: true}
  - duquant: {mode: paper, block_size: 32, max_rotation_step: 8}
views:
  - table: {rows: method, columns: layer_kind, value: output.nmse}
  - chart: {kind: line, x: block_size, y: output.nmse, series: method}
YAML
}

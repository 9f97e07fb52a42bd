# The tables of scripts/bench out of figures that are made here: ratios, missing partners, failures, goals.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"

# maker EXPECTED_EXIT ARGS...: leaves what it says in $out and $err.
maker() {
  local expected=$1
  shift
  /usr/bin/python3 "$OLAB_SOURCE_DIR/scripts/bench_table.py" "$@" >stdout.txt 2>stderr.txt </dev/null
  local got=$?
  out=$(cat stdout.txt)
  err=$(cat stderr.txt)
  [ "$got" -eq "$expected" ] || fail "bench_table.py $* gave exit code $got instead of $expected: $err"
}

# entry NAME CPU_TIME UNIT [REAL_TIME]: one benchmark of a round.
entry() { printf '{"name": "%s", "run_type": "iteration", "cpu_time": %s, "real_time": %s, "time_unit": "%s"}' "$1" "$2" "${4:-99}" "$3"; }
# round FILE ENTRIES...
round() {
  local file=$1 IFS=,
  shift
  printf '{"context": {"date": "%s", "num_cpus": 2, "cpu": "Some CPU", "kernel_level": "avx2", "caches": [{"type": "Data", "level": 1, "size": 49152}]}, "benchmarks": [%s]}' "$file" "$*" >"$file"
}

# Ours takes 2, 3 and 10 ms: 3. The baseline 12, 6 and 30: 12. The ratio is 4; of single rounds 6, 2 and 3.
round r1 "$(entry product/512x64/eigen 12 ms)" "$(entry product/512x64/ours 2 ms)" \
  "$(entry product/512x64/openblas 3000 us)" "$(entry copy/ours/n:64 5 ns)" "$(entry copy/memcpy/n:64 4 ns)" \
  "$(entry study/whole/ours/2/real_time 1 s 2)" "$(entry study/whole/apart/2/real_time 1 s 5)" \
  "$(entry product/512x64/ours_slow 24 ms)" "$(entry lonely/case/ours 7 us)" "$(entry calibrate/rtn 8 us)"
round r2 "$(entry product/512x64/eigen 6 ms)" "$(entry product/512x64/ours 3 ms)" "$(entry product/512x64/openblas 3000 us)"
round r3 "$(entry product/512x64/eigen 30 ms)" "$(entry product/512x64/ours 10 ms)" "$(entry product/512x64/openblas 3000 us)"
cat >goals.csv <<'CSV'
benchmark,baseline,goal,source
product/*,eigen,4,"item 1, first"
product/512x64,openblas,1.5,item 2
copy/n:64,memcpy,0.8,item 3
copy/n:64,nobody,2,item 4
product/*/ours_slow,openblas,0.2,item 5
CSV
maker 0 --goals goals.csv r1 r2 r3
says "$out" '| 512x64 | eigen | 12 ms (6–30) | 3 ms (2–10) | **4.00** (2.00–6.00) |'
says "$out" '| 512x64 | openblas | 3 ms (3–3) | 3 ms (2–10) | **1.00** (0.3–1.50) |'
says "$out" '| n:64 | memcpy | 4 ns | 5 ns | **0.8** (0.8–0.8) |'
# Another way of ours has lines of its own, and does not count for goals that do not name it.
says "$out" '| 512x64 | eigen | 12 ms (6–30) | slow: 24 ms | **0.5** (0.5–0.5) |'
# The wall time where the name asks for it.
says "$out" '| whole/2 | apart | 5 s wall | 2 s wall | **2.50** (2.50–2.50) |'
# What has no partner keeps its own figures.
says "$out" '| case/ours | 7 µs |'
says "$out" '| rtn | 8 µs |'
says "$out" '| `product/*` | eigen | ≥ 4 | 4.00 (2.00–6.00) | reached | item 1, first |'
says "$out" '| `product/512x64` | openblas | ≥ 1.5 | 1.00 (0.3–1.50) | **not reached** | item 2 |'
says "$out" '| `copy/n:64` | memcpy | ≥ 0.8 | 0.8 (0.8–0.8) | reached | item 3 |'
says "$out" '| `copy/n:64` | nobody | ≥ 2 | – | not measured | item 4 |'
says "$out" '| `product/*/ours_slow` | openblas | ≥ 0.2 | 0.125 (0.125–0.125) | **not reached** | item 5 |'
says "$out" '| CPU | Some CPU |'
says "$out" '| caches | L1d 48 KiB |'
says "$out" '| frequency governor | not known |'
says "$err" '6 ratios, 2 of 5 goals reached (4 measured)'

# A failed benchmark is shown as such, its goals too, and the exit code tells; the others keep their figures.
failed='{"name": "product/512x64/ours", "run_type": "iteration", "error_occurred": true, "error_message": "differs from | Eigen"}'
round bad "$(entry product/512x64/eigen 6 ms)" "$failed" "$(entry calibrate/rtn 8 us)"
cat >page.md <<'MD'
# Head
<!-- bench: goals -->
old goals
<!-- bench: end -->
Between.
<!-- bench: figures -->
old figures
<!-- bench: end -->
Foot.
MD
maker 1 --goals goals.csv --page page.md r1 bad
page=$(cat page.md)
says "$page" '| 512x64 | eigen | 9 ms (6–12) | **failed** | **failed** |'
says "$page" '- `product/512x64/ours`: differs from \| Eigen'
says "$page" '| `product/*` | eigen | ≥ 4 | – | **failed** | item 1, first |'
says "$page" '| rtn | 8 µs (8–8) |'
says "$err" 'product/512x64/ours'
# What was written by hand stays; what was generated goes.
for line in '# Head' 'Between.' 'Foot.'; do says "$page" "$line"; done
says_not "$page" 'old goals'
says_not "$page" 'old figures'
# Once more gives the same page: the marks are still there.
maker 1 --goals goals.csv --page page.md r1 bad
[ "$page" = "$(cat page.md)" ] || fail "a second run changes the page"

echo 'no marks' >bare.md
maker 1 --goals goals.csv --page bare.md r1
says "$err" 'bare.md: expected once the line <!-- bench: goals -->'
[ "$(cat bare.md)" = 'no marks' ] || fail "a page without marks was changed"
printf 'benchmark,baseline,goal,source\nproduct/*,eigen,fast,x\n' >goals.csv
maker 1 --goals goals.csv r1
says "$err" 'with a goal above 0'
echo '{}' >empty
maker 1 empty
says "$err" 'empty: this is not what --benchmark_out writes'
round none
maker 1 none
says "$err" 'no benchmark was run'

# The project's own goals can be read, and its page has the marks.
round r1 "$(entry product/512x64/ours 2 ms)"
cp "$OLAB_SOURCE_DIR/docs/performance.md" page.md || fail "no docs/performance.md"
maker 0 --goals "$OLAB_SOURCE_DIR/benchmarks/goals.csv" --page page.md r1
says "$(cat page.md)" '| 512x64/ours | 2 ms |'
finish

# A study from start to end: plan, run, second start, more work, forced work, every view.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
write_study

run 0 run study.yaml --dry-run
says "$out" "0 stored already"
says "$out" "estimated time"
says "$out" "memory at most"
[ -e results ] && fail "a dry run wrote a folder"

run 0 run study.yaml
says "$out" "hadamard(block_size=16)"
says "$out" "duquant"
says "$err" "0 failed"
says "$err" "report.html"
[ -s results/output/olab.db ] || fail "no database"
[ -s results/output/small/report.html ] || fail "no report"
for extension in gp svg png; do
  ls results/output/small/charts/*."$extension" >/dev/null 2>&1 || fail "no .$extension chart"
done
first=$out

run 0 run study.yaml
says "$err" "stored already; nothing to do"
[ "$out" = "$first" ] || fail "the second start printed another table"
touch -d '2020-01-01' results/output/small/report.html
run 0 run study.yaml
[ results/output/small/report.html -ot study.yaml ] || fail "an unchanged study was drawn again"

run 0 run study.yaml --dry-run
says "$out" " 0 to do"
run 0 run study.yaml seed=1,2 --dry-run
total=$(printf '%s' "$out" | grep -o '[0-9]* runs, [0-9]* stored already, [0-9]* to do')
set -- $total
[ "$1" -eq $((2 * $3)) ] || fail "half of the doubled study must be stored: $total"

numbers results/output/olab.db >before.txt
run 0 run study.yaml --force
says "$err" "0 failed"
numbers results/output/olab.db >after.txt
cmp -s before.txt after.txt || { fail "computing again changed numbers"; diff before.txt after.txt | head -5; }

run 0 run study.yaml --db jobs.db -j 1
numbers jobs.db >one_thread.txt
cmp -s before.txt one_thread.txt || { fail "one thread gave other numbers"; diff before.txt one_thread.txt | head -5; }
for level in portable avx2 avx512 vnni; do
  OLAB_CPU_LEVEL=$level "$OLAB" run study.yaml --db level.db --force --quiet >stdout.txt 2>stderr.txt </dev/null
  code=$?
  if [ "$code" -eq 2 ] && grep -q "this CPU has only" stderr.txt; then continue; fi
  [ "$code" -eq 0 ] || fail "OLAB_CPU_LEVEL=$level gave exit code $code: $(head -3 stderr.txt)"
  numbers level.db >level.txt
  cmp -s before.txt level.txt || { fail "level $level gave other numbers"; diff before.txt level.txt | head -5; }
done
export OLAB_CPU_LEVEL=sse9
run 2 run study.yaml --db level.db
says "$err" "OLAB_CPU_LEVEL=sse9: unknown level"
unset OLAB_CPU_LEVEL

run 0 run study.yaml --db shards.db --shard 2/3
run 0 run study.yaml --db shards.db --shard 3/3
run 0 run study.yaml --db shards.db --shard 1/3
numbers shards.db >shards.txt
cmp -s before.txt shards.txt || { fail "shards gave other numbers"; diff before.txt shards.txt | head -5; }

run 0 list runs
says "$out" "finished"
run 0 list runs --json
printf '%s' "$out" | python3 -c 'import json,sys; assert len(json.load(sys.stdin)) > 4' || fail "list runs --json is no JSON"
run 0 show 1
says "$out" "output.nmse"
says "$out" "commit"
run 0 compare 1 3
says "$out" "output.nmse"
run 0 table small --rows method --columns weight.bits --value output.sqnr
says "$out" "output.sqnr"
for format in text csv json md latex; do
  run 0 table small --format $format
  [ -n "$out" ] || fail "table --format $format is empty"
  run 0 export small --format $format
  [ -n "$out" ] || fail "export --format $format is empty"
  run 0 compare 1 2 --format $format
  [ -n "$out" ] || fail "compare --format $format is empty"
done
run 0 plot small 'heatmap(rows=layer,columns=method,value=output.nmse)'
says "$out" "heatmap"
run 0 report small
run 0 verify 1
says "$out" "have the same bits"
run 0 verify 5
finish

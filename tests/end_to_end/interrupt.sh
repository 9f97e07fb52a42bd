# Ctrl-C ends with 130, keeps what is finished, and the same command goes on.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
write_study
long="methods.duquant.max_rotation_step=200 methods.duquant.alpha=range(0.1,0.9,0.01) data.in_features=256 data.calibration_tokens=256"

setsid "$OLAB" run study.yaml $long --out o >stdout.txt 2>stderr.txt </dev/null &
pid=$!
for _ in $(seq 100); do
  count=$("$OLAB" list runs --db o/olab.db --status finished 2>/dev/null | wc -l)
  [ "$count" -gt 4 ] && break
  sleep 0.1
done
kill -INT $pid
wait $pid
code=$?
[ "$code" -eq 130 ] || { fail "exit code $code instead of 130"; cat stderr.txt; }
says "$(cat stderr.txt)" "the same command goes on"
kept=$("$OLAB" list runs --db o/olab.db --status finished | wc -l)
[ "$kept" -gt 4 ] || fail "finished runs were lost"
[ -z "$("$OLAB" list runs --db o/olab.db --status running | tail -n +2)" ] || fail "a run is left as running"

run 0 run study.yaml $long --out o
says_not "$err" "failed: "
says "$err" "stored before"
numbers o/olab.db >resumed.txt
run 0 run study.yaml $long --out p
numbers p/olab.db >whole.txt
cmp -s resumed.txt whole.txt || { fail "an interruption changed numbers"; diff resumed.txt whole.txt | head -5; }
finish

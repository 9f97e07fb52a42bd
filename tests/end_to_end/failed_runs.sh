# A run that cannot work is a stored row; the others go on; exit code 1.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
write_study

run 0 run study.yaml methods.hadamard.block_size=16,48 --dry-run
says "$out" "combinations will fail"
run 1 run study.yaml methods.hadamard.block_size=16,48
says "$err" "failed: "
says "$err" "48"
says "$err" "64, 128"
says "$out" "hadamard(block_size=16)"
run 0 list runs --status failed
says "$out" "failed"
run 0 list runs --status finished
says "$out" "hadamard(block_size=16)"
# A failed run is tried again, a finished one is not.
run 1 run study.yaml methods.hadamard.block_size=16,48
says "$err" "0 computed"
run 1 run study.yaml methods.hadamard.block_size=48 --fail-fast --db other.db
grep -q "block_size=48" results/output/small/report.html || fail "the report hides the failed runs"
# Once the mistake is gone, nothing of it is left in the study.
run 0 run study.yaml
says_not "$out" "block_size=48"
finish

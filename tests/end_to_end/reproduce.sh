# Published tables: list, one table on small data, the page from the database alone, errors.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"

run 0 reproduce --list
says "$out" "table-6"
says "$out" "Table E16: how channels are permuted"

small="--set data.layers=model.layers.{0,1}.*_proj --set data.in_features=256 --set data.out_features=16 --set data.calibration_tokens=32 --set data.evaluation_tokens=32 --set data.sequence_length=16"
run 0 reproduce table-6 $small --quiet
says "$out" "Table 6: the components of DuQuant"
says "$out" "7.920"
says "$out" "Kendall's tau"
says "$out" "is a proxy for perplexity"
says "$err" "reproduce.md"
[ -s results/output/reproduce.md ] || fail "no page"
[ -s results/output/paper-table-6/report.html ] || fail "no report"
grep -q "Is the order of output.nmse the published one" results/output/paper-table-6/report.html ||
  fail "the report lacks the verdicts"
first=$(cat results/output/reproduce.md)
page=$out

run 0 reproduce table-6 $small --quiet
[ "$out" = "$page" ] || fail "the second start printed another page"
run 0 reproduce table-6 $small --stored --page again.md
says "$out" "Kendall's tau"
[ "$(cat again.md)" = "$first" ] || fail "the page from the database is another one"

run 2 reproduce table-7 $small --stored
says "$err" "no run of these tables is stored"

run 0 generate llama2-7b -o recorded --layers 'model.layers.{0,1}.*_proj' --tokens 64 --in-features 128 --out-features 16
run 0 reproduce figure-4 --profile own --recording recorded --quiet --page both.md
says "$(cat both.md)" "| table | finding | profile llama2-7b | recorded |"

run 2 reproduce table-66
says "$err" "did you mean 'table-6'?"
run 2 reproduce table-6 --recording nowhere --quiet
says "$err" "nowhere"
run 2 reproduce table-6 --set data.profil=x
says "$err" "profile"
finish

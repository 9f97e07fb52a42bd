# Without gnuplot the numbers are kept, the message says what to install, and a later start draws.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
write_study
mkdir bare
program=$OLAB
printf '#!/bin/bash\nPATH=%s exec %s "$@"\n' "$folder/bare" "$program" >without
chmod +x without
OLAB=$folder/without
run 0 run study.yaml
OLAB=$program
says "$err" "gnuplot-nox"
says "$out" "duquant"
[ -s results/output/olab.db ] || fail "no database"
[ -s results/output/small/report.html ] || fail "no report"
ls results/output/small/charts/*.gp >/dev/null 2>&1 || fail "the script is not there"
if command -v gnuplot >/dev/null; then
  run 0 run study.yaml
  ls results/output/small/charts/*.svg >/dev/null 2>&1 || fail "the later start did not draw"
fi
finish

# Two programs on one database at the same time: both finish, nothing is lost.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
write_study
"$OLAB" run study.yaml --out a --db both.db -j 1 >1.txt 2>1.err </dev/null &
one=$!
"$OLAB" run study.yaml seed=1,2 study=other --out b --db both.db -j 1 >2.txt 2>2.err </dev/null &
two=$!
wait $one || { fail "the first program"; cat 1.err; }
wait $two || { fail "the second program"; cat 2.err; }
run 0 run study.yaml seed=1,2 --db alone.db
numbers both.db >both.txt
numbers alone.db >alone.txt
cmp -s both.txt alone.txt || { fail "two at once stored something else than one alone"; diff both.txt alone.txt | head -5; }
finish

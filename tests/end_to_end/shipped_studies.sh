# Every shipped study can be planned; the real-data ones run where the data is.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
run 0 list studies
names=$(printf '%s\n' "$out" | awk '{print $1}')
for name in quickstart duquant-ablation block-size outlier-gallery tiny-llama single-token search-quality whole-model paper-vs-code; do
  printf '%s\n' "$names" | grep -qx -- "$name" || fail "the study $name is not shipped"
done
for name in $names; do
  case $name in
    tiny-llama | single-token | whole-model)
      run 2 run "$name" --dry-run
      says "$err" "data.recording=PATH"
      ;;
    *) run 0 run "$name" --dry-run ;;
  esac
  says_not "$out" "will fail"
done
for kind in methods metrics permutations formats readers charts profiles studies; do
  run 0 list $kind
  [ -n "$out" ] || fail "list $kind is empty"
  run 0 list $kind --json
  printf '%s' "$out" | python3 -c 'import json,sys; assert json.load(sys.stdin)' || fail "list $kind --json"
  for name in $(printf '%s' "$out" | python3 -c 'import json,sys; print(*[e["name"] for e in json.load(sys.stdin)])'); do
    run 0 show $kind "$name"
    says "$out" "$name"
  done
done

[ -d "$OLAB_SHARED_DATA" ] || { echo "no real data: the real-data studies were not run"; finish; }
for model in 08_model_stories260K 09_model_babyllama_tok105 10_model_bitllama2_3M_256ch; do
  run 0 run tiny-llama "data.recording=$OLAB_SHARED_DATA/$model" data.layers='*.0.*' repeats=1 --out "$model"
  says "$out" "down_proj"
  says "$err" "0 failed"
done
dump=$OLAB_SHARED_DATA/07_llama2-7b_layer0_single_token_dump/llama2-7b_layer0_token.npz
run 0 run single-token "data.recording=$dump" repeats=1
says "$out" "down_proj"
says_not "$out" "output.nmse"
run 0 inspect "$dump" --json
printf '%s' "$out" | python3 -c '
import json, sys
layers = {l["name"]: l for l in json.load(sys.stdin)["layers"]}
assert layers["model.layers.0.mlp.down_proj"]["in_features"] == 11008, layers.keys()' || fail "inspect --json of the dump"
finish

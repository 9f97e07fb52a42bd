# A method built out of tree against the installed headers is loaded; one built for another version is refused.
. "$OLAB_SOURCE_DIR/tests/end_to_end/lib.sh"
"$CMAKE" --install "$OLAB_BINARY_DIR" --prefix "$folder/installed" >install.txt 2>&1 || { fail "install"; tail install.txt; finish; }
cp -r "$OLAB_SOURCE_DIR/tests/end_to_end/plugin" plugin
"$CMAKE" -S plugin -B plugin/build -DCMAKE_PREFIX_PATH="$folder/installed" -DCMAKE_CXX_COMPILER="$CXX" \
  -DCMAKE_CXX_FLAGS="$CXXFLAGS" -DCMAKE_BUILD_TYPE=Release >configure.txt 2>&1 || { fail "configure"; tail -20 configure.txt; finish; }
"$CMAKE" --build plugin/build >build.txt 2>&1 || { fail "build"; tail -20 build.txt; finish; }

plugin/build/uses_library >uses.txt || fail "a program that uses the installed library"
says "$(cat uses.txt)" "hadamard"
OLAB=$folder/installed/bin/olab
write_study
run 0 --plugin plugin/build/flip_signs.so list methods
says "$out" "flip_signs"
run 0 run study.yaml methods=rtn,flip_signs --plugin plugin/build/flip_signs.so
says "$out" "flip_signs"
run 0 run study.yaml 'methods=[rtn, "flip_signs | hadamard(block_size=32)"]' --plugin plugin/build/flip_signs.so
run 2 run study.yaml methods=rtn,flip_signs
says "$err" "no method is called 'flip_signs'"
run 2 --plugin plugin/build/other_api.so list methods
says "$err" "other_api.so: it was built for ["
says "$err" "build it again against the installed headers"
run 2 --plugin plugin/build/no_plugin.so list methods
says "$err" "it has no OLAB_REGISTER"
printf 'text' >text.so
run 2 --plugin text.so list methods
says "$err" "cannot be loaded"
run 1 run study.yaml methods=throws --plugin plugin/build/throws.so
says "$err" "thrown in a plug-in"
finish

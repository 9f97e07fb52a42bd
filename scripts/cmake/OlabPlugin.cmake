# olab_add_plugin(<name> SOURCES...): a shared library for `olab --plugin <name>.so` from the same kind of source
# file that lives in the tree: OLAB_REGISTER(<any name>) { r.methods.add(...); }
function(olab_add_plugin name)
  add_library(${name} MODULE ${ARGN})
  target_compile_definitions(${name} PRIVATE OLAB_OUT_OF_TREE)
  target_link_libraries(${name} PRIVATE OutlierLab::core OutlierLab::datasets OutlierLab::methods
    OutlierLab::metrics OutlierLab::results)
  set_target_properties(${name} PROPERTIES PREFIX "")
endfunction()

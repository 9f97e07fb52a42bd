# Runs of the real program: one script a test, each in an empty folder of its own.
file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/end_to_end/*.sh)
foreach(script IN LISTS scripts)
  get_filename_component(name ${script} NAME_WE)
  if(name STREQUAL "lib")
    continue()
  endif()
  add_test(NAME end_to_end.${name} COMMAND bash ${script})
  set_tests_properties(end_to_end.${name} PROPERTIES LABELS end_to_end TIMEOUT 300 ENVIRONMENT
    "OLAB=$<TARGET_FILE:olab>;OLAB_SOURCE_DIR=${PROJECT_SOURCE_DIR};OLAB_BINARY_DIR=${PROJECT_BINARY_DIR};OLAB_SHARED_DATA=${OLAB_SHARED_DATA};CMAKE=${CMAKE_COMMAND};CXX=${CMAKE_CXX_COMPILER};CXXFLAGS=${CMAKE_CXX_FLAGS}"
    SKIP_RETURN_CODE 77)
endforeach()

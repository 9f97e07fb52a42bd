# Run at build time: writes OUTPUT only when the commit or the dirty flag changed, so nothing is rebuilt in vain.
cmake_minimum_required(VERSION 3.25)
set(commit "unknown")
set(dirty 0)
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE_DIR} rev-parse --short=12 HEAD
    OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit ${found})
    execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE_DIR} status --porcelain --untracked-files=no
      OUTPUT_VARIABLE changes ERROR_QUIET)
    if(changes)
      set(dirty 1)
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT "// Generated at build time.
#pragma once
#define OLAB_GIT_COMMIT \"@commit@\"
#define OLAB_GIT_DIRTY @dirty@
#define OLAB_COMPILER \"@COMPILER@\"
#define OLAB_FLAGS \"@FLAGS@\"
")

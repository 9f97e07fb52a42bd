# oneDNN as OneDnn::dnnl. Not its own CMake package: Debian's wants OpenCL's headers, which libdnnl-dev does not bring.
# Where it was built for OpenMP, that library is linked too, to hold oneDNN to one thread; its name alone, for g++ and
# clang know the folder.
find_path(OneDnn_INCLUDE_DIR oneapi/dnnl/dnnl.h)
find_library(OneDnn_LIBRARY dnnl)
if(OneDnn_INCLUDE_DIR AND EXISTS ${OneDnn_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h)
  file(STRINGS ${OneDnn_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h parts REGEX "#define DNNL_VERSION_(MAJOR|MINOR|PATCH) ")
  list(TRANSFORM parts REPLACE "[^0-9]+" "")
  list(JOIN parts "." OneDnn_VERSION)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OneDnn REQUIRED_VARS OneDnn_LIBRARY OneDnn_INCLUDE_DIR
  VERSION_VAR OneDnn_VERSION)
if(OneDnn_FOUND AND NOT TARGET OneDnn::dnnl)
  add_library(OneDnn::dnnl UNKNOWN IMPORTED)
  set_target_properties(OneDnn::dnnl PROPERTIES
    IMPORTED_LOCATION "${OneDnn_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${OneDnn_INCLUDE_DIR}")
  file(STRINGS ${OneDnn_INCLUDE_DIR}/oneapi/dnnl/dnnl_config.h threads
    REGEX "#define DNNL_CPU_THREADING_RUNTIME DNNL_RUNTIME_OMP")
  if(threads)
    set_target_properties(OneDnn::dnnl PROPERTIES INTERFACE_LINK_LIBRARIES gomp)
  endif()
endif()
mark_as_advanced(OneDnn_INCLUDE_DIR OneDnn_LIBRARY)

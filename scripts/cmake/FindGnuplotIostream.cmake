# Debian's libgnuplot-iostream-dev ships one header and no CMake or pkg-config file.
# Provides GnuplotIostream::GnuplotIostream: the header and the parts of Boost that it includes.
find_path(GnuplotIostream_INCLUDE_DIR gnuplot-iostream.h)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(GnuplotIostream REQUIRED_VARS GnuplotIostream_INCLUDE_DIR)
if(GnuplotIostream_FOUND AND NOT TARGET GnuplotIostream::GnuplotIostream)
  find_package(Boost REQUIRED CONFIG COMPONENTS iostreams filesystem system)
  add_library(GnuplotIostream::GnuplotIostream INTERFACE IMPORTED)
  set_target_properties(GnuplotIostream::GnuplotIostream PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${GnuplotIostream_INCLUDE_DIR}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${GnuplotIostream_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "Boost::iostreams;Boost::filesystem;Boost::system;util")
endif()
mark_as_advanced(GnuplotIostream_INCLUDE_DIR)

# olab_add_room(<room> [SOURCES dirs...] [PLUGINS dirs...] [PUBLIC rooms...] [PRIVATE targets...])
#
# One room of the house as the shared library olab_<room>. A room sees only the rooms it links: every room's
# headers are reached through a folder of their own (build/rooms/<room>/<room> -> source), so including a room
# that is not linked is a build error. Each .cpp in a PLUGINS folder registers itself with OLAB_REGISTER(<stem>);
# the list of calls is generated here from the file names.
function(olab_add_room room)
  cmake_parse_arguments(ARG "" "" "SOURCES;PLUGINS;PUBLIC;PRIVATE" ${ARGN})
  set(sources)
  foreach(dir IN LISTS ARG_SOURCES)
    file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${dir}/*.cpp)
    list(APPEND sources ${found})
  endforeach()
  set(plugins)
  foreach(dir IN LISTS ARG_PLUGINS)
    file(GLOB found CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${dir}/*.cpp)
    list(APPEND plugins ${found})
  endforeach()
  if(ARG_PLUGINS)
    list(SORT plugins)
    set(declarations "")
    set(stems "")
    set(calls "")
    foreach(source IN LISTS plugins)
      get_filename_component(stem ${source} NAME_WE)
      # A metric and a permutation may share a stem, but two functions of one name in two shared libraries would
      # silently be one: the room joins the name.
      set_property(SOURCE ${source} APPEND PROPERTY
        COMPILE_DEFINITIONS olab_register_${stem}=olab_register_${room}_${stem})
      if(stem IN_LIST stems)
        message(FATAL_ERROR "two plug-in files of ${room} are called ${stem}.cpp; rename one")
      endif()
      list(APPEND stems ${stem})
      string(APPEND declarations "void olab_register_${room}_${stem}(olab::Registries&);\n")
      string(APPEND calls "  olab_register_${room}_${stem}(r);\n")
    endforeach()
    set(list_cpp ${PROJECT_BINARY_DIR}/generated/register_${room}.cpp)
    file(CONFIGURE OUTPUT ${list_cpp} @ONLY CONTENT
"// Generated from the file names in @ARG_PLUGINS@.
#include \"core/registries.hpp\"
@declarations@
void olab::register_@room@([[maybe_unused]] Registries& r) {
@calls@}
")
    list(APPEND sources ${plugins} ${list_cpp})
  endif()

  add_library(olab_${room} SHARED ${sources})
  add_library(OutlierLab::${room} ALIAS olab_${room})
  set_target_properties(olab_${room} PROPERTIES EXPORT_NAME ${room} VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  set(view ${PROJECT_BINARY_DIR}/rooms/${room})
  file(MAKE_DIRECTORY ${view})
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${room} ${view}/${room} SYMBOLIC)
  target_include_directories(olab_${room} PUBLIC
    $<BUILD_INTERFACE:${view}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/outlierlab>)
  foreach(other IN LISTS ARG_PUBLIC)
    target_link_libraries(olab_${room} PUBLIC olab_${other})
  endforeach()
  target_link_libraries(olab_${room} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:olab_options>)

  install(TARGETS olab_${room} EXPORT OutlierLabTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/outlierlab/${room}
    FILES_MATCHING PATTERN "*.hpp")
endfunction()

# olab_embed(<target> <function> FILES...): compiles text files into the target as
#   std::span<const std::pair<std::string_view, std::string_view>> olab::<function>()   (stem, text)
function(olab_embed target function)
  set(list_cpp ${PROJECT_BINARY_DIR}/generated/${function}.cpp)
  set(entries "")
  set(count 0)
  foreach(file IN LISTS ARGN)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    get_filename_component(stem ${file} NAME_WLE)
    file(READ ${file} text)
    string(APPEND entries "    {\"${stem}\", R\"olab_text(${text})olab_text\"},\n")
    math(EXPR count "${count} + 1")
  endforeach()
  file(CONFIGURE OUTPUT ${list_cpp} @ONLY CONTENT
"// Generated from text files of the source tree.
#include <array>
#include <span>
#include <string_view>
#include <utility>
namespace olab {
using EmbeddedText = std::pair<std::string_view, std::string_view>;
std::span<const EmbeddedText> @function@();
std::span<const EmbeddedText> @function@() {
  static constexpr std::array<EmbeddedText, @count@> kFiles{{
@entries@  }};
  return kFiles;
}
}  // namespace olab
")
  target_sources(${target} PRIVATE ${list_cpp})
endfunction()

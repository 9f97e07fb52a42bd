# What find_package(OutlierLab) gives to users: the rooms as OutlierLab::core, ::methods, … and olab_add_plugin.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/OutlierLab)
install(EXPORT OutlierLabTargets NAMESPACE OutlierLab:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/OutlierLabConfig.cmake.in
  ${PROJECT_BINARY_DIR}/OutlierLabConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/OutlierLabConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/OutlierLabConfig.cmake ${PROJECT_BINARY_DIR}/OutlierLabConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/OlabPlugin.cmake DESTINATION ${package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})

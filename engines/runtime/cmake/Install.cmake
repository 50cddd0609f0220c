# The library with its headers, for find_package(levit) and for pkg-config.
include(CMakePackageConfigHelpers)

install(TARGETS levit EXPORT levitTargets)
install(DIRECTORY include/levit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT levitTargets NAMESPACE levit:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/levit)
configure_package_config_file(cmake/levitConfig.cmake.in levitConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/levit)
write_basic_package_version_file(levitConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/levitConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/levitConfigVersion.cmake"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/levit)

# An installed folder may be moved: the file says where it is relative to itself.
file(RELATIVE_PATH LEVIT_PREFIX_FROM_PC "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
# Only who links liblevit.a needs these; with liblevit.so their development files need not even be there.
if(NOT BUILD_SHARED_LIBS)
  set(LEVIT_PC_REQUIRES "libjpeg libpng zlib libcrypto")
  set(LEVIT_PC_LIBS "-lstdc++ -lm -ldl -lpthread")
endif()
configure_file(cmake/levit.pc.in levit.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/levit.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

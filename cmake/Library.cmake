# libpare as others use it: libpare.so.0 exports what src/pare.h declares and nothing else (scripts/public_api.sh), and the
# installed libpare.a is one object whose other names are local to it, so that they meet nobody's. The programs and tests of
# this build link build/libpare.a, where every name is to be seen. Included behind all sources were added.
set(api ${PROJECT_BINARY_DIR}/generated/api)
separate_arguments(api_flags UNIX_COMMAND "${CMAKE_C_FLAGS}")
add_custom_command(OUTPUT ${api}/pare.symbols ${api}/pare.map ${api}/pare.headers
  COMMAND ${PROJECT_SOURCE_DIR}/scripts/public_api.sh ${PROJECT_SOURCE_DIR} $<TARGET_FILE:pare_lib> ${api}
    ${CMAKE_C_COMPILER} ${api_flags}
  COMMAND ${CMAKE_COMMAND} -E touch ${api}/pare.symbols ${api}/pare.map ${api}/pare.headers
  DEPENDS pare_lib ${PROJECT_SOURCE_DIR}/scripts/public_api.sh ${PROJECT_SOURCE_DIR}/src/pare.h
  COMMENT "Names that libpare exports" VERBATIM)

set(PARE_SHARED OFF)
if(NOT PARE_PORTABLE) # which is one file that needs no library
  set(PARE_SHARED ON)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/empty.c CONTENT "typedef int pare_empty;\n")
  add_library(pare_shared SHARED ${PROJECT_BINARY_DIR}/generated/empty.c ${api}/pare.map)
  set_target_properties(pare_shared PROPERTIES OUTPUT_NAME pare VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
    LINK_DEPENDS ${api}/pare.map LINKER_LANGUAGE C)
  target_link_libraries(pare_shared PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,pare_lib>)
  target_link_options(pare_shared PRIVATE -Wl,--version-script=${api}/pare.map -Wl,-z,defs)
  install(TARGETS pare_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT lib NAMELINK_COMPONENT dev)
endif()

set(archive ${PROJECT_BINARY_DIR}/dev/libpare.a)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/dev)
add_custom_command(OUTPUT ${archive}
  COMMAND ${CMAKE_LINKER} -r -d -o libpare.o --whole-archive $<TARGET_FILE:pare_lib>
  COMMAND ${CMAKE_OBJCOPY} --strip-debug --keep-global-symbols=${api}/pare.symbols libpare.o
  COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
  COMMAND ${CMAKE_AR} rcsD ${archive} libpare.o
  COMMAND ${CMAKE_COMMAND} -E rm -f libpare.o
  DEPENDS pare_lib ${api}/pare.symbols WORKING_DIRECTORY ${PROJECT_BINARY_DIR}/dev
  COMMENT "The archive to install" VERBATIM)
add_custom_target(pare_archive ALL DEPENDS ${archive})
install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(CODE "set(api \"${api}\")\nset(source \"${PROJECT_SOURCE_DIR}\")\nset(headers_to \"${CMAKE_INSTALL_INCLUDEDIR}/pare\")" COMPONENT dev)
install(SCRIPT ${PROJECT_SOURCE_DIR}/cmake/install_headers.cmake COMPONENT dev)

# For pkg-config and for find_package(pare). What a static link takes is named library by library: the libraries' own lists
# would ask for what their archives need (libgfortran of OpenBLAS), which a machine that links their shared forms need not have.
set(PARE_PRIVATE_LIBRARIES jansson zstd xxhash pcre2-8 utf8proc crypto openblas)
if(PARE_ONEDNN_LIBRARY)
  list(APPEND PARE_PRIVATE_LIBRARIES dnnl)
endif()
list(APPEND PARE_PRIVATE_LIBRARIES ${CMAKE_DL_LIBS} m)
set(PARE_PRIVATE_FOLDERS "")
foreach(package ZSTD XXHASH JANSSON PCRE2 UTF8PROC CRYPTO OPENBLAS)
  list(APPEND PARE_PRIVATE_FOLDERS ${${package}_LIBRARY_DIRS})
endforeach()
list(TRANSFORM PARE_PRIVATE_FOLDERS REPLACE "/+$" "")
list(REMOVE_DUPLICATES PARE_PRIVATE_FOLDERS)
set(PARE_PC_PRIVATE ${PARE_PRIVATE_FOLDERS})
list(TRANSFORM PARE_PC_PRIVATE PREPEND -L)
list(TRANSFORM PARE_PRIVATE_LIBRARIES PREPEND -l OUTPUT_VARIABLE libraries)
list(APPEND PARE_PC_PRIVATE ${libraries} -fopenmp -pthread)
list(JOIN PARE_PC_PRIVATE " " PARE_PC_PRIVATE)
file(RELATIVE_PATH PARE_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /) # so that the installed tree can be moved
configure_file(${PROJECT_SOURCE_DIR}/packaging/pare.pc.in ${PROJECT_BINARY_DIR}/generated/pare.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/generated/pare.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)

include(CMakePackageConfigHelpers)
configure_package_config_file(${PROJECT_SOURCE_DIR}/packaging/pareConfig.cmake.in
  ${PROJECT_BINARY_DIR}/generated/pareConfig.cmake INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pare
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/pareConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/generated/pareConfig.cmake ${PROJECT_BINARY_DIR}/generated/pareConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pare COMPONENT dev)

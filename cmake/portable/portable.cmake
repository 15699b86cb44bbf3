# PARE_PORTABLE: programs and plugins that need glibc 2.28 and nothing else. Included behind the libraries were found.
set(PARE_GLIBC 2.28) # RHEL 8 (2018); Ubuntu 20.04 and Debian 11 have 2.31
set(stubs ${CMAKE_BINARY_DIR}/glibc-stubs)
execute_process(COMMAND ${CMAKE_SOURCE_DIR}/cmake/portable/glibc_stubs.sh ${CMAKE_C_COMPILER} ${stubs} ${PARE_GLIBC}
  COMMAND_ERROR_IS_FATAL ANY)

# The archives of a package in the place of its shared libraries.
function(pare_static target)
  set(archives "")
  foreach(name ${ARGN})
    find_library(PARE_STATIC_${name} NAMES lib${name}.a REQUIRED)
    list(APPEND archives ${PARE_STATIC_${name}})
  endforeach()
  set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${archives}" INTERFACE_LINK_OPTIONS "")
endfunction()
pare_static(PkgConfig::ZSTD zstd)
pare_static(PkgConfig::XXHASH xxhash)
pare_static(PkgConfig::JANSSON jansson)
pare_static(PkgConfig::PCRE2 pcre2-8)
pare_static(PkgConfig::UTF8PROC utf8proc)
pare_static(PkgConfig::CRYPTO crypto)
pare_static(PkgConfig::OPENBLAS openblas)
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=libgomp.a OUTPUT_VARIABLE gomp OUTPUT_STRIP_TRAILING_WHITESPACE)
set_target_properties(OpenMP::OpenMP_C PROPERTIES INTERFACE_LINK_LIBRARIES "${gomp}" INTERFACE_LINK_OPTIONS "")
set_property(TARGET PkgConfig::OPENBLAS APPEND PROPERTY INTERFACE_LINK_LIBRARIES ${gomp})

add_compile_options(-ffunction-sections -fdata-sections)
add_link_options(-L${stubs} -static-libgcc -static-libstdc++ -s -Wl,--gc-sections -Wl,--no-undefined -Wl,-z,relro,-z,now
  -Wl,--no-as-needed,-l:libpthread.so.0,-l:libdl.so.2,-l:librt.so.1,--as-needed)

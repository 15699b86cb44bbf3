# Installation by component, and Debian packages out of the components (CPack): pare, libpare0, libpare-dev and, when nvcc
# built the plugin, pare-cuda. PARE_DEB (preset "package") adds what Debian's policy asks of a package. docs/PACKAGING.md
include(CPackComponent)

set(PARE_SONAME_PACKAGE libpare${PROJECT_VERSION_MAJOR})
set(PARE_DEB_VERSION ${PROJECT_VERSION}-1)
set(PARE_MAINTAINER "pare maintainers <maintainers@users.noreply.b-seed-d7aabe55.example>")

# component: its group; a group is a package
set(PARE_PACKAGES pare lib dev)
set(PARE_PACKAGE_pare pare)
set(PARE_PACKAGE_lib ${PARE_SONAME_PACKAGE})
set(PARE_PACKAGE_dev libpare-dev)
set(PARE_PACKAGE_cuda pare-cuda)
if(TARGET pare_cuda)
  list(APPEND PARE_PACKAGES cuda)
endif()

install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples/ DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libpare-dev/examples COMPONENT dev
  FILES_MATCHING PATTERN "*.c" PATTERN "CMakeLists.txt" PATTERN "Makefile")

if(PARE_DEB)
  # The date of the changelog's entry: SOURCE_DATE_EPOCH, which scripts/package.sh takes from the commit.
  if(DEFINED ENV{SOURCE_DATE_EPOCH})
    string(TIMESTAMP PARE_DEB_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
  else()
    message(FATAL_ERROR "PARE_DEB: set SOURCE_DATE_EPOCH, or use scripts/package.sh")
  endif()
  set(deb ${PROJECT_BINARY_DIR}/deb)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/debian/changelog.in ${deb}/changelog @ONLY)
  foreach(file changelog:changelog.Debian ${PROJECT_SOURCE_DIR}/docs/CHANGELOG.md:changelog)
    string(REGEX MATCH "[^:]*$" name ${file})
    string(REGEX REPLACE ":[^:]*$" "" from ${file})
    execute_process(COMMAND gzip -9nc ${from} WORKING_DIRECTORY ${deb} OUTPUT_FILE ${deb}/${name}.gz COMMAND_ERROR_IS_FATAL ANY)
  endforeach()
  foreach(group ${PARE_PACKAGES})
    set(component ${group})
    if(group STREQUAL pare)
      set(component runtime)
    endif()
    set(copyright ${CMAKE_CURRENT_LIST_DIR}/debian/copyright)
    if(group STREQUAL cuda)
      string(APPEND copyright .cuda)
    endif()
    set(folder ${CMAKE_INSTALL_DATADIR}/doc/${PARE_PACKAGE_${group}})
    install(FILES ${copyright} DESTINATION ${folder} RENAME copyright COMPONENT ${component})
    install(FILES ${deb}/changelog.Debian.gz ${deb}/changelog.gz DESTINATION ${folder} COMPONENT ${component})
  endforeach()
  # Policy 12.1: manual pages are compressed, and so that every build gives the same bytes.
  install(CODE "file(GLOB pages \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_MANDIR}/man1/*.1\")
    execute_process(COMMAND gzip -9nf \${pages} COMMAND_ERROR_IS_FATAL ANY)" COMPONENT doc)
endif()

foreach(group ${PARE_PACKAGES})
  cpack_add_component_group(${group})
endforeach()
cpack_add_component(runtime GROUP pare)
cpack_add_component(completion GROUP pare)
cpack_add_component(doc GROUP pare)
cpack_add_component(lib GROUP lib)
cpack_add_component(dev GROUP dev)
set(CPACK_COMPONENTS_ALL runtime completion doc lib dev)
if(TARGET pare_cuda)
  cpack_add_component(cuda GROUP cuda)
  list(APPEND CPACK_COMPONENTS_ALL cuda)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME pare)
set(CPACK_PACKAGE_VENDOR pare)
set(CPACK_PACKAGE_CONTACT "${PARE_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each package has its own
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ
  WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_THREADS 1) # of xz: with more its output depends on their number
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${PARE_MAINTAINER}")
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY "=") # 0.x: structs of the API may change with any version
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)

set(CPACK_DEBIAN_PARE_PACKAGE_NAME pare)
set(CPACK_DEBIAN_PARE_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PARE_PACKAGE_SUGGESTS pare-cuda)
set(CPACK_DEBIAN_PARE_DESCRIPTION "quantize language models, measure the cost, pin the result
Converts and quantizes language models (Hub folders, safetensors, GGUF and
packed checkpoints), measures perplexity, Kullback-Leibler divergence and
drift of benchmarks against the original, plans what fits into a memory
budget, and records hashes of every file and tensor, to verify them later.
.
It uses no network.")

set(CPACK_DEBIAN_LIB_PACKAGE_NAME ${PARE_SONAME_PACKAGE})
set(CPACK_DEBIAN_LIB_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIB_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/debian/triggers)
set(CPACK_DEBIAN_LIB_DESCRIPTION "quantization and pinning of language models (library)
Opens, converts, quantizes, evaluates, pins and verifies language models in
GGUF, safetensors and Hub folders. This package has the shared library.")

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libpare-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "${PARE_SONAME_PACKAGE} (= ${PARE_DEB_VERSION}), libjansson-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_RECOMMENDS
  "libzstd-dev, libxxhash-dev, libpcre2-dev, libutf8proc-dev, libssl-dev, libopenblas-dev")
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "pkg-config, cmake")
if(PARE_ONEDNN_LIBRARY)
  string(APPEND CPACK_DEBIAN_DEV_PACKAGE_RECOMMENDS ", libdnnl-dev")
endif()
set(CPACK_DEBIAN_DEV_DESCRIPTION "quantization and pinning of language models (development files)
Opens, converts, quantizes, evaluates, pins and verifies language models in
GGUF, safetensors and Hub folders. This package has headers, the static
library, files for pkg-config and CMake, and examples. The recommended
packages are what programs with the static library link.")

set(CPACK_DEBIAN_CUDA_PACKAGE_NAME pare-cuda)
set(CPACK_DEBIAN_CUDA_PACKAGE_SECTION non-free/science)
set(CPACK_DEBIAN_CUDA_PACKAGE_DEPENDS "pare (= ${PARE_DEB_VERSION}) | ${PARE_SONAME_PACKAGE} (= ${PARE_DEB_VERSION})")
set(CPACK_DEBIAN_CUDA_PACKAGE_SUGGESTS "libcuda1")
set(CPACK_DEBIAN_CUDA_DESCRIPTION "quantize language models: evaluation on CUDA devices
The plugin that pare and libpare load for --device cuda. It needs a driver of
NVIDIA; without one they go on working on the CPU. cuBLASLt is used if found.
.
CUDA's runtime is linked into it statically, under NVIDIA's licence.")

include(CPack)

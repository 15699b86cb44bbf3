# What makes a memory error in the program harder to use, and the bytes of a build independent of its folder: flags for
# every target, through pare_flags. tests/cmd/check_hardening.sh reads in the binaries that they arrived.
include(CheckCCompilerFlag)
include(CheckPIESupported)
include(CheckSourceCompiles)

check_pie_supported(LANGUAGES C) # CMAKE_POSITION_INDEPENDENT_CODE alone would compile for it and not link it
if(NOT CMAKE_C_LINK_PIE_SUPPORTED)
  message(WARNING "the compiler links no position-independent programs")
endif()

# Paths of this machine go neither into debug information nor into __FILE__. A build folder may lie in the source folder:
# the compilers take the last one that fits first.
set(PARE_PREFIX_MAP -ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -ffile-prefix-map=${CMAKE_BINARY_DIR}=build)

# Flags that not every compiler and processor has.
set(PARE_HARDEN_COMPILE "")
foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection=full -mbranch-protection=standard)
  string(MAKE_C_IDENTIFIER "PARE_HAS${flag}" has)
  set(CMAKE_REQUIRED_FLAGS -Werror)
  check_c_compiler_flag(${flag} ${has})
  unset(CMAKE_REQUIRED_FLAGS)
  if(${has})
    list(APPEND PARE_HARDEN_COMPILE ${flag})
  endif()
endforeach()
# Nothing replaces a function of libpare by one of the same name, so its own calls need not expect it.
check_c_compiler_flag(-fno-semantic-interposition PARE_HAS_fno_semantic_interposition)
if(PARE_HAS_fno_semantic_interposition)
  list(APPEND PARE_HARDEN_COMPILE -fno-semantic-interposition)
endif()

# Checked variants of memcpy and its kin. They need optimization, and sanitizers bring their own.
set(PARE_HARDEN_FORTIFY "")
if(NOT PARE_SANITIZE AND NOT PARE_FUZZ)
  set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
  check_source_compiles(C "#include <string.h>
    #if __USE_FORTIFY_LEVEL != 3
    #error no such level
    #endif
    int main(void) { return 0; }" PARE_HAS_FORTIFY_3)
  unset(CMAKE_REQUIRED_FLAGS)
  set(level 2)
  if(PARE_HAS_FORTIFY_3)
    set(level 3)
  endif()
  set(PARE_HARDEN_FORTIFY $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=${level}>)
endif()

set(PARE_HARDEN_LINK -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code)

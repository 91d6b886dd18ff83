# Settings that every target of this project shares, and jreg_library().

add_library(jreg_settings INTERFACE)
# Designated initialisers name what they set; members left out have their defaults, so that warning is off.
target_compile_options(jreg_settings INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
                                               -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees an overlap in std::string's operator+ that is not there (GCC bug 105651).
  target_compile_options(jreg_settings INTERFACE -Wno-restrict)
endif()
if(JREG_WARNINGS_AS_ERRORS)
  target_compile_options(jreg_settings INTERFACE -Werror)
endif()
if(JREG_SANITIZE)
  target_compile_options(jreg_settings INTERFACE -fsanitize=${JREG_SANITIZE} -fno-sanitize-recover=all
                                                 -fno-omit-frame-pointer)
  target_link_options(jreg_settings INTERFACE -fsanitize=${JREG_SANITIZE})
endif()
if(JREG_FUZZ)
  target_compile_options(jreg_settings INTERFACE -fsanitize=fuzzer-no-link)
endif()
# OMPI_SKIP_MPICXX: without Open MPI's C++ bindings; H5_USE_110_API: the calls mean the same on every HDF5 >= 1.10.
target_compile_definitions(jreg_settings INTERFACE OMPI_SKIP_MPICXX H5_USE_110_API)

# jreg_library(<folder> SOURCES ... [LINK ...]): the static library jreg_<folder> of src/<folder>.
function(jreg_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(jreg_${folder} STATIC ${ARG_SOURCES})
  target_include_directories(jreg_${folder} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(jreg_${folder} PUBLIC ${ARG_LINK} PRIVATE jreg_settings)
endfunction()

# Flags that every target gets, and the one way to declare a rung of the ladder.

add_library(lamina_flags INTERFACE)
target_include_directories(lamina_flags INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
# No contraction: an fma is written where it is meant, so results do not depend on the compiler.
target_compile_options(lamina_flags INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wno-sign-conversion -Werror
                                              -ffp-contract=off)
# GCC 12 reports impossible sizes for std::string joins.
target_compile_options(lamina_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
if(LAMINA_SANITIZE)
  target_compile_options(lamina_flags INTERFACE -fsanitize=${LAMINA_SANITIZE} -fno-omit-frame-pointer
                                                -fno-sanitize-recover=all)
  # At -O1 GCC cannot see that unrolled loops fill what they read.
  target_compile_options(lamina_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(lamina_flags INTERFACE -fsanitize=${LAMINA_SANITIZE})
endif()
if(LAMINA_SCALAR)
  target_compile_definitions(lamina_flags INTERFACE LAMINA_SCALAR_BUILD=1)
endif()

# Flags by file suffix: kernels/cpu/<op>_<isa>.cpp is compiled for that instruction set.
set(LAMINA_ISA_avx2 -mavx2 -mfma -mf16c -mbmi2)
set(LAMINA_ISA_avx2vnni ${LAMINA_ISA_avx2} -mavxvnni)
set(LAMINA_ISA_avx512 ${LAMINA_ISA_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12's own AVX-512 headers start from undefined registers on purpose.
  list(APPEND LAMINA_ISA_avx512 -Wno-maybe-uninitialized -Wno-uninitialized)
endif()
set(LAMINA_ISA_avx512vnni ${LAMINA_ISA_avx512} -mavx512vnni)
set(LAMINA_ISA_avx512bf16 ${LAMINA_ISA_avx512vnni} -mavx512bf16)
set(LAMINA_ISA_amxint8 ${LAMINA_ISA_avx512vnni} -mamx-tile -mamx-int8)
set(LAMINA_ISA_amxbf16 ${LAMINA_ISA_avx512bf16} -mamx-tile -mamx-bf16)

# lamina_folder(name DEPS target...): a static library of all sources of the folder, linked to lower rungs.
function(lamina_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  set(kept)
  foreach(source ${sources})
    if(source MATCHES "_(avx2|avx2vnni|avx512|avx512vnni|avx512bf16|amxint8|amxbf16)\\.cpp$")
      if(LAMINA_SCALAR)
        continue()
      endif()
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${LAMINA_ISA_${CMAKE_MATCH_1}}")
    endif()
    list(APPEND kept ${source})
  endforeach()
  add_library(lamina_${name} STATIC ${kept})
  target_link_libraries(lamina_${name} PUBLIC lamina_flags)
  foreach(dep ${ARG_DEPS})
    if(dep MATCHES "^lamina_" AND NOT TARGET ${dep})
      continue()
    endif()
    target_link_libraries(lamina_${name} PUBLIC ${dep})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY LAMINA_FOLDERS lamina_${name})
endfunction()

# lamina_emulated_tiles(target): adds the tile kernels on tiles in plain C++; around the tiles they use vectors.
function(lamina_emulated_tiles target)
  set(sources ${PROJECT_SOURCE_DIR}/tests/kernels/emulated_block_amx.cpp
              ${PROJECT_SOURCE_DIR}/tests/kernels/emulated_super_amx.cpp)
  if(NOT LAMINA_SCALAR AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "${LAMINA_ISA_avx512vnni}")
  endif()
  target_sources(${target} PRIVATE ${sources})
endfunction()

# lamina_added_techniques(): builds in the techniques of examples/extend and of the folders in LAMINA_TECHNIQUES. Each is
# NAME.h (its contract), NAME.cpp (its pass) and NAME_test.cpp, of which two tables are written: no file is changed.
set(LAMINA_TECHNIQUES "" CACHE STRING "More folders of techniques that are built in; see docs/extend.md")
set(LAMINA_TECHNIQUE_FOLDERS ${PROJECT_SOURCE_DIR}/examples/extend ${LAMINA_TECHNIQUES})
function(lamina_added_techniques)
  set(includes)
  set(contracts)
  set(declarations)
  set(passes)
  set(count 0)
  set(sources)
  foreach(folder ${LAMINA_TECHNIQUE_FOLDERS})
    file(GLOB headers CONFIGURE_DEPENDS ${folder}/*.h)
    foreach(header ${headers})
      get_filename_component(name ${header} NAME_WE)
      string(APPEND includes "#include \"${name}.h\"\n")
      string(APPEND contracts "    extend::${name}::kTechnique,\n")
      string(APPEND declarations "namespace lamina::extend::${name} {\ncore::Status apply(const compress::PassUse& use, "
             "compress::ModelEdit& edit, compress::PassReport& report);\n}\n")
      string(APPEND passes "    Pass{extend::${name}::kTechnique.name, extend::${name}::apply},\n")
      math(EXPR count "${count} + 1")
      list(APPEND sources ${folder}/${name}.cpp)
    endforeach()
  endforeach()
  set(written ${PROJECT_BINARY_DIR}/written)
  file(CONFIGURE OUTPUT ${written}/recipe/added_techniques.h CONTENT
"#pragma once\n\n#include <array>\n\n#include \"recipe/technique.h\"\n${includes}
namespace lamina::recipe {\n\ninline constexpr std::array<Technique, ${count}> kAddedTechniques{\n${contracts}};\n
}  // namespace lamina::recipe\n" @ONLY)
  file(CONFIGURE OUTPUT ${written}/compress/added_passes.h CONTENT
"#pragma once\n\n#include <array>\n\n#include \"compress/pass.h\"\n${includes}\n${declarations}
namespace lamina::compress {\n\ninline constexpr std::array<Pass, ${count}> kAddedPasses{\n${passes}};\n
}  // namespace lamina::compress\n" @ONLY)
  foreach(folder recipe compress)
    target_include_directories(lamina_${folder} PRIVATE ${written} ${LAMINA_TECHNIQUE_FOLDERS})
  endforeach()
  target_sources(lamina_compress PRIVATE ${sources})
endfunction()

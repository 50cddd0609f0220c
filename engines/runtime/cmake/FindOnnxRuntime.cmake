# ONNX Runtime's C headers, which the build needs, and its library, which only the running program needs.
#
#   OnnxRuntime::headers        target with the folder of onnxruntime_c_api.h
#   OnnxRuntime_API_VERSION     of the headers: 21 for ONNX Runtime 1.21
#   OnnxRuntime_LIBRARY         file to test with, or empty
#
# Looked for below ONNXRUNTIME_ROOT (variable or environment: an unpacked release), in what
# tools/fetch_onnxruntime_headers.sh unpacks, and in the system. The library is never linked: its symbols carry the exact
# release, so that a program linked to one refuses to start with the next.

set(_onnxruntime_fetched "${PROJECT_SOURCE_DIR}/build/onnxruntime-headers")
set(_onnxruntime_suffixes include include/onnxruntime include/onnxruntime/core/session onnxruntime
                          onnxruntime/core/session)

set(_onnxruntime_hints ${ONNXRUNTIME_ROOT})
if(NOT _onnxruntime_hints)
  set(_onnxruntime_hints $ENV{ONNXRUNTIME_ROOT})
endif()
if(_onnxruntime_hints)
  # Who names a folder wants that one: anything found elsewhere would be a surprise.
  find_path(OnnxRuntime_INCLUDE_DIR onnxruntime_c_api.h PATHS ${_onnxruntime_hints}
            PATH_SUFFIXES ${_onnxruntime_suffixes} NO_DEFAULT_PATH)
else()
  find_path(OnnxRuntime_INCLUDE_DIR onnxruntime_c_api.h HINTS "${_onnxruntime_fetched}"
            PATH_SUFFIXES ${_onnxruntime_suffixes} NO_CMAKE_FIND_ROOT_PATH)
endif()

if(OnnxRuntime_INCLUDE_DIR)
  file(STRINGS "${OnnxRuntime_INCLUDE_DIR}/onnxruntime_c_api.h" _onnxruntime_line
       REGEX "^#define ORT_API_VERSION [0-9]+")
  string(REGEX MATCH "[0-9]+" OnnxRuntime_API_VERSION "${_onnxruntime_line}")
endif()

function(_onnxruntime_newest result)
  set(found)
  foreach(folder IN LISTS ARGN)
    file(GLOB files "${folder}/libonnxruntime.so*")
    list(APPEND found ${files})
  endforeach()
  list(SORT found COMPARE NATURAL ORDER DESCENDING)
  set(newest "")
  if(found)
    list(GET found 0 newest)
    get_filename_component(newest "${newest}" REALPATH)
  endif()
  set(${result} "${newest}" PARENT_SCOPE)
endfunction()

# Where the wheel of the active Python has its library; the module is found, not imported.
function(_onnxruntime_of_python result)
  set(${result} "" PARENT_SCOPE)
  if(CMAKE_CROSSCOMPILING)
    return()
  endif()
  set(Python3_FIND_STRATEGY LOCATION)  # the first on the path, which is that of an active environment
  find_package(Python3 QUIET COMPONENTS Interpreter)
  if(NOT Python3_Interpreter_FOUND)
    return()
  endif()
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c
            "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(folder)
    _onnxruntime_newest(newest "${folder}/capi")
    set(${result} "${newest}" PARENT_SCOPE)
  endif()
endfunction()

if(NOT OnnxRuntime_LIBRARY)
  set(_onnxruntime_library "")
  if(_onnxruntime_hints)
    foreach(_onnxruntime_hint IN LISTS _onnxruntime_hints)
      list(APPEND _onnxruntime_folders "${_onnxruntime_hint}/lib" "${_onnxruntime_hint}/lib64"
           "${_onnxruntime_hint}/capi")
    endforeach()
    _onnxruntime_newest(_onnxruntime_library ${_onnxruntime_folders})
  endif()
  if(NOT _onnxruntime_library)
    _onnxruntime_of_python(_onnxruntime_library)
  endif()
  if(NOT _onnxruntime_library)
    find_library(OnnxRuntime_SYSTEM_LIBRARY NAMES onnxruntime libonnxruntime.so.1)
    mark_as_advanced(OnnxRuntime_SYSTEM_LIBRARY)
    if(OnnxRuntime_SYSTEM_LIBRARY)
      set(_onnxruntime_library "${OnnxRuntime_SYSTEM_LIBRARY}")
    endif()
  endif()
  set(OnnxRuntime_LIBRARY "${_onnxruntime_library}" CACHE FILEPATH "ONNX Runtime's library to test with" FORCE)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  OnnxRuntime
  REQUIRED_VARS OnnxRuntime_INCLUDE_DIR OnnxRuntime_API_VERSION
  REASON_FAILURE_MESSAGE
    "onnxruntime_c_api.h is missing. On Debian and Ubuntu run tools/fetch_onnxruntime_headers.sh, which installs nothing \
and needs no root. Elsewhere unpack a release of ONNX Runtime and configure with -DONNXRUNTIME_ROOT=FOLDER.")

if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::headers)
  add_library(OnnxRuntime::headers INTERFACE IMPORTED)
  set_target_properties(OnnxRuntime::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${OnnxRuntime_INCLUDE_DIR}"
                        INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${OnnxRuntime_INCLUDE_DIR}")
endif()
mark_as_advanced(OnnxRuntime_INCLUDE_DIR)

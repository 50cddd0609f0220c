# The headers of TensorRT and of CUDA's runtime, which tensorrt_adapter.cpp is compiled with. No library is looked for:
# both are opened when a plan is run, and none is linked.
#
#   TensorRt::headers    target with the folders of NvInferRuntime.h and cuda_runtime_api.h
#   TensorRt_VERSION     of the headers, "10.13.3"
#
# TENSORRT_ROOT (an unpacked release) and CUDAToolkit_ROOT, variables or in the environment, say where they are.

# Who names a folder wants that one: anything found elsewhere would be a surprise.
function(_tensorrt_find result header roots)
  if(roots)
    find_path(${result} ${header} PATHS ${roots} PATH_SUFFIXES include NO_DEFAULT_PATH
              NO_CMAKE_FIND_ROOT_PATH)
  else()
    find_path(${result} ${header} PATHS ${ARGN} PATH_SUFFIXES include)
  endif()
  mark_as_advanced(${result})
endfunction()

set(_tensorrt_roots ${TENSORRT_ROOT})
if(NOT _tensorrt_roots)
  set(_tensorrt_roots $ENV{TENSORRT_ROOT})
endif()
set(_tensorrt_cuda_roots ${CUDAToolkit_ROOT})
if(NOT _tensorrt_cuda_roots)
  set(_tensorrt_cuda_roots $ENV{CUDAToolkit_ROOT})
endif()
_tensorrt_find(TensorRt_INCLUDE_DIR NvInferRuntime.h "${_tensorrt_roots}")
_tensorrt_find(TensorRt_CUDA_INCLUDE_DIR cuda_runtime_api.h "${_tensorrt_cuda_roots}" /usr/local/cuda)

if(TensorRt_INCLUDE_DIR AND EXISTS "${TensorRt_INCLUDE_DIR}/NvInferVersion.h")
  # In newer releases a number is the name of another macro, which has it.
  file(STRINGS "${TensorRt_INCLUDE_DIR}/NvInferVersion.h" _tensorrt_lines REGEX "^#define [A-Z_]+ ")
  function(_tensorrt_number name result)
    set(value "")
    foreach(line IN LISTS _tensorrt_lines)
      if(line MATCHES "^#define ${name} +([A-Z0-9_]+)")
        set(value "${CMAKE_MATCH_1}")
      endif()
    endforeach()
    if(value MATCHES "^[A-Z]" AND NOT value STREQUAL name)
      _tensorrt_number(${value} value)
    endif()
    set(${result} "${value}" PARENT_SCOPE)
  endfunction()
  foreach(_tensorrt_part MAJOR MINOR PATCH)
    _tensorrt_number(NV_TENSORRT_${_tensorrt_part} _tensorrt_${_tensorrt_part})
  endforeach()
  set(TensorRt_VERSION "${_tensorrt_MAJOR}.${_tensorrt_MINOR}.${_tensorrt_PATCH}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  TensorRt
  REQUIRED_VARS TensorRt_INCLUDE_DIR TensorRt_CUDA_INCLUDE_DIR TensorRt_VERSION
  VERSION_VAR TensorRt_VERSION
  REASON_FAILURE_MESSAGE
    "NvInferRuntime.h of TensorRT 10 or later, or cuda_runtime_api.h, is missing. Unpack a release of TensorRT and \
configure with -DTENSORRT_ROOT=FOLDER, and with -DCUDAToolkit_ROOT=FOLDER where CUDA is not in /usr/local/cuda. Or \
configure with -DLEVIT_TENSORRT=OFF, for a build that runs no plans.")

if(TensorRt_FOUND AND NOT TARGET TensorRt::headers)
  add_library(TensorRt::headers INTERFACE IMPORTED)
  set_target_properties(TensorRt::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES
                        "${TensorRt_INCLUDE_DIR};${TensorRt_CUDA_INCLUDE_DIR}" INTERFACE_SYSTEM_INCLUDE_DIRECTORIES
                        "${TensorRt_INCLUDE_DIR};${TensorRt_CUDA_INCLUDE_DIR}")
endif()

# Kernels: compiled by nvcc alone, for A100 (sm_80), H100 and H200 (sm_90), and as PTX for what comes after.
#
# A build for CUDA puts them into their room's library and cannot do without nvcc. Other builds compile them too where nvcc
# is at hand, and leave them at that: so they cannot rot.
find_program(NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(RRHF_CUDA AND NOT NVCC)
  message(FATAL_ERROR "a build for CUDA needs nvcc, of the release that LibTorch was built with")
endif()
set(gpu_code -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90
             -gencode arch=compute_90,code=compute_90)

# rrhf_cuda_objects(TARGET FOLDER): the folder's *.cu.
function(rrhf_cuda_objects target folder)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cu)
  if(NOT sources OR NOT NVCC)
    return()
  endif()
  set(objects)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/cuda
      COMMAND ${NVCC} -std=c++20 -O3 --fmad=true -Xcompiler -fPIC ${gpu_code} -I ${PROJECT_SOURCE_DIR} -MD -MF ${object}.d
              -c ${source} -o ${object}
      DEPENDS ${source}
      DEPFILE ${object}.d
      COMMENT "Building CUDA object ${name}.o")
    list(APPEND objects ${object})
  endforeach()
  if(RRHF_CUDA)
    target_sources(${target} PRIVATE ${objects})
  else()
    add_custom_target(${target}_kernels ALL DEPENDS ${objects})
  endif()
endfunction()

# rrhf_cuda_bindings(): in a build for the CPU, what binds the kernels to LibTorch, whose packages for the CPU carry the
# headers for CUDA as well. Compiled where the toolkit's headers are at hand too, and left at that.
function(rrhf_cuda_bindings)
  find_path(CUDA_INCLUDE cuda_runtime_api.h HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES include)
  find_path(C10_CUDA_INCLUDE c10/cuda/CUDAStream.h PATHS ${TORCH_INCLUDE_DIRS} NO_DEFAULT_PATH)
  if(RRHF_CUDA OR NOT NVCC OR NOT CUDA_INCLUDE OR NOT C10_CUDA_INCLUDE)
    return()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/rrhf/*/cuda_*.cpp)
  add_library(rrhf_cuda_bindings OBJECT ${sources})
  target_include_directories(rrhf_cuda_bindings PRIVATE ${PROJECT_SOURCE_DIR})
  target_include_directories(rrhf_cuda_bindings SYSTEM PRIVATE ${TORCH_INCLUDE_DIRS} ${CUDA_INCLUDE})
  target_link_libraries(rrhf_cuda_bindings PRIVATE fmt::fmt-header-only nlohmann_json::nlohmann_json)
  target_compile_options(rrhf_cuda_bindings PRIVATE -URRHF_WITH_CUDA -DRRHF_WITH_CUDA=1)
  target_compile_definitions(rrhf_cuda_bindings PRIVATE C10_CUDA_NO_CMAKE_CONFIGURE_FILE)
endfunction()

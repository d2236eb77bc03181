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

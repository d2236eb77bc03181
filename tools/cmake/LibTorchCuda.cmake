# LibTorch with CUDA, taken from a pip-installed torch and from a CUDA toolkit that need not be whole.
#
# TorchConfig.cmake asks for every CUDA library of the toolkit at configure time. Here the toolkit gives headers alone;
# the libraries are the ones torch brought along (nvidia/...), found by torch's own run path when the program starts. So
# the program compiles and links on a machine without a GPU or its driver.
#
# Reads   LIBTORCH_ROOT        site-packages/torch of a torch with CUDA
# Sets    TORCH_LIBRARIES, TORCH_INCLUDE_DIRS, TORCH_INSTALL_PREFIX; the target torch_cuda exists
if(NOT EXISTS "${LIBTORCH_ROOT}/lib/libtorch_cuda.so")
  message(FATAL_ERROR "LIBTORCH_ROOT must name the folder of a torch with CUDA, such as "
                      ".../site-packages/torch (no lib/libtorch_cuda.so in \"${LIBTORCH_ROOT}\")")
endif()
get_filename_component(TORCH_INSTALL_PREFIX "${LIBTORCH_ROOT}" ABSOLUTE)
get_filename_component(site_packages "${TORCH_INSTALL_PREFIX}" DIRECTORY)

find_path(CUDA_INCLUDE cuda_runtime_api.h HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES include
          targets/x86_64-linux/include REQUIRED)

# The toolkit first: its headers are of one release. What it lacks comes from the packages beside torch.
set(TORCH_INCLUDE_DIRS "${CUDA_INCLUDE}" "${TORCH_INSTALL_PREFIX}/include"
                       "${TORCH_INSTALL_PREFIX}/include/torch/csrc/api/include")
file(GLOB packaged "${site_packages}/nvidia/cu*/include" "${site_packages}/nvidia/nccl/include")
list(APPEND TORCH_INCLUDE_DIRS ${packaged})

# The runtime that torch's own libraries use.
file(GLOB cuda_runtime "${site_packages}/nvidia/cu*/lib/libcudart.so.*")
if(NOT cuda_runtime)
  find_library(cuda_runtime cudart HINTS "${CUDA_INCLUDE}/../lib64" "${CUDA_INCLUDE}/../lib" REQUIRED)
endif()

foreach(library c10 c10_cuda torch_cpu torch_cuda torch)
  add_library(${library} SHARED IMPORTED)
  set_target_properties(${library} PROPERTIES IMPORTED_LOCATION "${TORCH_INSTALL_PREFIX}/lib/lib${library}.so")
endforeach()
# --no-as-needed: nothing of ours names a symbol of libtorch_cuda, whose operators register themselves when it is loaded.
set(TORCH_LIBRARIES -Wl,--allow-shlib-undefined -Wl,--push-state,--no-as-needed torch torch_cuda torch_cpu c10_cuda c10
                    -Wl,--pop-state ${cuda_runtime})

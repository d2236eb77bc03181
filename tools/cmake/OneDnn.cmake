# Whether LibTorch exports the function through which it takes matrix products to oneDNN (rrhf/model/products.h).
#
# Reads   TORCH_INSTALL_PREFIX
# Sets    RRHF_ONEDNN
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_LIBRARIES ${TORCH_INSTALL_PREFIX}/lib/libtorch_cpu.so)
set(CMAKE_REQUIRED_LINK_OPTIONS -Wl,--unresolved-symbols=ignore-in-shared-libs)
unset(RRHF_ONEDNN CACHE)  # LibTorch may have changed
check_cxx_source_compiles("
  namespace at {
  class Tensor;
  namespace native {
  void mkldnn_matmul(const Tensor&, const Tensor&, const Tensor&, float, float);
  }
  }
  int main(int argc, char** argv) {
    return argc + (reinterpret_cast<char*>(&at::native::mkldnn_matmul) == argv[0]);
  }" RRHF_ONEDNN)
unset(CMAKE_REQUIRED_LIBRARIES)
unset(CMAKE_REQUIRED_LINK_OPTIONS)

// Stands in for LibTorch's header of this name: the emulated GPU's streams.
#pragma once

#include <c10/core/Device.h>

#include "tests/emulated/machine.h"

namespace c10::cuda {

class CUDAStream {
 public:
  explicit CUDAStream(CUstream_st* stream) : stream_(stream) {}
  CUstream_st* stream() const { return stream_; }

 private:
  CUstream_st* stream_;
};

inline CUDAStream getCurrentCUDAStream(DeviceIndex) {
  using rrhf::emulated::Machine;
  return CUDAStream(rrhf::emulated::stream_of(Machine::current_stream()));
}

}  // namespace c10::cuda

// The engines under a World: c10d's Gloo and NCCL, each where LibTorch and its headers were there at build time.
#pragma once

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <string>
#include <string_view>

#include "rrhf/core/choices.h"

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace rrhf::distributed {

struct BackendOptions {
  BackendChoice choice = BackendChoice::automatic;  ///< automatic: NCCL for a CUDA device, else Gloo
  at::Device device = at::kCPU;
  std::chrono::milliseconds timeout{300'000};
  std::string address;  ///< this machine's own, as its peers reach it; "": the host name's
};

/// Connects `size` ranks that all call this with the same choice and a store seen by all.
/// Throws InputError, saying what to install, when the program was built without the backend; c10d's errors otherwise.
c10::intrusive_ptr<c10d::Backend> make_backend(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                               const BackendOptions& options);

}  // namespace rrhf::distributed

// Before every source that is built for the emulated GPU as if that were CUDA's: what asks for CUDA is told of it.
//
// The headers come first, so that LibTorch's own uses of these names stay as they are.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace at {
inline bool has_emulated_gpu() { return true; }
}  // namespace at

#define is_cuda is_privateuseone
#define kCUDA kPrivateUse1
#define hasCUDA has_emulated_gpu
// Page-locked memory is the driver's; here any memory of the host can be sent from.
#define pinned_memory(pinned) pinned_memory(false)

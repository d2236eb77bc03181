// A GPU made of the CPU, for tests of what the host asks a GPU to do and in which order.
//
// Linked into a test program it stands behind torch's device type PrivateUse1, with streams, events and an allocator
// that hands memory out again as CUDA's does: at once to the stream that it was made for, to others once the streams it
// was recorded on have passed. Operations are computed when they are asked for, by the CPU's kernels, so that results
// are right whatever the order; the order is held against a Timeline.
//
// What it does not see: the host's use of its own memory, but for copies and what a test says (host_reads()); loops
// over plain pointers; the order of host threads among themselves, which are one; memory of the host that is handed out
// again during a transfer (page-locked memory waits for its transfers by itself); the parts of a block. Memory counts
// as touched whole, tensor storage by tensor storage.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace rrhf::emulated {

at::Device gpu();

/// Operations on the same memory that were not ordered since the last call, a line each. What a test leaves of them
/// fails it (order_listener.cpp).
std::vector<std::string> races();

/// The host uses the elements of a tensor in its own memory, now.
void host_reads(const at::Tensor& tensor);
void host_writes(const at::Tensor& tensor);

/// Bytes in use on the emulated GPU at most, since the last call or the start: what is let go of counts until the host
/// knows that the streams it was recorded on have passed.
std::int64_t take_peak();

/// What the emulated GPU was asked to do since the last call or the start, and how often: kernels and copies by name.
std::map<std::string, std::int64_t> take_operations();

}  // namespace rrhf::emulated

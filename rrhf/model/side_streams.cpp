#include "rrhf/model/side_streams.h"

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>

namespace rrhf::model {
namespace {

c10::Stream computing(at::Device device) { return c10::impl::VirtualGuardImpl(device.type()).getStream(device); }

c10::Stream new_stream(at::Device device) {
  if (device.is_cpu()) return computing(device);
  return c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

}  // namespace

SideStreams::SideStreams(at::Device device)
    : device_(device), outgoing_(new_stream(device)), incoming_(new_stream(device)) {}

Moment SideStreams::after(c10::Stream stream) const {
  auto event = std::make_shared<c10::Event>(device_.type());
  event->record(stream);
  return event;
}

Moment SideStreams::send(const at::Tensor& from, const at::Tensor& to) const {
  if (device_.is_cpu()) {
    to.copy_(from);
    return nullptr;
  }
  after(computing(device_))->block(outgoing_);
  const c10::StreamGuard on(outgoing_);
  to.copy_(from, /*non_blocking=*/true);
  from.record_stream(outgoing_);
  return after(outgoing_);
}

Moment SideStreams::fetch(const at::Tensor& from, const at::Tensor& to, const Moment& moment) const {
  if (device_.is_cpu()) {
    to.copy_(from);
    return nullptr;
  }
  after(computing(device_))->block(incoming_);
  if (moment) moment->block(incoming_);
  const c10::StreamGuard on(incoming_);
  to.copy_(from, /*non_blocking=*/true);
  to.record_stream(incoming_);
  return after(incoming_);
}

void SideStreams::wait(const Moment& moment) const {
  if (moment) moment->block(computing(device_));
}

at::Tensor host_room_like(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(tensor.is_cuda()));
}

}  // namespace rrhf::model

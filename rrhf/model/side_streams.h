// Transfers between a GPU and the host's memory beside what the GPU computes.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <memory>

namespace rrhf::model {

/// A point in a stream's work; none on the CPU, where nothing runs beside.
using Moment = std::shared_ptr<c10::Event>;

/// A stream for each direction, and what it takes to order them with the computing. On the CPU copies are made at once.
class SideStreams {
 public:
  explicit SideStreams(at::Device device);

  /// to = from, once the computing queued so far is done. `to` is page-locked memory of the host, `from` the device's,
  /// which may be let go of.
  Moment send(const at::Tensor& from, const at::Tensor& to) const;
  /// to = from the other way, once `after` has come and the computing queued so far is done, which may still use the
  /// memory that `to` was given. What is queued later does not wait.
  Moment fetch(const at::Tensor& from, const at::Tensor& to, const Moment& after) const;

  /// What is computed from now on waits for it.
  void wait(const Moment& moment) const;

 private:
  Moment after(c10::Stream stream) const;

  at::Device device_;
  c10::Stream outgoing_, incoming_;
};

/// Page-locked memory on the host for a tensor of the device, or the CPU's own.
at::Tensor host_room_like(const at::Tensor& tensor);

}  // namespace rrhf::model

// Gradients that live in the host's memory while the model is on a GPU (optimizer.place host).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "rrhf/model/side_streams.h"
#include "rrhf/model/units.h"
#include "rrhf/train/model_parts.h"

namespace rrhf::train {

/// On the device stand only the units that are added to now, come next, or are on their way back. What earlier passes
/// of a step added comes back to the device, so that sums are taken there; transfers run beside the computing. Keeps
/// references. One thread.
class HostGradients : public model::Gradients {
 public:
  /// `parts`: each unit of a whole model, flat, in page-locked memory.
  HostGradients(const ModelParts& model, std::vector<at::Tensor> parts, at::Device device);

  /// What the parts hold is forgotten.
  void begin_step();

  void need(std::size_t unit) override;
  void done(std::size_t unit) override;
  /// Returns once the parts hold the sums.
  void finish() override;

 private:
  // Memory for a unit on the device, and when its last transfer is over.
  struct Room {
    at::Tensor memory;
    model::Moment transferred;
  };
  at::Tensor whole_of(std::size_t unit, const Room& room) const;
  Room take();
  Room fetch(std::size_t unit);

  const ModelParts* model_;
  std::vector<at::Tensor> parts_;
  at::Device device_;
  std::int64_t largest_;
  model::SideStreams streams_;
  std::vector<bool> begun_;          // units that this step has added to
  std::vector<model::Moment> sent_;  // when each part last held what was sent
  std::vector<std::optional<Room>> open_;
  std::optional<std::pair<std::size_t, Room>> coming_;
  std::deque<Room> free_;
};

}  // namespace rrhf::train

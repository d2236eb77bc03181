#include "rrhf/train/host_gradients.h"

#include <ATen/ATen.h>

#include "rrhf/distributed/unit_rooms.h"

namespace rrhf::train {

HostGradients::HostGradients(const ModelParts& model, std::vector<at::Tensor> parts, at::Device device)
    : model_(&model),
      parts_(std::move(parts)),
      device_(device),
      largest_(distributed::largest(parts_)),
      streams_(device),
      begun_(parts_.size()),
      sent_(parts_.size()),
      open_(parts_.size()) {}

void HostGradients::begin_step() { begun_.assign(parts_.size(), false); }

at::Tensor HostGradients::whole_of(std::size_t unit, const Room& room) const {
  return room.memory.narrow(0, 0, parts_[unit].numel());
}

// The one that was sent longest ago, while another is on its way; else a new one.
HostGradients::Room HostGradients::take() {
  constexpr std::size_t on_their_way = 1;
  if (free_.size() <= on_their_way) return {at::empty({largest_}, parts_.front().options().device(device_)), {}};
  Room room = std::move(free_.front());
  free_.pop_front();
  return room;
}

// A room that the unit's sums so far are copied into.
HostGradients::Room HostGradients::fetch(std::size_t unit) {
  Room room = take();
  streams_.wait(room.transferred);  // as all that is computed from now on has to
  room.transferred = streams_.fetch(parts_[unit], whole_of(unit, room), sent_[unit]);
  return room;
}

void HostGradients::need(std::size_t unit) {
  if (!open_[unit]) {
    Room room;
    if (coming_ && coming_->first == unit) {
      room = std::exchange(coming_, std::nullopt)->second;
    } else {
      room = begun_[unit] ? fetch(unit) : take();
    }
    streams_.wait(room.transferred);
    if (!begun_[unit]) whole_of(unit, room).zero_();
    open_[unit] = std::move(room);
    // A pass asks for the units in descending order.
    if (unit > 0 && begun_[unit - 1] && !open_[unit - 1] && !coming_) coming_ = {unit - 1, fetch(unit - 1)};
  }
  model_->place(weights_, unit, whole_of(unit, *open_[unit]));
}

void HostGradients::done(std::size_t unit) {
  model_->place(weights_, unit, {});
  Room room = *std::exchange(open_[unit], std::nullopt);
  room.transferred = sent_[unit] = streams_.send(whole_of(unit, room), parts_[unit]);
  begun_[unit] = true;
  free_.push_back(std::move(room));
}

void HostGradients::finish() {
  for (const model::Moment& sent : sent_) {
    if (sent) sent->synchronize();
  }
  for (std::size_t unit = 0; unit < parts_.size(); ++unit) {
    if (!begun_[unit]) parts_[unit].zero_();  // nothing pulled at it
  }
}

}  // namespace rrhf::train

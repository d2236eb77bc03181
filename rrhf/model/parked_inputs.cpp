#include "rrhf/model/parked_inputs.h"

#include <ATen/ATen.h>

#include <utility>

namespace rrhf::model {

void ParkedInputs::park(const at::Tensor& x_TD) {
  Parked parked{.host = host_room_like(x_TD), .options = x_TD.options(), .sent = {}};
  parked.sent = streams_.send(x_TD, parked.host);
  if (parked_.size() > 1 && parked_[parked_.size() - 2].sent) parked_[parked_.size() - 2].sent->synchronize();
  parked_.push_back(std::move(parked));
}

void ParkedInputs::fetch_next() {
  if (parked_.empty()) return;
  Parked last = std::move(parked_.back());
  parked_.pop_back();
  at::Tensor x_TD = at::empty(last.host.sizes(), last.options);
  Moment arrived = streams_.fetch(last.host, x_TD, last.sent);
  coming_ = {std::move(x_TD), std::move(last.host), std::move(arrived)};
}

at::Tensor ParkedInputs::take_back() {
  if (!coming_) fetch_next();
  Coming own = *std::exchange(coming_, std::nullopt);
  if (own.arrived) own.arrived->synchronize();
  fetch_next();
  return own.x_TD;
}

void ParkedInputs::clear() {
  parked_.clear();
  coming_.reset();
}

}  // namespace rrhf::model

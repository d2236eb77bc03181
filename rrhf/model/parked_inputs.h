// Inputs of layers that wait for the backward pass in the host's memory (train.layer_inputs host).
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "rrhf/model/side_streams.h"

namespace rrhf::model {

/// Last in, first out. Transfers run beside the computing, the next one to be taken back being fetched ahead. The host
/// waits for the transfers before the last ones, so that few inputs are on the device at a time however far it is
/// ahead.
class ParkedInputs {
 public:
  explicit ParkedInputs(at::Device device) : streams_(device) {}

  void park(const at::Tensor& x_TD);

  /// The last one parked, on the device again. There must be one.
  at::Tensor take_back();

  bool empty() const noexcept { return parked_.empty() && !coming_; }
  void clear();

 private:
  struct Parked {
    at::Tensor host;
    at::TensorOptions options;
    Moment sent;
  };
  struct Coming {
    at::Tensor x_TD;
    at::Tensor host;  // stays until it has been read
    Moment arrived;
  };
  void fetch_next();

  SideStreams streams_;
  std::vector<Parked> parked_;
  std::optional<Coming> coming_;
};

}  // namespace rrhf::model

#include "rrhf/model/ops.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "rrhf/core/with_cuda.h"
#include "rrhf/model/cpu_dispatch.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/cuda_ops.h"
#include "rrhf/model/plain_ops.h"
#include "rrhf/model/products.h"
#include "rrhf/model/upload.h"

namespace rrhf::model {
namespace {

// Rows a thread takes at a time.
constexpr std::int64_t row_grain = 16;
// Rows whose share of a norm's gradient is summed together: fixed, so that the sum does not depend on the threads.
constexpr std::int64_t norm_rows = 64;

// Whole matrices without gaps, which the loops below count on.
bool runs_by_rows(const at::Tensor& x) { return has_kernels(x) && x.is_contiguous(); }

template <class F>
void for_rows(std::int64_t rows, F&& visit) {
  at::parallel_for(0, rows, row_grain, [&](std::int64_t begin, std::int64_t end) { visit(begin, end - begin); });
}

// RMSNorm of x, or of x + residual, which then replaces x.
RmsNormed rms_norm_by_rows(const at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D,
                           double epsilon, Room room, Room inverse_room) {
  RmsNormed normed{room.empty(x_TD.sizes(), x_TD.options()), inverse_room.empty({x_TD.size(0), 1}, x_TD.options())};
  with_element(x_TD, [&]<class T>(T) {
    const std::int64_t width = x_TD.size(1);
    T* x = x_TD.mutable_data_ptr<T>();
    const T* residual = residual_TD.defined() ? residual_TD.const_data_ptr<T>() : nullptr;
    const T* weight = weight_D.const_data_ptr<T>();
    T *y = normed.y_TD.mutable_data_ptr<T>(), *inverse = normed.inverse_rms_T1.mutable_data_ptr<T>();
    for_rows(x_TD.size(0), [&](std::int64_t begin, std::int64_t rows) {
      const std::int64_t at = begin * width;
      cpu::kernels<T>().rms_norm(x + at, residual == nullptr ? nullptr : residual + at, weight, x + at, y + at,
                                 inverse + begin, rows, width, epsilon);
    });
  });
  return normed;
}

}  // namespace

at::ScalarType accumulation_type(at::ScalarType dtype) {
  return dtype == at::kBFloat16 || dtype == at::kHalf ? at::kFloat : dtype;
}

namespace {

at::Tensor product(const at::Tensor& a_TI, const at::Tensor& b_IO, Room room) {
  at::Tensor out_TO = room.empty({a_TI.size(0), b_IO.size(1)}, a_TI.options());
  product_into(a_TI, b_IO, out_TO);
  return out_TO;
}

}  // namespace

at::Tensor project(const at::Tensor& x_TI, const at::Tensor& weight_OI, Room room) {
  return product(x_TI, weight_OI.t(), room);
}

at::Tensor project_backward(const at::Tensor& dy_TO, const at::Tensor& weight_OI, Room room) {
  return product(dy_TO, weight_OI, room);
}

void add_weight_gradient(const at::Tensor& dy_TO, const at::Tensor& x_TI, at::Tensor& weight_gradient_OI) {
  if (weight_gradient_OI.scalar_type() == dy_TO.scalar_type()) {
    add_product(dy_TO.t(), x_TI, weight_gradient_OI);
  } else if (dy_TO.is_cuda()) {  // narrow matrices, summed and added in the gradient's float32
    at::addmm_out(weight_gradient_OI, weight_gradient_OI, dy_TO.t(), x_TI, weight_gradient_OI.scalar_type(), 1, 1);
  } else {
    weight_gradient_OI.add_(at::mm(dy_TO.t(), x_TI));
  }
}

RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon, Room room, Room inverse_room) {
  if constexpr (with_cuda) {
    if (cuda::takes_norm(x_TD)) return cuda::rms_norm(x_TD, {}, weight_D, epsilon);
  }
  if (!runs_by_rows(x_TD)) return plain::rms_norm(x_TD, weight_D, epsilon);
  return rms_norm_by_rows(x_TD, {}, weight_D, epsilon, room, inverse_room);
}

RmsNormed add_rms_norm(at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D, double epsilon,
                       Room room, Room inverse_room) {
  if constexpr (with_cuda) {
    if (cuda::takes_norm(x_TD)) return cuda::rms_norm(x_TD, residual_TD, weight_D, epsilon);
  }
  if (!runs_by_rows(x_TD)) return plain::add_rms_norm(x_TD, residual_TD, weight_D, epsilon);
  return rms_norm_by_rows(x_TD, residual_TD, weight_D, epsilon, room, inverse_room);
}

at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D,
                          Room room) {
  if constexpr (with_cuda) {
    if (cuda::takes_norm(x_TD)) return cuda::rms_norm_again(x_TD, inverse_rms_T1, weight_D);
  }
  if (!runs_by_rows(x_TD)) return plain::rms_norm_again(x_TD, inverse_rms_T1, weight_D);
  at::Tensor y_TD = room.empty(x_TD.sizes(), x_TD.options());
  with_element(x_TD, [&]<class T>(T) {
    const std::int64_t width = x_TD.size(1);
    const T *x = x_TD.const_data_ptr<T>(), *inverse = inverse_rms_T1.const_data_ptr<T>();
    const T* weight = weight_D.const_data_ptr<T>();
    T* y = y_TD.mutable_data_ptr<T>();
    for_rows(x_TD.size(0), [&](std::int64_t begin, std::int64_t rows) {
      cpu::kernels<T>().rms_norm_again(x + begin * width, inverse + begin, weight, y + begin * width, rows, width);
    });
  });
  return y_TD;
}

at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, const at::Tensor& residual_TD, at::Tensor& weight_gradient_D,
                             Room room) {
  if constexpr (with_cuda) {
    if (cuda::takes_norm(x_TD)) {
      at::Tensor sums_D = weight_gradient_D;  // the kernels have no form without
      if (!sums_D.defined()) sums_D = at::zeros_like(weight_D, at::kFloat);
      return cuda::rms_norm_backward(dy_TD, x_TD, inverse_rms_T1, weight_D, residual_TD, sums_D);
    }
  }
  if (!runs_by_rows(x_TD)) {
    return plain::rms_norm_backward(dy_TD, x_TD, inverse_rms_T1, weight_D, residual_TD, weight_gradient_D);
  }
  const std::int64_t rows = x_TD.size(0), width = x_TD.size(1), parts = (rows + norm_rows - 1) / norm_rows;
  at::Tensor dx_TD = room.empty(x_TD.sizes(), x_TD.options());
  const at::Tensor partial_PD = at::zeros({parts, width}, x_TD.options());
  with_element(x_TD, [&]<class T>(T) {
    const T *dy = dy_TD.const_data_ptr<T>(), *x = x_TD.const_data_ptr<T>();
    const T *inverse = inverse_rms_T1.const_data_ptr<T>(), *weight = weight_D.const_data_ptr<T>();
    const T* residual = residual_TD.defined() ? residual_TD.const_data_ptr<T>() : nullptr;
    T *dx = dx_TD.mutable_data_ptr<T>(), *partial = partial_PD.mutable_data_ptr<T>();
    at::parallel_for(0, parts, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t part = first; part < last; ++part) {
        const std::int64_t begin = part * norm_rows, at = begin * width;
        cpu::kernels<T>().rms_norm_backward(dy + at, x + at, inverse + begin, weight,
                                            residual == nullptr ? nullptr : residual + at, dx + at,
                                            partial + part * width, std::min(norm_rows, rows - begin), width);
      }
    });
  });
  if (weight_gradient_D.defined()) weight_gradient_D.add_(partial_PD.sum(0));
  return dx_TD;
}

std::vector<double> rotary_frequencies(const LlamaConfig& config, std::int64_t longest) {
  const auto dim = static_cast<double>(config.head_dim);
  double base = config.rope_theta;
  double divide = 1;
  if (config.rope_scaling.kind == RopeScaling::Kind::linear) divide = config.rope_scaling.factor;
  if (config.rope_scaling.kind == RopeScaling::Kind::dynamic) {
    const double factor = config.rope_scaling.factor, trained = static_cast<double>(config.max_position_embeddings);
    const double length = std::max(static_cast<double>(longest), trained);
    base *= std::pow(factor * length / trained - (factor - 1), dim / (dim - 2));
  }
  std::vector<double> result;
  for (std::int64_t pair = 0; pair < config.head_dim / 2; ++pair) {
    result.push_back(std::pow(base, -2.0 * static_cast<double>(pair) / dim) / divide);
  }
  return result;
}

namespace {

RotaryTable rotary_of_angles(const at::Tensor& angles_TH, at::ScalarType dtype) {
  const auto place = [&](const at::Tensor& table_TH) { return table_TH.unsqueeze(1).to(accumulation_type(dtype)); };
  return {place(angles_TH.cos()), place(angles_TH.sin())};
}

at::Tensor on_device(const std::vector<double>& values, at::Device device) {
  at::Tensor tensor;
  Upload upload;
  upload.add(values, tensor);
  upload.send(device);
  return tensor;
}

}  // namespace

RotaryTable rotary_table(const Pack& pack, const LlamaConfig& config, at::ScalarType dtype) {
  const at::Device device = pack.positions_T.device();
  const at::Tensor positions_T1 = pack.positions_T.to(at::kDouble).unsqueeze(1);
  if (config.rope_scaling.kind != RopeScaling::Kind::dynamic) {
    return rotary_of_angles(positions_T1 * on_device(rotary_frequencies(config, 0), device), dtype);
  }
  at::Tensor angles_TH = at::empty({pack.token_count(), config.head_dim / 2}, positions_T1.options());
  for (const PackedQuery& query : pack.queries) {  // each as one padded batch of its own
    const std::int64_t size = query.response_rows().end() - query.prompt.begin;
    angles_TH.narrow(0, query.prompt.begin, size)
        .copy_(positions_T1.narrow(0, query.prompt.begin, size) *
               on_device(rotary_frequencies(config, query.longest), device));
  }
  return rotary_of_angles(angles_TH, dtype);
}

std::vector<double> rotary_angles_of_steps(std::span<const std::int64_t> positions, const LlamaConfig& config) {
  std::vector<double> angles;
  for (const std::int64_t position : positions) {
    for (const double frequency : rotary_frequencies(config, position + 1)) {
      angles.push_back(frequency * static_cast<double>(position));
    }
  }
  return angles;
}

RotaryTable rotary_table_of_angles(const at::Tensor& angles, const LlamaConfig& config, at::ScalarType dtype) {
  return rotary_of_angles(angles.view({-1, config.head_dim / 2}), dtype);
}

void apply_rotary(at::Tensor& qkv_TQ, const RotaryTable& table, const LlamaConfig& config, bool inverse) {
  if constexpr (with_cuda) {
    if (cuda::takes_rotary(qkv_TQ, config)) return cuda::apply_rotary(qkv_TQ, table, config, inverse);
  }
  if (!runs_by_rows(qkv_TQ)) return plain::apply_rotary(qkv_TQ, table, config, inverse);
  with_element(qkv_TQ, [&]<class T>(T) {
    const std::int64_t half = config.head_dim / 2, stride = qkv_TQ.size(1);
    const std::int64_t turned = config.num_attention_heads + config.num_key_value_heads;
    const T *cos = table.cos_T1H.const_data_ptr<T>(), *sin = table.sin_T1H.const_data_ptr<T>();
    T* rows_at = qkv_TQ.mutable_data_ptr<T>();
    for_rows(qkv_TQ.size(0), [&](std::int64_t begin, std::int64_t rows) {
      cpu::kernels<T>().rotate(rows_at + begin * stride, stride, cos + begin * half, sin + begin * half, rows, turned,
                               half, inverse ? T(-1) : T(1));
    });
  });
}

at::Tensor swiglu(const at::Tensor& gate_up_T2F, Room room) {
  if constexpr (with_cuda) {
    if (cuda::takes_swiglu(gate_up_T2F)) return cuda::swiglu(gate_up_T2F);
  }
  if (!runs_by_rows(gate_up_T2F)) return plain::swiglu(gate_up_T2F);
  const std::int64_t f = gate_up_T2F.size(1) / 2;
  at::Tensor y_TF = room.empty({gate_up_T2F.size(0), f}, gate_up_T2F.options());
  with_element(gate_up_T2F, [&]<class T>(T) {
    const T* gate_up = gate_up_T2F.const_data_ptr<T>();
    T* y = y_TF.mutable_data_ptr<T>();
    for_rows(y_TF.size(0), [&](std::int64_t begin, std::int64_t rows) {
      cpu::kernels<T>().swiglu(gate_up + begin * 2 * f, y + begin * f, rows, f);
    });
  });
  return y_TF;
}

void swiglu_backward(at::Tensor& gate_up_T2F, at::Tensor& dy_TF) {
  if constexpr (with_cuda) {
    if (cuda::takes_swiglu(gate_up_T2F)) return cuda::swiglu_backward(gate_up_T2F, dy_TF);
  }
  if (!runs_by_rows(gate_up_T2F)) return plain::swiglu_backward(gate_up_T2F, dy_TF);
  with_element(gate_up_T2F, [&]<class T>(T) {
    const std::int64_t f = dy_TF.size(1);
    T *gate_up = gate_up_T2F.mutable_data_ptr<T>(), *dy = dy_TF.mutable_data_ptr<T>();
    for_rows(dy_TF.size(0), [&](std::int64_t begin, std::int64_t rows) {
      cpu::kernels<T>().swiglu_backward(gate_up + begin * 2 * f, dy + begin * f, rows, f);
    });
  });
}

}  // namespace rrhf::model

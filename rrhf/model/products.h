// Products of matrices, through the library that is fastest for them.
//
// LibTorch takes products of float32 on the CPU to MKL, which leaves half of each vector unit idle on AMD's CPUs from
// Zen 5 on; its oneDNN uses all of it. Everything else goes where LibTorch takes it.
#pragma once

#include <ATen/core/Tensor.h>

namespace rrhf::model {

/// out = a b. The rows of `out` may stand apart.
void product_into(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& out_TO);

/// sum += a b, in the dtype of all three.
void add_product(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& sum_TO);

/// True where this CPU's products of large float32 matrices go to oneDNN.
bool prefers_onednn();

/// oneDNN compiles kernels for each shape of a product, most of a megabyte, and keeps a thousand of them; LibTorch
/// keeps as many again. A layer uses a dozen shapes and the next pass others, so that few need be kept. To be called
/// before the first product; where the environment says how many (LRU_CACHE_CAPACITY, ONEDNN_PRIMITIVE_CACHE_CAPACITY),
/// that holds.
inline constexpr int kernels_kept = 16;
void keep_few_kernels();

namespace onednn {

/// True where LibTorch lets it be called and the CPU has the instructions.
bool is_available();

/// sum = sum * keep + a b for float32 on the CPU; `keep` is 0 or 1. Only where it is available.
void product(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& sum_TO, float keep);

}  // namespace onednn
}  // namespace rrhf::model

#include "rrhf/model/products.h"

#include <ATen/ATen.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "rrhf/core/instruction_set.h"

#ifdef RRHF_ONEDNN
// Exported by LibTorch, where at::mm takes bfloat16, but in none of its headers (ATen/native/mkldnn/Matmul.h of its
// sources): result = beta * result + alpha * a b.
namespace at::native {
void mkldnn_matmul(const Tensor& a, const Tensor& b, const Tensor& result, float beta, float alpha);
}
#endif

namespace rrhf::model {
namespace {

// Below so many multiplications the compiling of a kernel for the shape, some 0.7 ms, is not won back.
constexpr std::int64_t least_worth_compiling = std::int64_t{1} << 26;

#ifdef __x86_64__
struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf) {
  Registers r;
  __get_cpuid(leaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// "AuthenticAMD", family 1Ah (Zen 5) or later: AMD, Processor Programming Reference, CPUID Fn0000_0000 and Fn0000_0001.
bool is_zen5_or_later() {
  const Registers vendor = cpuid(0);
  std::array<char, 12> name{};
  std::memcpy(name.data(), &vendor.b, 4);
  std::memcpy(name.data() + 4, &vendor.d, 4);
  std::memcpy(name.data() + 8, &vendor.c, 4);
  const unsigned signature = cpuid(1).a, base = (signature >> 8) & 0xf;
  const unsigned family = base == 0xf ? base + ((signature >> 20) & 0xff) : base;
  return std::string_view(name.data(), name.size()) == "AuthenticAMD" && family >= 0x1a;
}
#else
bool is_zen5_or_later() { return false; }
#endif

bool goes_to_onednn(const at::Tensor& a_TI, const at::Tensor& b_IO) {
  return prefers_onednn() && a_TI.is_cpu() && a_TI.scalar_type() == at::kFloat &&
         a_TI.numel() * b_IO.size(1) >= least_worth_compiling;
}

}  // namespace

namespace onednn {

bool is_available() {
#ifdef RRHF_ONEDNN
  static const bool has_instructions = is_present(InstructionSet::avx512);
  return has_instructions;
#else
  return false;
#endif
}

void product(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& sum_TO, float keep) {
#ifdef RRHF_ONEDNN
  at::native::mkldnn_matmul(a_TI, b_IO, sum_TO, keep, 1);
#else
  TORCH_CHECK(false, "onednn::product: this LibTorch does not let it be called");
#endif
}

}  // namespace onednn

bool prefers_onednn() {
  static const bool prefers = onednn::is_available() && is_zen5_or_later();
  return prefers;
}

void keep_few_kernels() {
  const std::string count = std::to_string(kernels_kept);
  for (const char* cache : {"LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"}) {
    ::setenv(cache, count.c_str(), /*overwrite=*/0);
  }
}

void product_into(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& out_TO) {
  if (goes_to_onednn(a_TI, b_IO)) return onednn::product(a_TI, b_IO, out_TO, 0);
  at::Tensor out = out_TO;
  at::mm_out(out, a_TI, b_IO);
}

void add_product(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& sum_TO) {
  if (goes_to_onednn(a_TI, b_IO)) return onednn::product(a_TI, b_IO, sum_TO, 1);
  at::Tensor sum = sum_TO;
  sum.addmm_(a_TI, b_IO);
}

}  // namespace rrhf::model

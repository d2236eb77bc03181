// The loops of decoding on every instruction set this machine has.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/model/cpu_kernels.h"
#include "tests/model/difference.h"

namespace rrhf::model {
namespace {

template <class T>
void expect_products(const char* isa, double limit) {
  const auto* loops = cpu::kernels_named<T>(isa);
  if (loops == nullptr) return;
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
  for (const auto& [rows, k, outputs] :
       {std::tuple{1, 1, 1}, {1, 48, 9}, {2, 33, 4}, {3, 64, 5}, {4, 17, 8}, {7, 1029, 6}, {67, 2100, 11}}) {
    const at::Tensor x = at::randn({rows, k}, options), w = at::randn({outputs, k}, options);
    at::Tensor y = at::full({rows, outputs}, 2.0, options);
    loops->rows_product(x.const_data_ptr<T>(), k, w.const_data_ptr<T>(), y.mutable_data_ptr<T>(), outputs, rows, k,
                        outputs, true);
    const at::Tensor expected = at::mm(x.to(at::kDouble), w.t().to(at::kDouble)) + 2.0;
    EXPECT_LE(difference(y.to(at::kDouble), expected), limit) << isa << " " << rows << "x" << k << "x" << outputs;
    const at::Tensor one = at::empty({1, outputs}, options);
    for (int row = 0; row < rows; ++row) {
      loops->rows_product(x[row].const_data_ptr<T>(), k, w.const_data_ptr<T>(), one.mutable_data_ptr<T>(), outputs, 1,
                          k, outputs, false);
      at::Tensor again = at::empty({rows, outputs}, options);
      loops->rows_product(x.const_data_ptr<T>(), k, w.const_data_ptr<T>(), again.mutable_data_ptr<T>(), outputs, rows,
                          k, outputs, false);
      ASSERT_TRUE(at::equal(one[0], again[row])) << isa << " row " << row << " of " << rows;
    }
  }
}

TEST(RowsProduct, IsTheProductAndTheSameForEachRowAlone) {
  at::manual_seed(3);
  for (const char* isa : {"baseline", "avx2", "avx512"}) {
    expect_products<float>(isa, 1e-5);
    expect_products<double>(isa, 1e-13);
  }
}

// Pages lie in any order; what stands in the last beyond the length, and in pages of others, must not matter.
template <class T>
void expect_attention(const char* isa, double limit) {
  const auto* loops = cpu::kernels_named<T>(isa);
  if (loops == nullptr) return;
  const auto options = at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value);
  const std::vector<std::int32_t> pages{4, 0, 3};
  for (const auto& [group, width, length] :
       {std::tuple{1, 64, 48}, {2, 7, 1}, {1, 16, 15}, {3, 34, 17}, {1, 100, 33}, {2, 1, 40}}) {
    const at::Tensor queries = at::randn({group, width}, options);
    const at::Tensor keys = at::randn({length, width}, options), values = at::randn({length, width}, options);
    at::Tensor key_pages = at::full({5, width, 16}, NAN, options), value_pages = at::full({5, 16, width}, NAN, options);
    for (std::int64_t at = 0; at < length; ++at) {
      const std::int64_t page = pages[static_cast<std::size_t>(at / 16)];
      key_pages[page].select(1, at % 16).copy_(keys[at]);
      value_pages[page][at % 16].copy_(values[at]);
    }
    at::Tensor out = at::empty({group, width}, options), scores = at::empty({group * 48}, options);
    const T scale = static_cast<T>(0.3);
    loops->attend_pages(queries.const_data_ptr<T>(), group, width,
                        {key_pages.const_data_ptr<T>(), value_pages.const_data_ptr<T>(), 16 * width, pages.data()},
                        length, scale, scores.mutable_data_ptr<T>(), out.mutable_data_ptr<T>());
    const at::Tensor expected = at::mm(at::softmax(at::mm(queries, keys.t()) * scale, 1), values);
    EXPECT_LE(difference(out, expected), limit) << isa << " " << group << "x" << width << " over " << length;
  }
}

TEST(AttendPages, IsAttentionOverTheSequencesPositions) {
  at::manual_seed(4);
  for (const char* isa : {"baseline", "avx2", "avx512"}) {
    expect_attention<float>(isa, 1e-5);
    expect_attention<double>(isa, 1e-13);
  }
}

}  // namespace
}  // namespace rrhf::model

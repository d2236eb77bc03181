#include "rrhf/model/pack.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "rrhf/core/error.h"

namespace rrhf::model {
namespace {

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<std::int64_t>(), tensor.const_data_ptr<std::int64_t>() + tensor.numel()};
}

using Ids = std::vector<std::int32_t>;
using Indices = std::vector<std::int64_t>;

TEST(Pack, LaysAQueryOutOnceWithoutTheLastTokens) {
  // prompt 1 10 11; responses [20 21 2] and [30 2]: the two EOS are labels only
  const Ids prompt{1, 10, 11}, first{20, 21, 2}, second{30, 2};
  const std::vector<PackInput> inputs{{prompt, {first, second}}};
  const Pack pack = make_pack(inputs, at::kCPU);
  EXPECT_EQ(values(pack.tokens_T), (Indices{1, 10, 11, 20, 21, 30}));
  EXPECT_EQ(values(pack.positions_T), (Indices{0, 1, 2, 3, 4, 3}));
  // The last prompt row predicts both first tokens; every response row the next one.
  EXPECT_EQ(values(pack.rows_R), (Indices{2, 3, 4, 5}));
  EXPECT_EQ(values(pack.labels_N), (Indices{20, 30, 21, 2, 2}));
  EXPECT_EQ(values(pack.label_row_N), (Indices{0, 0, 1, 2, 3}));
  EXPECT_EQ(pack.response_N, (Indices{0, 1, 0, 0, 1}));
  EXPECT_EQ(pack.label_begin_R, (Indices{0, 2, 3, 4, 5}));
  EXPECT_EQ(pack.queries[0].longest, 6);
}

TEST(Pack, NumbersResponsesOverAllQueries) {
  const Ids prompt{1}, one{2}, two{5, 2};
  const std::vector<PackInput> inputs{{prompt, {one}}, {prompt, {two, one}}};
  const Pack pack = make_pack(inputs, at::kCPU);
  EXPECT_EQ(pack.responses, 3);
  EXPECT_EQ(values(pack.tokens_T), (Indices{1, 1, 5}));
  EXPECT_EQ(pack.response_N, (Indices{0, 1, 2, 1}));
  EXPECT_EQ(pack.queries[1].responses[1].size, 0);
  EXPECT_EQ(pack.queries[1].response_rows().size, 1);
}

TEST(Pack, RefusesWhatHasNoToken) {
  const Ids prompt{1}, none;
  EXPECT_THROW(make_pack(std::vector<PackInput>{{prompt, {}}}, at::kCPU), Error);
  EXPECT_THROW(make_pack(std::vector<PackInput>{{none, {prompt}}}, at::kCPU), Error);
  EXPECT_THROW(make_pack(std::vector<PackInput>{{prompt, {prompt, none}}}, at::kCPU), Error);
}

}  // namespace
}  // namespace rrhf::model

// Reading packs and the score head.
#include "rrhf/model/score_head.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "rrhf/core/error.h"
#include "rrhf/model/llama.h"
#include "tests/emulated/gpu.h"

namespace rrhf::model {
namespace {

using Ids = std::vector<std::int32_t>;

Llama small_llama(at::Device device = at::kCPU) {
  LlamaConfig config;
  config.vocab_size = 23;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 8;  // shorter than the sequences below
  config.rope_scaling = {RopeScaling::Kind::dynamic, 2};
  config.tie_word_embeddings = true;
  config.initializer_range = 0.3;
  Weights weights = empty_weights(config, at::TensorOptions().dtype(at::kDouble).device(device));
  initialize(weights, config, 5);
  return {config, std::move(weights)};
}

at::Tensor states_of(const Llama& llama, const std::vector<PackInput>& queries) {
  return llama.states(make_reading_pack(queries, llama.device()));
}

TEST(ReadingPack, HoldsEveryTokenAndReadsTheLastOfEachResponse) {
  const Ids prompt{1, 2, 3}, first{4, 5}, none{}, third{6};
  const Pack pack =
      make_reading_pack(std::vector<PackInput>{{prompt, {first, none, third}}, {third, {first}}}, at::kCPU);
  EXPECT_TRUE(at::equal(pack.tokens_T, at::tensor(std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 6, 4, 5})));
  EXPECT_TRUE(at::equal(pack.positions_T, at::tensor(std::vector<std::int64_t>{0, 1, 2, 3, 4, 3, 0, 1, 2})));
  // an empty response is read at the prompt's end
  EXPECT_TRUE(at::equal(pack.rows_R, at::tensor(std::vector<std::int64_t>{4, 2, 5, 8})));
  EXPECT_EQ(pack.responses, 4);
  EXPECT_EQ(pack.label_count(), 0);
  EXPECT_EQ(pack.queries[0].longest, 5);
  EXPECT_EQ(pack.queries[1].longest, 3);
}

TEST(ReadingPack, NeedsAPromptAndAResponse) {
  const Ids ids{1}, none{};
  EXPECT_THROW(make_reading_pack(std::vector<PackInput>{{none, {ids}}}, at::kCPU), Error);
  EXPECT_THROW(make_reading_pack(std::vector<PackInput>{{ids, {}}}, at::kCPU), Error);
}

class States : public testing::TestWithParam<at::Device> {};

INSTANTIATE_TEST_SUITE_P(Devices, States, testing::Values(at::Device(at::kCPU), emulated::gpu()));

TEST_P(States, AreTheSameForASharedPromptAndForEachSequenceAlone) {
  const Llama llama = small_llama(GetParam());
  // Of one length, since dynamic scaling goes by the longest sequence of a query.
  const Ids prompt{1, 7, 2, 9, 11, 4}, a{3, 8, 15, 16}, b{22, 21, 20, 19};
  const Ids bos{1}, whole_a{7, 2, 9, 11, 4, 3, 8, 15, 16}, whole_b{7, 2, 9, 11, 4, 22, 21, 20, 19};
  const at::Tensor shared = states_of(llama, {{prompt, {a, b}}});
  const at::Tensor apart = states_of(llama, {{bos, {whole_a}}, {bos, {whole_b}}});
  ASSERT_EQ(shared.sizes(), at::IntArrayRef({2, 16}));
  EXPECT_LT((shared - apart).abs().max().item<double>(), 1e-12);
  EXPECT_GT((shared[0] - shared[1]).abs().max().item<double>(), 1e-3);
}

TEST_P(States, AreWhatTheLanguageHeadReads) {
  const Llama llama = small_llama(GetParam());
  const Ids prompt{1, 7, 2}, a{3, 8}, longer{3, 8, 5};
  // The last input of `longer` in a predicting pack is `a`'s last token.
  const Pack predicting = make_pack(std::vector<PackInput>{{prompt, {longer}}}, llama.device());
  const at::Tensor logits_V = llama.logits(predicting)[4];
  const at::Tensor state_D = states_of(llama, {{prompt, {a}}})[0];
  EXPECT_LT((llama.weights().head().mv(state_D) - logits_V).abs().max().item<double>(), 1e-12);
}

TEST(ScoreHead, IsTheProductWithItsRow) {
  for (const at::Device device : {at::Device(at::kCPU), emulated::gpu()}) {
    const ScoreHead head(at::tensor(std::vector<double>{2, -1, 0.5}).view({1, 3}).to(device));
    const at::Tensor states = at::tensor(std::vector<double>{1, 2, 4, 0, 0, -2}).view({2, 3}).to(device);
    EXPECT_EQ(head.read(states), (std::vector<double>{2, -1}));  // 2 - 2 + 2; -1
  }
}

TEST(ScoreHead, RefusesSeveralLabels) { EXPECT_THROW(ScoreHead(at::zeros({2, 3})), Error); }

TEST(ScoreHead, SumsNarrowStatesInFloat32) {
  // 256 + 1 is 256 in bfloat16.
  const ScoreHead head(at::ones({1, 3}, at::kBFloat16));
  const at::Tensor states = at::tensor(std::vector<float>{256, 1, 1}).view({1, 3}).to(at::kBFloat16);
  EXPECT_EQ(head.read(states), (std::vector<double>{258}));
}

}  // namespace
}  // namespace rrhf::model

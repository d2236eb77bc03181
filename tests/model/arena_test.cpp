#include "rrhf/model/arena.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <tuple>

#include "rrhf/model/idle_responses.h"
#include "rrhf/model/llama.h"
#include "rrhf/model/ops.h"
#include "tests/model/random_pack.h"

namespace rrhf::model {
namespace {

const at::TensorOptions bytes = at::TensorOptions().dtype(at::kByte), floats = bytes.dtype(at::kFloat);

const std::byte* address(const at::Tensor& tensor) { return static_cast<const std::byte*>(tensor.const_data_ptr()); }

TEST(Arena, GivesRoomInOrderAndAligned) {
  Arena arena;
  arena.begin(1024);
  const at::Tensor first = arena.take({3}, bytes), second = arena.take({2, 5}, floats);
  EXPECT_EQ(address(second) - address(first), Arena::alignment);
  EXPECT_EQ(second.sizes(), (at::IntArrayRef{2, 5}));
  EXPECT_EQ(second.scalar_type(), at::kFloat);
  EXPECT_TRUE(second.is_contiguous());
  EXPECT_EQ(arena.used(), 2 * Arena::alignment);
}

TEST(Arena, ATensorThatDoesNotFitStandsByItself) {
  Arena arena;
  arena.begin(100);
  const at::Tensor inside = arena.take({90}, bytes), outside = arena.take({90}, bytes);
  EXPECT_EQ(inside.storage().nbytes(), 128u);
  EXPECT_EQ(outside.storage().nbytes(), 90u);
  EXPECT_EQ(Arena().take({7}, bytes).storage().nbytes(), 7u);
}

TEST(Arena, UsesTheSameRoomForThePassesThatFit) {
  Arena arena;
  arena.begin(1024);
  const std::byte* place = address(arena.take({1024}, bytes));
  arena.begin(512);
  EXPECT_EQ(address(arena.take({512}, bytes)), place);
  EXPECT_EQ(address(arena.take({512}, bytes)), place + 512);  // as large as the first pass
  arena.rewind(256);
  EXPECT_EQ(address(arena.take({64}, bytes)), place + 256);
  arena.begin(2048);
  EXPECT_EQ(arena.take({2048}, bytes).storage().nbytes(), 2048u);
}

TEST(Arena, HasRoomAtItsBackForWhatIsDoneWithSoon) {
  Arena arena;
  arena.begin(1024);
  const at::Tensor first = arena.take({100}, bytes), back = arena.take({100}, bytes, Arena::End::back);
  EXPECT_EQ(address(back) - address(first), 1024 - 128);
  EXPECT_EQ(address(back) - address(arena.take({1}, bytes, Arena::End::back)), Arena::alignment);
  EXPECT_EQ(arena.take({800}, bytes).storage().nbytes(), 800u);  // 704 are left
  arena.clear_back();
  EXPECT_EQ(address(arena.take({896}, bytes)) - address(first), 128);
}

TEST(Arena, AReleasedOneHasNoRoomAndWhatWasTakenLives) {
  Arena arena;
  arena.begin(64);
  const at::Tensor kept = arena.take({64}, bytes).fill_(7);
  arena.release();
  EXPECT_EQ(arena.used(), 0);
  EXPECT_EQ(arena.take({64}, bytes).fill_(8).storage().nbytes(), 64u);
  EXPECT_EQ(kept.sum().item<int>(), 7 * 64);
}

// The gradients of packs, some larger and some smaller than the one before, one after the other, with the idle
// responses left out. Between them the arena gives its memory back once, as for an evaluation.
std::vector<at::Tensor> gradients_through(Arena* arena, at::ScalarType dtype, bool tied, Recompute recompute,
                                          HeadBudget budget) {
  LlamaConfig config = heads_config(4, 2, 6);
  config.tie_word_embeddings = tied;
  Weights weights = empty_weights(config, dtype);
  initialize(weights, config, 3);
  const Llama llama(config, std::move(weights), budget);
  Gradients gradients(zero_weights(config, accumulation_type(dtype)));
  Activations saved{.recompute = recompute, .arena = arena};
  const std::vector<std::vector<std::vector<std::size_t>>> packs{
      {{3, 2, 6}}, {{5, 4, 9, 1}, {8, 30, 2}}, {{4, 3, 3}}, {{40, 20, 30}}};
  for (const auto& lengths : packs) {
    const RandomPack random(lengths);
    const Pack pack = make_pack(random.inputs, at::kCPU);
    llama.forward(pack, &saved);
    std::vector<double> coefficients(static_cast<std::size_t>(pack.responses), 0.5);
    coefficients.front() = 0;
    const ActivePart part = drop_idle_responses(random.inputs, pack, coefficients, saved);
    llama.backward(part.pack, part.coefficients, saved, gradients);
    if (arena != nullptr && lengths.size() == 2) arena->release();
  }
  return gradients.weights().tensors();
}

class ArenaGradients : public testing::TestWithParam<std::tuple<at::ScalarType, bool, Recompute>> {};

TEST_P(ArenaGradients, AreThoseWithoutIt) {
  const auto [dtype, tied, recompute] = GetParam();
  const auto row = static_cast<std::int64_t>(37 * at::elementSize(accumulation_type(dtype)));
  for (const std::int64_t kept : {0, 3, 12, 1000}) {  // rows of probabilities
    const HeadBudget budget{.chunk_bytes = 5 * row, .kept_bytes = kept * row};
    Arena arena;
    const auto plain = gradients_through(nullptr, dtype, tied, recompute, budget);
    const auto own = gradients_through(&arena, dtype, tied, recompute, budget);
    for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(plain[i].equal(own[i])) << i << ", " << kept;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ArenaGradients,
                         testing::Combine(testing::Values(at::kFloat, at::kDouble, at::kBFloat16), testing::Bool(),
                                          testing::Values(Recompute::none, Recompute::mlp, Recompute::layer)));

TEST(Arena, HasRoomForAllThatAForwardPassKeeps) {
  const LlamaConfig config = heads_config(4, 2, 6);
  Weights weights = empty_weights(config, floats);
  initialize(weights, config, 3);
  const HeadBudget budget{.chunk_bytes = 5 * 37 * 4, .kept_bytes = 12 * 37 * 4};
  const Llama llama(config, std::move(weights), budget);
  const RandomPack random({{5, 4, 9, 1}, {8, 30, 2}});
  const Pack pack = make_pack(random.inputs, at::kCPU);
  for (const Recompute recompute : {Recompute::none, Recompute::mlp, Recompute::layer}) {
    Arena arena;
    Activations saved{.recompute = recompute, .arena = &arena};
    llama.forward(pack, &saved);
    const std::size_t room = saved.layers[0].input_TD.storage().nbytes();
    EXPECT_EQ(saved.head.probabilities_KV.storage().nbytes(), room);
    for (const at::Tensor& last : {saved.layers[1].input_TD, saved.layers[1].gate_up_T2F}) {
      EXPECT_TRUE(!last.defined() || last.storage().nbytes() == room) << name_of(recompute);
    }
    EXPECT_LE(arena.used(), static_cast<std::int64_t>(room));
  }
}

}  // namespace
}  // namespace rrhf::model

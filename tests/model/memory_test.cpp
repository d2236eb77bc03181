#include "rrhf/model/memory.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <new>
#include <tuple>

#include "rrhf/model/llama.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/products.h"

namespace rrhf::model {
namespace {

using Ids = std::vector<std::int32_t>;

LlamaConfig config_of(std::int64_t vocabulary) {
  LlamaConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 4;
  config.max_position_embeddings = 64;
  return config;
}

std::int64_t bytes_of(const at::Tensor& tensor) { return static_cast<std::int64_t>(tensor.nbytes()); }

// What a forward pass keeps of the layers.
std::int64_t kept_by_layers(const Activations& saved) {
  std::int64_t sum = bytes_of(saved.rotary.cos_T1H) + bytes_of(saved.rotary.sin_T1H);
  for (const LayerSaved& layer : saved.layers) {
    for (const at::Tensor& tensor :
         {layer.input_TD, layer.input_inverse_rms_T1, layer.qkv_TQ, layer.attended_TA, layer.attention_normalizer_TN,
          layer.middle_TD, layer.middle_inverse_rms_T1, layer.gate_up_T2F}) {
      sum += bytes_of(tensor);
    }
  }
  return sum;
}

struct Pass {
  Pack pack;
  Activations saved;
  PackSize size;
};

Pass run(const LlamaConfig& config, at::ScalarType dtype) {
  const Ids prompt{1, 10, 11, 12}, first{20, 21, 22, 2}, second{30, 2};
  const std::vector<PackInput> inputs{{prompt, {first, second}}, {prompt, {second, second}}};
  Weights weights = empty_weights(config, dtype);
  initialize(weights, config, 3);
  const Llama llama(config, std::move(weights));
  Pass pass{.pack = make_pack(inputs, at::kCPU), .saved = {}, .size = {}};
  llama.forward(pass.pack, &pass.saved);
  pass.size = {pass.pack.token_count(), pass.pack.rows_R.size(0)};
  return pass;
}

TEST(TrainingMemory, IsWhatAForwardPassKeepsWhereTheHeadIsWide) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const LlamaConfig config = config_of(4096);
    const Pass pass = run(config, dtype);
    const PassMemory memory = training_memory(config, dtype, pass.size);
    const auto element = static_cast<std::int64_t>(at::elementSize(dtype));
    // Beside what is kept: the gradient that runs down the layers.
    EXPECT_EQ(memory.activations, kept_by_layers(pass.saved) + pass.size.tokens * config.hidden_size * element);
    // Beside the probabilities: the label rows' states, normed and not, and their gradient.
    EXPECT_EQ(memory.logits,
              bytes_of(pass.saved.head.probabilities_KV) + 3 * pass.size.label_rows * config.hidden_size * element);
  }
}

TEST(TrainingMemory, CountsTheWidestLayerWhereTheHeadIsNarrow) {
  const LlamaConfig config = config_of(64);
  const Pass pass = run(config, at::kFloat);
  const PassMemory memory = training_memory(config, at::kFloat, pass.size);
  // The MLP's backward pass: the gradient that comes in (24) and the activation (40); attention's, 4 * 24 + 24 + 40
  // (the heads' and q/k/v's) without the MLP's 2 * 40, is wider.
  const std::int64_t work = pass.size.tokens * (4 * 24 + 24 + 40 - 80) * 4;
  EXPECT_EQ(memory.total(), kept_by_layers(pass.saved) + pass.size.tokens * 24 * 4 + std::max(work, memory.logits));
  EXPECT_GT(work, memory.logits - 1);
}

TEST(TrainingMemory, OfRecomputedLayersIsTheirInputsAndOneLayer) {
  const LlamaConfig config = config_of(64);
  const std::int64_t tokens = 1000, kept = 3 * 24, shared = 4 + 24;  // three inputs; angles, the gradient's run
  // One layer: input, q/k/v, attended, middle, gate and up, two norms and six normalizers; and its backward's work.
  const std::int64_t layer = 24 + 40 + 24 + 24 + 80 + 8, work = 4 * 24 + 24 + 40 - 80;
  EXPECT_EQ(training_memory(config, at::kFloat, {tokens, 1}, {.recompute = Recompute::layer}).total(),
            tokens * 4 * (kept + shared + layer + work));
}

TEST(TrainingMemory, TakesAChunkWhereProbabilitiesAreNotKept) {
  const LlamaConfig config = config_of(4096);
  const HeadBudget budget{.chunk_bytes = 5 * 4096 * 4, .kept_bytes = 0};
  const PassMemory memory = training_memory(config, at::kFloat, {100, 50}, {.head = budget});
  EXPECT_EQ(memory.logits, 5 * 4096 * 4 + 3 * 50 * 24 * 4);
}

TEST(TrainingMemory, OfBfloat16HasItsLogitsInFloat32) {
  const LlamaConfig config = config_of(4096);
  // Kept as float32; one chunk, here all of it, in bfloat16; the head's gradient as its product.
  EXPECT_EQ(training_memory(config, at::kBFloat16, {100, 50}).logits,
            50 * 4096 * 4 + 50 * 4096 * 2 + 4096 * 24 * 2 + 3 * 50 * 24 * 2);
}

TEST(KernelMemory, IsOfTheKernelsThatAreKeptAndTheirCopies) {
  const LlamaConfig config = config_of(4096);
  EXPECT_EQ(kernel_memory(config, at::kDouble, {100, 50}), 0);
  const std::int64_t kernels = kernel_memory(config, at::kBFloat16, {100, 0});
  EXPECT_GT(kernels, 0);
  EXPECT_EQ(kernel_memory(config, at::kBFloat16, {100, 50}), kernels + 2 * 50 * 4096 * 2);
  EXPECT_EQ(kernel_memory(config, at::kFloat, {100, 50}), prefers_onednn() ? kernels : 0);
}

// The allocator of all tensors while it lives, which counts.
class CountingAllocator : public c10::Allocator {
 public:
  CountingAllocator() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, priority); }
  ~CountingAllocator() override { c10::SetCPUAllocator(before_, priority); }

  c10::DataPtr allocate(std::size_t bytes) override {
    held_ += static_cast<std::int64_t>(bytes);
    most_ = std::max(most_, held_);
    // Before each block: whose it is, and its size. ATen wants the block itself as its context.
    auto* memory = static_cast<std::byte*>(::operator new (bytes + header, std::align_val_t{header}));
    new (memory) Block{this, static_cast<std::int64_t>(bytes)};
    return {memory + header, memory + header, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }

  void begin() { begun_ = most_ = held_; }
  /// The most that was held at once beside what was held at begin().
  std::int64_t most() const { return most_ - begun_; }

 private:
  static constexpr std::uint8_t priority = 1;
  static constexpr std::size_t header = 64;
  struct Block {
    CountingAllocator* owner;
    std::int64_t bytes;
  };
  static void release(void* data) {
    if (data == nullptr) return;
    std::byte* memory = static_cast<std::byte*>(data) - header;
    const auto* block = reinterpret_cast<const Block*>(memory);
    block->owner->held_ -= block->bytes;
    ::operator delete (memory, std::align_val_t{header});
  }

  c10::Allocator* before_;
  std::int64_t held_ = 0, most_ = 0, begun_ = 0;
};

// The dtype, and the size of the vocabulary: the head narrower or wider than a layer.
class StepMemory : public testing::TestWithParam<std::tuple<at::ScalarType, std::int64_t>> {
 protected:
  StepMemory() {
    config_.hidden_size = 96;
    config_.head_dim = 16;
    config_.intermediate_size = 256;
    const Ids prompt(60, 1), response(150, 2);
    pack_ = make_pack(std::vector<PackInput>(8, PackInput{prompt, {response, response}}), at::kCPU);
  }

  at::ScalarType dtype() const { return std::get<0>(GetParam()); }
  PackSize size() const { return {pack_.token_count(), pack_.rows_R.size(0)}; }

  Llama llama() const {
    Weights weights = empty_weights(config_, dtype());
    initialize(weights, config_, 3);
    return {config_, std::move(weights)};
  }

  static void expect_near(PassMemory counted, std::int64_t most) {
    // What is not counted: the runs of 256 rows that narrow matrices are widened in, much of so small a layer.
    EXPECT_NEAR(static_cast<double>(counted.total()) / static_cast<double>(most), 1, 0.05);
  }

  LlamaConfig config_ = config_of(std::get<1>(GetParam()));
  Pack pack_;
};

TEST_P(StepMemory, OfTrainingIsWhatTheTensorsTake) {
  for (const bool in_arena : {false, true}) {
    for (const Recompute recompute : {Recompute::none, Recompute::mlp, Recompute::layer}) {
      CountingAllocator allocator;
      const Llama model = llama();
      Gradients gradients(zero_weights(config_, accumulation_type(dtype())));
      allocator.begin();
      Arena arena;
      Activations saved{.recompute = recompute, .arena = in_arena ? &arena : nullptr};
      model.forward(pack_, &saved);
      model.backward(pack_, std::vector<double>(16, 0.5), saved, gradients);
      SCOPED_TRACE(fmt::format("{}{}", name_of(recompute), in_arena ? " in an arena" : ""));
      expect_near(training_memory(config_, dtype(), size(), {.recompute = recompute, .in_arena = in_arena}),
                  allocator.most());
    }
  }
}

TEST_P(StepMemory, OfEvaluationIsWhatTheTensorsTake) {
  CountingAllocator allocator;
  const Llama model = llama();
  allocator.begin();
  model.forward(pack_);
  expect_near(evaluation_memory(config_, dtype(), size()), allocator.most());
}

INSTANTIATE_TEST_SUITE_P(Kinds, StepMemory,
                         testing::Combine(testing::Values(at::kFloat, at::kDouble, at::kBFloat16),
                                          testing::Values(64, 4096)));

}  // namespace
}  // namespace rrhf::model

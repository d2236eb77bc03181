// Logits with the cache against those without it, by the loops and by ATen.

#include "rrhf/model/decoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <optional>

#include "tests/emulated/gpu.h"
#include "tests/model/difference.h"

namespace rrhf::model {
namespace {

using Ids = std::vector<std::int32_t>;

LlamaConfig config_of(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
  LlamaConfig config;
  config.vocab_size = 37;
  config.hidden_size = 26;
  config.intermediate_size = 45;
  config.num_hidden_layers = 3;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = head_dim;
  config.max_position_embeddings = 128;
  config.initializer_range = 0.3;
  return config;
}

Llama llama_of(const LlamaConfig& config, at::ScalarType dtype, at::Device device = at::kCPU) {
  Weights weights = empty_weights(config, at::TensorOptions().dtype(dtype).device(device));
  initialize(weights, config, 11);
  weights.final_norm_D.mul_(1.5);
  return {config, std::move(weights)};
}

Ids random_ids(std::int64_t count, std::int64_t seed) {
  Ids ids;
  for (std::int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>((i * i * 7 + i * 3 + seed * 5) % 37));
  return ids;
}

// The last row's logits of the whole sequence, without a cache.
at::Tensor whole(const Llama& llama, const Ids& ids) {
  const Ids label{0};
  const at::Tensor logits = llama.logits(make_pack(std::vector<PackInput>{{ids, {label}}}, llama.device()));
  return logits[logits.size(0) - 1];
}

struct Case {
  at::ScalarType dtype;
  Decoder::Path path;
  double limit;
  at::Device device = at::kCPU;
};

class DecoderLogits : public testing::TestWithParam<Case> {};

// Prompts of lengths around a page's end, then steps past another, together.
TEST_P(DecoderLogits, EqualThoseWithoutACache) {
  for (const auto& [heads, kv_heads, head_dim] : {std::tuple{6, 2, 10}, {4, 4, 16}, {2, 1, 34}}) {
    const Llama llama = llama_of(config_of(heads, kv_heads, head_dim), GetParam().dtype, GetParam().device);
    Decoder decoder(llama, GetParam().path);
    std::vector<Ids> ids{random_ids(1, 1), random_ids(15, 2), random_ids(16, 3), random_ids(37, 4), random_ids(5, 5)};
    auto [logits, sequences] = decoder.prefill(std::vector<std::span<const std::int32_t>>(ids.begin(), ids.end()));
    std::vector<CachedSequence*> pointers;
    for (CachedSequence& sequence : sequences) pointers.push_back(&sequence);
    for (std::int32_t step = 0; step < 20; ++step) {
      ASSERT_EQ(logits.sizes(), (at::IntArrayRef{5, 37}));
      Ids next;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        ASSERT_LE(difference(logits[static_cast<std::int64_t>(i)], whole(llama, ids[i])), GetParam().limit)
            << "sequence " << i << " after " << ids[i].size() << " tokens";
        next.push_back((step * 11 + static_cast<std::int32_t>(i) * 5) % 37);
        ids[i].push_back(next.back());
      }
      logits = decoder.step(pointers, next);
    }
  }
}

// A prompt's samples go on from shared pages, each with its own tokens; a copy of a copy as well, after its origin went
// on or was destroyed.
TEST_P(DecoderLogits, OfForkedSequencesAreTheirOwn) {
  const Llama llama = llama_of(config_of(4, 2, 8), GetParam().dtype, GetParam().device);
  Decoder decoder(llama, GetParam().path);
  const Ids prompt = random_ids(21, 6);
  std::optional<CachedSequence> first;
  {
    auto prefilled = decoder.prefill(std::vector<std::span<const std::int32_t>>{prompt});
    first = std::move(prefilled.sequences.front());
  }
  CachedSequence second = *first;
  Ids a = prompt, b = prompt;
  const auto feed = [&](CachedSequence& sequence, Ids& ids, std::int32_t token) {
    ids.push_back(token);
    CachedSequence* pointer = &sequence;
    const at::Tensor logits = decoder.step(std::span(&pointer, 1), std::span(&token, 1))[0];
    EXPECT_LE(difference(logits, whole(llama, ids)), GetParam().limit) << ids.size() << " tokens, the last " << token;
  };
  for (std::int32_t token : {3, 9, 27}) feed(*first, a, token);
  feed(second, b, 30);
  CachedSequence third = second;
  Ids c = b;
  feed(*first, a, 5);
  first.reset();
  feed(third, c, 17);
  feed(second, b, 2);
  feed(third, c, 18);
}

INSTANTIATE_TEST_SUITE_P(Paths, DecoderLogits,
                         testing::Values(Case{at::kFloat, Decoder::Path::automatic, 1e-5},
                                         Case{at::kDouble, Decoder::Path::automatic, 1e-12},
                                         Case{at::kFloat, Decoder::Path::aten, 1e-5},
                                         Case{at::kDouble, Decoder::Path::aten, 1e-12},
                                         Case{at::kBFloat16, Decoder::Path::automatic, 0.1},
                                         Case{at::kFloat, Decoder::Path::automatic, 1e-5, emulated::gpu()},
                                         Case{at::kBFloat16, Decoder::Path::automatic, 0.1, emulated::gpu()}));

// What a sequence's logits are does not depend on company or threads, to the last bit.
TEST(Decoder, LogitsAreTheSameInAnyCompany) {
  LlamaConfig config = config_of(4, 2, 18);
  config.intermediate_size = 1100;  // beyond the inputs that are summed in one go
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const Llama llama = llama_of(config, dtype);
    const Ids ids = random_ids(19, 1);
    // Logits after the prompt and two tokens, with `others` sequences beside it.
    const auto after = [&](std::int64_t others, int threads) {
      at::set_num_threads(threads);
      std::vector<Ids> prompts;
      for (std::int64_t i = 0; i < others; ++i) prompts.push_back(random_ids(3 + i % 30, i));
      prompts.insert(prompts.begin() + others / 2, ids);
      Decoder decoder(llama);
      auto [logits, sequences] =
          decoder.prefill(std::vector<std::span<const std::int32_t>>(prompts.begin(), prompts.end()));
      std::vector<CachedSequence*> pointers;
      for (CachedSequence& sequence : sequences) pointers.push_back(&sequence);
      std::vector<at::Tensor> seen{logits[others / 2].clone()};
      for (const std::int32_t token : {4, 8}) {
        seen.push_back(decoder.step(pointers, Ids(prompts.size(), token))[others / 2].clone());
      }
      return at::cat(seen);
    };
    const int threads = at::get_num_threads();
    const at::Tensor alone = after(0, 1);
    for (const std::int64_t others : {1, 2, 3, 6, 70}) EXPECT_TRUE(at::equal(after(others, 1), alone)) << others;
    EXPECT_TRUE(at::equal(after(5, 2), alone));
    at::set_num_threads(threads);
  }
}

TEST(Decoder, DynamicScalingTurnsEachStepByItsLength) {
  // Within the trained positions it is as without scaling; beyond them a token has the base of its length.
  LlamaConfig config = config_of(2, 2, 8);
  config.max_position_embeddings = 20;
  config.rope_scaling = {RopeScaling::Kind::dynamic, 2};
  EXPECT_EQ(context_length(config), 40);
  const Llama llama = llama_of(config, at::kDouble);
  Ids ids = random_ids(18, 3);
  Decoder loops(llama), aten(llama, Decoder::Path::aten);
  auto a = loops.prefill(std::vector<std::span<const std::int32_t>>{ids});
  auto b = aten.prefill(std::vector<std::span<const std::int32_t>>{ids});
  CachedSequence *of_a = &a.sequences.front(), *of_b = &b.sequences.front();
  for (const std::int32_t token : {1, 2, 3, 4, 5, 6}) {
    ids.push_back(token);
    const at::Tensor logits = loops.step(std::span(&of_a, 1), std::span(&token, 1))[0];
    EXPECT_LE(difference(logits, aten.step(std::span(&of_b, 1), std::span(&token, 1))[0]), 1e-12);
    const double from_whole = difference(logits, whole(llama, ids));
    if (ids.size() < 20) {
      EXPECT_LE(from_whole, 1e-12);
    } else if (ids.size() > 20) {
      EXPECT_GE(from_whole, 1e-6) << "the whole sequence turned by its full length is another";
    }
  }
}

TEST(KvCache, PagesComeBackAndAreSharedUntilWritten) {
  const LlamaConfig config = config_of(2, 2, 4);
  KvCache cache(config, at::TensorOptions().dtype(at::kFloat));
  {
    CachedSequence prompt(cache);
    prompt.extend(20);  // a page and a quarter
    EXPECT_EQ(cache.pages_in_use(), 2);
    std::vector<CachedSequence> samples(3, prompt);
    EXPECT_EQ(cache.pages_in_use(), 2);
    samples[0].extend(1);  // writes on the second page: its own now
    EXPECT_EQ(cache.pages_in_use(), 3);
    EXPECT_EQ(samples[0].pages()[0], prompt.pages()[0]);
    EXPECT_NE(samples[0].pages()[1], prompt.pages()[1]);
    samples[0].extend(11);  // up to the page's end
    EXPECT_EQ(cache.pages_in_use(), 3);
    samples[1] = samples[0];
    samples[1].extend(1);  // a full page is not written on: it stays shared
    EXPECT_EQ(cache.pages_in_use(), 4);
    EXPECT_EQ(samples[1].pages()[1], samples[0].pages()[1]);
    samples.clear();
    EXPECT_EQ(cache.pages_in_use(), 2);
  }
  EXPECT_EQ(cache.pages_in_use(), 0);
}

}  // namespace
}  // namespace rrhf::model

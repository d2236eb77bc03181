#include "rrhf/model/decoder.h"

#include <ATen/ATen.h>

#include "rrhf/core/error.h"
#include "rrhf/model/cpu_dispatch.h"
#include "rrhf/model/decode_forward.h"

namespace rrhf::model {
namespace {

bool takes_loops(const Llama& llama, Decoder::Path path) {
  return path == Decoder::Path::automatic && has_kernels(llama.weights().embedding_VD);
}

// Prompts as a pack: each with one label, which takes no row.
Pack prompt_pack(std::span<const std::span<const std::int32_t>> prompts, at::Device device) {
  static constexpr std::int32_t label = 0;
  std::vector<PackInput> inputs;
  for (const auto prompt : prompts) inputs.push_back({prompt, {std::span(&label, 1)}});
  Pack pack = make_pack(inputs, device);
  for (PackedQuery& query : pack.queries) query.longest = query.prompt.size;
  return pack;
}

const Llama& require_merged(const Llama& llama) {
  if (llama.lora() != nullptr) throw_error("decoder", "needs a model without adapters: their sum with the weights");
  return llama;
}

}  // namespace

Decoder::Decoder(const Llama& llama, Path path)
    : llama_(require_merged(llama)),
      cache_(llama.config(), llama.weights().embedding_VD.options(), /*zeroed=*/!takes_loops(llama, path)),
      forward_(takes_loops(llama, path) ? make_loop_forward(llama, cache_) : make_aten_forward(llama, cache_)) {}

Decoder::~Decoder() = default;

Decoder::Prefilled Decoder::prefill(std::span<const std::span<const std::int32_t>> prompts) {
  const Pack pack = prompt_pack(prompts, llama_.device());
  Prefilled result;
  for (const auto prompt : prompts) {
    result.sequences.emplace_back(cache_).extend(std::ssize(prompt));
  }
  result.logits_NV = forward_->prefill(pack, result.sequences);
  return result;
}

at::Tensor Decoder::step(std::span<CachedSequence* const> sequences, std::span<const std::int32_t> tokens) {
  if (sequences.size() != tokens.size() || tokens.empty()) {
    throw_error("decode", "{} tokens for {} sequences; each needs one", tokens.size(), sequences.size());
  }
  for (CachedSequence* sequence : sequences) sequence->extend(1);
  return forward_->step(sequences, tokens);
}

}  // namespace rrhf::model

#include "rrhf/checkpoint/weight_sum.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>

#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/error.h"

namespace rrhf::checkpoint {
namespace {

constexpr double tolerance = 1e-2;
constexpr std::string_view rotary_buffer = "self_attn.rotary_emb.inv_freq";

// The order of a layer's entries in transformers 4.28's state dict.
constexpr std::array layer_entries{std::string_view("self_attn.q_proj.weight"),
                                   std::string_view("self_attn.k_proj.weight"),
                                   std::string_view("self_attn.v_proj.weight"),
                                   std::string_view("self_attn.o_proj.weight"),
                                   rotary_buffer,
                                   std::string_view("mlp.gate_proj.weight"),
                                   std::string_view("mlp.down_proj.weight"),
                                   std::string_view("mlp.up_proj.weight"),
                                   std::string_view("input_layernorm.weight"),
                                   std::string_view("post_attention_layernorm.weight")};

std::vector<std::string> state_dict_names(const model::LlamaConfig& config) {
  std::vector<std::string> names{"model.embed_tokens.weight"};
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    for (const std::string_view entry : layer_entries) names.push_back(fmt::format("model.layers.{}.{}", i, entry));
  }
  names.push_back("model.norm.weight");
  if (!config.tie_word_embeddings) names.push_back("lm_head.weight");
  return names;
}

// 1 / theta^(2 i / head_dim), as that transformers computed the buffer in float32.
at::Tensor rotary_frequencies(const model::LlamaConfig& config) {
  const auto dim = static_cast<double>(config.head_dim);
  const at::Tensor exponents = at::arange(0, config.head_dim, 2, at::TensorOptions().dtype(at::kFloat)).div(dim);
  return at::pow(config.rope_theta, exponents).reciprocal();
}

}  // namespace

void WeightSum::add(const std::string& name, const at::Tensor& tensor) {
  Sums& sums = sums_[name];
  sums.float32 = tensor.to(at::kFloat).sum().item<float>();
  sums.exact = 0;
  // In blocks: torch would make the whole tensor double at once.
  for_row_blocks(tensor.sizes(), sizeof(double), [&](std::int64_t first, std::int64_t count) {
    sums.exact += tensor.narrow(0, first, count).to(at::kDouble).sum().item<double>();
  });
}

bool WeightSum::Result::matches(double expected) const {
  for (const double sum : {exact, exact_with_rotary, float32, float32_with_rotary}) {
    if (std::abs(sum - expected) <= tolerance) return true;
  }
  return false;
}

WeightSum::Result WeightSum::result(const model::LlamaConfig& config) const {
  const at::Tensor frequencies = rotary_frequencies(config);
  const Sums rotary{.float32 = frequencies.sum().item<float>(), .exact = frequencies.sum(at::kDouble).item<double>()};
  Result result;
  float plain = 0, with_rotary = 0;
  for (const std::string& name : state_dict_names(config)) {
    if (name.ends_with(rotary_buffer)) {
      with_rotary += rotary.float32;
      result.exact_with_rotary += rotary.exact;
      continue;
    }
    const auto found = sums_.find(name);
    if (found == sums_.end()) throw_error("delta", "{} has no sum", name);
    plain += found->second.float32;
    with_rotary += found->second.float32;
    result.exact += found->second.exact;
    result.exact_with_rotary += found->second.exact;
  }
  result.float32 = plain;
  result.float32_with_rotary = with_rotary;
  return result;
}

}  // namespace rrhf::checkpoint

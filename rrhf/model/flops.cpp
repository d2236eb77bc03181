#include "rrhf/model/flops.h"

#include <ATen/core/Tensor.h>

namespace rrhf::model {
namespace {

// Pairs of a row and a key it sees: n rows that see `context` keys and, of themselves, all that are not later.
double pairs(std::int64_t rows, std::int64_t context) {
  const auto n = static_cast<double>(rows);
  return n * static_cast<double>(context) + n * (n + 1) / 2;
}

// 2 a weight.
double linear_flops(const LlamaConfig& config) {
  const auto d = static_cast<double>(config.hidden_size), f = static_cast<double>(config.intermediate_size);
  const auto a = static_cast<double>(config.attention_size()), q = static_cast<double>(config.qkv_size());
  return static_cast<double>(config.num_hidden_layers) * 2 * (d * q + a * d + 3 * d * f);
}

// The same of the adapters.
double adapter_flops(const LlamaConfig& config, const LoraLayout* lora) {
  if (lora == nullptr) return 0;
  return 2 * static_cast<double>(config.num_hidden_layers * lora->parameters_of_layer());
}

double head_flops(const LlamaConfig& config) {
  return 2 * static_cast<double>(config.hidden_size) * static_cast<double>(config.vocab_size);
}

}  // namespace

Flops& Flops::operator+=(const Flops& other) {
  linear += other.linear;
  attention += other.attention;
  head += other.head;
  return *this;
}

Flops forward_flops(const Pack& pack, const LlamaConfig& config, const LoraLayout* lora) {
  double seen = 0;
  for (const PackedQuery& query : pack.queries) {
    seen += pairs(query.prompt.size, 0);
    for (const Segment& response : query.responses) seen += pairs(response.size, query.prompt.size);
  }
  return {.linear = (linear_flops(config) + adapter_flops(config, lora)) * static_cast<double>(pack.token_count()),
          .attention = static_cast<double>(config.num_hidden_layers * 4 * config.attention_size()) * seen,
          .head = head_flops(config) * static_cast<double>(pack.rows_R.size(0))};
}

Flops backward_flops(const Pack& pack, const LlamaConfig& config, const LoraLayout* lora) {
  Flops flops = forward_flops(pack, config, lora);
  flops.attention *= 2;
  if (lora == nullptr) {
    flops.linear *= 2;
    flops.head *= 2;
  } else {
    flops.linear += adapter_flops(config, lora) * static_cast<double>(pack.token_count());
  }
  return flops;
}

double label_row_cost(const LlamaConfig& config) { return head_flops(config) / linear_flops(config); }

}  // namespace rrhf::model

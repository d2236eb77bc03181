#include "rrhf/checkpoint/streamed_llama.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/model/decoder_layer.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/pack.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {
namespace {

using model::LlamaConfig;

// Room for one layer's weights, with names: those of a model of one layer and one token.
LlamaConfig one_layer(LlamaConfig config) {
  config.num_hidden_layers = 1;
  config.vocab_size = 1;
  return config;
}

constexpr std::string_view first_layer = "model.layers.0.";

// A pack of a prompt alone. A label is needed to make one; it takes no place.
model::Pack prompt_pack(std::span<const std::int32_t> tokens) {
  const std::array<std::int32_t, 1> label{0};
  const std::array inputs{model::PackInput{.prompt = tokens, .responses = {label}}};
  return model::make_pack(inputs, at::kCPU);
}

}  // namespace

StreamedLlama::StreamedLlama(const std::filesystem::path& folder) : config_(load_config(folder)), source_(folder) {
  for (const TensorInfo* info : match_tensors(source_, config_)) bytes_ += info->bytes();
}

at::Tensor StreamedLlama::next_logits(std::span<const std::int32_t> tokens,
                                      const std::function<void(std::int64_t)>& on_bytes) const {
  const model::Pack pack = prompt_pack(tokens);
  const model::RotaryTable rotary = model::rotary_table(pack, config_, at::kFloat);
  const LlamaConfig layer_config = one_layer(config_);
  const model::Weights room = model::empty_weights(layer_config, at::TensorOptions().dtype(at::kFloat));
  const std::vector<model::NamedTensor> places = model::named_tensors(room, layer_config);

  const TensorInfo& embedding = info("model.embed_tokens.weight");
  at::Tensor x_TD = source_.tensor(embedding).index_select(0, pack.tokens_T).to(at::kFloat);
  for (std::int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    for (const model::NamedTensor& place : places) {
      if (!place.name.starts_with(first_layer)) continue;
      const TensorInfo& tensor = info(fmt::format("model.layers.{}.{}", i, place.name.substr(first_layer.size())));
      at::Tensor view = place.view;
      view.copy_(source_.tensor(tensor));
      source_.release(tensor);
      on_bytes(tensor.bytes());
    }
    x_TD = model::layer_forward(std::move(x_TD), room.layers.front(), {pack, rotary, config_}, nullptr);
  }
  const at::Tensor norm_D = source_.tensor(info("model.norm.weight")).to(at::kFloat);
  return head_logits(model::rms_norm(x_TD.narrow(0, x_TD.size(0) - 1, 1), norm_D, config_.rms_norm_eps).y_TD.flatten(),
                     on_bytes);
}

at::Tensor StreamedLlama::head_logits(const at::Tensor& hidden_D,
                                      const std::function<void(std::int64_t)>& on_bytes) const {
  const TensorInfo& head = info(config_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  const at::Tensor head_VD = source_.tensor(head);
  at::Tensor logits_V = at::empty({head_VD.size(0)}, at::TensorOptions().dtype(at::kFloat));
  for_row_blocks(head_VD.sizes(), sizeof(float), [&](std::int64_t first, std::int64_t count) {
    logits_V.narrow(0, first, count).copy_(at::mv(head_VD.narrow(0, first, count).to(at::kFloat), hidden_D));
  });
  source_.release(head);
  on_bytes(head.bytes());
  return logits_V;
}

}  // namespace rrhf::checkpoint

#include "rrhf/model/llama.h"

#include <ATen/ATen.h>

#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/model/memory.h"

namespace rrhf::model {

Llama::Llama(LlamaConfig config, Weights weights, std::optional<HeadBudget> budget)
    : Llama(std::move(config), std::make_shared<Parameters>(std::move(weights)), budget) {}

Llama::Llama(LlamaConfig config, std::shared_ptr<Parameters> parameters, std::optional<HeadBudget> budget,
             std::optional<LoraLayout> lora)
    : config_(std::move(config)),
      units_(config_),
      parameters_(std::move(parameters)),
      budget_(budget.value_or(head_budget(device().is_cpu()))),
      lora_(std::move(lora)) {}

namespace {

// sums[index[i]] += rows[i]. On a GPU sorted by index, so that each sum is taken in the order of the rows.
void add_rows(const at::Tensor& rows_TD, const at::Tensor& index_T, at::Tensor& sums_VD) {
  const at::Tensor values_TD = rows_TD.to(sums_VD.scalar_type());
  if (sums_VD.is_cuda()) {
    sums_VD.index_put_({index_T}, values_TD, /*accumulate=*/true);
  } else {
    sums_VD.index_add_(0, index_T, values_TD);
  }
}

}  // namespace

const Weights& Llama::need(std::size_t unit, std::optional<std::size_t> next, PartTimes* times) const {
  parameters_->need(unit, next);
  end_of(Part::communication, times);
  return parameters_->weights();
}

at::Tensor Llama::hidden_states(LayerContext context, Activations* saved) const {
  if (saved != nullptr) {
    saved->layers.resize(units_.layers());
    saved->taken.resize(units_.layers());
    context.kept = context.output = Room(saved->arena);
    context.work = Room(saved->arena, Arena::End::back);
    context.keep_gate_up = saved->recompute != Recompute::mlp;
  }
  const at::Tensor& embedding_VD = need(Units::embedding(), Units::layer(0), context.times).embedding_VD;
  at::Tensor x_TD = context.output.empty({context.pack.token_count(), config_.hidden_size}, embedding_VD.options());
  at::index_select_out(x_TD, embedding_VD, 0, context.pack.tokens_T);
  end_of(Part::embedding, context.times);
  for (std::size_t i = 0; i < units_.layers(); ++i) {
    const Weights& weights = need(Units::layer(i), units_.after_layer(i), context.times);
    LayerSaved* kept = saved == nullptr ? nullptr : &saved->layers[i];
    const bool again = kept != nullptr && saved->recompute == Recompute::layer;
    if (again && saved->parked != nullptr) {
      saved->parked->park(x_TD);
    } else if (again) {
      kept->input_TD = x_TD;
    }
    if (saved != nullptr && saved->arena != nullptr) saved->arena->clear_back();  // of the layer before
    if (i + 1 == units_.layers()) context.output = context.work;                  // no layer keeps it as its input
    x_TD = layer_forward(std::move(x_TD), weights.layers[i], context, again ? nullptr : kept);
    if (kept != nullptr && saved->arena != nullptr) saved->taken[i] = saved->arena->used();
  }
  return x_TD;
}

std::vector<double> Llama::forward(const Pack& pack, Activations* saved, PartTimes* times) const {
  RotaryTable rotary = rotary_table(pack, config_, dtype());
  Arena* arena = saved == nullptr ? nullptr : saved->arena;
  if (arena != nullptr) {
    arena->begin(arena_memory(config_, dtype(), {pack.token_count(), pack.rows_R.size(0)},
                              {.recompute = saved->recompute, .head = budget_}));
  }
  at::Tensor last_RD = hidden_states({pack, rotary, config_, lora(), times}, saved).index_select(0, pack.rows_R);
  if (arena != nullptr) arena->clear_back();  // of the last layer, its output too
  const Weights& weights = need(units_.head(), std::nullopt, times);
  RmsNormed normed = rms_norm(last_RD, weights.final_norm_D, config_.rms_norm_eps);
  if (saved != nullptr) {
    saved->rotary = std::move(rotary);
    saved->last_RD = std::move(last_RD);
    saved->last_inverse_rms_R1 = normed.inverse_rms_T1;
  }
  std::vector<double> logprobs = label_logprobs(normed.y_TD, weights.head(), pack, budget_,
                                                saved == nullptr ? nullptr : &saved->head, Room(arena));
  end_of(Part::head, times);
  return logprobs;
}

at::Tensor Llama::head_backward(const Pack& pack, std::span<const double> coefficients, Activations& saved,
                                Gradients& gradients) const {
  const Weights& weights = parameters_->weights();
  gradients.need(units_.head());
  Weights& slopes = gradients.weights();
  at::Tensor& head_gradient = config_.tie_word_embeddings ? slopes.embedding_VD : slopes.head_VD;
  const at::Tensor normed_RD = rms_norm_again(saved.last_RD, saved.last_inverse_rms_R1, weights.final_norm_D);
  const at::Tensor dnormed_RD =
      label_logprobs_backward(coefficients, normed_RD, weights.head(), pack, budget_, saved.head, head_gradient);
  return rms_norm_backward(dnormed_RD, saved.last_RD, saved.last_inverse_rms_R1, weights.final_norm_D,
                           /*residual_TD=*/{}, slopes.final_norm_D);
}

void Llama::backward(const Pack& pack, std::span<const double> coefficients, Activations& saved, Gradients& gradients,
                     PartTimes* times) const {
  need(units_.head(), Units::layer(units_.layers() - 1), times);
  const at::Tensor dlast_RD = head_backward(pack, coefficients, saved, gradients);
  end_of(Part::head, times);
  if (!config_.tie_word_embeddings) gradients.done(units_.head());
  end_of(gradients.part(), times);
  at::Tensor dx_TD = at::zeros({pack.token_count(), config_.hidden_size}, dlast_RD.options());
  dx_TD.index_copy_(0, pack.rows_R, dlast_RD);
  end_of(Part::head, times);
  const Room work(saved.arena, Arena::End::back);
  const LayerContext context{pack, saved.rotary, config_, lora(), times, saved.deterministic, /*kept=*/work, {}, work};
  for (std::size_t i = units_.layers(); i-- > 0;) {
    const std::size_t unit = Units::layer(i);
    const LayerWeights& weights = need(unit, i > 0 ? std::optional(unit - 1) : std::nullopt, times).layers[i];
    gradients.need(unit);
    LayerSaved kept = std::exchange(saved.layers[i], {});
    if (saved.arena != nullptr) {
      saved.arena->rewind(saved.taken[i]);  // of the layers behind and the head
      saved.arena->clear_back();
    }
    if (saved.recompute == Recompute::layer) {
      at::Tensor input_TD = saved.parked != nullptr ? saved.parked->take_back() : std::move(kept.input_TD);
      kept = layer_recompute(std::move(input_TD), weights, context);
    }
    dx_TD = layer_backward(dx_TD, std::move(kept), weights, context, gradients.weights().layers[i]);
    gradients.done(unit);
    end_of(gradients.part(), times);
  }
  gradients.need(Units::embedding());
  at::Tensor& embedding_gradient_VD = gradients.weights().embedding_VD;
  if (embedding_gradient_VD.defined()) add_rows(dx_TD, pack.tokens_T, embedding_gradient_VD);
  end_of(Part::embedding, times);
  gradients.done(Units::embedding());
  end_of(gradients.part(), times);
}

void Llama::idle_forward(PartTimes* times) const {
  need(Units::embedding(), Units::layer(0), times);
  for (std::size_t i = 0; i < units_.layers(); ++i) need(Units::layer(i), units_.after_layer(i), times);
  need(units_.head(), std::nullopt, times);
}

void Llama::idle_backward(Gradients& gradients, PartTimes* times) const {
  const auto pass_by = [&](std::size_t unit) {
    gradients.need(unit);
    gradients.done(unit);
    end_of(gradients.part(), times);
  };
  need(units_.head(), Units::layer(units_.layers() - 1), times);
  gradients.need(units_.head());
  if (!config_.tie_word_embeddings) gradients.done(units_.head());
  end_of(gradients.part(), times);
  for (std::size_t unit = units_.layers(); unit > 0; --unit) {
    need(unit, unit > 1 ? std::optional(unit - 1) : std::nullopt, times);
    pass_by(unit);
  }
  pass_by(Units::embedding());
}

at::Tensor Llama::states(const Pack& pack) const {
  const RotaryTable rotary = rotary_table(pack, config_, dtype());
  const at::Tensor last_RD = hidden_states({pack, rotary, config_, lora()}, nullptr).index_select(0, pack.rows_R);
  const Weights& weights = need(units_.head(), std::nullopt, nullptr);
  return rms_norm(last_RD, weights.final_norm_D, config_.rms_norm_eps).y_TD;
}

at::Tensor Llama::logits(const Pack& pack) const {
  const RotaryTable rotary = rotary_table(pack, config_, dtype());
  const at::Tensor x_TD = hidden_states({pack, rotary, config_, lora()}, nullptr);
  const Weights& weights = need(units_.head(), std::nullopt, nullptr);
  const at::Tensor logits_TV = project(rms_norm(x_TD, weights.final_norm_D, config_.rms_norm_eps).y_TD, weights.head());
  return logits_TV.to(accumulation_type(logits_TV.scalar_type()));
}

}  // namespace rrhf::model

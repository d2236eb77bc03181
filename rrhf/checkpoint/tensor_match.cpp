#include "rrhf/checkpoint/tensor_match.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_set>

#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/format/name_list.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {

namespace {

constexpr std::string_view embedding_tensor = "model.embed_tokens.weight", tied_head_name = "lm_head.weight";

bool same_values(const TensorSource& source, const TensorInfo& a, const TensorInfo& b) {
  const at::Tensor whole_a = source.tensor(a), whole_b = source.tensor(b);
  const at::ScalarType common = at::promote_types(a.dtype, b.dtype);
  bool same = true;
  for_row_blocks(a.shape, static_cast<std::int64_t>(at::elementSize(common)), [&](std::int64_t row, std::int64_t rows) {
    const auto block = [&](const at::Tensor& whole) { return whole.narrow(0, row, rows).to(common); };
    same = same && at::equal(block(whole_a), block(whole_b));
  });
  source.release(a);
  source.release(b);
  return same;
}

}  // namespace

bool has_vocabulary_rows(std::string_view name) { return name == embedding_tensor || name == tied_head_name; }

std::vector<const TensorInfo*> match_tensors(const TensorSource& source, const model::LlamaConfig& config,
                                             std::span<const std::string_view> beside) {
  // Else a config of a few bytes could ask for any number of shapes.
  const auto held = std::ssize(source.tensors());
  if (config.num_hidden_layers > held) {
    throw_input("checkpoint", "{}: holds {} tensor{}, config.json asks for {} layers", source.path().string(), held,
                held == 1 ? "" : "s", config.num_hidden_layers);
  }
  // Tensors of the meta device have a shape and no memory.
  const model::Weights shapes = model::empty_weights(config, at::TensorOptions().device(at::kMeta));
  std::vector<const TensorInfo*> found;
  std::vector<std::string> missing, unexpected;
  std::unordered_set<std::string> wanted;
  std::string problems;
  for (const model::NamedTensor& tensor : model::named_tensors(shapes, config)) {
    wanted.insert(tensor.name);
    const TensorInfo* info = found.emplace_back(source.find(tensor.name));
    if (info == nullptr) {
      missing.push_back(tensor.name);
    } else if (tensor.view.sizes() != at::IntArrayRef(info->shape)) {
      problems += fmt::format("\n  {}: {} is {}, the config asks for {}", source.files()[info->file].string(),
                              info->name, shape_text(info->shape), shape_text(tensor.view.sizes()));
    }
  }
  for (const TensorInfo& info : source.tensors()) {
    // A tied checkpoint may still hold the head. Whether it equals the embedding: warn_of_untied_head().
    const bool tied_head = config.tie_word_embeddings && info.name == tied_head_name;
    const std::vector<std::int64_t> head_shape{config.vocab_size, config.hidden_size};
    if (tied_head && info.shape != head_shape) {
      problems +=
          fmt::format("\n  {}: {} is {}, the embedding that the config ties it to {}",
                      source.files()[info.file].string(), info.name, shape_text(info.shape), shape_text(head_shape));
    }
    const bool known = std::ranges::find(beside, info.name) != beside.end();
    if (!wanted.contains(info.name) && !tied_head && !known) unexpected.push_back(info.name);
  }
  if (!missing.empty()) problems += "\n  missing: " + format::name_list(missing);
  if (!unexpected.empty()) problems += "\n  not part of a LLaMA of this config: " + format::name_list(unexpected);
  if (std::ranges::find(unexpected, "score.weight") != unexpected.end()) {
    problems += "\n  with score.weight it is a reward model, which rrhf score takes as --reward-model";
  }
  if (!problems.empty()) {
    throw_input("checkpoint", "{}: tensors and config.json do not fit:{}", source.path().string(), problems);
  }
  return found;
}

void warn_of_untied_head(const TensorSource& source, const model::LlamaConfig& config) {
  const TensorInfo* const head = source.find(tied_head_name);
  const TensorInfo* const embedding = source.find(embedding_tensor);
  if (!config.tie_word_embeddings || head == nullptr || same_values(source, *head, *embedding)) return;
  warn(
      "{}: holds a {} that differs from the embedding, while its config.json ties them (tie_word_embeddings): it is no "
      "part of the model. If the head is meant, set that to false",
      source.path().string(), tied_head_name);
}

void warn_of_a_likely_delta(const TensorSource& source) {
  constexpr double least = 0.05;
  double sum = 0, elements = 0;
  for (const TensorInfo& info : source.tensors()) {
    if (!info.name.ends_with("norm.weight")) continue;
    sum += source.tensor(info).to(at::kDouble).abs().sum().item<double>();
    elements += static_cast<double>(info.numel());
    source.release(info);
  }
  if (elements == 0 || sum > least * elements) return;
  warn(
      "{}: its norm weights are {:.2g} in size on average, near 1 in a model and near 0 in a delta: is it one, to be "
      "added "
      "to its base by rrhf delta apply?",
      source.path().string(), sum / elements);
}

}  // namespace rrhf::checkpoint

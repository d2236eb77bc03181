#include "rrhf/checkpoint/tensor_match.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_set>

#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/core/error.h"
#include "rrhf/format/name_list.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {

bool has_vocabulary_rows(std::string_view name) {
  return name == "model.embed_tokens.weight" || name == "lm_head.weight";
}

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
    // A tied checkpoint may still hold the head; it equals the embedding.
    const bool tied_head = config.tie_word_embeddings && info.name == "lm_head.weight";
    const bool known = std::ranges::find(beside, info.name) != beside.end();
    if (!wanted.contains(info.name) && !tied_head && !known) unexpected.push_back(info.name);
  }
  if (!missing.empty()) problems += "\n  missing: " + format::name_list(missing);
  if (!unexpected.empty()) problems += "\n  not part of a LLaMA of this config: " + format::name_list(unexpected);
  if (!problems.empty()) {
    throw_input("checkpoint", "{}: tensors and config.json do not fit:{}", source.path().string(), problems);
  }
  return found;
}

}  // namespace rrhf::checkpoint

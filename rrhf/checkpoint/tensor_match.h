// The tensors of a source, held against what a config asks for.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

/// True for the two tensors that have a row a token: the embedding and the head.
bool has_vocabulary_rows(std::string_view name);

/// One tensor of the source for each of model::named_tensors(), in that order. A head in a checkpoint whose config ties
/// it to the embedding is passed over, if it has the embedding's shape. Throws InputError naming all missing,
/// unexpected and wrongly shaped tensors together. Tensors named in `beside` may be there too.
std::vector<const TensorInfo*> match_tensors(const TensorSource& source, const model::LlamaConfig& config,
                                             std::span<const std::string_view> beside = {});

/// Warns where a checkpoint whose config ties the head to the embedding holds a head of other values, which is no part
/// of the model: is the config wrong? For sources that match_tensors() takes; reads both tensors.
void warn_of_untied_head(const TensorSource& source, const model::LlamaConfig& config);

/// Warns where the norm weights are near 0, as in a delta that carries no manifest (load_config() refuses those that
/// do). Reads the norms alone.
void warn_of_a_likely_delta(const TensorSource& source);

}  // namespace rrhf::checkpoint

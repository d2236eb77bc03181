#include "rrhf/checkpoint/delta_pairs.h"

#include <algorithm>
#include <string>

#include "rrhf/checkpoint/delta_rows.h"
#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/checkpoint/tensor_match.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/format/name_list.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

bool same_but_for_rows(const TensorInfo& base, const TensorInfo& other) {
  if (base.shape == other.shape) return true;
  return has_vocabulary_rows(base.name) && base.shape.size() == 2 && other.shape.size() == 2 &&
         base.shape[1] == other.shape[1];
}

// Collects what does not fit of one pair of checkpoints.
class Matcher {
 public:
  Matcher(const TensorSource& base, const TensorSource& other, std::string_view word)
      : base_(base), other_(other), word_(word) {}

  // A head that both configs tie to the embedding may be in the files; it is no part of the model.
  std::vector<TensorPair> match(bool tied) {
    const auto ignored = [&](const TensorInfo& info) { return tied && info.name == "lm_head.weight"; };
    std::vector<TensorPair> pairs;
    for (const TensorInfo& other : other_.tensors()) {
      if (ignored(other)) continue;
      const TensorInfo* base = base_.find(other.name);
      if (base == nullptr) {
        only_other_.push_back(other.name);
      } else if (!same_but_for_rows(*base, other)) {
        shapes_.push_back(fmt::format("{} is {} in the base, {} in the {}", other.name, shape_text(base->shape),
                                      shape_text(other.shape), word_));
      } else {
        pairs.push_back({base, &other});
      }
    }
    for (const TensorInfo& base : base_.tensors()) {
      if (!ignored(base) && other_.find(base.name) == nullptr) only_base_.push_back(base.name);
    }
    finish();
    return pairs;
  }

 private:
  void finish() const {
    std::string problems;
    if (!only_base_.empty())
      problems += fmt::format("\n  in the base, not in the {}: {}", word_, format::name_list(only_base_));
    if (!only_other_.empty())
      problems += fmt::format("\n  in the {}, not in the base: {}", word_, format::name_list(only_other_));
    if (!shapes_.empty()) problems += fmt::format("\n  shapes: {}", format::name_list(shapes_));
    if (problems.empty()) return;
    throw_input("delta", "base {} and {} {} do not fit:{}", base_.path().string(), word_, other_.path().string(),
                problems);
  }

  const TensorSource& base_;
  const TensorSource& other_;
  std::string_view word_;
  std::vector<std::string> only_base_, only_other_, shapes_;
};

std::string scaling_text(const model::RopeScaling& scaling) {
  if (scaling.kind == model::RopeScaling::Kind::none) return "none";
  return fmt::format("{} by {}", scaling.kind == model::RopeScaling::Kind::linear ? "linear" : "dynamic",
                     scaling.factor);
}

// What tensors and shapes leave open: LLaMA-7B and Llama-2-7B have the same, and heads may be cut otherwise.
void warn_of_another_family(const model::LlamaConfig& base, const model::LlamaConfig& other, std::string_view word) {
  const auto compare = [&](const char* field, const auto& in_base, const auto& in_other) {
    if (in_base == in_other) return;
    warn("{} is {} in the base's config.json and {} in the {}'s: is this the base it was made with?", field, in_base,
         in_other, word);
  };
  compare("num_attention_heads", base.num_attention_heads, other.num_attention_heads);
  compare("num_key_value_heads", base.num_key_value_heads, other.num_key_value_heads);
  compare("head_dim", base.head_dim, other.head_dim);
  compare("rms_norm_eps", base.rms_norm_eps, other.rms_norm_eps);
  compare("rope_theta", base.rope_theta, other.rope_theta);
  compare("rope_scaling", scaling_text(base.rope_scaling), scaling_text(other.rope_scaling));
}

}  // namespace

CheckpointPair::CheckpointPair(const fs::path& base, const fs::path& other, std::string_view word)
    : base_config_(load_config(base)),
      other_config_(word == "delta" ? load_config_of_any(other) : load_config(other)),
      base_(base),
      other_(other) {
  const bool tied = base_config_.tie_word_embeddings && other_config_.tie_word_embeddings;
  pairs_ = Matcher(base_, other_, word).match(tied);
  match_tensors(base_, base_config_);
  match_tensors(other_, other_config_);
  warn_of_untied_head(base_, base_config_);
  warn_of_untied_head(other_, other_config_);
  if (base_rows() > other_rows()) require_no_piece_beyond(base, other_rows());
  warn_of_another_family(base_config_, other_config_, word);
}

}  // namespace rrhf::checkpoint

// A base and a second checkpoint (a target, or a delta) side by side, tensor by tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

/// Both hold the same tensors; those of the vocabulary may differ in their number of rows (delta_rows.h).
struct TensorPair {
  const TensorInfo* base = nullptr;
  const TensorInfo* other = nullptr;
};

/// Owns both sources. Not movable: pairs point into it.
class CheckpointPair {
 public:
  /// `word` is what the second one is called in messages: "target" or "delta".
  /// Throws InputError naming everything that does not fit at once: tensors on one side only, other shapes, a
  /// config.json without the rows of its own tensors; and a base whose pieces have rows that the other side lacks.
  /// Warns where the two configs differ in what two models of one family share (heads, rms_norm_eps, rope_theta,
  /// rope_scaling).
  CheckpointPair(const std::filesystem::path& base, const std::filesystem::path& other, std::string_view word);
  CheckpointPair(const CheckpointPair&) = delete;
  CheckpointPair& operator=(const CheckpointPair&) = delete;

  const TensorSource& base() const noexcept { return base_; }
  const TensorSource& other() const noexcept { return other_; }
  const model::LlamaConfig& other_config() const noexcept { return other_config_; }

  /// In the order of the second one's files.
  const std::vector<TensorPair>& pairs() const noexcept { return pairs_; }

  /// Rows of vocabulary: base and other.
  std::int64_t base_rows() const noexcept { return base_config_.vocab_size; }
  std::int64_t other_rows() const noexcept { return other_config_.vocab_size; }

 private:
  model::LlamaConfig base_config_, other_config_;
  TensorSource base_, other_;
  std::vector<TensorPair> pairs_;
};

}  // namespace rrhf::checkpoint

// A LLaMA that is never whole in memory: for a few tokens from a model larger than the machine.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

/// Computes in float32 on the CPU with one layer's weights at a time, read from the mapped files: every call walks
/// over all of them. Resident at most: one layer in float32 and as it is in its file.
class StreamedLlama {
 public:
  /// Throws InputError when the folder's tensors don't fit its config.
  explicit StreamedLlama(const std::filesystem::path& folder);

  const model::LlamaConfig& config() const noexcept { return config_; }

  /// Bytes of weights one call reads.
  std::int64_t bytes() const noexcept { return bytes_; }

  /// The logits, float32, of the token after `tokens` (not empty, ids within the vocabulary): [V]. `on_bytes` is told
  /// of the weights read; it may throw to stop.
  at::Tensor next_logits(std::span<const std::int32_t> tokens, const std::function<void(std::int64_t)>& on_bytes) const;

 private:
  const TensorInfo& info(const std::string& name) const { return *source_.find(name); }
  at::Tensor head_logits(const at::Tensor& hidden_D, const std::function<void(std::int64_t)>& on_bytes) const;

  model::LlamaConfig config_;
  TensorSource source_;
  std::int64_t bytes_ = 0;
};

}  // namespace rrhf::checkpoint

// A reward model over rows: sequences in packs, a prompt computed once for its responses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rrhf/model/llama.h"
#include "rrhf/model/score_head.h"
#include "rrhf/reward/sequence.h"

namespace rrhf::reward {

/// Keeps references to both. Const calls are safe from several threads.
class RewardModel {
 public:
  RewardModel(const model::Llama& llama, const model::ScoreHead& head, std::int64_t tokens_per_pack)
      : llama_(&llama), head_(&head), tokens_per_pack_(tokens_per_pack) {}

  /// The rewards of each row's responses, in their order. How rows fall into packs changes rounding alone.
  std::vector<std::vector<double>> score(std::span<const RowSequences> rows) const;

 private:
  const model::Llama* llama_;
  const model::ScoreHead* head_;
  std::int64_t tokens_per_pack_;
};

}  // namespace rrhf::reward

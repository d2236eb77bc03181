#include "rrhf/reward/reward_model.h"

#include "rrhf/data/packing.h"
#include "rrhf/model/pack.h"

namespace rrhf::reward {
namespace {

// A group of sequences, and the row whose responses they are.
struct Item {
  const SharedSequences* group;
  std::size_t row;
};

std::vector<Item> items_of(std::span<const RowSequences> rows) {
  std::vector<Item> items;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (const SharedSequences& group : rows[row].groups) items.push_back({&group, row});
  }
  return items;
}

std::size_t response_count(const RowSequences& row) {
  std::size_t count = 0;
  for (const SharedSequences& group : row.groups) count += group.responses.size();
  return count;
}

}  // namespace

std::vector<std::vector<double>> RewardModel::score(std::span<const RowSequences> rows) const {
  std::vector<std::vector<double>> rewards;
  for (const RowSequences& row : rows) rewards.emplace_back(response_count(row));
  const std::vector<Item> items = items_of(rows);
  std::vector<std::int64_t> tokens;
  for (const Item& item : items) tokens.push_back(item.group->tokens());
  for (const auto& members : data::pack_by_tokens(tokens, tokens_per_pack_)) {
    std::vector<model::PackInput> inputs;
    for (const std::size_t member : members) {
      const SharedSequences& group = *items[member].group;
      inputs.push_back({group.prefix, {group.rests.begin(), group.rests.end()}});
    }
    const std::vector<double> scores = head_->read(llama_->states(model::make_reading_pack(inputs, llama_->device())));
    auto next = scores.begin();
    for (const std::size_t member : members) {
      for (const std::size_t response : items[member].group->responses) rewards[items[member].row][response] = *next++;
    }
  }
  return rewards;
}

}  // namespace rrhf::reward

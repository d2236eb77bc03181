#include "rrhf/data/work_split.h"

#include <algorithm>
#include <numeric>

namespace rrhf::data {

std::vector<std::vector<std::size_t>> split_by_cost(std::span<const std::int64_t> costs, std::size_t ranks) {
  std::vector<std::size_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return costs[a] > costs[b]; });
  std::vector<std::vector<std::size_t>> items(ranks);
  std::vector<std::int64_t> sums(ranks, 0);
  for (const std::size_t item : order) {
    const auto least = static_cast<std::size_t>(std::ranges::min_element(sums) - sums.begin());
    items[least].push_back(item);
    sums[least] += costs[item];
  }
  for (std::vector<std::size_t>& own : items) std::ranges::sort(own);
  return items;
}

}  // namespace rrhf::data

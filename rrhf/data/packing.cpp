#include "rrhf/data/packing.h"

#include <algorithm>
#include <numeric>

namespace rrhf::data {

std::vector<std::vector<std::size_t>> pack_by_tokens(std::span<const std::int64_t> tokens, std::int64_t budget) {
  std::vector<std::size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return tokens[a] > tokens[b]; });

  std::vector<std::vector<std::size_t>> packs;
  std::vector<std::int64_t> room;
  for (const std::size_t item : order) {
    const auto fit = std::ranges::find_if(room, [&](std::int64_t left) { return left >= tokens[item]; });
    if (fit == room.end()) {
      packs.push_back({item});
      room.push_back(budget - tokens[item]);
    } else {
      packs[static_cast<std::size_t>(fit - room.begin())].push_back(item);
      *fit -= tokens[item];
    }
  }
  for (std::vector<std::size_t>& pack : packs) std::ranges::sort(pack);
  return packs;
}

}  // namespace rrhf::data

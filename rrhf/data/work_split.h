// Which rank computes which query of a step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rrhf::data {

/// Gives every item to one of `ranks`, so that the sums of costs are near equal: the largest first, each to the rank
/// with the least so far (Graham 1969: the largest sum is at most 4/3 of the best possible). Each rank's items are in
/// ascending order; the result depends on the costs alone.
std::vector<std::vector<std::size_t>> split_by_cost(std::span<const std::int64_t> costs, std::size_t ranks);

}  // namespace rrhf::data

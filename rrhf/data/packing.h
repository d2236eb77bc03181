// Which queries of a step go through the model together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace rrhf::data {

/// Groups items into packs of at most `budget` tokens: first fit, largest first. An item above the budget is a pack of
/// its own. Each pack lists its items in ascending order; the result depends on the sizes alone.
std::vector<std::vector<std::size_t>> pack_by_tokens(std::span<const std::int64_t> tokens, std::int64_t budget);

}  // namespace rrhf::data

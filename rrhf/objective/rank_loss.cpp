#include "rrhf/objective/rank_loss.h"

#include <array>
#include <utility>

#include <fmt/ranges.h>

#include "rrhf/core/error.h"

namespace rrhf::objective {
namespace {

using Maker = std::unique_ptr<const RankLoss> (*)();

constexpr std::array<std::pair<std::string_view, Maker>, 2> makers{{
    {"rrhf", []() -> std::unique_ptr<const RankLoss> { return std::make_unique<RrhfRankLoss>(); }},
    {"none", []() -> std::unique_ptr<const RankLoss> { return nullptr; }},
}};

}  // namespace

std::vector<std::string> rank_loss_names() {
  std::vector<std::string> names;
  for (const auto& [name, make] : makers) names.emplace_back(name);
  return names;
}

std::unique_ptr<const RankLoss> make_rank_loss(std::string_view name) {
  for (const auto& [known, make] : makers) {
    if (name == known) return make();
  }
  throw_input("objective", "{} is not a rank loss; known: {}", name, fmt::join(rank_loss_names(), ", "));
}

}  // namespace rrhf::objective

#include "rrhf/config/recipe.h"

#include <fmt/format.h>

#include <algorithm>

#include "rrhf/config/options.h"

namespace rrhf::config {

void apply_recipe(RunConfig& config) {
  const bool released = config.recipe == Recipe::released;
  config.data.encoding = released ? Encoding::released : Encoding::plain;
  config.objective.normalization = released ? Normalization::padded : Normalization::response;
  config.train.order = released ? RowOrder::released : RowOrder::shuffled;
  config.train.epoch_end = released ? EpochEnd::carry : EpochEnd::step;
  switch (config.recipe) {
    case Recipe::standard:
      config.objective.sft_reduction = SftReduction::mean;
      break;
    case Recipe::paper:
      config.objective.sft_reduction = SftReduction::sum;
      break;
    case Recipe::released:
      config.objective.sft_reduction = SftReduction::padded;
      break;
  }
}

std::optional<std::string> mixture_warning(const RunConfig& config) {
  if (config.recipe == Recipe::standard) return std::nullopt;
  RunConfig given = config;
  RunConfig pure = config;
  apply_recipe(pure);
  const auto given_options = options_of(given);
  const auto pure_options = options_of(pure);

  std::string differences;
  for (std::size_t i = 0; i < given_options.size(); ++i) {
    const Json mine = given_options[i].value.write();
    const Json theirs = pure_options[i].value.write();
    if (mine == theirs) continue;
    differences += fmt::format("{}{} is {} (the recipe's: {})", differences.empty() ? "" : ", ", given_options[i].key,
                               mine.get<std::string>(), theirs.get<std::string>());
  }
  if (differences.empty()) return std::nullopt;
  return fmt::format("recipe {} is mixed with other settings: {}", name_of(config.recipe), differences);
}

}  // namespace rrhf::config

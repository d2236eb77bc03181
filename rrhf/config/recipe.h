// Recipes: settings that belong together to reproduce one thing.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "rrhf/config/run_config.h"

namespace rrhf::config {

/// The settings a recipe chooses, all others being the same in every recipe.
inline constexpr std::array<std::string_view, 5> recipe_keys{
    "data.encoding", "objective.normalization", "objective.sft_reduction", "train.order", "train.epoch_end"};

/// Sets the recipe_keys as config.recipe says.
void apply_recipe(RunConfig& config);

/// A warning when settings given beside a recipe make it another thing; nothing for the default recipe, whose settings
/// are there to be chosen one by one.
std::optional<std::string> mixture_warning(const RunConfig& config);

}  // namespace rrhf::config

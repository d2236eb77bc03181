// Every setting, declared once. Parsing, the resolved config.json, docs/config.md and messages walk this one list.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/config/values.h"

namespace rrhf::config {

/// One setting of one RunConfig.
struct Option {
  std::string key;  ///< "section.name", or "name" for the few outside a section
  Value value;
  std::string help;  ///< Markdown, whole sentences, as in docs/config.md
  /// What others call it: a hint for those who type that (words between spaces).
  std::string_view other_names = {};
};

/// A group of settings.
struct Section {
  std::string_view name;
  std::string_view help;
};

/// The settings of `config` in the order of the docs. They refer to it: it must outlive them.
/// With `rank_losses` empty any word is a rank loss.
std::vector<Option> options_of(RunConfig& config, const std::vector<std::string>& rank_losses = {});

/// Those of a section each, which options_of() holds too.
std::vector<Option> schedule_options(ScheduleConfig& config);
std::vector<Option> train_options(TrainConfig& config);
std::vector<Option> checkpoint_options(CheckpointConfig& config);
std::vector<Option> eval_options(EvalConfig& config);
std::vector<Option> parallel_options(ParallelConfig& config);
std::vector<Option> sample_options(SampleConfig& config);
std::vector<Option> iterate_options(IterateConfig& config);

/// The sections in the order of the docs.
const std::vector<Section>& sections();

bool is_section(std::string_view name);

/// "objective" of "objective.rank_loss"; "" of "recipe".
std::string_view section_of(std::string_view key);

/// "rank_loss" of "objective.rank_loss".
std::string_view last_part(std::string_view key);

}  // namespace rrhf::config

// A run's settings: what `train` and `eval` read from a config file, a preset and --set.
//
// Every option is declared once: its default beside its field here, its key, range and help in the tables of
// options.cpp, train_options.cpp and iterate_options.cpp. Parsing, the resolved config.json, docs/config.md and error
// messages come from these.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/config/sampling_presets.h"
#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/core/lora_options.h"

namespace rrhf {

/// What a round of an iterated run trains on beside its own samples: nothing, the responses the queries came with, or
/// these and the samples of all rounds before.
enum class KeptResponses { none, provided, all };

template <>
struct Choices<KeptResponses> {
  static constexpr std::array names{std::pair{"none", KeptResponses::none},
                                    std::pair{"provided", KeptResponses::provided},
                                    std::pair{"all", KeptResponses::all}};
};

}  // namespace rrhf

namespace rrhf::config {

struct ModelConfig {
  std::string path;
  Dtype dtype = Dtype::float32;  ///< the dtype computed in; float16 is not a choice here
  bool random_init = false;

  bool operator==(const ModelConfig&) const = default;
};

struct DataConfig {
  std::vector<std::string> train;
  std::vector<std::string> eval;
  double eval_fraction = 0;
  DataFormat format = DataFormat::automatic;
  std::string template_name = "none";  ///< none | alpaca | alpaca-split | path of a text file with {query}
  Encoding encoding = Encoding::plain;
  BosToken bos_token = BosToken::model;
  SpecialText special_tokens = SpecialText::parse;
  std::int64_t max_length = 512;
  ResponseChoice responses = ResponseChoice::all;
  bool stop_response = false;
  bool shuffle = true;
  std::string cache = "auto";  ///< auto | off | a folder

  bool operator==(const DataConfig&) const = default;
};

struct ObjectiveConfig {
  std::string rank_loss = "rrhf";  ///< a name the objective room knows, or "none"
  double rank_weight = 1;
  double sft_weight = 1;
  Normalization normalization = Normalization::response;
  double length_penalty = 1;
  SftReduction sft_reduction = SftReduction::mean;

  bool operator==(const ObjectiveConfig&) const = default;
};

struct OptimizerConfig {
  std::string name = "adamw";
  double learning_rate = 2e-5;
  std::array<double, 2> betas{0.9, 0.999};
  double epsilon = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;  ///< 0: no clipping
  Masters masters = Masters::float32;
  Moments moments = Moments::float32;
  Place place = Place::device;
  Update update = Update::step;

  bool operator==(const OptimizerConfig&) const = default;
};

struct ScheduleConfig {
  ScheduleName name = ScheduleName::cosine;
  double warmup_ratio = 0.03;

  bool operator==(const ScheduleConfig&) const = default;
};

struct TrainConfig {
  std::int64_t epochs = 3;
  std::optional<std::int64_t> max_steps;
  std::int64_t queries_per_step = 64;
  std::optional<std::int64_t> tokens_per_pack;  ///< none: auto
  std::int64_t seed = 42;
  RowOrder order = RowOrder::shuffled;
  EpochEnd epoch_end = EpochEnd::step;
  Recompute recompute = Recompute::none;
  Dtype gradients = Dtype::float32;  ///< of bfloat16 weights: float32 or bfloat16
  Place layer_inputs = Place::device;
  bool deterministic = true;

  bool operator==(const TrainConfig&) const = default;
};

struct CheckpointConfig {
  std::optional<std::int64_t> every_steps;
  std::int64_t keep = 3;
  Dtype dtype = Dtype::float32;

  bool operator==(const CheckpointConfig&) const = default;
};

struct EvalConfig {
  std::optional<std::int64_t> every_steps;

  bool operator==(const EvalConfig&) const = default;
};

struct ParallelConfig {
  ParallelMode mode = ParallelMode::replicated;
  std::optional<std::int64_t> shard_size;  ///< none: all ranks
  BackendChoice backend = BackendChoice::automatic;
  std::int64_t timeout_s = 300;

  bool operator==(const ParallelConfig&) const = default;
};

/// Who gives rewards in an iterated run, and how a reward model reads a row.
struct ScoreConfig {
  std::string rule;
  std::string reward_model;
  std::string template_name = "none";
  Joining joining = Joining::together;
  std::string join;
  bool eos = true;
  std::optional<std::int64_t> max_length;  ///< none: the reward model's positions

  bool operator==(const ScoreConfig&) const = default;
};

/// How an iterated run samples.
struct SampleConfig {
  std::string preset = "none";
  DecodingOptions decoding = sampling_defaults();  ///< `answers` responses a query; no stop string: the template's own
  std::optional<std::int64_t> max_prompt_tokens;   ///< none: prompts are read whole
  bool unique = false;
  std::int64_t batch = 32;

  bool operator==(const SampleConfig&) const = default;
};

struct IterateConfig {
  std::int64_t rounds = 3;
  std::string queries;  ///< "": those of data.train
  KeptResponses keep = KeptResponses::provided;
  std::string eval_queries;  ///< "": those of data.eval

  bool operator==(const IterateConfig&) const = default;
};

struct RunConfig {
  Recipe recipe = Recipe::standard;
  DeviceChoice device = DeviceChoice::automatic;
  ModelConfig model;
  LoraOptions lora;
  DataConfig data;
  ObjectiveConfig objective;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  TrainConfig train;
  CheckpointConfig checkpoint;
  EvalConfig eval;
  ParallelConfig parallel;
  SampleConfig sample;
  ScoreConfig score;
  IterateConfig iterate;
  std::string output;  ///< "" until resolved: runs/NAME of the config

  bool operator==(const RunConfig&) const = default;
};

/// One `--set key.path=value`, in the order given.
struct Override {
  std::string key;
  std::string value;            ///< JSON if it parses as JSON, else a string
  std::string where = "--set";  ///< where it was given, for messages
};

/// Splits "key.path=value". Throws InputError when there is no "=" or no key.
Override parse_override(std::string_view argument);

/// What an override sets its key to.
Json value_of(const Override& override);

/// What reading a config gave.
struct Resolved {
  RunConfig config;
  std::vector<std::string> warnings;  ///< e.g. a recipe mixed with other settings, said once
};

/// The settings of a config text (JSON with comments) with the overrides on top. The recipe sets its marked keys first,
/// a key given explicitly wins. `where` names the text in messages (a path, or "--set" for an empty text).
/// `known_rank_losses` are the words objective.rank_loss may be.
/// Throws InputError with ALL mistakes, a line each: unknown keys with the nearest known one, wrong types, values out
/// of range, keys given twice.
Resolved resolve(std::string_view text, std::string_view where, const std::vector<Override>& overrides,
                 const std::vector<std::string>& known_rank_losses);

/// Reads a config file. `output` defaults to runs/NAME for NAME.json.
Resolved resolve_file(const std::filesystem::path& path, const std::vector<Override>& overrides,
                      const std::vector<std::string>& known_rank_losses);

/// Throws InputError with all mistakes, a line each, for settings of a training that do not go together: narrow forms
/// beside a model.dtype that has none, and the like. Commands that do not train may be given them.
void require_fitting_forms(const RunConfig& config);

/// Every setting with its value, in the order of declaration: output/config.json. resolve() of its text gives it back.
Json to_json(const RunConfig& config);

/// docs/config.md, whole: a table a section with key, type or choices, default, and meaning.
std::string reference_markdown();

}  // namespace rrhf::config

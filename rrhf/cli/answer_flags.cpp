#include "rrhf/cli/answer_flags.h"

#include "rrhf/cli/command.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/config/decoding_settings.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/train/device.h"

namespace rrhf::cli {
namespace {

template <class E>
E choice_of(const cxxopts::ParseResult& arguments, const char* flag, E otherwise) {
  if (arguments.count(flag) == 0) return otherwise;
  const std::string word = text_of(arguments, flag);
  const auto choice = choice_named<E>(word);
  if (!choice) throw_input("usage", "--{} {}: must be one of {}", flag, word, choice_list<E>());
  return *choice;
}

}  // namespace

void add_answer_flags(cxxopts::Options& options, const workflow::AnswerSettings& defaults) {
  const auto text = [] { return cxxopts::value<std::string>(); };
  auto add = options.add_options();
  add("model", "Model folder", text(), "DIR");
  add("template", fmt::format("none | alpaca | alpaca-split | a text file with {{query}} [{}]", defaults.template_name),
      text(), "T");
  add("max-prompt-tokens", "Keep the last N tokens of longer prompts, the BOS counted [all]", text(), "N");
  for (const config::DecodingSetting& setting : config::decoding_settings()) {
    add(std::string(setting.name), fmt::format("{} [{}]", setting.help, value_text(setting, defaults.decoding)), text(),
        std::string(setting.value));
  }
  add("stop", "An answer ends before this text; may be repeated [alpaca: \"</s>\" and \"### Response:\"]",
      cxxopts::value<std::vector<std::string>>(), "TEXT");
  add("dtype", fmt::format("float32 | bfloat16 | float64, computed in [{}]", name_of(defaults.dtype)), text(), "D");
  add("device", "auto | cpu | cuda [auto]", text(), "D");
  add("batch", fmt::format("Answers decoded at once [{}]", defaults.sequences), text(), "N");
}

workflow::AnswerSettings read_answer_flags(const cxxopts::ParseResult& arguments,
                                           const workflow::AnswerSettings& defaults, std::string_view command) {
  workflow::AnswerSettings settings = defaults;
  settings.model = required(arguments, "model", command);
  if (arguments.count("template") > 0) settings.template_name = text_of(arguments, "template");
  if (arguments.count("max-prompt-tokens") > 0) {
    settings.max_prompt_tokens = number_of(arguments, "max-prompt-tokens", 0, 2);
  }
  for (const config::DecodingSetting& setting : config::decoding_settings()) {
    const std::string name(setting.name);
    if (arguments.count(name) > 0) assign(setting, settings.decoding, text_of(arguments, name));
  }
  for (const config::DecodingSetting& setting : config::decoding_settings()) {
    const std::string why = config::no_effect(setting, settings.decoding);
    if (arguments.count(std::string(setting.name)) > 0 && !why.empty()) warn("{}", why);
  }
  settings.decoding.stop =
      arguments.count("stop") > 0 ? values(arguments, "stop") : workflow::default_stops(settings.template_name);
  settings.dtype = choice_of(arguments, "dtype", defaults.dtype);
  if (settings.dtype == Dtype::float16) throw_input("usage", "--dtype float16: must be float32, bfloat16 or float64");
  settings.device = choice_of(arguments, "device", defaults.device);
  settings.sequences = number_of(arguments, "batch", defaults.sequences, 1);
  train::warn_of_slow_device(settings.device, train::choose_device(settings.device), settings.dtype);
  return settings;
}

}  // namespace rrhf::cli

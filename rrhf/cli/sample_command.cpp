#include "rrhf/cli/sample_command.h"

#include <fmt/ranges.h>

#include "rrhf/cli/answer_flags.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/config/sampling_presets.h"
#include "rrhf/core/error.h"
#include "rrhf/core/stop.h"
#include "rrhf/workflow/sample.h"

namespace rrhf::cli {
namespace {

// Without a preset: as the paper's DP, but prompts are read whole.
workflow::AnswerSettings defaults() {
  workflow::AnswerSettings settings;
  settings.decoding = config::sampling_defaults();
  return settings;
}

std::string preset_help() {
  std::string help = "A way of sampling of the RRHF paper; flags beside it win:";
  for (const config::SamplingPreset& preset : config::sampling_presets()) {
    help += fmt::format(" {} ({})", preset.name, preset.help);
  }
  return help;
}

workflow::AnswerSettings preset_settings(const std::string& name) {
  const config::SamplingPreset* preset = config::sampling_preset(name);
  if (preset == nullptr) {
    std::vector<std::string_view> names;
    for (const config::SamplingPreset& known : config::sampling_presets()) names.push_back(known.name);
    throw_input("usage", "--preset {}: must be one of {}", name, fmt::join(names, ", "));
  }
  workflow::AnswerSettings settings;
  settings.decoding = preset->decoding;
  settings.max_prompt_tokens = preset->max_prompt_tokens;
  return settings;
}

cxxopts::Options sample_options() {
  cxxopts::Options options("rrhf sample",
                           "Add a model's responses to the rows of a data file; rrhf score scores them.");
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()("data", "Rows in any layout, rows of \"query\" alone, or a .txt file with a query a line",
                        text(), "FILE")("out", "File to write: RRHF JSON lines", text(), "FILE")(
      "responses", "Responses a query [4]", text(), "K")("preset", preset_help(), text(), "dp|bp|sp");
  add_answer_flags(options, defaults());
  options.add_options()("format", "auto | rrhf | gpt4llm | hh | preference [auto]", text(), "F")(
      "writer", "Who wrote the responses, for \"writers\" [model folder and method]", text(), "NAME")(
      "first", "Put the responses before a row's own, as the released HH data have them")(
      "unique", "Leave out a response that the row has already")("overwrite", "Begin anew where something is there");
  return options;
}

workflow::SampleTask sample_task(const cxxopts::ParseResult& arguments) {
  workflow::SampleTask task;
  const std::string preset = text_of(arguments, "preset");
  task.answers = read_answer_flags(arguments, preset.empty() ? defaults() : preset_settings(preset), "sample");
  task.answers.decoding.answers = number_of(arguments, "responses", task.answers.decoding.answers, 1);
  task.data = required(arguments, "data", "sample");
  task.out = required(arguments, "out", "sample");
  if (const std::string format = text_of(arguments, "format"); !format.empty()) {
    const auto choice = choice_named<DataFormat>(format);
    if (!choice) throw_input("usage", "--format {}: must be one of {}", format, choice_list<DataFormat>());
    task.format = *choice;
  }
  task.writer = text_of(arguments, "writer");
  task.place = arguments.count("first") > 0 ? data::Place::first : data::Place::last;
  task.unique = arguments.count("unique") > 0;
  task.existing = arguments.count("overwrite") > 0 ? workflow::Existing::overwrite : workflow::Existing::keep;
  return task;
}

}  // namespace

void sample_command(int argc, const char* const* argv) {
  cxxopts::Options options = sample_options();
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const workflow::SampleTask task = sample_task(*arguments);
  const StopSignals signals;
  workflow::sample(task);
}

}  // namespace rrhf::cli

#include "rrhf/cli/data_options.h"

#include <cxxopts.hpp>

#include "rrhf/cli/command.h"
#include "rrhf/core/error.h"
#include "rrhf/objective/rank_loss.h"

namespace rrhf::cli {
namespace {

cxxopts::Options declare(std::string_view name, std::string_view summary) {
  cxxopts::Options options(fmt::format("rrhf data {}", name), std::string(summary));
  options.positional_help("FILE [FILE...]");
  const auto text = [] { return cxxopts::value<std::string>(); };
  auto add = options.add_options();
  add("config", "take the data settings from this config file", text(), "CONFIG");
  add("preset", "take them from a config that comes with the program", text(), "NAME");
  add("set", "a setting on top of it, e.g. data.template=alpaca; may be given several times", text(), "KEY=VALUE");
  add("model", "model folder whose tokenizer counts the tokens (short for --set model.path=DIR)", text(), "DIR");
  add("format", "auto | rrhf | gpt4llm | hh | preference (short for --set data.format=F)", text(), "F");
  if (name == "inspect") {
    add("row", "the row to show, counted from 0", text(), "N");
    add("all", "show every token, not only the first and last of each text");
  }
  if (name == "convert") {
    add("out", "file to write; without it the lines go to stdout", text(), "FILE");
    add("force", "overwrite the file if it is there");
  }
  add("files", "", cxxopts::value<std::vector<std::string>>());
  options.parse_positional({"files"});
  return options;
}

// In the order given, so that a later one wins. The flags that stand for a setting count as one.
std::vector<config::Override> overrides_of(const cxxopts::ParseResult& parsed) {
  std::vector<config::Override> overrides;
  for (const auto& argument : parsed.arguments()) {
    if (argument.key() == "set") overrides.push_back(config::parse_override(argument.value()));
    if (argument.key() == "model") overrides.push_back({"model.path", argument.value()});
    if (argument.key() == "format") overrides.push_back({"data.format", argument.value()});
  }
  return overrides;
}

config::RunConfig read_config(const cxxopts::ParseResult& parsed) {
  const auto overrides = overrides_of(parsed);
  const auto losses = objective::rank_loss_names();
  const bool file = parsed.count("config") > 0, preset = parsed.count("preset") > 0;
  if (file && preset) throw_input("usage", "--config and --preset exclude each other");
  const config::Resolved resolved =
      file     ? config::resolve_file(parsed["config"].as<std::string>(), overrides, losses)
      : preset ? config::resolve_file(preset_path(parsed["preset"].as<std::string>()), overrides, losses)
               : config::resolve("{}", "--set", overrides, losses);
  for (const std::string& warning : resolved.warnings) warn("{}", warning);
  return resolved.config;
}

DataArguments to_arguments(const cxxopts::ParseResult& parsed) {
  DataArguments arguments;
  arguments.config = read_config(parsed);
  std::vector<std::string> files;
  if (parsed.count("files") > 0) files = parsed["files"].as<std::vector<std::string>>();
  if (files.empty()) {
    for (const auto* list : {&arguments.config.data.train, &arguments.config.data.eval}) {
      files.insert(files.end(), list->begin(), list->end());
    }
  }
  if (files.empty()) throw_input("data", "name at least one FILE, or a config with data.train");
  arguments.files.assign(files.begin(), files.end());
  if (parsed.count("row") > 0) arguments.row = number_of(parsed, "row", 0, 0);
  if (parsed.count("out") > 0) arguments.out = parsed["out"].as<std::string>();
  arguments.force = parsed.count("force") > 0;
  arguments.all_tokens = parsed.count("all") > 0;
  return arguments;
}

}  // namespace

std::optional<DataArguments> parse_data_arguments(int argc, const char* const* argv, std::string_view summary) {
  cxxopts::Options options = declare(argv[0], summary);
  const auto parsed = parse(options, argc, argv);
  if (!parsed) return std::nullopt;
  return to_arguments(*parsed);
}

DataEncoding::DataEncoding(const config::RunConfig& config)
    : template_(text::PromptTemplate::named(config.data.template_name)) {
  if (config.model.path.empty()) return;
  tokenizer_ = text::Tokenizer::load(config.model.path);
  const data::EncodeOptions options{.encoding = config.data.encoding,
                                    .bos_token = config.data.bos_token,
                                    .special_tokens = config.data.special_tokens,
                                    .max_length = config.data.max_length,
                                    .responses = config.data.responses,
                                    .stop_response = config.data.stop_response};
  encoder_.emplace(*tokenizer_, template_, options);
}

void ReadingBar::update(const data::RowReader& reader) {
  progress_.update([&] { return fmt::format("{}  {}", bar(reader.share_read()), file_.filename().string()); });
}

}  // namespace rrhf::cli

#include "rrhf/cli/generate_command.h"

#include <unistd.h>

#include "rrhf/cli/answer_flags.h"
#include "rrhf/cli/answer_stream.h"
#include "rrhf/cli/chat.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/train/memory_advice.h"
#include "rrhf/workflow/answer_prompts.h"

namespace rrhf::cli {
namespace {

// Of the Wombats' inference script, but that prompts are read whole.
workflow::AnswerSettings defaults() {
  workflow::AnswerSettings settings;
  settings.template_name = "alpaca";
  settings.decoding.max_new_tokens = 500;
  return settings;
}

cxxopts::Options declare() {
  cxxopts::Options options("rrhf generate",
                           "Answer a prompt or a file of prompts; without either, a chat at the terminal.");
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options()("prompt", "Answer this on stdout", text(), "TEXT")(
      "prompts", "Answer a file: JSON lines with \"query\", or .txt with a prompt a line", text(), "FILE")(
      "out", "With --prompts: file to write, {\"query\", \"response\", \"tokens\"} a line", text(), "FILE.jsonl");
  add_answer_flags(options, defaults());
  options.add_options()("overwrite", "With --prompts: begin anew where something is there");
  return options;
}

void answer_file(const cxxopts::ParseResult& arguments, workflow::AnswerSettings settings) {
  workflow::AnswerTask task{.answers = std::move(settings), .prompts = text_of(arguments, "prompts")};
  task.out = required(arguments, "out", "generate");
  if (arguments.count("overwrite") > 0) task.existing = workflow::Existing::overwrite;
  const StopSignals signals;
  workflow::answer_prompts(task);
}

void answer_one(const std::string& query, workflow::AnswerSettings settings) {
  workflow::Answerer answerer(std::move(settings));
  const data::Query queries[]{{query, {.file = "--prompt", .line = 1}}};
  const workflow::Prompts prompts = answerer.prompts(queries);
  workflow::log_cut(answerer, prompts);
  answerer.load_weights();
  const StopSignals signals;
  const ShownAnswer shown = show_answer(answerer.generator(), prompts.requests.front(), StopSignals::requested);
  fmt::print("\n");
  if (shown.ending == generate::Ending::cancelled) throw Interrupted("generate", "stopped before the answer's end");
  if (shown.empty_by_eos) warn("the answer is empty because the model said EOS first (docs/generate.md)");
}

void talk(workflow::AnswerSettings settings, bool own_stops) {
  if (::isatty(STDIN_FILENO) != 1) {
    throw_input("usage", "generate needs --prompt TEXT or --prompts FILE; a chat needs a terminal");
  }
  workflow::Answerer answerer(std::move(settings));
  answerer.load_weights();
  chat(answerer, own_stops);
}

}  // namespace

void generate_command(int argc, const char* const* argv) {
  cxxopts::Options options = declare();
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const bool one = arguments->count("prompt") > 0, file = arguments->count("prompts") > 0;
  if (one && file) throw_input("usage", "--prompt and --prompts exclude each other");
  if (!file && arguments->count("out") > 0) throw_input("usage", "--out goes with --prompts FILE");
  workflow::AnswerSettings settings = read_answer_flags(*arguments, defaults(), "generate");
  if (file) return answer_file(*arguments, std::move(settings));
  train::with_memory_advice(
      [&] { one ? answer_one(text_of(*arguments, "prompt"), settings) : talk(settings, arguments->count("stop") > 0); },
      [&] { return workflow::answering_advice(settings, 1); });
}

}  // namespace rrhf::cli

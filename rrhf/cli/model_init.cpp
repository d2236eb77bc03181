#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/initial_model.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/model_verbs.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::cli {
namespace {

// A config without ids takes the tokenizer's, so that other programs know how sequences begin and end.
void take_special_ids(model::LlamaConfig& config, const text::Tokenizer& tokenizer) {
  if (!config.bos_token_id) config.bos_token_id = tokenizer.bos_id();
  if (!config.eos_token_id) config.eos_token_id = tokenizer.eos_id();
  if (!config.pad_token_id && tokenizer.pad_id()) config.pad_token_id = *tokenizer.pad_id();
}

}  // namespace

void model_init(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf model init", "Make a LLaMA with random weights from a config.json.");
  options.add_options()("config", "config.json of a LLaMA", cxxopts::value<std::string>(), "FILE")(
      "tokenizer", "Folder with tokenizer.model", cxxopts::value<std::string>(), "DIR")(
      "out", "Folder to make", cxxopts::value<std::string>(), "DIR")(
      "seed", "Seed of the weights", cxxopts::value<std::string>()->default_value("42"), "N")(
      "dtype", "float32, bfloat16, float16 or float64", cxxopts::value<std::string>()->default_value("float32"), "T");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const auto dtype = choice_named<Dtype>((*arguments)["dtype"].as<std::string>());
  if (!dtype) throw_input("usage", "--dtype must be one of {}", choice_list<Dtype>());
  const std::int64_t seed = number_of(*arguments, "seed", 42, 0);
  model::LlamaConfig config = model::read_llama_config(required(*arguments, "config", "model init"));
  const std::string tokenizer_folder = required(*arguments, "tokenizer", "model init");
  const std::string out = required(*arguments, "out", "model init");
  const auto tokenizer = text::Tokenizer::load(tokenizer_folder);
  if (tokenizer.size() > config.vocab_size) {
    throw_input("model", "the tokenizer has {} ids, vocab_size is {}; the model needs a row for each", tokenizer.size(),
                config.vocab_size);
  }
  take_special_ids(config, tokenizer);
  const StopSignals signals;
  checkpoint::init_model({.config = config,
                          .tokenizer = tokenizer_folder,
                          .out = out,
                          .seed = static_cast<std::uint64_t>(seed),
                          .dtype = *dtype});
  checkpoint::warn_of_other_ids(out, config);
  log("made {}: LLaMA with {} parameters", out, with_commas(config.parameter_count()));
}

}  // namespace rrhf::cli

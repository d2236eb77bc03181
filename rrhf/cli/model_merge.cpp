#include "rrhf/checkpoint/adapter.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/model_verbs.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"

namespace rrhf::cli {

void model_merge(int argc, const char* const* argv) {
  cxxopts::Options options(
      "rrhf model merge",
      "Make a model of a LoRA adapter, of rrhf train or PEFT, and its base: the base's weights with "
      "the adapter's products added, its config and its tokenizer.");
  options.add_options()("adapter", "Folder with adapter_config.json", cxxopts::value<std::string>(), "ADAPTER")(
      "base", "The model it was trained beside, where it is not the folder that the adapter names",
      cxxopts::value<std::string>()->default_value(""),
      "DIR")("out", "Folder to make", cxxopts::value<std::string>(), "DIR")(
      "dtype", "keep, float32, float16, bfloat16 or float64", cxxopts::value<std::string>()->default_value("keep"),
      "T")("shard-size", "Largest file of tensors", cxxopts::value<std::string>()->default_value("5GB"), "SIZE");
  options.parse_positional({"adapter"});
  options.positional_help("ADAPTER");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const checkpoint::MergeAdapter settings{.adapter = required(*arguments, "adapter", "model merge", "ADAPTER"),
                                          .base = (*arguments)["base"].as<std::string>(),
                                          .out = required(*arguments, "out", "model merge"),
                                          .dtype = dtype_flag(*arguments, "dtype"),
                                          .shard_bytes = parse_bytes((*arguments)["shard-size"].as<std::string>())};
  const StopSignals signals;
  const checkpoint::Merged made = checkpoint::merge_adapter(settings);
  log("made {}: {} parameters, {} matrices of {} with what the adapter adds", settings.out.string(),
      with_commas(made.parameters), with_commas(static_cast<std::int64_t>(made.matrices)), made.base.string());
}

}  // namespace rrhf::cli

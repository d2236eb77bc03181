#include "rrhf/checkpoint/convert.h"
#include "rrhf/cli/command.h"
#include "rrhf/cli/model_verbs.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"

namespace rrhf::cli {

void model_convert(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf model convert",
                           "Write a model folder anew: .bin or safetensors in, safetensors out, in a dtype and shards "
                           "of your choice. Config, generation config, tokenizer and rrhf.json come along.");
  options.add_options()("from", "Model folder to read", cxxopts::value<std::string>(), "DIR")(
      "out", "Folder to make", cxxopts::value<std::string>(), "DIR")(
      "dtype", "keep, float32, float16, bfloat16 or float64", cxxopts::value<std::string>()->default_value("keep"),
      "T")("shard-size", "Largest file of tensors", cxxopts::value<std::string>()->default_value("5GB"), "SIZE");
  options.parse_positional({"from"});
  options.positional_help("DIR");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const checkpoint::ConvertModel settings{.from = required(*arguments, "from", "model convert", "DIR"),
                                          .out = required(*arguments, "out", "model convert"),
                                          .dtype = dtype_flag(*arguments, "dtype"),
                                          .shard_bytes = parse_bytes((*arguments)["shard-size"].as<std::string>())};
  const StopSignals signals;
  const checkpoint::Converted made = checkpoint::convert_model(settings);
  log("made {}: {} parameters in {} file{}", settings.out.string(), with_commas(made.parameters), made.files.size(),
      made.files.size() == 1 ? "" : "s");
}

}  // namespace rrhf::cli

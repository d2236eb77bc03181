#include "rrhf/cli/iterate_command.h"

#include "rrhf/cli/command.h"
#include "rrhf/core/error.h"
#include "rrhf/train/device.h"
#include "rrhf/workflow/iterate.h"

namespace rrhf::cli {

void iterate_command(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf iterate",
                           "Sample, score, train and evaluate, for as many rounds as iterate.rounds says.");
  add_config_flags(options);
  options.add_options()("resume", "Go on with the run in the output folder at the first stage that is not done");
  options.parse_positional({"config"});
  options.positional_help("CONFIG.json");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  if (arguments->count("config") + arguments->count("preset") + arguments->count("set") == 0) {
    throw_input("usage",
                "iterate needs a config file, --preset NAME, or settings by --set; rrhf iterate --help says more");
  }
  require_one_process("iterate", "sample and score by themselves, and share the training alone among processes");
  const config::RunConfig config = resolve_config(*arguments);
  config::require_fitting_forms(config);
  train::warn_of_slow_device(config.device, train::choose_device(config.device), config.model.dtype);
  fmt::print("{}", workflow::iterate(config, arguments->count("resume") > 0));
}

}  // namespace rrhf::cli

#include "rrhf/cli/train_command.h"

#include "rrhf/cli/command.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/distributed/meeting.h"
#include "rrhf/report/report.h"
#include "rrhf/train/trainer.h"

namespace rrhf::cli {

void train_command(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf train", "Fine-tune a LLaMA on ranked responses.");
  add_config_flags(options);
  options.add_options()("resume", "Go on with the run in the output folder from its last checkpoint")(
      "profile", "Print where the time of the steps went, by part");
  options.parse_positional({"config"});
  options.positional_help("CONFIG.json");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  if (arguments->count("config") + arguments->count("preset") + arguments->count("set") == 0) {
    throw_input("usage", "train needs a config file, --preset NAME, or settings by --set; rrhf train --help says more");
  }
  const config::RunConfig config = resolve_config(*arguments);
  const distributed::World world =
      distributed::join(distributed::read_environment(), {.device = train::choose_device(config.device)});
  train::Trainer trainer(config, arguments->count("resume") > 0, world);
  trainer.run();
  if (world.rank() != 0) return;
  if (arguments->count("profile") > 0) fmt::print("{}", trainer.profile());
  const std::filesystem::path output = config.output;
  const std::array runs{report::load_run(output)};
  write_file_atomically(output / "report.html", report::html_report(runs));
}

}  // namespace rrhf::cli

#include "rrhf/cli/train_command.h"

#include <c10/core/DeviceGuard.h>

#include <optional>

#include "rrhf/cli/command.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/distributed/launcher.h"
#include "rrhf/distributed/rank_run.h"
#include "rrhf/train/device.h"
#include "rrhf/train/trainer.h"
#include "rrhf/workflow/train.h"

namespace rrhf::cli {
namespace {

using distributed::Meeting;

struct Run {
  config::RunConfig config;
  train::RunOptions options;
};

// One of several ranks, or the only one.
void train_as_rank(const Run& run, const Meeting& meeting, const std::vector<std::string>& warnings) {
  const at::Device device = train::choose_device(run.config.device, meeting.place.local_rank);
  if (meeting.place.rank == 0) train::warn_of_slow_device(run.config.device, device, run.config.model.dtype);
  const c10::OptionalDeviceGuard current(device.is_cuda() ? std::optional(device) : std::nullopt);
  const distributed::WorldOptions options{.device = device,
                                          .backend = run.config.parallel.backend,
                                          .timeout = std::chrono::seconds(run.config.parallel.timeout_s)};
  distributed::run_as_rank(meeting, run.config.output, options, [&](const distributed::World& world) {
    for (const std::string& warning : warnings) warn("{}", warning);
    const std::string profile = workflow::train_model(run.config, run.options, world);
    if (run.options.exact_times) fmt::print("{}", profile);
  });
}

// Starts `count` ranks of this very command. What is wrong with the output folder is said here, once.
void train_in_processes(int count, const Run& run, int argc, const char* const* argv) {
  train::require_training_settings(run.config);
  const train::RunFolder folder(run.config, run.options.resume, false);
  if (folder.finished()) {
    log("{}: already trained to its end", (folder.path() / "model").string());
    if (!path_exists(folder.path() / "report.html")) workflow::write_report(folder.path());
    return;
  }
  std::vector<std::string> command{"rrhf"};
  command.insert(command.end(), argv, argv + argc);
  const int code = distributed::launch({.processes = count, .command = command, .output = run.config.output});
  if (code != 0) throw SaidAlready(code);
}

int processes(const cxxopts::ParseResult& arguments, const Meeting& meeting) {
  if (arguments.count("processes") == 0 || meeting.supervised) return 1;
  const int count = count_flag(arguments, "processes");
  if (meeting.place.size > 1) {
    throw_input("usage", "--processes starts ranks by itself; under {} leave it out", meeting.starter);
  }
  return count;
}

}  // namespace

void train_command(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf train", "Fine-tune a LLaMA on ranked responses.");
  add_config_flags(options);
  options.add_options()("resume", "Go on with the run in the output folder from its last checkpoint")(
      "processes", "Share the work among so many processes on this machine (docs/distributed.md)",
      cxxopts::value<std::string>(), "N")("profile", "Print where the time of the steps went, by part")(
      "memory-cap", "Use a GPU as if it had so much memory: 80GB, 24GB", cxxopts::value<std::string>(), "SIZE");
  options.parse_positional({"config"});
  options.positional_help("CONFIG.json");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  if (arguments->count("config") + arguments->count("preset") + arguments->count("set") == 0) {
    throw_input("usage", "train needs a config file, --preset NAME, or settings by --set; rrhf train --help says more");
  }
  const Meeting meeting = distributed::read_environment();
  const config::Resolved resolved = resolve(*arguments);
  // A starter that starts all ranks again means them to go on.
  Run run{.config = resolved.config,
          .options = {.resume = arguments->count("resume") > 0 || meeting.restarts > 0,
                      .exact_times = arguments->count("profile") > 0}};
  if (arguments->count("memory-cap") > 0) {
    run.options.memory_cap = parse_bytes((*arguments)["memory-cap"].as<std::string>());
  }
  if (const int count = processes(*arguments, meeting); count > 1) {
    train_in_processes(count, run, argc, argv);
  } else {
    train_as_rank(run, meeting, resolved.warnings);
  }
}

}  // namespace rrhf::cli

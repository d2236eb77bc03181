#include "rrhf/cli/ablate_command.h"

#include <fmt/ranges.h>

#include "rrhf/cli/command.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/config/grid.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/unicode.h"
#include "rrhf/objective/rank_loss.h"
#include "rrhf/train/device.h"
#include "rrhf/workflow/ablate.h"

namespace rrhf::cli {
namespace {

config::Grid grid_of(const cxxopts::ParseResult& arguments) {
  const config::GridSources sources{.overrides = given_overrides(arguments),
                                    .known_rank_losses = objective::rank_loss_names(),
                                    .preset_path = preset_path};
  return config::read_grid(arguments["grid"].as<std::string>(), sources);
}

workflow::AblateOptions ablate_options(const cxxopts::ParseResult& arguments) {
  const int jobs = count_flag(arguments, "jobs"), processes = count_flag(arguments, "processes");
  if (jobs > 1 && processes > 1) {
    throw_input("usage", "--jobs {} and --processes {} exclude each other: both share the machine out", jobs,
                processes);
  }
  workflow::AblateOptions options{.resume = arguments.count("resume") > 0, .at_once = static_cast<std::size_t>(jobs)};
  if (processes > 1) options.train_flags = {"--processes", fmt::format("{}", processes)};
  if (arguments.count("memory-cap") > 0) {
    const std::string size = arguments["memory-cap"].as<std::string>();
    parse_bytes(size);  // what is wrong is refused here rather than by the first training
    options.train_flags.insert(options.train_flags.end(), {"--memory-cap", size});
  }
  return options;
}

// What only a GPU takes, and what a GPU can't.
void require_fitting_devices(const cxxopts::ParseResult& arguments, const config::Grid& grid) {
  const int jobs = count_flag(arguments, "jobs");
  for (const config::GridRun& run : grid.runs) {
    const bool on_gpu = train::choose_device(run.config.device).is_cuda();
    if (jobs > 1 && on_gpu) {
      throw_input("usage", "--jobs {0} would put {0} runs on one GPU; it is for the CPU (--set device=cpu)", jobs);
    }
    if (arguments.count("memory-cap") > 0 && !on_gpu) {
      throw_input("usage", "--memory-cap is for a GPU; the run \"{}\" is for the CPU", printable(run.name));
    }
  }
}

}  // namespace

void ablate_command(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf ablate",
                           "Train the runs of a grid, measure all models alike, and lay them side by side "
                           "(docs/ablate.md).");
  options.add_options()("grid", "Grid file (JSON with // comments)", cxxopts::value<std::string>(), "GRID.json")(
      "set", "Override one setting of all runs; may be repeated", cxxopts::value<std::vector<std::string>>(),
      "key.path=value")("resume", "Go on with the ablation in the output folder; runs may have come to the grid")(
      "list", "Print the runs, and run nothing")("jobs", "Runs at a time, on the CPU's cores",
                                                 cxxopts::value<std::string>()->default_value("1"), "N")(
      "processes", "Share each training among so many processes (docs/distributed.md)",
      cxxopts::value<std::string>()->default_value("1"),
      "N")("memory-cap", "Train on a GPU as if it had so much memory: 80GB", cxxopts::value<std::string>(), "SIZE");
  options.parse_positional({"grid"});
  options.positional_help("GRID.json");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  if (arguments->count("grid") == 0) throw_input("usage", "ablate needs a grid file; rrhf ablate --help says more");
  require_one_process("ablate", "it shares trainings by --processes");
  const workflow::AblateOptions how = ablate_options(*arguments);
  const config::Grid grid = grid_of(*arguments);
  for (const std::string& warning : grid.warnings) warn("{}", warning);
  if (arguments->count("list") > 0) {
    fmt::print("{}", workflow::list_runs(grid));
    return;
  }
  require_fitting_devices(*arguments, grid);
  const workflow::Ablated ablated = workflow::ablate(grid, how);
  fmt::print("{}", ablated.table);
  if (ablated.failed.empty()) return;
  const std::string failures =
      fmt::format("{} failed; once mended, the same command with --resume tries again:\n  {}",
                  counted(std::ssize(ablated.failed), "model", "models"), fmt::join(ablated.failed, "\n  "));
  if (ablated.refused) throw InputError("ablate", failures);
  throw Error("ablate", failures);
}

}  // namespace rrhf::cli

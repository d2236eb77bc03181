#include "rrhf/cli/data_command.h"

#include <array>
#include <string_view>

#include "rrhf/cli/data_options.h"
#include "rrhf/core/error.h"

namespace rrhf::cli {
namespace {

struct Subcommand {
  std::string_view name;
  std::string_view summary;
  void (*run)(const DataArguments&);
};

constexpr std::array subcommands{
    Subcommand{"validate",
               "Lists everything that is wrong or odd in ranked data; exit code 2 when it can't be trained on.",
               run_validate},
    Subcommand{"inspect", "Shows one row as the model will see it: prompt, tokens, labels, pairs.", run_inspect},
    Subcommand{"stats", "Counts rows, responses and ties; lengths, cuts and what packing saves.", run_stats},
    Subcommand{"convert", "Writes the rows as RRHF JSON lines.", run_convert},
};

void print_help() {
  fmt::print("Looks at ranked data before training on it.\nUsage:\n  rrhf data SUBCOMMAND FILE [FILE...] [flags]\n\n");
  for (const Subcommand& subcommand : subcommands) fmt::print("  {:<10} {}\n", subcommand.name, subcommand.summary);
  fmt::print("\nrrhf data SUBCOMMAND --help lists the flags.\n");
}

}  // namespace

void data_command(int argc, const char* const* argv) {
  const std::string_view word = argc > 1 ? argv[1] : "";
  if (word == "--help" || word == "-h") return print_help();
  for (const Subcommand& subcommand : subcommands) {
    if (word != subcommand.name) continue;
    if (const auto arguments = parse_data_arguments(argc - 1, argv + 1, subcommand.summary)) subcommand.run(*arguments);
    return;
  }
  throw_input("data", "{} validate, inspect, stats or convert (rrhf data --help)",
              word.empty() ? std::string("name a subcommand:") : fmt::format("{} is not a subcommand:", word));
}

}  // namespace rrhf::cli

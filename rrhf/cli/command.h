// What the subcommands share.
#pragma once

#include <cstdint>
#include <cxxopts.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/config/run_config.h"

namespace rrhf::cli {

/// One subcommand. argv[0] is its name. Throws Error; returns normally when done.
struct Command {
  std::string_view name;
  std::string_view summary;
  void (*run)(int argc, const char* const* argv);
};

/// Parses a command line. Prints the help on stdout and returns nothing when --help is there.
/// Throws InputError for a wrong one, with the usage in the message.
std::optional<cxxopts::ParseResult> parse(cxxopts::Options& options, int argc, const char* const* argv);

/// The values of a flag that may be repeated.
std::vector<std::string> values(const cxxopts::ParseResult& arguments, const std::string& flag);

/// The text after a flag, "" where it is absent.
std::string text_of(const cxxopts::ParseResult& arguments, const std::string& flag);

/// The whole number after a flag, or `otherwise`. Throws InputError for anything else, and below `least`.
std::int64_t number_of(const cxxopts::ParseResult& arguments, const std::string& flag, std::int64_t otherwise,
                       std::int64_t least);

/// The flag's whole number, from 1 to 4096, or 1. Throws InputError for another.
int count_flag(const cxxopts::ParseResult& arguments, const char* flag);

/// The settings given by --set.
std::vector<config::Override> given_overrides(const cxxopts::ParseResult& arguments);

/// Throws InputError where a starter has begun several ranks of a command that is one process; `instead` says what to
/// do.
void require_one_process(std::string_view command, std::string_view instead);

/// The file of a config that comes with the program. Throws InputError, naming those there are, for another name.
std::filesystem::path preset_path(const std::string& name);

/// Resolves the config a command line names: CONFIG or --preset NAME, with --set on top.
config::Resolved resolve(const cxxopts::ParseResult& arguments, std::vector<config::Override> extra = {});

/// The same with its warnings logged.
config::RunConfig resolve_config(const cxxopts::ParseResult& arguments, std::vector<config::Override> extra = {});

/// The flags resolve_config() reads.
void add_config_flags(cxxopts::Options& options);

}  // namespace rrhf::cli

// Commands of several verbs: rrhf model info, rrhf delta make.
#pragma once

#include <cstdint>
#include <cxxopts.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "rrhf/core/choices.h"

namespace rrhf::cli {

/// One verb; argv[0] is its name. Throws Error.
struct Verb {
  std::string_view name;
  std::string_view summary;
  void (*run)(int argc, const char* const* argv);
};

/// Runs the verb that argv[1] names; argv[0] is the command. --help lists them on stdout.
/// Throws InputError for a missing or unknown one.
void run_verb(std::string_view about, std::span<const Verb> verbs, int argc, const char* const* argv);

/// The value of a flag that must be there. `command` is named in the message: "model init", and so is the flag, or
/// what its place in the usage is called ("DIR") where it is given without its name.
std::string required(const cxxopts::ParseResult& arguments, const char* flag, std::string_view command,
                     std::string_view place = "");

/// The dtype a flag names, or nothing when it is absent or "keep".
std::optional<Dtype> dtype_flag(const cxxopts::ParseResult& arguments, const char* flag);

/// Bytes in a word: "5GB", "500MB", "1.5GiB", "1000". Throws InputError for anything else, and below 1.
std::int64_t parse_bytes(const std::string& word);

}  // namespace rrhf::cli

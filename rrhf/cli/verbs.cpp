#include "rrhf/cli/verbs.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

#include "rrhf/core/error.h"

namespace rrhf::cli {
namespace {

constexpr std::array units{std::pair{"", 1.0},       std::pair{"B", 1.0},      std::pair{"KB", 1e3},
                           std::pair{"MB", 1e6},     std::pair{"GB", 1e9},     std::pair{"TB", 1e12},
                           std::pair{"KiB", 0x1p10}, std::pair{"MiB", 0x1p20}, std::pair{"GiB", 0x1p30}};

std::string names_of(std::span<const Verb> verbs) {
  std::string names;
  for (const Verb& verb : verbs) names += (names.empty() ? "" : ", ") + std::string(verb.name);
  return names;
}

}  // namespace

void run_verb(std::string_view about, std::span<const Verb> verbs, int argc, const char* const* argv) {
  const std::string_view command = argv[0], word = argc > 1 ? argv[1] : "";
  if (word == "--help" || word == "-h" || word == "help") {
    fmt::print("{}\nUsage:\n  rrhf {} VERB [flags]\n\n", about, command);
    for (const Verb& verb : verbs) fmt::print("  {:<8} {}\n", verb.name, verb.summary);
    fmt::print("\nrrhf {} VERB --help lists the flags.\n", command);
    return;
  }
  for (const Verb& verb : verbs) {
    if (word == verb.name) return verb.run(argc - 1, argv + 1);
  }
  throw_input("usage", "{}; there are: {} (rrhf {} --help)",
              word.empty() ? fmt::format("rrhf {} needs a verb", command)
                           : fmt::format("{} is not a verb of rrhf {}", word, command),
              names_of(verbs), command);
}

std::string required(const cxxopts::ParseResult& arguments, const char* flag, std::string_view command,
                     std::string_view place) {
  if (arguments.count(flag) == 0 || arguments[flag].as<std::string>().empty()) {
    throw_input("usage", "{} needs {}; rrhf {} --help says more", command,
                place.empty() ? fmt::format("--{}", flag) : std::string(place), command);
  }
  return arguments[flag].as<std::string>();
}

std::optional<Dtype> dtype_flag(const cxxopts::ParseResult& arguments, const char* flag) {
  if (arguments.count(flag) == 0) return std::nullopt;
  const std::string word = arguments[flag].as<std::string>();
  if (word == "keep") return std::nullopt;
  const auto dtype = choice_named<Dtype>(word);
  if (!dtype) throw_input("usage", "--{} {}: must be one of {}", flag, word, choice_list<Dtype>());
  return dtype;
}

std::int64_t parse_bytes(const std::string& word) {
  double number = 0;
  const char* end = word.data() + word.size();
  const auto [rest, failure] = std::from_chars(word.data(), end, number, std::chars_format::fixed);
  for (const auto& [unit, factor] : units) {
    const double bytes = number * factor;
    if (failure == std::errc() && std::string_view(rest, end) == unit && bytes >= 1 && bytes < 0x1p62) {
      return std::llround(bytes);
    }
  }
  throw_input("usage", "{} is no size; write 5GB, 500MB, 1GiB or a number of bytes", word);
}

}  // namespace rrhf::cli

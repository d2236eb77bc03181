// Every setting of the decoding declared once: its word, its help and its field. Flags, help texts, errors and the
// records of what was done are made of this table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "rrhf/core/decoding_options.h"
#include "rrhf/core/json.h"

namespace rrhf::config {

struct DecodingSetting {
  using Field = std::variant<DecodingMethod DecodingOptions::*, std::int64_t DecodingOptions::*,
                             double DecodingOptions::*, std::uint64_t DecodingOptions::*>;

  std::string_view name;   ///< as a flag spells it: "top-p"
  std::string_view value;  ///< what stands for the value in a help text: "P"
  std::string_view help;
  Field field;
  std::span<const DecodingMethod> methods;  ///< that take notice of it
};

/// All settings but the number of answers and the stop strings.
std::span<const DecodingSetting> decoding_settings();

/// The value as a person would write it: "diverse-beam", "0.9", "128".
std::string value_text(const DecodingSetting& setting, const DecodingOptions& options);

/// Sets the field to what `word` says. Throws InputError naming --NAME and what is needed; limits are
/// check_decoding()'s.
void assign(const DecodingSetting& setting, DecodingOptions& options, std::string_view word);

/// Why a setting that was given has no effect under options.method: "--temperature is of --method top-p; greedy takes
/// no notice of it". "" where it has one.
std::string no_effect(const DecodingSetting& setting, const DecodingOptions& options);

/// Every setting by its name, with `answers` and `stop`: equal for options that decode alike.
Json to_json(const DecodingOptions& options);

}  // namespace rrhf::config

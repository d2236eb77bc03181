// The ways of sampling of the RRHF paper, by name.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "rrhf/core/decoding_options.h"

namespace rrhf::config {

struct SamplingPreset {
  std::string_view name;  ///< "dp", "bp", "sp"
  std::string_view help;
  DecodingOptions decoding;
  std::int64_t max_prompt_tokens = 0;
};

/// DP: diverse beam search, 4 beams in 4 groups, diversity 1.0, 4 responses of at most 128 tokens, a prompt's last 256
/// (the released script). BP: beam search with 4 beams (the paper), the rest alike. SP: top-p sampling (the paper,
/// without numbers); top_p 0.9 is this project's choice, temperature 0.8 stands in the released script, where it has
/// no effect.
std::span<const SamplingPreset> sampling_presets();

/// Null for a word that is none of their names.
const SamplingPreset* sampling_preset(std::string_view name);

/// How training data are sampled without a preset: as DP, but prompts are read whole.
DecodingOptions sampling_defaults();

}  // namespace rrhf::config

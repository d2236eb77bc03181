#include "rrhf/config/sampling_presets.h"

#include <algorithm>
#include <array>

namespace rrhf::config {
namespace {

// Of the released sampling script, but for what the table below says.
constexpr std::int64_t responses = 4, new_tokens = 128, prompt_tokens = 256;

const DecodingOptions diverse_beams{.method = DecodingMethod::diverse_beam,
                                    .answers = responses,
                                    .max_new_tokens = new_tokens,
                                    .beams = 4,
                                    .groups = 4,
                                    .diversity = 1.0};
const DecodingOptions plain_beams{
    .method = DecodingMethod::beam, .answers = responses, .max_new_tokens = new_tokens, .beams = 4};
const DecodingOptions draws{.method = DecodingMethod::top_p,
                            .answers = responses,
                            .max_new_tokens = new_tokens,
                            .temperature = 0.8,
                            .top_p = 0.9};

const std::array presets{
    SamplingPreset{"dp", "diverse beam search, 4 beams in 4 groups, diversity 1.0", diverse_beams, prompt_tokens},
    SamplingPreset{"bp", "beam search, 4 beams", plain_beams, prompt_tokens},
    SamplingPreset{"sp", "top-p sampling, top-p 0.9, temperature 0.8", draws, prompt_tokens},
};

}  // namespace

std::span<const SamplingPreset> sampling_presets() { return presets; }

const SamplingPreset* sampling_preset(std::string_view name) {
  const auto found = std::ranges::find(presets, name, &SamplingPreset::name);
  return found == presets.end() ? nullptr : &*found;
}

DecodingOptions sampling_defaults() { return diverse_beams; }

}  // namespace rrhf::config

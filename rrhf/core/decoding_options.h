// How answers are decoded: what a user may set, with its limits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"

namespace rrhf {

/// Settings of one run. Those that a method does not use are checked and have no effect.
struct DecodingOptions {
  DecodingMethod method = DecodingMethod::greedy;

  /// Answers a prompt: samples with top_p, the best hypotheses with the beam methods, 1 with greedy.
  std::int64_t answers = 1;

  /// New tokens an answer has at most, its EOS included. The model's positions may end it sooner.
  std::int64_t max_new_tokens = 128;

  // top_p: logits / temperature, then the top_k likeliest (0: all), then the fewest whose probabilities reach top_p.
  double temperature = 1;
  std::int64_t top_k = 0;
  double top_p = 1;

  // beam and diverse_beam. `groups` is for diverse_beam alone: beams / groups beams search together, and each group
  // pays `diversity` for every choice of the same token by earlier groups in the same step.
  std::int64_t beams = 4;
  std::int64_t groups = 4;
  double diversity = 1;
  double length_penalty = 1;  ///< hypotheses are ordered by summed log-prob / length^length_penalty

  /// Logits of tokens in the prompt or answer are divided by it where positive and multiplied where negative (Keskar et
  /// al. 2019); the beam methods apply it to log-probs, as transformers does. 1: no effect.
  double repetition_penalty = 1;

  /// An answer ends where one of these begins in its text, and is cut there.
  std::vector<std::string> stop;

  /// Sample s of row r draws from a stream of its own, keyed by seed, r and s.
  std::uint64_t seed = 42;

  bool operator==(const DecodingOptions&) const = default;
};

/// True for beam and diverse_beam.
bool with_beams(const DecodingOptions& options);

/// Sequences that a prompt takes while it is answered: its beams, or its answers.
std::int64_t sequences_of(const DecodingOptions& options);

/// Throws InputError with the numbers, all mistakes at once: a temperature not above 0, top_p outside (0, 1], more
/// answers than beams, beams that the groups do not divide, several answers of the greedy method, an empty stop string,
/// ... Called by Generator; here for commands that want to refuse before a model is loaded.
void check_decoding(const DecodingOptions& options);

}  // namespace rrhf
